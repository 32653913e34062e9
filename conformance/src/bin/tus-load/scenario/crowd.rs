//! Many uploads at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::ask;
use crate::failure::Failure;
use crate::proc;
use crate::report::percentile;
use crate::site::{Done, MIB, Site, count, float, ms, rate, together};
use crate::tus::Upload;

/// Each created and sent on a connection of its own, all of which come at once.
pub(crate) fn crowd(site: &Site, uploads: u64, len: u64) -> Result<Done, Failure> {
    let mut done = site.begin()?;
    let (all, wall) = together(0..uploads, |number| {
        let began = Instant::now();
        let mut via = site.connect()?;
        let mut upload = Upload::create(&mut via, &site.target, number, len)?;
        upload.append(&mut via, &site.pattern, len)?;
        Ok((upload, began.elapsed()))
    })?;
    gather(&mut done, all, wall);
    Ok(done)
}

/// Small files one after the other.
pub(crate) fn small(site: &Site, files: u64, len: u64, connections: u64) -> Result<Done, Failure> {
    let mut done = site.begin()?;
    let (all, wall) = in_turn(site, 0..files, connections, |_| len)?;
    gather(&mut done, all, wall);
    Ok(done)
}

/// Files of all sizes one after the other.
pub(crate) fn mixed(site: &Site, uploads: u64, connections: u64) -> Result<Done, Failure> {
    // Six in ten are small, three of 1 MiB, and of what is left one in ten is large: the large ones are most of the bytes.
    let size = |number: u64| match number * 37 % 100 {
        n @ 0..60 => 1024 + n * 1024,
        60..90 => MIB,
        90..99 => 8 * MIB,
        _ => 64 * MIB,
    };
    let mut done = site.begin()?;
    let (all, wall) = in_turn(site, 0..uploads, connections, size)?;
    gather(&mut done, all, wall);
    Ok(done)
}

/// Uploads of those numbers, one after the other on each of some connections, at most 8 MiB a PATCH.
pub(crate) fn in_turn(
    site: &Site,
    numbers: std::ops::Range<u64>,
    connections: u64,
    size: impl Fn(u64) -> u64 + Sync,
) -> Result<(Vec<(Upload, Duration)>, Duration), Failure> {
    let next = AtomicU64::new(numbers.start);
    let connected: Result<Vec<_>, _> = (0..connections).map(|_| site.connect()).collect();
    let (all, wall) = together(connected?, |mut via| {
        let mut sent = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return Ok(sent);
            }
            let began = Instant::now();
            let mut upload = Upload::create(&mut via, &site.target, number, size(number))?;
            while upload.offset < upload.length {
                let now = (8 * MIB).min(upload.length - upload.offset);
                upload.append(&mut via, &site.pattern, now)?;
            }
            sent.push((upload, began.elapsed()));
        }
    })?;
    Ok((all.into_iter().flatten().collect(), wall))
}

fn gather(done: &mut Done, all: Vec<(Upload, Duration)>, wall: Duration) {
    done.wall = wall;
    done.figure("uploads_per_s", count(&all) / wall.as_secs_f64());
    for (upload, took) in all {
        done.took(upload, took);
    }
}

/// HEAD: of one upload on all connections, then of one on each.
pub(crate) fn heads(site: &Site, connections: u64, time: u64) -> Result<Done, Failure> {
    let mut done = Done::default();
    let mut via = site.connect()?;
    for number in 0..connections {
        let mut upload = Upload::create(&mut via, &site.target, number, 2 * 4096)?;
        upload.append(&mut via, &site.pattern, 4096)?;
        done.uploads.push(upload);
    }
    done.meter = site.meter()?;
    done.moved = Some(0);
    let time = Duration::from_millis(time);
    let connections = done.uploads.len();
    for (name, of) in [("one", 1), ("each", connections)] {
        let cpu = site.cpu()?;
        let mut answered = ask::heads(site, &done.uploads[..of], connections, time)?;
        let cpu = site.spent(cpu)?.as_secs_f64();
        done.figure(
            format!("heads_per_s_{name}"),
            count(&answered) / time.as_secs_f64(),
        );
        done.figure(
            format!("cpu_us_per_head_{name}"),
            cpu * 1e6 / count(&answered),
        );
        answered.sort_unstable();
        let p99 = percentile(&answered, 99).unwrap_or_default();
        done.figure(format!("head_ms_p99_{name}"), ms(p99));
        done.wall += time;
    }
    Ok(done)
}

/// Each in one PATCH on a connection that is there already.
pub(crate) fn busy(site: &Site, uploads: u64, len: u64) -> Result<Done, Failure> {
    let ready = ready(site, uploads, len)?;
    let mut done = site.begin()?;
    let (all, wall) = send(site, ready, len)?;
    gather(&mut done, all, wall);
    Ok(done)
}

/// 4, 50 and 100 at once, of the same size together. Forth and back, each time with nothing left for the disk to write: what
/// comes first is fastest, however many they are.
pub(crate) fn many(site: &Site, len: u64) -> Result<Done, Failure> {
    const NUMBERS: [u64; 3] = [4, 50, 100];
    let mut done = site.begin()?;
    let mut sums = [(0, Duration::ZERO); NUMBERS.len()];
    for at in (0..NUMBERS.len()).chain((0..NUMBERS.len()).rev()) {
        let uploads = NUMBERS[at];
        let each = len / 2 / uploads;
        let ready = ready(site, uploads, each)?;
        rustix::fs::sync();
        let (all, wall) = send(site, ready, each)?;
        done.wall += wall;
        sums[at].1 += wall;
        for (upload, took) in all {
            sums[at].0 += upload.length;
            done.took(upload, took);
        }
    }
    for (uploads, (moved, wall)) in NUMBERS.into_iter().zip(sums) {
        done.figure(format!("mib_per_s_{uploads}"), rate(moved, wall));
    }
    Ok(done)
}

type Ready = (crate::http::Connection, Upload);

fn ready(site: &Site, uploads: u64, len: u64) -> Result<Vec<Ready>, Failure> {
    (0..uploads)
        .map(|number| {
            let mut via = site.connect()?;
            let upload = Upload::create(&mut via, &site.target, number, len)?;
            Ok((via, upload))
        })
        .collect()
}

fn send(
    site: &Site,
    ready: Vec<Ready>,
    len: u64,
) -> Result<(Vec<(Upload, Duration)>, Duration), Failure> {
    together(ready, |(mut via, mut upload)| {
        let sent = Instant::now();
        upload.append(&mut via, &site.pattern, len)?;
        Ok((upload, sent.elapsed()))
    })
}

/// Uploads that grow by 1 KiB a PATCH: what stays in memory of one that is over?
pub(crate) fn flat(site: &Site, patches: u64) -> Result<Done, Failure> {
    const UPLOADS: u64 = 32;
    const STEP: u64 = 1024;
    let each = patches / UPLOADS;
    let mut ready = ready(site, UPLOADS, each * STEP)?;
    let mut done = site.begin()?;
    for (name, share) in [("tenth", each / 10), ("end", each - each / 10)] {
        let (sent, wall) = together(ready, |(mut via, mut upload)| {
            for _ in 0..share {
                upload.append(&mut via, &site.pattern, STEP)?;
            }
            Ok((via, upload))
        })?;
        ready = sent;
        done.wall += wall;
        if let Some(pid) = site.server {
            done.figure(format!("rss_kib_{name}"), float(proc::rss(pid)?));
        }
    }
    done.figure(
        "patches_per_s",
        float(each * UPLOADS) / done.wall.as_secs_f64(),
    );
    done.uploads = ready.into_iter().map(|(_, upload)| upload).collect();
    Ok(done)
}
