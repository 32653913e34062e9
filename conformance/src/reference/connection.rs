//! A connection: requests one after another, and its end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::body::Body;
use super::request::{self, GLANCE, Request, Trouble, Wire};
use super::{Flaw, Server, core};

/// A client that does not read its answer is left after this.
const UNREAD: Duration = Duration::from_secs(10);
/// How long, and for how many bytes, a closing connection is read on, so that the answer is not lost to a reset.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 8 << 20);

/// Serves a connection until its end.
pub(super) fn serve(server: &Server, stream: &TcpStream) {
    let set = [
        stream.set_nodelay(true),
        stream.set_read_timeout(Some(GLANCE)),
        stream.set_write_timeout(Some(UNREAD)),
    ];
    if set.iter().all(Result::is_ok) && run(server, stream).is_some() {
        linger(server, stream);
    }
    // The server's own handle of it keeps it open for a moment longer.
    let _ = stream.shutdown(Shutdown::Both);
}

/// `None` where the client is gone, `Some` where the last answer is on its way to it.
fn run(server: &Server, stream: &TcpStream) -> Option<()> {
    let mut wire = Wire::new(server, stream);
    let mut held = Vec::new();
    loop {
        let request = match request::read(&mut wire) {
            Ok(request) => request,
            Err(Trouble::Bad(431)) if server.has(Flaw::LargeHeadDropped) => return None,
            Err(Trouble::Bad(status)) => {
                let answer = core::dress(server, None, Answer::new(status));
                return send(stream, &answer.render(server, None, true));
            }
            Err(_) => return None,
        };
        let mut body = Body::new(&mut wire, &request);
        let answer = answer(server, &request, &mut body);
        if answer.status == 0 {
            if server.has(Flaw::CutKeptOpen) {
                idle(server);
            }
            return None;
        }
        if body.continued && server.has(Flaw::ContinueOnly) {
            idle(server);
            return None;
        }
        let skips = server.has(Flaw::UnreadParsed) && !answer.closes;
        let ends = request.is_last(server) || answer.closes || !(skips || body.leaves_order());
        let says = ends && !server.has(Flaw::ClosesUnsaid);
        let mut bytes = answer.render(server, Some(&request), says);
        if !ends && !skips {
            // The answer goes out before the rest of the body is waited for.
            if !server.has(Flaw::PipelineReversed) {
                send(stream, &std::mem::take(&mut bytes))?;
            }
            body.drain().ok()?;
        }
        if server.has(Flaw::PipelineReversed) && wire.has_more() && held.is_empty() && !ends {
            held = bytes;
            continue;
        }
        bytes.append(&mut held);
        send(stream, &bytes)?;
        if ends || server.has(Flaw::ClosesUnsaid) {
            return Some(());
        }
        if server.has(Flaw::PipelineDropped) {
            wire.forget();
        }
    }
}

fn answer(server: &Server, request: &Request, body: &mut Body<'_, '_>) -> Answer {
    let expects = request.fields.has("Expect");
    let answer = if expects && !request.is_http10 && !request.fields.lists("Expect", "100-continue")
    {
        Answer::new(417)
    } else if wants_length(server, request, body) {
        Answer::new(411)
    } else {
        core::answer(server, request, body)
    };
    core::dress(server, Some(request), answer)
}

fn wants_length(server: &Server, request: &Request, body: &Body<'_, '_>) -> bool {
    let is_bare = request.method == "POST" && !request.is_framed();
    (server.has(Flaw::ChunkedRefused) && body.length().is_none())
        || (server.has(Flaw::LengthWanted) && is_bare)
}

/// Keeps a connection open, and says nothing, for longer than anybody waits.
fn idle(server: &Server) {
    let until = Instant::now() + 2 * UNREAD;
    while Instant::now() < until && !server.stopping.load(Ordering::Relaxed) {
        std::thread::sleep(GLANCE);
    }
}

fn send(mut stream: &TcpStream, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).ok()
}

/// Closes its own side, then reads what the client still sends, within limits.
fn linger(server: &Server, mut stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let until = Instant::now() + LINGER.0;
    let mut left = LINGER.1;
    let mut piece = vec![0; 64 << 10];
    while Instant::now() < until && !server.stopping.load(Ordering::Relaxed) {
        match stream.read(&mut piece) {
            Ok(0) => return,
            Ok(count) if count < left => left -= count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return,
        }
    }
}
