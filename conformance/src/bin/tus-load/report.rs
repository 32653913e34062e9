//! From clocks and samples to the figures of a run, one `name=value` a line.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::proc::{self, Sample};
use crate::site::{Done, MIB, float, ms, rate};

/// Watches the server, this process and the machine while a load runs.
pub(crate) struct Meter {
    server: Option<(u32, Sample)>,
    client: Duration,
    machine: Duration,
    began: Instant,
}

impl Meter {
    /// Starts; with no `server` only this process and the machine are watched.
    pub(crate) fn start(server: Option<u32>) -> Result<Self, Failure> {
        let server = match server {
            Some(pid) => {
                proc::forget_peak(pid);
                Some((pid, Sample::of(pid)?))
            }
            None => None,
        };
        Ok(Self {
            server,
            client: proc::cpu(std::process::id())?,
            machine: proc::machine_cpu(),
            began: Instant::now(),
        })
    }

    /// Processor time of the server until now, of what `stop` will tell: the rest is what it put off.
    pub(crate) fn so_far(&self) -> Result<Option<Duration>, Failure> {
        self.server
            .map(|(pid, before)| Ok(proc::cpu(pid)?.saturating_sub(before.cpu)))
            .transpose()
    }

    /// Stops, and puts what was seen beside what the load says it did.
    pub(crate) fn stop(self, done: &Done) -> Result<String, Failure> {
        let watched = self.began.elapsed().as_secs_f64();
        let client = proc::cpu(std::process::id())?
            .saturating_sub(self.client)
            .as_secs_f64();
        let machine = proc::machine_cpu()
            .saturating_sub(self.machine)
            .as_secs_f64();
        let bytes = bytes(done);
        let wall = done.wall.as_secs_f64();
        let mut out = Figures(load(done));
        out.figure("client_cpu_s", client);
        // Of one processor, while the load ran: near 1 and the load itself is the bottleneck.
        out.figure("client_cpu_share", client / wall.max(1e-3));
        let mut others = machine - client;
        if let Some((pid, before)) = self.server {
            let after = Sample::of(pid)?;
            let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
            let uploads = float(done.uploads.len() as u64);
            others -= cpu;
            out.figure("server_cpu_s", cpu);
            out.figure(
                "server_cpu_s_per_gib",
                cpu / (float(bytes) / float(1024 * MIB)),
            );
            out.count("server_rss_kib_before", before.rss);
            out.count("server_rss_kib", after.rss);
            out.count("server_peak_kib", after.peak);
            out.figure(
                "rss_growth_kib_per_upload",
                (float(after.rss) - float(before.rss)) / uploads,
            );
            out.figure(
                "peak_growth_kib_per_upload",
                (float(after.peak) - float(before.rss)) / uploads,
            );
            out.figure(
                "server_written_mib",
                float(after.written.saturating_sub(before.written)) / float(MIB),
            );
            // A thread that ended took its count along.
            out.count(
                "server_switches",
                after.switches.saturating_sub(before.switches),
            );
        }
        // Processors that neither side used: the kernel's own threads, and whatever disturbs the run.
        out.figure("others_cpu_share", (others / watched).max(0.0));
        Ok(out.0)
    }
}

/// What the load says of itself.
pub(crate) fn load(done: &Done) -> String {
    let mut out = Figures(String::new());
    out.count("uploads", done.uploads.len() as u64);
    out.count("bytes", bytes(done));
    out.figure("seconds", done.wall.as_secs_f64());
    out.figure("mib_per_s", rate(bytes(done), done.wall));
    let mut steps = done.steps.clone();
    steps.sort_unstable();
    for percent in [50, 99, 100] {
        if let Some(took) = percentile(&steps, percent) {
            out.figure(&format!("ms_p{percent}"), ms(took));
        }
    }
    for (name, value) in &done.figures {
        out.figure(name, *value);
    }
    out.0
}

fn bytes(done: &Done) -> u64 {
    let uploads = done.uploads.iter();
    done.moved
        .unwrap_or_else(|| uploads.map(|upload| upload.offset).sum())
}

/// The nearest-rank percentile of sorted values; `None` of none.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

struct Figures(String);

impl Figures {
    fn count(&mut self, name: &str, value: u64) {
        let _ = writeln!(self.0, "{name}={value}");
    }

    fn figure(&mut self, name: &str, value: f64) {
        let _ = writeln!(self.0, "{name}={value:.3}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(values: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        values.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let hundred = ms(1..=100);
        for (percent, wanted) in [(0, 1), (1, 1), (50, 50), (99, 99), (100, 100)] {
            assert_eq!(
                percentile(&hundred, percent),
                Some(Duration::from_millis(wanted))
            );
        }
        assert_eq!(
            percentile(&ms(1..=10), 99),
            Some(Duration::from_millis(10)),
            "rounds up"
        );
        assert_eq!(percentile(&ms([7]), 50), Some(Duration::from_millis(7)));
        assert_eq!(percentile(&[], 50), None);
    }
}
