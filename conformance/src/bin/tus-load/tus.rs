//! The requests of tus 1.0 that a load needs.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::http::{Connection, Head, Request};
use crate::pattern::Pattern;
use crate::target::Target;

const VERSION: (&str, &str) = ("Tus-Resumable", "1.0.0");

/// One upload: what it is made of and how far it should be.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) path: String,
    /// Its number in the run: where in the pattern its bytes begin.
    pub(crate) number: u64,
    pub(crate) length: u64,
    pub(crate) offset: u64,
}

impl Upload {
    /// Creates upload `number` of `length` bytes.
    pub(crate) fn create(
        via: &mut Connection,
        target: &Target,
        number: u64,
        length: u64,
    ) -> Result<Self, Failure> {
        let request = Request {
            method: "POST",
            path: &target.path,
            fields: &[VERSION, ("Upload-Length", &length.to_string())],
            body_len: 0,
        };
        let answer = via.exchange(&request, std::iter::empty())?;
        expect(&request, &answer, 201)?;
        let location = answer
            .get("location")
            .ok_or(Failure::NotHttp("a 201 without Location"))?;
        Ok(Self {
            path: target.resolve(location)?,
            number,
            length,
            offset: 0,
        })
    }

    /// Appends the next `len` bytes in one PATCH.
    pub(crate) fn append(
        &mut self,
        via: &mut Connection,
        pattern: &Pattern,
        len: u64,
    ) -> Result<(), Failure> {
        let end = self.offset + len;
        let answer = self.patch(len, |request| {
            let answer = via.exchange(request, pattern.run(self.number, self.offset..end))?;
            expect(request, &answer, 204)?;
            Ok(answer)
        })?;
        self.offset = end;
        self.at(answer.number("upload-offset"))
    }

    /// Begins a PATCH of all that is left, sends `len` bytes of it and falls silent.
    pub(crate) fn trickle(
        &mut self,
        via: &mut Connection,
        pattern: &Pattern,
        len: u64,
    ) -> Result<(), Failure> {
        let end = self.offset + len;
        self.patch(self.length - self.offset, |request| {
            via.send(request, pattern.run(self.number, self.offset..end))
                .map_err(Failure::io("sending"))
        })?;
        self.offset = end;
        Ok(())
    }

    /// Asks until the server tells the offset this upload should have: a server may take a moment to see that a body was cut.
    pub(crate) fn settle(&self, via: &mut Connection, patience: Duration) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let request = Request {
                method: "HEAD",
                path: &self.path,
                fields: &[VERSION],
                body_len: 0,
            };
            let answer = via.exchange(&request, std::iter::empty())?;
            let verdict = expect(&request, &answer, 200)
                .and_then(|()| self.at(answer.number("upload-offset")));
            if verdict.is_ok() || began.elapsed() > patience {
                return verdict;
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// Downloads the upload and compares every byte.
    pub(crate) fn compare(&self, via: &mut Connection, pattern: &Pattern) -> Result<(), Failure> {
        let request = Request {
            method: "GET",
            path: &self.path,
            fields: &[VERSION],
            body_len: 0,
        };
        via.send(&request, std::iter::empty())
            .map_err(Failure::io("sending"))?;
        let mut at = 0;
        let differ = |at| Failure::Bytes {
            path: self.path.clone(),
            at,
        };
        let answer = via.answer(request.method, |stored| {
            if !pattern.matches(self.number, at, stored) {
                return Err(differ(at));
            }
            at += stored.len() as u64;
            Ok(())
        })?;
        expect(&request, &answer, 200)?;
        if at == self.length {
            Ok(())
        } else {
            Err(differ(at))
        }
    }

    fn patch<T>(&self, len: u64, send: impl FnOnce(&Request<'_>) -> T) -> T {
        send(&Request {
            method: "PATCH",
            path: &self.path,
            fields: &[
                VERSION,
                ("Upload-Offset", &self.offset.to_string()),
                ("Content-Type", "application/offset+octet-stream"),
            ],
            body_len: len,
        })
    }

    fn at(&self, got: Option<u64>) -> Result<(), Failure> {
        if got == Some(self.offset) {
            return Ok(());
        }
        Err(Failure::Offset {
            path: self.path.clone(),
            wanted: self.offset,
            got,
        })
    }
}

fn expect(request: &Request<'_>, answer: &Head, wanted: u16) -> Result<(), Failure> {
    if answer.status == wanted {
        return Ok(());
    }
    Err(Failure::Status {
        method: request.method,
        path: request.path.to_owned(),
        wanted,
        got: answer.status,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const LENGTH: u64 = 1000;

    /// A server that gives one answer a read: every request here fits one segment.
    fn scripted(answers: Vec<Vec<u8>>) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                if stream.read(&mut [0; 4096]).unwrap() == 0 {
                    return; // the client saw enough
                }
                stream.write_all(&answer).unwrap();
            }
        });
        Target::parse(&format!("http://{address}/files/")).unwrap()
    }

    /// Creates, appends and downloads against a server that tells `offset` and stored `stored`.
    fn round_trip(offset: u64, stored: &[u8]) -> Result<(), Failure> {
        let mut download = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            stored.len()
        )
        .into_bytes();
        download.extend_from_slice(stored);
        let target = scripted(vec![
            b"HTTP/1.1 201 Created\r\nLocation: a\r\nContent-Length: 0\r\n\r\n".to_vec(),
            format!("HTTP/1.1 204 No Content\r\nUpload-Offset: {offset}\r\n\r\n").into_bytes(),
            download,
        ]);
        let pattern = Pattern::new();
        let mut via = Connection::open(target.address)?;
        let mut upload = Upload::create(&mut via, &target, 5, LENGTH)?;
        upload.append(&mut via, &pattern, LENGTH)?;
        upload.compare(&mut via, &pattern)
    }

    #[test]
    fn what_a_server_gets_wrong_is_told() {
        let sent: Vec<u8> = Pattern::new()
            .run(5, 0..LENGTH)
            .flatten()
            .copied()
            .collect();
        round_trip(LENGTH, &sent).unwrap();
        let mut flipped = sent.clone();
        flipped[999] ^= 1;
        assert!(matches!(
            round_trip(LENGTH, &flipped),
            Err(Failure::Bytes { .. })
        ));
        assert!(matches!(
            round_trip(LENGTH, &sent[..999]),
            Err(Failure::Bytes { at: 999, .. })
        ));
        assert!(matches!(
            round_trip(999, &sent),
            Err(Failure::Offset { got: Some(999), .. })
        ));
    }

    #[test]
    fn a_refusal_is_told_by_its_status() {
        let target = scripted(vec![
            b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ]);
        let mut via = Connection::open(target.address).unwrap();
        let refused = Upload::create(&mut via, &target, 0, 1);
        assert!(matches!(
            refused,
            Err(Failure::Status {
                got: 413,
                wanted: 201,
                ..
            })
        ));
    }
}
