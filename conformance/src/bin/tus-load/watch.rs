//! Readers of an upload's progress: as a WebSocket or as Server-Sent Events, in turn.

use std::io::Read;
use std::net::TcpStream;
use std::time::Instant;

use crate::failure::Failure;
use crate::http::Request;
use crate::site::Site;
use crate::tus::{Upload, expect};

const EVENT: &[u8] = b"\"event\":";
const END: &[u8] = b"\"upload_completed\"";

/// One that has subscribed.
pub(crate) struct Watcher {
    socket: TcpStream,
    text: Vec<u8>,
}

/// What one has seen.
pub(crate) struct Seen {
    pub(crate) events: u64,
    /// When it was told that the upload is complete.
    pub(crate) told: Instant,
}

impl Watcher {
    /// Subscribes to `upload`; each second one by a WebSocket.
    pub(crate) fn open(site: &Site, upload: &Upload, nth: u64) -> Result<Self, Failure> {
        let socket = nth.is_multiple_of(2);
        let id = upload.path.rsplit('/').next().unwrap_or_default();
        let path = if socket {
            format!("/progress?upload={id}")
        } else {
            format!("/progress/events?upload={id}")
        };
        let upgrade = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let request = Request {
            method: "GET",
            path: &path,
            fields: if socket { &upgrade } else { &[] },
            body_len: 0,
        };
        let mut via = site.connect()?;
        via.send(&request, std::iter::empty())
            .map_err(Failure::io("subscribing"))?;
        let head = via.head()?;
        expect("GET", &path, &head, if socket { 101 } else { 200 })?;
        let (socket, text) = via.into_parts();
        Ok(Self { socket, text })
    }

    /// Reads until the upload is complete. Frames need not be told apart: what is looked for is text in all of them.
    pub(crate) fn follow(mut self) -> Result<Seen, Failure> {
        let mut events = 0;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            events += found(&self.text, EVENT);
            if found(&self.text, END) > 0 {
                return Ok(Seen {
                    events,
                    told: Instant::now(),
                });
            }
            // What is looked for may go on in the next read; less than a whole `EVENT` is kept, so that none counts twice.
            let keep = self.text.len().saturating_sub(END.len() - 1);
            let tail = self.text.split_off(keep);
            events -= found(&tail, EVENT);
            self.text = tail;
            let got = self
                .socket
                .read(&mut buffer)
                .map_err(Failure::io("waiting for an event"))?;
            if got == 0 {
                return Err(Failure::NotHttp("progress ended before the upload"));
            }
            self.text.extend_from_slice(&buffer[..got]);
        }
    }
}

fn found(text: &[u8], what: &[u8]) -> u64 {
    text.windows(what.len()).filter(|w| *w == what).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    #[test]
    fn every_event_counts_once_however_it_is_cut() {
        let text =
            b"{\"event\":\"progress\"}{\"event\":\"progress\"}{\"event\":\"upload_completed\"}";
        for cut in 0..text.len() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (socket, _) = listener.accept().unwrap();
            other.write_all(&text[cut..]).unwrap();
            let text = text[..cut].to_vec();
            assert_eq!(
                Watcher { socket, text }.follow().unwrap().events,
                3,
                "{cut}"
            );
        }
    }
}
