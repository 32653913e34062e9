//! HEAD as fast as it goes: one thread, many connections, one request at a time on each.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use crate::failure::Failure;
use crate::http::Head;
use crate::site::Site;
use crate::tus::{Upload, expect};

struct Asker<'u> {
    socket: TcpStream,
    upload: &'u Upload,
    request: Vec<u8>,
    answer: Vec<u8>,
    filled: usize,
    asked: Instant,
}

impl Asker<'_> {
    fn ask(&mut self) -> Result<(), Failure> {
        self.filled = 0;
        self.asked = Instant::now();
        self.socket
            .write_all(&self.request)
            .map_err(Failure::io("sending"))
    }

    /// Takes what came; how long the answer took, once it is whole.
    fn hear(&mut self) -> Result<Option<Duration>, Failure> {
        let got = self
            .socket
            .read(&mut self.answer[self.filled..])
            .map_err(Failure::io("waiting for an answer"))?;
        if got == 0 {
            return Err(Failure::NotHttp("the connection closed before its end"));
        }
        self.filled += got;
        let Some((head, _)) = Head::parse(&self.answer[..self.filled])? else {
            return Ok(None);
        };
        expect("HEAD", &self.upload.path, &head, 200)?;
        self.upload.at(head.number("upload-offset"))?;
        Ok(Some(self.asked.elapsed()))
    }
}

/// Asks for the offsets of `uploads`, in turn on that many connections, for so long; the time of each answer.
pub(crate) fn heads(
    site: &Site,
    uploads: &[Upload],
    connections: usize,
    time: Duration,
) -> Result<Vec<Duration>, Failure> {
    let address = site.target.address;
    let watch =
        epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| Failure::io("epoll")(e.into()))?;
    let mut askers = Vec::new();
    for (n, upload) in uploads.iter().cycle().take(connections).enumerate() {
        let socket = TcpStream::connect(address).map_err(Failure::io("connecting"))?;
        socket
            .set_nodelay(true)
            .map_err(Failure::io("connecting"))?;
        let key = epoll::EventData::new_u64(n as u64);
        epoll::add(&watch, &socket, key, epoll::EventFlags::IN)
            .map_err(|e| Failure::io("epoll")(e.into()))?;
        let request = format!(
            "HEAD {} HTTP/1.1\r\nHost: {address}\r\nTus-Resumable: 1.0.0\r\n\r\n",
            upload.path
        );
        askers.push(Asker {
            socket,
            upload,
            request: request.into_bytes(),
            answer: vec![0; 4096],
            filled: 0,
            asked: Instant::now(),
        });
    }
    askers.iter_mut().try_for_each(Asker::ask)?;
    let patience = Timespec {
        tv_sec: 30,
        tv_nsec: 0,
    };
    let mut answered = Vec::new();
    let mut events = Vec::with_capacity(connections);
    let began = Instant::now();
    while began.elapsed() < time {
        epoll::wait(&watch, spare_capacity(&mut events), Some(&patience))
            .map_err(|e| Failure::io("epoll")(e.into()))?;
        if events.is_empty() {
            return Err(Failure::NotHttp("no answer at all"));
        }
        for event in events.drain(..) {
            let n = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            if let Some(took) = askers[n].hear()? {
                answered.push(took);
                askers[n].ask()?;
            }
        }
    }
    Ok(answered)
}
