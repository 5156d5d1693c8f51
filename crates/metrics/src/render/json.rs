//! A view as JSON. Times are in seconds.

use nffi_core::meter::{BOUNDS, End, Histogram};
use serde_json::{Map, Value, json};

use crate::view::{Gauges, RuntimeView, View};

pub fn write(view: &View) -> String {
    let runtimes: Map<String, Value> = view.runtimes.iter().map(|r| (r.name.clone(), runtime(r))).collect();
    let bounds: Vec<f64> = BOUNDS.iter().map(|ns| seconds(*ns)).collect();
    let all = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "workers": view.workers,
        "worker_crashes": view.crashes,
        // Of the buckets below; the last bucket of each has no bound.
        "bounds": bounds,
        "runtimes": runtimes,
    });
    format!("{all}\n")
}

fn runtime(runtime: &RuntimeView) -> Value {
    let meter = &runtime.meter;
    let mut calls: Map<String, Value> =
        End::ALL.iter().map(|end| (end.name().to_owned(), meter.of(*end).count().into())).collect();
    calls.insert("rejected".to_owned(), meter.rejected.into());
    let durations: Map<String, Value> =
        End::ALL.iter().map(|end| (end.name().to_owned(), histogram(meter.of(*end)))).collect();
    let workers: Map<String, Value> =
        runtime.workers.iter().map(|(pid, gauges)| (pid.to_string(), gauges_of(gauges))).collect();
    json!({
        "calls": calls,
        "http_responses": {
            "1xx": meter.http[0], "2xx": meter.http[1], "3xx": meter.http[2], "4xx": meter.http[3], "5xx": meter.http[4],
        },
        "request_bytes": meter.request_bytes,
        "response_bytes": meter.response_bytes,
        "restarts": runtime.restarts,
        "duration": durations,
        "queue": histogram(&meter.queued),
        "run": histogram(&meter.run),
        "now": gauges_of(&runtime.gauges()),
        "workers": workers,
    })
}

fn gauges_of(gauges: &Gauges) -> Value {
    json!({
        "queued": gauges.queued,
        "running": gauges.running(),
        "in_flight": gauges.in_flight,
        "abandoned": gauges.abandoned,
    })
}

fn histogram(histogram: &Histogram) -> Value {
    json!({ "count": histogram.count(), "sum": seconds(histogram.sum), "buckets": histogram.buckets })
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
