//! `GET /metrics`, for Prometheus.

use http::{Response, StatusCode};

use super::exposition::Exposition;
use crate::answer::{self, ResponseBody};
use crate::engine::Engine;
use crate::meter::{ByKind, Codes, KINDS, Meter};

const MEDIA: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn answer(engine: &Engine) -> Response<ResponseBody> {
    let mut text = Exposition::default();
    let meter = engine.meter();
    requests(&mut text, meter);
    uploads(&mut text, meter);
    times(&mut text, meter);
    bytes(&mut text, engine);
    hooks(&mut text, engine);
    server(&mut text, engine);
    answer::text(StatusCode::OK, MEDIA, text.finish())
}

fn requests(text: &mut Exposition, meter: &Meter) {
    text.labelled(
        "highwater_http_requests_total",
        "counter",
        "Requests answered, by method and class of status.",
        meter
            .requests()
            .map(|(method, class, count)| ([("method", method), ("status", class)], count)),
    );
    text.labelled(
        "highwater_http_refused_total",
        "counter",
        "Requests refused or failed, by the code of the answer.",
        by_code("code", &meter.refused),
    );
    text.histogram(
        "highwater_http_request_duration_seconds",
        "Time from a request's head to its answer's, the request's body included.",
        &meter.request_time,
    );
}

fn uploads(text: &mut Exposition, meter: &Meter) {
    let ended = [
        ("created", "Uploads begun, by kind.", &meter.created),
        (
            "completed",
            "Uploads that got all of their bytes, by kind.",
            &meter.completed,
        ),
        (
            "cancelled",
            "Uploads terminated, by kind.",
            &meter.cancelled,
        ),
        (
            "expired",
            "Uploads whose time ran out, by kind.",
            &meter.expired,
        ),
    ];
    for (what, help, counts) in ended {
        let name = format!("highwater_uploads_{what}_total");
        text.labelled(&name, "counter", help, by_kind(counts));
    }
    text.labelled(
        "highwater_uploads_failed_total",
        "counter",
        "Uploads that failed, by code.",
        by_code("code", &meter.failed),
    );
    text.labelled(
        "highwater_uploads",
        "gauge",
        "Uploads there are, by kind and status; those that ended for a while as well.",
        meter
            .uploads()
            .map(|(kind, status, count)| ([("kind", kind.name()), ("status", status)], count)),
    );
    let open = ["active", "scanning", "assembling"].map(|status| meter.count(status));
    text.gauge(
        "highwater_uploads_open",
        "Uploads that are active, or scanned, or assembling.",
        open.iter().sum::<u64>(),
    );
}

fn hooks(text: &mut Exposition, engine: &Engine) {
    if !engine.has_receivers() {
        return;
    }
    let meter = engine.meter();
    text.labelled(
        "highwater_hook_calls_total",
        "counter",
        "Hooks called, by event, each try by itself.",
        by_code("event", &meter.hook_calls),
    );
    text.labelled(
        "highwater_hook_failures_total",
        "counter",
        "Calls of hooks that failed, by event.",
        by_code("event", &meter.hook_faults),
    );
    let (waiting, failed) = engine.letters();
    text.gauge(
        "highwater_hooks_waiting",
        "Events that hooks are still to be told.",
        waiting,
    );
    text.gauge(
        "highwater_hooks_failed",
        "Events that hooks did not take; /admin/hooks lists them.",
        failed,
    );
}

fn times(text: &mut Exposition, meter: &Meter) {
    text.histogram(
        "highwater_upload_duration_seconds",
        "Time from an upload's creation to its last byte.",
        &meter.upload_time,
    );
    text.histogram(
        "highwater_append_duration_seconds",
        "Time of a body with bytes, from the upload's lock to the commit.",
        &meter.append_time,
    );
    text.histogram(
        "highwater_lock_wait_seconds",
        "Time that requests waited for the lock of their upload.",
        &meter.lock_wait,
    );
    text.labelled(
        "highwater_scans_total",
        "counter",
        "Scans for malware, by how they ended.",
        meter
            .scans
            .get()
            .into_iter()
            .map(|(verdict, count)| ([("verdict", verdict)], count)),
    );
    text.histogram(
        "highwater_scan_duration_seconds",
        "Time of a scan that came to a verdict.",
        &meter.scan_time,
    );
    text.counter(
        "highwater_resumes_total",
        "Bodies that went on after one that was cut, or after a rest.",
        meter.resumes.get(),
    );
}

fn by_code(
    label: &'static str,
    codes: &Codes,
) -> impl Iterator<Item = ([(&'static str, &'static str); 1], u64)> + use<> {
    let codes = codes.get().into_iter();
    codes.map(move |(code, count)| ([(label, code)], count))
}

fn by_kind(counts: &ByKind) -> impl Iterator<Item = ([(&'static str, &'static str); 1], u64)> {
    KINDS
        .map(|kind| ([("kind", kind.name())], counts.of(kind)))
        .into_iter()
}

fn bytes(text: &mut Exposition, engine: &Engine) {
    let meter = engine.meter();
    text.counter(
        "highwater_received_bytes_total",
        "Bytes of uploads received, those of running bodies included.",
        meter.throughput.bytes(),
    );
    let used = engine.used();
    text.gauge(
        "highwater_reserved_bytes",
        "Bytes charged to users: stored, and reserved for what is announced.",
        used.told(),
    );
    if let Some(total) = engine.bounds().total {
        text.gauge("highwater_quota_bytes", "The most of them.", total);
    }
    text.gauge(
        "highwater_appends_running",
        "Bodies that come in now.",
        meter.throughput.running(),
    );
    text.counter(
        "highwater_swept_bytes_total",
        "Bytes that the sweep gave back to the disk.",
        meter.swept_bytes.get(),
    );
    text.counter(
        "highwater_orphans_removed_total",
        "Files of no upload that the sweep removed.",
        meter.orphans.get(),
    );
    if let Some(space) = engine.space() {
        text.gauge(
            "highwater_disk_free_bytes",
            "Free space for uploads.",
            space.free,
        );
        text.gauge(
            "highwater_disk_size_bytes",
            "Size of the uploads' disk.",
            space.total,
        );
        text.gauge(
            "highwater_disk_level",
            "0: enough space; 1: below --disk-warn; 2: below --disk-stop.",
            space.level as u8,
        );
    }
    text.counter(
        "highwater_connections_turned_away_total",
        "Connections closed at once, since their address had too many.",
        meter.turned_away.get(),
    );
    text.counter(
        "highwater_blob_errors_total",
        "Requests that ended with an error of the files.",
        meter.blob_errors.get(),
    );
    text.counter(
        "highwater_state_errors_total",
        "Requests that ended with an error of the records.",
        meter.state_errors.get(),
    );
}

fn server(text: &mut Exposition, engine: &Engine) {
    if let Some(bytes) = memory() {
        text.gauge("process_resident_memory_bytes", "Resident memory.", bytes);
    }
    text.gauge(
        "highwater_uptime_seconds",
        "Time since the start.",
        engine.meter().since.elapsed().as_secs_f64(),
    );
    text.labelled(
        "highwater_build_info",
        "gauge",
        "1, with the version.",
        [([("version", env!("CARGO_PKG_VERSION"))], 1)],
    );
}

/// Resident memory in bytes, where the system tells it.
pub(super) fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes << 10)
}
