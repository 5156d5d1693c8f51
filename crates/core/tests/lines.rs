//! Log lines of runtimes.

#![allow(clippy::expect_used)]

mod support;

use std::sync::Mutex;

use nffi_core::{
    abi::{NFFI_LOG_DEBUG, NFFI_LOG_ERR, NFFI_LOG_INFO},
    host::HOST,
    log::MAX_MESSAGE,
    options::Settings,
};
use support::{lock, request, world};

/// The lines of all runtimes go through one queue, which a flood fills for everyone.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn a_line_knows_its_request_also_when_the_task_ends_at_once() {
    let _alone = lock(&ONE_AT_A_TIME);
    let (number, rt) = world().start_idle(Settings::default());
    for id in 1..50u64 {
        let mut submission = request(b"");
        submission.request_id = id * 1000;
        let ticket = world().submit(number, submission).expect("admitted");
        let task = rt.next().task;
        let text = format!("line of {id}.");
        world().on_loop(|_| {
            rt.log(task, NFFI_LOG_INFO as i32, text.as_bytes());
            rt.reply(task, 0, b"");
        });
        let (line, request_id) = world().line(number, &text);
        assert_eq!((line.level, line.task, request_id), (NFFI_LOG_INFO as u8, task, id * 1000));
        world().wait(&ticket);
        rt.log(task, 6, format!("after {id}.").as_bytes());
        assert_eq!(world().line(number, &format!("after {id}.")).1, 0, "the task is no more");
    }
    rt.log(0, 6, b"of no task");
    assert_eq!(world().line(number, "of no task").1, 0);
}

#[test]
fn levels_and_lengths_are_tamed() {
    let _alone = lock(&ONE_AT_A_TIME);
    let (number, rt) = world().start_idle(Settings::default());
    for (level, seen) in [(-1, NFFI_LOG_ERR), (8, NFFI_LOG_DEBUG), (i32::MAX, NFFI_LOG_DEBUG), (0, 0), (7, 7)] {
        let text = format!("level {level}.");
        rt.log(0, level, text.as_bytes());
        assert_eq!(u32::from(world().line(number, &text).0.level), seen);
    }
    rt.log(0, 6, b"with\0a NUL");
    assert_eq!(&*world().line(number, "with").0.message, b"with\0a NUL");
    rt.log(0, 6, &vec![b'L'; MAX_MESSAGE + 1]);
    assert_eq!(world().line(number, "LLLL").0.message.len(), MAX_MESSAGE);
    rt.log(0, 6, b"");
    rt.log(u64::MAX, 6, b"garbage task");
    assert_eq!(world().line(number, "garbage task").1, 0);
}

#[test]
fn a_flood_is_dropped_and_counted() {
    let _alone = lock(&ONE_AT_A_TIME);
    let (number, rt) = world().start_idle(Settings::default());
    let dropped = world().on_loop(|_| {
        for i in 0..10_000 {
            rt.log(0, 6, format!("flood {i}.").as_bytes());
        }
        HOST.log.take_dropped()
    });
    assert!(dropped > 5000, "{dropped}");
    world().line(number, "flood 0.");
    rt.log(0, 6, b"after the flood");
    world().line(number, "after the flood");
    let counted = world().on_loop(|l| l.dispatch.entry(number).expect("entry").stats.dropped_logs);
    assert_eq!(counted as usize, dropped);
}
