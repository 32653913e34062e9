//! The requests of tus 1.0 that a load needs.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::http::{AUTHORIZATION, Connection, Head, Request};
use crate::pattern::Pattern;
use crate::target::Target;

const VERSION: (&str, &str) = ("Tus-Resumable", "1.0.0");

/// One upload: what it is made of and how far it should be.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) path: String,
    /// Its number in the run: where in the pattern its bytes begin.
    pub(crate) number: u64,
    /// How far behind that they begin: the place of a part in the whole.
    pub(crate) base: u64,
    pub(crate) length: u64,
    pub(crate) offset: u64,
    /// `Authorization` of those who may see it, where it is not everybody.
    pub(crate) bearer: Option<String>,
}

impl Upload {
    /// Creates upload `number` of `length` bytes.
    pub(crate) fn create(
        via: &mut Connection,
        target: &Target,
        number: u64,
        length: u64,
    ) -> Result<Self, Failure> {
        let length_field = length.to_string();
        let path = post(via, target, &[("Upload-Length", &length_field)])?;
        Ok(Self {
            path,
            number,
            base: 0,
            length,
            offset: 0,
            bearer: None,
        })
    }

    /// Creates the part of upload `number` that has `length` bytes from `base` on.
    pub(crate) fn create_part(
        via: &mut Connection,
        target: &Target,
        number: u64,
        base: u64,
        length: u64,
    ) -> Result<Self, Failure> {
        let length_field = length.to_string();
        let fields = [
            ("Upload-Length", length_field.as_str()),
            ("Upload-Concat", "partial"),
        ];
        Ok(Self {
            path: post(via, target, &fields)?,
            number,
            base,
            length,
            offset: 0,
            bearer: None,
        })
    }

    /// Joins `parts`, which lie one behind the other, to one complete upload.
    pub(crate) fn join(
        via: &mut Connection,
        target: &Target,
        parts: &[Self],
    ) -> Result<Self, Failure> {
        let mut concat = String::from("final;");
        for (n, part) in parts.iter().enumerate() {
            concat.push_str(if n == 0 { "" } else { " " });
            concat.push_str(&part.path);
        }
        let length = parts.iter().map(|part| part.length).sum();
        Ok(Self {
            path: post(via, target, &[("Upload-Concat", &concat)])?,
            number: parts.first().map_or(0, |part| part.number),
            base: 0,
            length,
            offset: length,
            bearer: None,
        })
    }

    /// Appends the next `len` bytes in one PATCH.
    pub(crate) fn append(
        &mut self,
        via: &mut Connection,
        pattern: &Pattern,
        len: u64,
    ) -> Result<(), Failure> {
        self.append_with(via, pattern, len, None)
    }

    /// Appends the next `len` bytes in one PATCH, under this `Upload-Checksum` if there is one.
    pub(crate) fn append_with(
        &mut self,
        via: &mut Connection,
        pattern: &Pattern,
        len: u64,
        checksum: Option<&str>,
    ) -> Result<(), Failure> {
        let answer = self.try_append(via, pattern, len, checksum)?;
        expect("PATCH", &self.path, &answer, 204)?;
        self.offset += len;
        self.at(answer.number("upload-offset"))
    }

    /// As `append_with`, whatever the answer is; the offset is left to the caller.
    pub(crate) fn try_append(
        &self,
        via: &mut Connection,
        pattern: &Pattern,
        len: u64,
        checksum: Option<&str>,
    ) -> Result<Head, Failure> {
        let range = self.base + self.offset..self.base + self.offset + len;
        self.patch(len, checksum, |request| {
            via.exchange(request, pattern.run(self.number, range))
        })
    }

    /// Begins a PATCH of all that is left, sends `len` bytes of it and falls silent.
    pub(crate) fn trickle(
        &mut self,
        via: &mut Connection,
        pattern: &Pattern,
        len: u64,
    ) -> Result<(), Failure> {
        let range = self.base + self.offset..self.base + self.offset + len;
        self.patch(self.length - self.offset, None, |request| {
            via.send(request, pattern.run(self.number, range))
                .map_err(Failure::io("sending"))
        })?;
        self.offset += len;
        Ok(())
    }

    /// Sends `len` bytes more of the PATCH that `trickle` began.
    pub(crate) fn drip(
        &mut self,
        via: &mut Connection,
        pattern: &Pattern,
        len: u64,
    ) -> Result<(), Failure> {
        let range = self.base + self.offset..self.base + self.offset + len;
        for piece in pattern.run(self.number, range) {
            via.more(piece)?;
        }
        self.offset += len;
        Ok(())
    }

    /// Waits for the answer to the PATCH that `trickle` began and `drip` ended.
    pub(crate) fn dripped(&self, via: &mut Connection) -> Result<(), Failure> {
        let answer = via.answer("PATCH", |_| Ok(()))?;
        expect("PATCH", &self.path, &answer, 204)?;
        self.at(answer.number("upload-offset"))
    }

    /// Terminates it.
    pub(crate) fn delete(&self, via: &mut Connection) -> Result<(), Failure> {
        let answer = self.ask(via, "DELETE")?;
        expect("DELETE", &self.path, &answer, 204)
    }

    /// The offset that the server tells; `None` where it tells none.
    pub(crate) fn told(&self, via: &mut Connection) -> Result<Option<u64>, Failure> {
        let answer = self.ask(via, "HEAD")?;
        expect("HEAD", &self.path, &answer, 200)?;
        Ok(answer.number("upload-offset"))
    }

    fn ask(&self, via: &mut Connection, method: &'static str) -> Result<Head, Failure> {
        self.request(method, |request| via.exchange(request, std::iter::empty()))
    }

    /// Asks until the server tells the offset this upload should have: a server may take a moment to see that a body was cut.
    pub(crate) fn settle(&self, via: &mut Connection, patience: Duration) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            let verdict = self.told(via).and_then(|offset| self.at(offset));
            if verdict.is_ok() || began.elapsed() > patience {
                return verdict;
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// Downloads the upload and compares every byte.
    pub(crate) fn compare(&self, via: &mut Connection, pattern: &Pattern) -> Result<(), Failure> {
        self.request("GET", |request| {
            via.send(request, std::iter::empty())
                .map_err(Failure::io("sending"))
        })?;
        let mut at = 0;
        let differ = |at| Failure::Bytes {
            path: self.path.clone(),
            at,
        };
        let answer = via.answer("GET", |stored| {
            if !pattern.matches(self.number, self.base + at, stored) {
                return Err(differ(at));
            }
            at += stored.len() as u64;
            Ok(())
        })?;
        expect("GET", &self.path, &answer, 200)?;
        if at == self.length {
            Ok(())
        } else {
            Err(differ(at))
        }
    }

    /// A request without a body, with the token if there is one.
    fn request<T>(&self, method: &'static str, send: impl FnOnce(&Request<'_>) -> T) -> T {
        let bearer = self.bearer.as_deref().map(|b| (AUTHORIZATION, b));
        let fields = [VERSION, bearer.unwrap_or(VERSION)];
        send(&Request {
            method,
            path: &self.path,
            fields: &fields[..=usize::from(bearer.is_some())],
            body_len: 0,
        })
    }

    fn patch<T>(
        &self,
        len: u64,
        checksum: Option<&str>,
        send: impl FnOnce(&Request<'_>) -> T,
    ) -> T {
        let fields = [
            VERSION,
            ("Upload-Offset", &self.offset.to_string()),
            ("Content-Type", "application/offset+octet-stream"),
            ("Upload-Checksum", checksum.unwrap_or_default()),
        ];
        send(&Request {
            method: "PATCH",
            path: &self.path,
            fields: &fields[..3 + usize::from(checksum.is_some())],
            body_len: len,
        })
    }

    /// # Errors
    /// `Offset` unless the server tells the offset that it should be at.
    pub(crate) fn at(&self, got: Option<u64>) -> Result<(), Failure> {
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

/// Creates an upload with these fields; its path.
fn post(via: &mut Connection, target: &Target, fields: &[(&str, &str)]) -> Result<String, Failure> {
    let all: Vec<_> = std::iter::once(VERSION)
        .chain(fields.iter().copied())
        .collect();
    let request = Request {
        method: "POST",
        path: &target.path,
        fields: &all,
        body_len: 0,
    };
    let answer = via.exchange(&request, std::iter::empty())?;
    expect("POST", &target.path, &answer, 201)?;
    let location = answer
        .get("location")
        .ok_or(Failure::NotHttp("a 201 without Location"))?;
    target.resolve(location)
}

/// # Errors
/// `Status` unless the answer has the status `wanted`.
pub(crate) fn expect(
    method: &'static str,
    path: &str,
    answer: &Head,
    wanted: u16,
) -> Result<(), Failure> {
    if answer.status == wanted {
        return Ok(());
    }
    Err(Failure::Status {
        method,
        path: path.to_owned(),
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
        let mut via = Connection::open(target.address, None)?;
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
        let mut via = Connection::open(target.address, None).unwrap();
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
