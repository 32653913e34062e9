//! Bytes of bodies: how many came, and how fast they come now and came lately.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::locked;

/// Samples are kept for the longest window that is asked for.
const KEPT: Duration = Duration::from_secs(905);

/// Counts a body's bytes once, at its end; until then its own position tells them.
#[derive(Debug, Default)]
pub struct Throughput {
    bodies: Mutex<Bodies>,
    samples: Mutex<VecDeque<(Instant, u64)>>,
}

#[derive(Debug, Default)]
struct Bodies {
    ended: u64,
    next: u64,
    /// Where each running body stands, and where it began.
    running: HashMap<u64, (Arc<AtomicU64>, u64)>,
}

impl Bodies {
    fn bytes(&self) -> u64 {
        let running = self.running.values();
        self.ended + running.map(came).sum::<u64>()
    }
}

fn came((position, base): &(Arc<AtomicU64>, u64)) -> u64 {
    position.load(Ordering::Relaxed).saturating_sub(*base)
}

/// A body is counted as running for as long as this lives.
#[derive(Debug)]
pub struct Running<'a> {
    all: &'a Throughput,
    key: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut bodies = locked(&self.all.bodies);
        if let Some(body) = bodies.running.remove(&self.key) {
            bodies.ended += came(&body);
        }
    }
}

impl Throughput {
    /// A body begins, at its `position` of now.
    pub fn begin(&self, position: Arc<AtomicU64>) -> Running<'_> {
        let base = position.load(Ordering::Relaxed);
        let mut bodies = locked(&self.bodies);
        let key = bodies.next;
        bodies.next += 1;
        bodies.running.insert(key, (position, base));
        Running { all: self, key }
    }

    /// How many bytes came since the start, those of running bodies included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        locked(&self.bodies).bytes()
    }

    /// How many bodies run now.
    #[must_use]
    pub fn running(&self) -> usize {
        locked(&self.bodies).running.len()
    }

    /// Notes where it stands; to be called about once a second.
    pub fn sample(&self, now: Instant) {
        let bytes = self.bytes();
        let mut samples = locked(&self.samples);
        while samples
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) > KEPT)
        {
            samples.pop_front();
        }
        samples.push_back((now, bytes));
    }

    /// Bytes a second over the last `window`, or over what there is of it.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub fn rate(&self, now: Instant, window: Duration) -> f64 {
        let bytes = self.bytes();
        let samples = locked(&self.samples);
        let from = samples.partition_point(|(at, _)| now.saturating_duration_since(*at) > window);
        let Some((at, before)) = samples.get(from) else {
            return 0.0;
        };
        let seconds = now.saturating_duration_since(*at).as_secs_f64();
        if seconds > 0.0 {
            bytes.saturating_sub(*before) as f64 / seconds
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_while_they_come_and_once() {
        let all = Throughput::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        all.sample(start);
        let position = Arc::new(AtomicU64::new(100));
        let body = all.begin(position.clone());
        position.store(400, Ordering::Relaxed);
        assert_eq!((all.bytes(), all.running()), (300, 1));
        all.sample(at(10));
        drop(body);
        position.store(900, Ordering::Relaxed);
        assert_eq!((all.bytes(), all.running()), (300, 0));
        let rate = |now, window| all.rate(at(now), Duration::from_secs(window));
        assert!((rate(20, 60) - 15.0).abs() < 1e-9, "{}", rate(20, 60));
        assert!(rate(20, 10).abs() < 1e-9, "nothing came lately");
        assert!(rate(2000, 60).abs() < 1e-9, "and no sample is that young");
    }

    #[test]
    fn old_samples_go() {
        let all = Throughput::default();
        let start = Instant::now();
        for second in 0..5000 {
            all.sample(start + Duration::from_secs(second));
        }
        assert_eq!(locked(&all.samples).len(), 906);
    }
}
