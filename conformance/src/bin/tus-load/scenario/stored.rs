//! What stored uploads cost, and a server that is killed and comes back.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::restart;
use crate::site::{Done, Site, count, float, ms, together};
use crate::tus::Upload;

use super::crowd::in_turn;

const SMALL: u64 = 4096;
const CONNECTIONS: u64 = 32;
/// How long a server may take to answer again.
const BACK: Duration = Duration::from_mins(1);

/// `kill -9` while four uploads are under way, and all that was received is asked for again.
pub(crate) fn kill(site: &Site, uploads: u64, sent: u64) -> Result<Done, Failure> {
    const RUNNING: u64 = 4;
    let connected: Result<Vec<_>, _> = (0..CONNECTIONS).map(|n| Ok((n, site.connect()?))).collect();
    let (stored, _) = together(connected?, |(first, mut via)| {
        (first..uploads)
            .step_by(usize::try_from(CONNECTIONS).unwrap_or(1))
            .map(|number| {
                let mut upload = Upload::create(&mut via, &site.target, number, 2 * SMALL)?;
                upload.append(&mut via, &site.pattern, SMALL)?;
                Ok(upload)
            })
            .collect::<Result<Vec<_>, Failure>>()
    })?;
    let stored = stored.concat();
    let (running, _) = together(0..RUNNING, |number| {
        let mut via = site.connect()?;
        let mut upload = Upload::create(&mut via, &site.target, number, 2 * sent)?;
        upload.trickle(&mut via, &site.pattern, sent)?;
        Ok((upload, via))
    })?;
    // What no process has read is nobody's: it is given the time to read.
    site.quiet(Duration::from_secs(10))?;

    let mut done = Done::default();
    let back = back(site, &stored[0])?;
    done.wall = back;
    done.figure("head_ms", ms(back));
    let mut via = site.connect()?;
    let lost = stored
        .iter()
        .filter(|upload| !matches!(upload.told(&mut via), Ok(Some(at)) if at == upload.offset))
        .count();
    done.figure("stored_lost", float(lost as u64));
    let mut kept = 0;
    for (mut upload, _) in running {
        let told = upload.told(&mut via)?;
        if told > Some(upload.offset) {
            upload.at(told)?; // more than was ever sent
        }
        upload.offset = told.unwrap_or(0);
        kept += upload.offset;
        upload.append(&mut via, &site.pattern, upload.length - upload.offset)?;
        done.uploads.push(upload);
    }
    done.figure("kept_percent", 100.0 * float(kept) / float(RUNNING * sent));
    Ok(done)
}

/// Kills the server and starts it again; from the start to the first answer that tells the right offset.
fn back(site: &Site, of: &Upload) -> Result<Duration, Failure> {
    let began = restart::restart(site)?;
    loop {
        let told = site.connect().and_then(|mut via| of.told(&mut via));
        match told {
            Ok(_) => return Ok(began.elapsed()),
            Err(failure) if began.elapsed() > BACK => return Err(failure),
            Err(_) => {
                restart::check()?;
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Processor time of small uploads beside as many stored ones as `stored` begins with, and as it ends with.
pub(crate) fn growth(
    site: &Site,
    stored: Range<u64>,
    [uploads, batches]: [u64; 2],
    rest: Duration,
) -> Result<Done, Failure> {
    let Range {
        start: few,
        end: many,
    } = stored;
    let mut done = Done::default();
    let began = Instant::now();
    let mut stored = fill(site, 0..few)?;
    // What the first uploads set up is not what they cost.
    batch(site, uploads)?;
    thread::sleep(rest);
    let before = cost(site, uploads, batches)?;
    done.figure("cpu_ms_few", before);
    stored.extend(fill(site, few..many)?);
    thread::sleep(rest);
    site.quiet(Duration::from_secs(10))?;
    let after = cost(site, uploads, batches)?;
    done.figure("cpu_ms_many", after);
    done.figure("cpu_growth", after / before.max(1e-6));
    done.wall = began.elapsed();
    if !site.restart.is_empty() {
        let back = back(site, &stored[0])?;
        done.figure("restart_ms", ms(back));
    }
    done.moved = Some(many * SMALL);
    // A sample is enough to be looked at.
    done.uploads = stored.into_iter().step_by(101).collect();
    Ok(done)
}

fn fill(site: &Site, numbers: Range<u64>) -> Result<Vec<Upload>, Failure> {
    let (all, _) = in_turn(site, numbers, CONNECTIONS, |_| SMALL)?;
    Ok(all.into_iter().map(|(upload, _)| upload).collect())
}

/// Milliseconds of the server's processor time an upload, over some batches.
fn cost(site: &Site, uploads: u64, batches: u64) -> Result<f64, Failure> {
    let mut all = Vec::new();
    for _ in 0..batches {
        all.push(batch(site, uploads)?);
    }
    Ok(all.iter().sum::<f64>() / count(&all))
}

/// Small uploads, which are terminated afterwards; their processor time in milliseconds each.
fn batch(site: &Site, count: u64) -> Result<f64, Failure> {
    let cpu = site.cpu()?;
    let uploads = fill(site, 0..count)?;
    let spent = site.spent(cpu)?;
    let mut via = site.connect()?;
    uploads
        .iter()
        .try_for_each(|upload| upload.delete(&mut via))?;
    site.quiet(Duration::from_secs(10))?;
    Ok(ms(spent) / float(count))
}
