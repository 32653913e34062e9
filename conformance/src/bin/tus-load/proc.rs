//! What Linux knows of a process: processor time, memory, bytes written, context switches.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::failure::Failure;

/// One look at a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// User and system time; in steps of a clock tick, 10 ms as a rule.
    pub(crate) cpu: Duration,
    /// Resident memory now and at its highest, in KiB.
    pub(crate) rss: u64,
    pub(crate) peak: u64,
    /// Bytes it made the kernel write to disk: pages when they are dirtied, not when they reach it.
    pub(crate) written: u64,
    /// Voluntary and other context switches of all threads that live.
    pub(crate) switches: u64,
}

impl Sample {
    /// # Errors
    /// `Proc` when the process is gone or belongs to somebody else.
    pub(crate) fn of(pid: u32) -> Result<Self, Failure> {
        let status = read(pid, "status")?;
        let io = read(pid, "io")?;
        let number = |text: &str, file, name| {
            field(text, name).ok_or_else(|| Failure::Proc {
                pid,
                file,
                what: format!("no {name}"),
            })
        };
        Ok(Self {
            cpu: cpu(pid)?,
            rss: number(&status, "status", "VmRSS")?,
            peak: number(&status, "status", "VmHWM")?,
            written: number(&io, "io", "write_bytes")?,
            switches: switches(pid),
        })
    }
}

/// User and system time of a process.
pub(crate) fn cpu(pid: u32) -> Result<Duration, Failure> {
    let stat = read(pid, "stat")?;
    stat_ticks(&stat)
        .map(duration)
        .ok_or_else(|| Failure::Proc {
            pid,
            file: "stat",
            what: "no times".to_owned(),
        })
}

/// Time that all processors together were not idle, since boot.
pub(crate) fn machine_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    duration(busy_ticks(&stat).unwrap_or_default())
}

/// Resident memory of a process, in KiB.
pub(crate) fn rss(pid: u32) -> Result<u64, Failure> {
    Ok(Sample::of(pid)?.rss)
}

/// Bytes that a directory takes on the disk with all below it; two names of one file count once.
pub(crate) fn disk(directory: &Path) -> u64 {
    let (mut seen, mut left, mut bytes) = (HashSet::new(), vec![directory.to_owned()], 0);
    while let Some(next) = left.pop() {
        // What goes while it is looked at takes no room.
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if seen.insert((meta.dev(), meta.ino())) {
                bytes += meta.blocks() * 512;
            }
            if meta.is_dir() {
                left.push(entry.path());
            }
        }
    }
    bytes
}

/// Lets `VmHWM` begin anew, so that it tells the load's peak, not that of the start. Best effort: some kernels lack it.
pub(crate) fn forget_peak(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

fn read(pid: u32, file: &'static str) -> Result<String, Failure> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(|e| Failure::Proc {
        pid,
        file,
        what: e.to_string(),
    })
}

fn duration(ticks: u64) -> Duration {
    Duration::from_micros(ticks * 1_000_000 / rustix::param::clock_ticks_per_second())
}

fn switches(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok())
        .flat_map(|status| {
            ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]
                .map(|name| field(&status, name).unwrap_or_default())
        })
        .sum()
}

/// The number in a line `name: number [unit]`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// utime + stime, fields 14 and 15; counted from the last parenthesis, since a program's name may hold any character.
fn stat_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// All fields of the line `cpu` up to steal, but for idle and iowait (the fourth and fifth).
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .map_while(|f| f.parse().ok())
        .collect();
    let (all, idle) = (fields.get(..8)?, fields.get(3..5)?);
    Some(all.iter().sum::<u64>() - idle.iter().sum::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "VmRSSx: 1 kB\nVmRSS:\t  123 kB\nThreads:\t4\n";
        assert_eq!(field(text, "VmRSS"), Some(123));
        assert_eq!(field(text, "Threads"), Some(4));
        assert_eq!(field(text, "Vm"), None);
    }

    #[test]
    fn a_name_may_look_like_fields() {
        let stat = "7 (a) R 1 (b) S 1 2 3 4 5 6 7 8 9 10 100 23 0 0 20";
        assert_eq!(stat_ticks(stat), Some(123));
        assert_eq!(stat_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn waiting_is_not_busy() {
        assert_eq!(
            busy_ticks("cpu  1 2 3 1000 1000 4 5 6 7 8\ncpu0 9"),
            Some(21)
        );
    }

    #[test]
    fn this_process_can_be_sampled() {
        let sample = Sample::of(std::process::id()).unwrap();
        assert!(sample.rss > 0 && sample.peak >= sample.rss);
    }
}
