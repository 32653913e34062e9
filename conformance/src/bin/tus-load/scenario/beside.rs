//! An upload while others read: what was stored before, or how far it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use crate::failure::Failure;
use crate::site::{Done, MIB, Site, float, ms, rate, together};
use crate::tus::Upload;
use crate::watch::Watcher;

/// Of the file that is downloaded.
const FILE: u64 = 64 * MIB;

/// An upload in one PATCH beside downloads, which end when it does.
pub(crate) fn downloads(site: &Site, len: u64, readers: u64) -> Result<Done, Failure> {
    let mut via = site.connect()?;
    let mut file = Upload::create(&mut via, &site.target, 1, FILE)?;
    file.append(&mut via, &site.pattern, FILE)?;
    let over = AtomicBool::new(false);
    let mut done = site.begin()?;
    let (upload, downloaded) = thread::scope(|scope| {
        let reading = scope.spawn(|| {
            together(0..readers, |_| {
                let mut via = site.connect()?;
                let mut times = 0;
                while !over.load(Ordering::Relaxed) {
                    file.compare(&mut via, &site.pattern)?;
                    times += 1;
                }
                Ok(times)
            })
        });
        let began = Instant::now();
        let mut upload = Upload::create(&mut via, &site.target, 0, len)?;
        let sent = upload.append(&mut via, &site.pattern, len);
        done.wall = began.elapsed();
        over.store(true, Ordering::Relaxed);
        let read = reading.join().map_err(|_| Failure::Panicked)??;
        sent.map(|()| (upload, read))
    })?;
    let (times, wall) = downloaded;
    done.figure(
        "download_mib_per_s",
        rate(times.iter().sum::<u64>() * FILE, wall),
    );
    done.moved = Some(len);
    done.uploads = vec![upload, file];
    Ok(done)
}

/// An upload, 1 MiB a PATCH, and readers of its progress, each of which must see its end.
pub(crate) fn watched(site: &Site, len: u64, watchers: u64) -> Result<Done, Failure> {
    let mut via = site.connect()?;
    let mut upload = Upload::create(&mut via, &site.target, 0, len)?;
    let readers: Result<Vec<_>, _> = (0..watchers)
        .map(|n| Watcher::open(site, &upload, n))
        .collect();
    let readers = readers?;
    let mut done = site.begin()?;
    let seen = thread::scope(|scope| {
        let reading = scope.spawn(|| together(readers, Watcher::follow));
        let began = Instant::now();
        while upload.offset < len {
            let sent = Instant::now();
            upload.append(&mut via, &site.pattern, MIB.min(len - upload.offset))?;
            done.steps.push(sent.elapsed());
        }
        done.wall = began.elapsed();
        let ended = Instant::now();
        let (seen, _) = reading.join().map_err(|_| Failure::Panicked)??;
        let last = seen.iter().map(|s| s.told).max().unwrap_or(ended);
        done.figure("told_ms", ms(last.saturating_duration_since(ended)));
        Ok::<_, Failure>(seen)
    })?;
    let events = seen.iter().map(|s| s.events).sum();
    done.figure("events", float(events));
    done.uploads.push(upload);
    Ok(done)
}
