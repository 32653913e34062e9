//! Durations in buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many durations fell below each bound.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One a bound, and one for what is above all of them.
    buckets: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    /// Upper bounds in seconds, each with how many were at or below it.
    pub at_most: Vec<(f64, u64)>,
    /// How many there were.
    pub count: u64,
    /// Seconds of all of them.
    pub sum: f64,
}

impl Histogram {
    /// With these bounds, rising.
    #[must_use]
    pub fn seconds(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            nanos: AtomicU64::new(0),
        }
    }

    /// One more.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What there is by now. The count is the buckets' sum, so that both agree whoever adds meanwhile.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut count = 0;
        let mut cumulated = self.buckets.iter().map(|bucket| {
            count += bucket.load(Ordering::Relaxed);
            count
        });
        let at_most = self
            .bounds
            .iter()
            .copied()
            .zip(cumulated.by_ref())
            .collect();
        cumulated.for_each(drop);
        Counts {
            at_most,
            count,
            sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }
}

impl Counts {
    /// The value that a `share` of all is at or below, straight between its bucket's bounds as Prometheus reckons it; the
    /// last bound for what is above it, nothing where nothing was counted.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share * self.count as f64;
        let (mut low, mut below) = (0.0, 0);
        for (bound, count) in &self.at_most {
            if *count as f64 >= rank && *count > below {
                let inside = (rank - below as f64) / (count - below) as f64;
                return Some(low + (bound - low) * inside);
            }
            (low, below) = (*bound, *count);
        }
        (self.count > 0).then_some(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_buckets() {
        let histogram = Histogram::seconds(&[0.1, 1.0]);
        assert_eq!(histogram.counts().quantile(0.5), None);
        for millis in [50, 100, 200, 1000, 5000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let counts = histogram.counts();
        assert_eq!(counts.at_most, [(0.1, 2), (1.0, 4)]);
        assert_eq!(counts.count, 5);
        assert!((counts.sum - 6.35).abs() < 1e-9);
        let quantile = |share| counts.quantile(share).unwrap();
        assert!((quantile(0.2) - 0.05).abs() < 1e-9);
        assert!((quantile(0.6) - 0.55).abs() < 1e-9);
        assert!((quantile(1.0) - 1.0).abs() < 1e-9, "above all bounds");
    }
}
