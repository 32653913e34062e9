//! Many uploads that hardly send: what does an open one cost?

use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::proc;
use crate::site::{Done, MIB, Site, float};
use crate::tus::Upload;

/// Each with a PATCH that fell silent.
pub(crate) fn idle(site: &Site, uploads: u64) -> Result<Done, Failure> {
    let mut done = site.begin()?;
    let began = Instant::now();
    for number in 0..uploads {
        let mut via = site.connect()?;
        let mut upload = Upload::create(&mut via, &site.target, number, MIB)?;
        upload.trickle(&mut via, &site.pattern, 16 * 1024)?;
        done.uploads.push(upload);
        done.held.push(via);
    }
    done.wall = began.elapsed();
    Ok(done)
}

/// Each begun, and left.
pub(crate) fn parked(site: &Site, uploads: u64) -> Result<Done, Failure> {
    let mut via = site.connect()?;
    let mut done = site.begin()?;
    let began = Instant::now();
    for number in 0..uploads {
        let mut upload = Upload::create(&mut via, &site.target, number, MIB)?;
        let sent = Instant::now();
        upload.append(&mut via, &site.pattern, 4 * 1024)?;
        done.took(upload, sent.elapsed());
    }
    done.wall = began.elapsed();
    Ok(done)
}

/// Each in one PATCH of `pieces` KiB, of which a KiB comes now and then; memory is looked at before the last.
pub(crate) fn trickle(site: &Site, uploads: u64, pieces: u64, pause: u64) -> Result<Done, Failure> {
    const PIECE: u64 = 1024;
    let pause = Duration::from_millis(pause);
    let mut done = site.begin()?;
    let rss = |site: &Site| site.server.map_or(Ok(0), proc::rss);
    let before = rss(site)?;
    let began = Instant::now();
    for number in 0..uploads {
        let mut via = site.connect()?;
        let len = (pieces + 1) * PIECE;
        let mut upload = Upload::create(&mut via, &site.target, number, len)?;
        upload.trickle(&mut via, &site.pattern, PIECE)?;
        done.uploads.push(upload);
        done.held.push(via);
    }
    done.figure("opened_s", began.elapsed().as_secs_f64());
    for piece in 0..pieces {
        let round = Instant::now();
        if piece + 1 == pieces {
            let each = (float(rss(site)?) - float(before)) / float(uploads);
            done.figure("kib_each", each);
        }
        for (upload, via) in done.uploads.iter_mut().zip(&mut done.held) {
            upload.drip(via, &site.pattern, PIECE)?;
        }
        thread::sleep(pause.saturating_sub(round.elapsed()));
    }
    for (upload, via) in done.uploads.iter().zip(&mut done.held) {
        upload.dripped(via)?;
    }
    done.wall = began.elapsed();
    Ok(done)
}
