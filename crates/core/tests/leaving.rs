//! The end of the process. Alone in its binary: nothing is admitted afterwards.

#![allow(clippy::expect_used)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nffi_core::{
    abi::{NFFI_CALL, NFFI_STOP},
    dispatch::{Refusal, State},
    host::HOST,
    options::Settings,
};
use support::{own_library, pollers, request, world};

#[test]
fn all_that_was_accepted_then_stop_then_a_bounded_wait() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    let good = world().start(Settings::default(), move |rt| {
        pollers(rt, 2, move |rt, event| {
            if event.kind == NFFI_CALL {
                std::thread::sleep(Duration::from_millis(1));
                count.fetch_add(1, Ordering::Relaxed);
                rt.end(event.task, 0);
            }
        });
    });
    let failed = world().start_with(Settings::default(), |_| Err("no".to_owned()));
    world().wait_for(failed, &State::Failed("no".to_owned()));
    let (mute, mute_rt) = world().start_idle(Settings { stop_timeout: 300, ..Settings::default() });
    let never_ended = world().call(mute, b"");
    assert_eq!(mute_rt.next().task, never_ended.task);
    let slow = world().start_library(own_library(), Settings { stop_timeout: 200, ..Settings::default() }, |_| {
        std::thread::sleep(Duration::from_millis(1500));
        Ok(())
    });
    for _ in 0..50 {
        world().cast(good, b"");
    }

    let mut turns = 0;
    let (took, all) = world().on_loop(|l| {
        // What the loop itself does while it waits.
        let begin = Instant::now();
        let all = l.dispatch.stop_all(Duration::from_secs(30), |dispatch| {
            turns += 1;
            dispatch.drain(&mut Vec::new());
        });
        (begin.elapsed(), all)
    });
    assert!(!all, "one never says that it has stopped, one is still starting");
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_millis(1400), "{took:?}");
    assert!(turns > 1);
    assert_eq!(served.load(Ordering::Relaxed), 50, "STOP came before accepted work");
    assert_eq!(world().state(good), State::Stopped);
    assert_eq!(world().state(mute), State::Ready);
    assert_eq!(world().counts(good), (0, 0));
    assert_eq!(world().counts(mute), (1, 0));
    assert_eq!(world().on_loop(|l| l.dispatch.unended()), 1);
    assert_eq!(mute_rt.next().kind, NFFI_STOP);
    for number in [good, mute, slow] {
        assert_eq!(world().submit(number, request(b"")).err(), Some(Refusal::ShuttingDown));
    }

    // The slow one and the mute one come round; then all have stopped.
    world().wait_for(slow, &State::Ready);
    let begin = Instant::now();
    let all = world().on_loop(|l| l.dispatch.stop_all(Duration::from_millis(50), |_| {}));
    assert!(!all && begin.elapsed() < Duration::from_millis(250), "at most what the caller allows");
    mute_rt.end(never_ended.task, 0);
    mute_rt.stopped();
    world().wait_for(mute, &State::Stopped);

    // The loop has gone: threads of runtimes may still call, and nothing happens to anyone.
    HOST.close();
    mute_rt.log(0, 6, b"to stderr");
    mute_rt.stopped();
    assert_eq!(mute_rt.reply(never_ended.task, 0, b"late"), nffi_core::abi::NFFI_BAD);
    assert_eq!(mute_rt.next().kind, NFFI_STOP);
}
