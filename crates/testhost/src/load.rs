//! Many calls, several at once, and what they took.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use nffi_testhost::{CallId, RuntimeId, TestHost};

use crate::report;

#[derive(Debug)]
pub struct Load {
    pub request: Vec<u8>,
    pub repeat: u64,
    pub concurrency: usize,
}

/// True where every call was answered.
pub fn run(host: &mut TestHost, runtime: RuntimeId, load: &Load, timeout: Duration) -> bool {
    let mut begun: HashMap<CallId, Instant> = HashMap::new();
    let mut under_way: Vec<CallId> = Vec::new();
    let mut times: Vec<Duration> = Vec::new();
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    let mut left = load.repeat;
    let begin = Instant::now();
    while left > 0 || !under_way.is_empty() {
        while left > 0 && under_way.len() < load.concurrency {
            left -= 1;
            match host.submit(runtime, &load.request, timeout) {
                Ok(call) => {
                    begun.insert(call, Instant::now());
                    under_way.push(call);
                }
                Err(refusal) => *errors.entry(refusal.to_string()).or_default() += 1,
            }
        }
        for (call, result) in host.wait_any(&mut under_way) {
            let took = begun.remove(&call).map_or(Duration::ZERO, |begun| begun.elapsed());
            match result {
                Ok(_) => times.push(took),
                Err(error) => *errors.entry(error.to_string()).or_default() += 1,
            }
        }
    }
    summary(load, begin.elapsed(), &mut times);
    for (error, count) in &errors {
        report::say(&format!("{count} times {error}"));
    }
    errors.is_empty()
}

fn summary(load: &Load, took: Duration, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |part: f64| {
        let index = (times.len() as f64 * part) as usize;
        times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or_default().as_secs_f64() * 1e6
    };
    println!(
        "{} calls of {} bytes, {} at once: {:.3} s, {:.0} a second",
        load.repeat,
        load.request.len(),
        load.concurrency,
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
