//! Parts, and the final that they are joined to.

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::site::{Done, Site, float, ms, together};
use crate::tus::Upload;

/// How long a server may go on working after the answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// Sends `parts` parts of `len` bytes on `parallel` connections, and joins them.
pub(crate) fn join(site: &Site, parts: u64, len: u64, parallel: u64) -> Result<Done, Failure> {
    let parallel = parallel.min(parts);
    let disk = site.disk();
    let mut done = site.begin()?;
    let began = Instant::now();
    let (sent, _) = together(0..parallel, |first| {
        let mut via = site.connect()?;
        let mut sent = Vec::new();
        let step = usize::try_from(parallel).unwrap_or(usize::MAX);
        for n in (first..parts).step_by(step) {
            let mut part = Upload::create_part(&mut via, &site.target, 0, n * len, len)?;
            part.append(&mut via, &site.pattern, len)?;
            sent.push(part);
        }
        Ok(sent)
    })?;
    let mut sent: Vec<Upload> = sent.into_iter().flatten().collect();
    sent.sort_by_key(|part| part.base);

    let mut via = site.connect()?;
    let cpu = site.cpu()?;
    let joining = Instant::now();
    let whole = Upload::join(&mut via, &site.target, &sent)?;
    done.figure("final_ms", ms(joining.elapsed()));
    done.wall = began.elapsed();
    let added = || Some(float(site.disk()?.saturating_sub(disk?)));
    if let Some(added) = added() {
        done.figure("disk_ratio", added / float(whole.length));
    }
    site.quiet(PATIENCE)?;
    done.figure("join_cpu_s", site.spent(cpu)?.as_secs_f64());
    if let Some(added) = added() {
        done.figure("disk_ratio_settled", added / float(whole.length));
    }
    done.uploads.push(whole);
    Ok(done)
}
