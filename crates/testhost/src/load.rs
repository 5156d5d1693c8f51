//! Many calls, several at once, and what they took.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use nffi_testhost::{CallId, HttpId, HttpReceived, RuntimeId, TestHost};

use crate::{report, requests::Requests};

#[derive(Debug)]
pub struct Load {
    pub request: Vec<u8>,
    pub repeat: u64,
    pub concurrency: usize,
}

/// What came of them.
#[derive(Default)]
struct Results {
    times: Vec<Duration>,
    errors: BTreeMap<String, u64>,
    /// Of HTTP answers, where they are not 2xx.
    statuses: BTreeMap<u16, u64>,
}

impl Results {
    fn failed(&mut self, why: &dyn ToString) {
        *self.errors.entry(why.to_string()).or_default() += 1;
    }
}

/// True where every call was answered.
pub fn run(host: &mut TestHost, runtime: RuntimeId, load: &Load, http: Option<&Requests>, timeout: Duration) -> bool {
    let mut results = Results::default();
    let begin = Instant::now();
    match http {
        Some(http) => requests(host, runtime, load, http, timeout, &mut results),
        None => calls(host, runtime, load, timeout, &mut results),
    }
    let what = match http {
        Some(_) => format!("{} requests", load.repeat),
        None => format!("{} calls of {} bytes", load.repeat, load.request.len()),
    };
    summary(&what, load.concurrency, begin.elapsed(), &mut results.times);
    for (status, count) in &results.statuses {
        report::say(&format!("{count} times {status}"));
    }
    for (error, count) in &results.errors {
        report::say(&format!("{count} times {error}"));
    }
    results.errors.is_empty()
}

fn calls(host: &mut TestHost, runtime: RuntimeId, load: &Load, timeout: Duration, results: &mut Results) {
    let mut begun: HashMap<CallId, Instant> = HashMap::new();
    let mut under_way: Vec<CallId> = Vec::new();
    let mut left = load.repeat;
    while left > 0 || !under_way.is_empty() {
        while left > 0 && under_way.len() < load.concurrency {
            left -= 1;
            match host.submit(runtime, &load.request, timeout) {
                Ok(call) => {
                    begun.insert(call, Instant::now());
                    under_way.push(call);
                }
                Err(refusal) => results.failed(&refusal),
            }
        }
        for (call, result) in host.wait_any(&mut under_way) {
            let took = begun.remove(&call).map_or(Duration::ZERO, |begun| begun.elapsed());
            match result {
                Ok(_) => results.times.push(took),
                Err(error) => results.failed(&error),
            }
        }
    }
}

fn requests(
    host: &mut TestHost,
    runtime: RuntimeId,
    load: &Load,
    http: &Requests,
    timeout: Duration,
    results: &mut Results,
) {
    let mut under_way: Vec<(HttpId, Instant)> = Vec::new();
    let mut left = load.repeat;
    while left > 0 || !under_way.is_empty() {
        while left > 0 && under_way.len() < load.concurrency {
            left -= 1;
            match http.first().and_then(|request| host.http_open(runtime, request, timeout)) {
                Ok(exchange) => under_way.push((exchange, Instant::now())),
                Err(error) => results.failed(&error),
            }
        }
        if under_way.is_empty() {
            continue;
        }
        host.turn(None);
        under_way.retain(|(exchange, begun)| {
            loop {
                match host.http_take(*exchange) {
                    Ok(Some(HttpReceived::End)) => results.times.push(begun.elapsed()),
                    Ok(Some(HttpReceived::Head(head))) if !(200..300).contains(&head.status) => {
                        *results.statuses.entry(head.status).or_default() += 1;
                        continue;
                    }
                    Ok(Some(_)) => continue,
                    Ok(None) => return true,
                    Err(error) => results.failed(&error),
                }
                return false;
            }
        });
    }
}

fn summary(what: &str, concurrency: usize, took: Duration, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |part: f64| {
        let index = (times.len() as f64 * part) as usize;
        times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or_default().as_secs_f64() * 1e6
    };
    println!(
        "{what}, {concurrency} at once: {:.3} s, {:.0} a second",
        took.as_secs_f64(),
        times.len() as f64 / took.as_secs_f64().max(1e-9)
    );
    println!(
        "microseconds a call: {:.1} at least, {:.1} half of them, {:.1} 99 of 100, {:.1} at most",
        at(0.0),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
