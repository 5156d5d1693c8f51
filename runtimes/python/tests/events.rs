//! Events in the order that a test gives them: what must not be lost, whichever come together.

#![allow(clippy::expect_used)]

mod common;

use common::{
    config,
    script::{Read, Scripted},
};
use nffi_abi::{NFFI_CALL, NFFI_CANCEL, NFFI_READABLE, NFFI_WRITABLE};

const BOTH: [&str; 2] = ["app:command", "app:command_async"];

fn start(handler: &str) -> Scripted {
    Scripted::start(&config(handler, r#""threads":"1""#))
}

/// One reads and one writes, and both wait.
fn wait_for_both(runtime: &Scripted) {
    {
        let mut state = runtime.state();
        state.reads = [Read::Again, Read::Piece(b"a piece")].into();
        state.full = 1;
    }
    runtime.events(&[(NFFI_CALL, 1, "duplex")]);
    runtime.until("both wait", |state| state.read == 1 && state.written == 1);
}

#[test]
#[ignore = "needs libpython"]
fn who_reads_and_who_writes_are_woken_both() {
    for handler in BOTH {
        let runtime = start(handler);
        wait_for_both(&runtime);
        runtime.events(&[(NFFI_READABLE, 1, ""), (NFFI_WRITABLE, 1, "")]);
        assert_eq!(runtime.answer(1), (0, "read duplexa piece, wrote".into()), "{handler}");
        runtime.stop();
    }
}

#[test]
#[ignore = "needs libpython"]
fn who_writes_is_not_woken_by_a_piece() {
    for handler in BOTH {
        let runtime = start(handler);
        wait_for_both(&runtime);
        runtime.events(&[(NFFI_READABLE, 1, "")]);
        // The piece, and the end.
        runtime.until("the reader goes on", |state| state.read == 3);
        runtime.events(&[(NFFI_WRITABLE, 1, "")]);
        assert_eq!(runtime.answer(1), (0, "read duplexa piece, wrote".into()), "{handler}");
        runtime.stop();
    }
}

#[test]
#[ignore = "needs libpython"]
fn a_caller_that_goes_wakes_who_reads_and_who_writes() {
    let runtime = start(BOTH[0]);
    wait_for_both(&runtime);
    runtime.state().gone = true;
    runtime.events(&[(NFFI_CANCEL, 1, "")]);
    assert_eq!(runtime.answer(1), (0, "gone, wrote".into()));
    runtime.stop();

    let runtime = start(BOTH[1]);
    runtime.state().reads = [Read::Again].into();
    runtime.events(&[(NFFI_CALL, 1, "left_reader")]);
    runtime.until("it waits", |state| state.read == 1);
    runtime.state().gone = true;
    runtime.events(&[(NFFI_CANCEL, 1, "")]);
    assert_eq!(runtime.answer(1), (0, "gone".into()));
    runtime.stop();
}

#[test]
#[ignore = "needs libpython"]
fn all_who_wait_for_the_same_are_woken() {
    for handler in BOTH {
        let runtime = start(handler);
        runtime.state().full = 2;
        runtime.events(&[(NFFI_CALL, 1, "two_writers")]);
        runtime.until("both wait", |state| state.written == 2);
        runtime.events(&[(NFFI_WRITABLE, 1, "")]);
        assert_eq!(runtime.answer(1), (0, "both".into()), "{handler}");
        runtime.stop();
    }
}

#[test]
#[ignore = "needs libpython"]
fn who_has_its_piece_does_not_take_the_others_event_away() {
    for handler in BOTH {
        let runtime = start(handler);
        runtime.state().reads = [Read::Again, Read::Again, Read::Piece(b"a"), Read::Again, Read::Piece(b"b")].into();
        runtime.events(&[(NFFI_CALL, 1, "two_readers")]);
        runtime.until("both wait", |state| state.read == 2);
        runtime.events(&[(NFFI_READABLE, 1, "")]);
        runtime.until("one waits again", |state| state.read == 4);
        runtime.events(&[(NFFI_READABLE, 1, "")]);
        assert_eq!(runtime.answer(1), (0, "a, b".into()), "{handler}");
        runtime.stop();
    }
}

#[test]
#[ignore = "needs libpython"]
fn a_caller_that_goes_at_once_is_not_missed() {
    let runtime = start(BOTH[1]);
    runtime.events(&[
        (NFFI_CALL, 1, "until_cancelled"),
        (NFFI_CANCEL, 1, ""),
        (NFFI_CALL, 2, "careful"),
        (NFFI_CANCEL, 2, ""),
        (NFFI_CALL, 3, "return str"),
        (NFFI_CANCEL, 3, ""),
    ]);
    assert_eq!(runtime.answer(1), (1, "cancelled".into()));
    assert_eq!(runtime.answer(2), (0, "cleaned up".into()));
    assert_eq!(runtime.answer(3), (0, "päckchen".into()));
    runtime.events(&[(NFFI_CALL, 4, "cancelled")]);
    assert_eq!(runtime.answer(4), (0, "2".into()));
    runtime.stop();
}

#[test]
#[ignore = "needs libpython"]
fn a_request_that_no_memory_holds_is_answered() {
    for handler in BOTH {
        let runtime = start(handler);
        for round in 0..3 {
            let number = round * 10;
            runtime.endless(number, number + 1, "return str");
            let said = "MemoryError: no memory for a request of 1152921504606846976 bytes";
            assert_eq!(runtime.answer(number), (1, said.into()), "{handler}");
            // Its one thread, or its loop, lives; what came with it is not lost.
            assert_eq!(runtime.answer(number + 1), (0, "päckchen".into()), "{handler}");
            assert!(runtime.state().log.iter().any(|line| line == said), "{handler}");
        }
        runtime.stop();
    }
}

#[test]
#[ignore = "needs libpython"]
fn a_piece_that_no_memory_holds_is_an_exception() {
    for handler in BOTH {
        let runtime = start(handler);
        runtime.state().reads = [Read::Endless].into();
        runtime.events(&[(NFFI_CALL, 1, "first_piece")]);
        let said = "MemoryError: no memory for a piece of 1152921504606846976 bytes";
        assert_eq!(runtime.answer(1), (1, said.into()), "{handler}");
        runtime.stop();
    }
}

#[test]
#[ignore = "needs libpython"]
fn an_answer_that_no_memory_holds_is_an_error() {
    for handler in BOTH {
        let runtime = start(handler);
        runtime.state().most = 1000;
        runtime.events(&[(NFFI_CALL, 1, "many 1001")]);
        assert_eq!(runtime.answer(1), (1, "MemoryError: no memory for an answer of 1001 bytes".into()), "{handler}");
        runtime.events(&[(NFFI_CALL, 2, "many_written 1001")]);
        assert_eq!(runtime.answer(2), (1, "MemoryError: no memory for a piece of 1001 bytes".into()), "{handler}");
        runtime.stop();
    }
}
