//! `GET /admin/uploads/metrics`: the numbers that a person asks for first, as JSON.

use std::time::{Duration, Instant};

use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::metrics::memory;
use crate::answer::{self, ResponseBody};
use crate::engine::Engine;
use crate::meter::{Histogram, Meter, STATUSES};

/// What "now" is.
const NOW: Duration = Duration::from_secs(5);

pub(super) fn answer(engine: &Engine) -> Response<ResponseBody> {
    let meter = engine.meter();
    let failed: u64 = meter.failed.get().values().sum();
    let (completed, cancelled) = (meter.completed.sum(), meter.cancelled.sum());
    let expired = meter.expired.sum();
    let value = json!({
        "uptime_seconds": meter.since.elapsed().as_secs(),
        "uploads": by_status(meter),
        "since_start": {
            "created": meter.created.sum(),
            "completed": completed,
            "failed": failed,
            "cancelled": cancelled,
            "expired": expired,
            "resumes": meter.resumes.get(),
            "received_bytes": meter.throughput.bytes(),
        },
        "success_rate": share(completed, completed + failed + cancelled + expired),
        "receiving": meter.throughput.running(),
        "bytes_per_second": rates(meter),
        "durations_seconds": {
            "upload": percentiles(&meter.upload_time),
            "chunk": percentiles(&meter.append_time),
            "request": percentiles(&meter.request_time),
            "lock_wait": percentiles(&meter.lock_wait),
        },
        "failures": meter.failed.get(),
        "refusals": meter.refused.get(),
        "blob_errors": meter.blob_errors.get(),
        "state_errors": meter.state_errors.get(),
        "memory_bytes": memory(),
    });
    answer::json(StatusCode::OK, &value)
}

fn by_status(meter: &Meter) -> Map<String, Value> {
    let counts = STATUSES.map(|status| (status.to_owned(), meter.count(status).into()));
    counts.into_iter().collect()
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn rates(meter: &Meter) -> Value {
    let now = Instant::now();
    let rate = |window| meter.throughput.rate(now, window).round();
    json!({
        "now": rate(NOW),
        "1m": rate(Duration::from_mins(1)),
        "5m": rate(Duration::from_mins(5)),
        "15m": rate(Duration::from_mins(15)),
    })
}

fn percentiles(histogram: &Histogram) -> Value {
    let counts = histogram.counts();
    let micros = |share| Some((counts.quantile(share)? * 1e6).round() / 1e6);
    json!({
        "count": counts.count,
        "p50": micros(0.5),
        "p90": micros(0.9),
        "p99": micros(0.99),
    })
}
