//! Close frames and the end of the connection.

#![allow(clippy::expect_used)]

mod support;

use nffi_websocket::{Event, SendError, Session};
use support::*;

fn closed(code: u16, reason: &str) -> Event {
    Event::Close { code, reason: reason.into() }
}

#[test]
fn a_close_is_answered_with_its_code() {
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999] {
        let outcome = play(&[close(code, "grüße")]);
        assert_eq!(outcome.events, [closed(code, "grüße")]);
        assert_eq!(outcome.answers.len(), 1);
        assert_eq!(outcome.answers[0].code(), code);
        assert!(outcome.session.is_over());
    }
}

#[test]
fn a_close_without_code_is_answered_without() {
    let outcome = play(&[frame(CLOSE, "")]);
    assert_eq!(outcome.events, [closed(1005, "")]);
    assert_eq!(outcome.answers, [Answer { opcode: CLOSE, payload: vec![] }]);
}

#[test]
fn codes_that_may_not_be_sent_are_a_protocol_error() {
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let outcome = play(&[close(code, "")]);
        assert_eq!(outcome.events.len(), 1, "{code}");
        assert_eq!(outcome.answers.len(), 1);
        assert_eq!(outcome.answers[0].code(), 1002, "{code}");
        assert!(outcome.session.is_over());
    }
}

#[test]
fn a_close_has_no_or_two_bytes_before_its_reason() {
    fails(&[frame(CLOSE, [3])], 1002);
}

#[test]
fn a_reason_is_utf8() {
    fails(&[close(1000, [0xff])], 1007);
    fails(&[close(1000, [0xe2, 0x82])], 1007);
}

#[test]
fn what_comes_behind_a_close_is_dropped() {
    let outcome = play(&[close(1000, ""), frame(TEXT, "late"), frame(PING, "late"), close(1001, "")]);
    assert_eq!(outcome.events, [closed(1000, "")]);
    assert_eq!(outcome.answers.len(), 1);
}

#[test]
fn nothing_is_sent_behind_the_answer_to_a_close() {
    let mut session = play(&[close(1000, "")]).session;
    assert_eq!(session.send_text("x"), Err(SendError::Closed));
    assert_eq!(session.send_binary(b"x"), Err(SendError::Closed));
    assert_eq!(session.ping(b""), Err(SendError::Closed));
    assert_eq!(session.close(1000, ""), Err(SendError::Closed));
    assert!(session.output().is_empty());
}

#[test]
fn our_close_waits_for_the_clients() {
    let mut session = Session::new(LIMITS);
    session.send_text("last").expect("open");
    session.close(1001, "restarting").expect("open");
    assert!(!session.is_open() && !session.is_over());
    let sent = answers(&session.take_output());
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1].payload, b"\x03\xe9restarting");
    assert_eq!(session.send_text("x"), Err(SendError::Closed));
    assert_eq!(session.close(1000, ""), Err(SendError::Closed));
    // Messages under way still arrive; pings have no answer any more.
    session.feed(&frame(TEXT, "under way").bytes());
    session.feed(&frame(PING, "?").bytes());
    assert_eq!(events(&mut session), [Event::Text("under way".into()), Event::Ping("?".into())]);
    assert!(!session.is_over());
    session.feed(&close(1001, "").bytes());
    assert_eq!(events(&mut session), [closed(1001, "")]);
    assert!(session.is_over() && session.output().is_empty());
}

#[test]
fn the_answer_to_a_ping_is_not_behind_our_close() {
    let mut session = Session::new(LIMITS);
    session.feed(&frame(PING, "?").bytes());
    assert!(session.next_event().is_some());
    session.close(1000, "").expect("open");
    assert_eq!(answers(&session.take_output()).iter().map(|a| a.opcode).collect::<Vec<_>>(), [PONG, CLOSE]);
}

#[test]
fn both_may_close_at_once() {
    let mut session = Session::new(LIMITS);
    session.feed(&close(1000, "theirs").bytes());
    session.close(1001, "ours").expect("not yet seen");
    assert_eq!(events(&mut session), [closed(1000, "theirs")]);
    assert!(session.is_over());
    assert_eq!(answers(&session.take_output()).len(), 1);
}

#[test]
fn a_violation_while_closing_has_no_second_close() {
    let mut session = Session::new(LIMITS);
    session.close(1000, "").expect("open");
    session.feed(&frame(3, "").bytes());
    assert!(matches!(session.next_event(), Some(Event::Failed(v)) if v.code == 1002));
    assert!(session.is_over());
    assert_eq!(answers(&session.take_output()).len(), 1);
}

#[test]
fn codes_and_reasons_of_ours_are_checked() {
    let mut session = Session::new(LIMITS);
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        assert_eq!(session.close(code, ""), Err(SendError::Code(code)));
    }
    assert_eq!(session.close(1000, &"x".repeat(124)), Err(SendError::TooLong(124)));
    assert!(session.is_open() && session.output().is_empty());
    session.close(1014, &"x".repeat(123)).expect("as long as it may be");
    assert_eq!(answers(session.output())[0].payload.len(), 125);
}

#[test]
fn an_end_without_close_is_abnormal() {
    let beginnings: [&[u8]; 5] =
        [b"", &[0x81], &[0x81, 0x85, 1, 2, 3, 4, 5], &[0x82, 0xff, 0, 0], &[0x01, 0x81, 0, 0, 0, 0, b'a']];
    for bytes in beginnings {
        let mut session = Session::new(LIMITS);
        session.feed(bytes);
        session.feed_end();
        assert_eq!(events(&mut session), [closed(1006, "")]);
        assert!(session.is_over() && session.output().is_empty());
    }
}

#[test]
fn what_came_before_the_end_is_not_lost() {
    let mut session = Session::new(LIMITS);
    session.feed(&frame(TEXT, "a").bytes());
    session.feed(&frame(TEXT, "b").bytes());
    session.feed_end();
    assert_eq!(events(&mut session), [Event::Text("a".into()), Event::Text("b".into()), closed(1006, "")]);

    let mut session = Session::new(LIMITS);
    session.feed(&close(1000, "").bytes());
    session.feed_end();
    assert_eq!(events(&mut session), [closed(1000, "")]);
}

#[test]
fn an_end_instead_of_the_answer_to_our_close() {
    let mut session = Session::new(LIMITS);
    session.close(1000, "").expect("open");
    session.feed_end();
    assert_eq!(events(&mut session), [closed(1006, "")]);
}
