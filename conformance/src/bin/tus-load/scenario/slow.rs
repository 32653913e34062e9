//! Over a long thin line: one connection's rate is held, so what is sent in parallel is through earlier.

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::proxy::{self, Line};
use crate::session::{Session, Sums, Wish};
use crate::site::{Done, MIB, Site, together};
use crate::target::Target;
use crate::tus::Upload;

use super::sessions;

const PARALLEL: u64 = 4;
const CHUNK: u64 = 8 * MIB;

/// How the bytes go over the line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum How {
    /// In one PATCH
    Patch,
    /// As four partial uploads at once, and a final
    Parts,
    /// As chunks of a session, four at a time (Highwater)
    Session,
}

/// 20 MiB/s a connection, and 50 ms from a request to its answer.
pub(crate) fn slow(site: &Site, len: u64, how: How) -> Result<Done, Failure> {
    let line = Line {
        rate: 20 * MIB,
        delay: Duration::from_millis(25),
    };
    let address = proxy::before(site.target.address, line)?;
    let far = Site {
        target: Target {
            address,
            path: site.target.path.clone(),
        },
        bearer: site.bearer.clone(),
        pattern: site.pattern.clone(),
        data: site.data.clone(),
        restart: Vec::new(),
        ..*site
    };
    let mut done = site.begin()?;
    let began = Instant::now();
    let sent = match how {
        How::Patch => patch(&far, len)?,
        How::Parts => parts(&far, len)?,
        How::Session => session(&far, len)?,
    };
    done.wall = began.elapsed();
    done.uploads.push(sent);
    Ok(done)
}

fn patch(far: &Site, len: u64) -> Result<Upload, Failure> {
    let mut via = far.connect()?;
    let mut upload = Upload::create(&mut via, &far.target, 0, len)?;
    upload.append(&mut via, &far.pattern, len)?;
    Ok(upload)
}

fn parts(far: &Site, len: u64) -> Result<Upload, Failure> {
    let each = len / PARALLEL;
    let (sent, _) = together(0..PARALLEL, |n| {
        let mut via = far.connect()?;
        let mut part = Upload::create_part(&mut via, &far.target, 0, n * each, each)?;
        part.append(&mut via, &far.pattern, each)?;
        Ok(part)
    })?;
    Upload::join(&mut far.connect()?, &far.target, &sent)
}

fn session(far: &Site, len: u64) -> Result<Upload, Failure> {
    let wish = Wish {
        number: 0,
        size: len,
        chunk: CHUNK,
        hashes: true,
        file_hash: false,
    };
    let sums = Sums::of(&far.pattern, wish);
    let mut via = far.connect()?;
    let session = Session::begin(&mut via, far, wish, &sums)?;
    sessions::chunks(far, &session, PARALLEL)?;
    session.finalize(&mut via)?;
    Ok(session.file)
}
