//! A clamd that is slow, full, wrong or gone when a test says so. Bytes with [`BAD`] in them are malware to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use highwater::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub(super) const BAD: &[u8] = b"as bad as can be";

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// As it should.
    Well,
    /// Not until the mood changes.
    Hangs,
    /// It closes the connection, with nothing said.
    Dies,
    /// It takes no more bytes than so many.
    Full(usize),
    /// It has an error of its own.
    Fails,
}

pub(super) struct FakeClamd {
    pub(super) addr: SocketAddr,
    mood: watch::Sender<Mood>,
    /// Bytes of each scan that was begun.
    seen: Arc<Mutex<Vec<usize>>>,
    accepting: AbortHandle,
}

impl FakeClamd {
    pub(super) async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (mood, moods) = watch::channel(mood);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = seen.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, moods.clone(), noted.clone()));
            }
        });
        Self {
            addr,
            mood,
            seen,
            accepting: accepting.abort_handle(),
        }
    }

    pub(super) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// How many scans were begun.
    pub(super) fn scans(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }

    /// Its address as an option's value.
    pub(super) fn option(&self) -> String {
        format!("clamd:tcp://{}", self.addr)
    }

    /// Lets a server scan by it.
    pub(super) fn used_by(&self, config: &mut Config) {
        config.content.scan = Some(self.option().parse().expect("an address"));
    }
}

impl Drop for FakeClamd {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    mut socket: TcpStream,
    mut moods: watch::Receiver<Mood>,
    seen: Arc<Mutex<Vec<usize>>>,
) -> std::io::Result<()> {
    let mut command = [0; 10];
    socket.read_exact(&mut command).await?;
    assert_eq!(&command, b"zINSTREAM\0");
    let place = {
        let mut seen = seen.lock().expect("no panic");
        seen.push(0);
        seen.len() - 1
    };
    let mut all = Vec::new();
    loop {
        let length = usize::try_from(socket.read_u32().await?).expect("a length");
        if length == 0 {
            break;
        }
        let from = all.len();
        all.resize(from + length, 0);
        socket.read_exact(&mut all[from..]).await?;
        seen.lock().expect("no panic")[place] = all.len();
        let mood = *moods.borrow();
        if matches!(mood, Mood::Full(most) if all.len() > most) {
            socket
                .write_all(b"INSTREAM size limit exceeded. ERROR\0")
                .await?;
            socket.shutdown().await?;
            // A connection that is closed on bytes that come is reset, and the answer with it.
            return tokio::io::copy(&mut socket, &mut tokio::io::sink())
                .await
                .map(drop);
        }
    }
    let mood = moods
        .wait_for(|mood| *mood != Mood::Hangs)
        .await
        .map(|mood| *mood);
    let bad = all.windows(BAD.len()).any(|window| window == BAD);
    let answer: &[u8] = match mood {
        Ok(Mood::Dies) | Err(_) => b"",
        Ok(Mood::Fails) => b"stream: Can't open file or directory ERROR\0",
        Ok(_) if bad => b"stream: Fake.Malware FOUND\0",
        Ok(_) => b"stream: OK\0",
    };
    socket.write_all(answer).await
}
