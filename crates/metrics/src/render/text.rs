//! The text that Prometheus reads, and its successor OpenMetrics, which differs in the names of counters and in its end.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>

use std::fmt::Write as _;

use nffi_core::meter::{BOUNDS, End, Histogram};

use crate::view::{Gauges, RuntimeView, View};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Prometheus,
    OpenMetrics,
}

struct Text {
    out: String,
    dialect: Dialect,
}

/// The classes of HTTP statuses, as [`nffi_core::meter::Meter::http`] counts them.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

pub fn write(view: &View, dialect: Dialect, gojinn_names: bool) -> String {
    let mut text = Text { out: String::with_capacity(4096), dialect };
    let all = &view.runtimes;

    text.family("nffi_build_info", "gauge", "The version of nffi.");
    text.sample("nffi_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.family("nffi_workers", "gauge", "Workers that run.");
    text.sample("nffi_workers", &[], view.workers.len() as u64);
    text.counter("nffi_worker_crashes", "Workers that ended without leaving: by a signal, or an exit of code in them.");
    text.sample("nffi_worker_crashes_total", &[], view.crashes);

    text.counter("nffi_calls", "Calls and HTTP requests that are over, by how they ended for their callers.");
    for runtime in all {
        for end in End::ALL {
            let count = runtime.meter.of(end).count();
            text.sample("nffi_calls_total", &[("runtime", &runtime.name), ("outcome", end.name())], count);
        }
        let labels = [("runtime", runtime.name.as_str()), ("outcome", "rejected")];
        text.sample("nffi_calls_total", &labels, runtime.meter.rejected);
    }
    text.counter("nffi_http_responses", "HTTP answers of the runtime, by the class of their status.");
    for runtime in all {
        for (class, count) in CLASSES.iter().zip(runtime.meter.http) {
            text.sample("nffi_http_responses_total", &[("runtime", &runtime.name), ("class", class)], count);
        }
    }
    text.counter("nffi_request_bytes", "Bytes of requests, without the heads of HTTP.");
    for runtime in all {
        text.sample("nffi_request_bytes_total", &[("runtime", &runtime.name)], runtime.meter.request_bytes);
    }
    text.counter("nffi_response_bytes", "Bytes of answers, without the heads of HTTP.");
    for runtime in all {
        text.sample("nffi_response_bytes_total", &[("runtime", &runtime.name)], runtime.meter.response_bytes);
    }
    text.counter("nffi_restarts", "Crashes of workers that had the runtime.");
    for runtime in all {
        text.sample("nffi_restarts_total", &[("runtime", &runtime.name)], runtime.restarts);
    }

    text.family("nffi_duration_seconds", "histogram", "From the submission to the end, by how it ended.");
    for runtime in all {
        for end in End::ALL {
            let labels = [("runtime", runtime.name.as_str()), ("outcome", end.name())];
            text.histogram("nffi_duration_seconds", &labels, runtime.meter.of(end));
        }
    }
    text.family("nffi_queue_seconds", "histogram", "From the submission until a thread of the runtime took it.");
    for runtime in all {
        text.histogram("nffi_queue_seconds", &[("runtime", &runtime.name)], &runtime.meter.queued);
    }
    text.family(
        "nffi_run_seconds",
        "histogram",
        "From then until the answer was back, also where nobody waited any more.",
    );
    for runtime in all {
        text.histogram("nffi_run_seconds", &[("runtime", &runtime.name)], &runtime.meter.run);
    }

    type Value = fn(&Gauges) -> u64;
    let gauges: [(&str, &str, Value); 4] = [
        ("nffi_queued", "Tasks that wait for a thread of the runtime.", |g| g.queued),
        ("nffi_running", "Tasks that a thread has taken: of functions in WebAssembly, the instances.", Gauges::running),
        ("nffi_in_flight", "Tasks that have not ended.", |g| g.in_flight),
        ("nffi_abandoned", "Tasks that have not ended, whose callers have gone.", |g| g.abandoned),
    ];
    for (name, help, value) in gauges {
        text.family(name, "gauge", help);
        for (runtime, pid, gauges) in all.iter().flat_map(each_worker) {
            text.sample(name, &[("runtime", runtime), ("worker", &pid.to_string())], value(gauges));
        }
    }
    if gojinn_names {
        gojinn(&mut text, all);
    }
    if dialect == Dialect::OpenMetrics {
        text.out.push_str("# EOF\n");
    }
    text.out
}

fn each_worker(runtime: &RuntimeView) -> impl Iterator<Item = (&str, i32, &Gauges)> {
    runtime.workers.iter().map(|(pid, gauges)| (runtime.name.as_str(), *pid, gauges))
}

/// What Gojinn calls it: a path is a runtime, and a status is what nginx answers to such an outcome.
fn gojinn(text: &mut Text, all: &[RuntimeView]) {
    const DURATION: &str = "gojinn_function_duration_seconds";
    text.family(DURATION, "histogram", "As nffi_duration_seconds.");
    for runtime in all {
        for end in End::ALL {
            let status = match end {
                End::Ok => "200",
                End::Error => "502",
                End::Timeout => "504",
                End::Cancelled => "499",
            };
            text.histogram(DURATION, &[("path", &runtime.name), ("status", status)], runtime.meter.of(end));
        }
    }
    text.family("gojinn_active_sandboxes", "gauge", "As nffi_running, of all workers.");
    for runtime in all {
        text.sample("gojinn_active_sandboxes", &[("path", &runtime.name)], runtime.gauges().running());
    }
}

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Prometheus wants a counter's family to be called as its samples are.
    fn counter(&mut self, name: &str, help: &str) {
        match self.dialect {
            Dialect::Prometheus => self.family(&format!("{name}_total"), "counter", help),
            Dialect::OpenMetrics => self.family(name, "counter", help),
        }
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.line(name, labels, None, &value.to_string());
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        let mut count = 0;
        for (i, n) in histogram.buckets.iter().enumerate() {
            count += n;
            let bound = BOUNDS.get(i).map_or("+Inf".to_owned(), |ns| seconds(*ns));
            self.line(&bucket, labels, Some(&bound), &count.to_string());
        }
        self.line(&format!("{name}_sum"), labels, None, &seconds(histogram.sum));
        self.line(&format!("{name}_count"), labels, None, &count.to_string());
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], bound: Option<&str>, value: &str) {
        self.out.push_str(name);
        let mut mark = '{';
        for (key, value) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
            let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
            let _ = write!(self.out, "{mark}{key}=\"{value}\"");
            mark = ',';
        }
        if mark == ',' {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }
}

/// Always with a point, as OpenMetrics wants it of bounds.
fn seconds(ns: u64) -> String {
    let text = format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_every_digit() {
        for (ns, text) in [(0, "0.0"), (1, "0.000000001"), (10_000, "0.00001"), (2_500_000_000, "2.5")] {
            assert_eq!(seconds(ns), text);
        }
        assert_eq!(seconds(60_000_000_000), "60.0");
    }

    #[test]
    fn labels_are_escaped() {
        let mut text = Text { out: String::new(), dialect: Dialect::Prometheus };
        text.sample("x", &[("runtime", "a\"b\\c\nd"), ("b", "")], 3);
        assert_eq!(text.out, "x{runtime=\"a\\\"b\\\\c\\nd\",b=\"\"} 3\n");
    }
}
