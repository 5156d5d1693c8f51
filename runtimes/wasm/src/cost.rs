//! What an instance costs: made, run to its end, dropped. Not a test of anything:
//!
//! `NFFI_WASM_COST=a.wasm,b.wasm NFFI_WASM_OPTIONS='"snapshot":"on"' cargo test --release --package nffi-wasm -- --ignored --nocapture cost`

use std::{
    pin::pin,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll, Waker},
    time::Instant,
};

use crate::{
    cache::Cache,
    code, engine,
    function::Function,
    guest::{self, Input, State},
    host::Host,
    options::Options,
    ticker::Ticker,
    wasi::Surroundings,
};

const REQUEST: &[u8] =
    br#"{"method":"POST","uri":"/hello?x=1","headers":{"Host":["localhost"],"User-Agent":["curl/7.88.1"],
    "Accept":["*/*"]},"body":"World","trace_id":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#;

fn state(options: &Options, surroundings: &Arc<Surroundings>) -> State {
    let wake_at = Arc::new(AtomicU64::new(0));
    State::new(Host::nobody(), 0, surroundings, options, Input::Task(REQUEST), wake_at)
}

#[test]
#[ignore = "measures, and tests nothing"]
fn cost() {
    let files = std::env::var("NFFI_WASM_COST").unwrap_or_default();
    let more = std::env::var("NFFI_WASM_OPTIONS").map_or_else(|_| String::new(), |more| format!(",{more}"));
    for file in files.split(',').filter(|file| !file.is_empty()) {
        let options = Options::parse(format!(r#"{{"module":"{file}"{more}}}"#).as_bytes()).unwrap();
        let surroundings = Arc::new(Surroundings::new(&options).unwrap());
        let bytes = code::read(&options.module).unwrap();
        let engine = engine::engine(&options, &bytes).unwrap();
        let begun = Instant::now();
        let cache = Cache::new(&options.cache);
        let (function, _) = code::load::<Function>(&engine, &cache, &options, &bytes).unwrap();
        let compiled = begun.elapsed();
        let function = Arc::new(function);
        let ticker = Ticker::start(engine).unwrap();
        ticker.enter();
        let mut times = Vec::new();
        for _ in 0..2000 {
            let begun = Instant::now();
            let mut run = pin!(guest::run(function.clone(), state(&options, &surroundings)));
            let mut context = Context::from_waker(Waker::noop());
            let ended = loop {
                if let Poll::Ready(ended) = run.as_mut().poll(&mut context) {
                    break ended;
                }
            };
            times.push(begun.elapsed());
            assert!(ended.result.is_ok(), "{file}: {:?}", ended.result);
        }
        ticker.leave();
        times.sort();
        let us = |at: usize| times[at].as_nanos() as f64 / 1000.0;
        println!(
            "{file}: compiled in {compiled:.1?}; µs: median {:.1}, p90 {:.1}, p99 {:.1}",
            us(1000),
            us(1800),
            us(1980)
        );
    }
}
