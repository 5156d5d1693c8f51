//! Frames and messages: what RFC 6455 wants of a client, one rule after the other.

#![allow(clippy::expect_used)]

mod support;

use nffi_websocket::{Event, Limits, SendError, Session};
use support::*;

fn text(s: &str) -> Event {
    Event::Text(s.into())
}

fn binary(b: impl Into<Vec<u8>>) -> Event {
    Event::Binary(b.into().into())
}

#[test]
fn whole_messages_arrive() {
    let outcome = play(&[frame(TEXT, "grüße"), frame(BINARY, [0, 255]), frame(TEXT, ""), frame(BINARY, "")]);
    assert_eq!(outcome.events, [text("grüße"), binary([0, 255]), text(""), binary([])]);
    assert!(outcome.answers.is_empty() && outcome.session.is_open());
}

#[test]
fn a_mask_is_required_of_any_frame() {
    for opcode in [TEXT, BINARY, PING, PONG, CLOSE] {
        fails(&[Frame { mask: None, ..frame(opcode, "") }], 1002);
        fails(&[frame(TEXT, "a"), Frame { mask: None, ..frame(opcode, [3, 232]) }], 1002);
    }
}

#[test]
fn reserved_bits_are_refused() {
    for reserved in 1..8 {
        for opcode in [TEXT, BINARY, PING, PONG, CLOSE] {
            fails(&[Frame { reserved, ..frame(opcode, "") }], 1002);
        }
        fails(&[frame(TEXT, "a").first(), Frame { reserved, ..frame(CONTINUATION, "b") }], 1002);
    }
}

#[test]
fn reserved_opcodes_are_refused() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        fails(&[frame(opcode, "")], 1002);
        fails(&[frame(TEXT, "a").first(), frame(opcode, "")], 1002);
    }
}

#[test]
fn control_frames_are_short() {
    let most = "x".repeat(125);
    let outcome = play(&[frame(PING, &most), frame(PONG, &most)]);
    assert_eq!(outcome.events, [Event::Ping(most.clone().into()), Event::Pong(most.clone().into())]);
    assert_eq!(outcome.answers, [Answer { opcode: PONG, payload: most.into() }]);
    for opcode in [PING, PONG] {
        fails(&[frame(opcode, "x".repeat(126))], 1002);
    }
    fails(&[close(1000, "x".repeat(124))], 1002);
}

#[test]
fn control_frames_are_whole() {
    for opcode in [PING, PONG, CLOSE] {
        fails(&[frame(opcode, "").first()], 1002);
        fails(&[frame(TEXT, "a").first(), frame(opcode, "").first()], 1002);
    }
}

#[test]
fn lengths_may_be_written_in_any_form() {
    for width in [Width::Two, Width::Eight] {
        let outcome = play(&[Frame { width, ..frame(TEXT, "abc") }]);
        assert_eq!(outcome.events, [text("abc")]);
    }
}

#[test]
fn fragments_make_a_message() {
    let outcome = play(&[
        frame(TEXT, "a").first(),
        frame(CONTINUATION, "").first(),
        frame(CONTINUATION, "b").first(),
        frame(CONTINUATION, "c"),
        frame(BINARY, [1]).first(),
        frame(CONTINUATION, []),
        frame(TEXT, "").first(),
        frame(CONTINUATION, ""),
    ]);
    assert_eq!(outcome.events, [text("abc"), binary([1]), text("")]);
}

#[test]
fn control_frames_may_come_between_fragments() {
    let outcome = play(&[
        frame(TEXT, "a").first(),
        frame(PING, "1"),
        frame(CONTINUATION, "b").first(),
        frame(PONG, "2"),
        frame(PING, "3"),
        frame(CONTINUATION, "c"),
    ]);
    assert_eq!(
        outcome.events,
        [Event::Ping("1".into()), Event::Pong("2".into()), Event::Ping("3".into()), text("abc")]
    );
    let pong = |s: &str| Answer { opcode: PONG, payload: s.into() };
    assert_eq!(outcome.answers, [pong("1"), pong("3")], "each ping has its answer");
}

#[test]
fn a_close_may_come_between_fragments() {
    let outcome = play(&[frame(TEXT, "a").first(), close(1001, "")]);
    assert_eq!(outcome.events, [Event::Close { code: 1001, reason: "".into() }]);
}

#[test]
fn messages_do_not_interleave() {
    fails(&[frame(CONTINUATION, "a")], 1002);
    fails(&[frame(CONTINUATION, "a").first()], 1002);
    for opcode in [TEXT, BINARY] {
        fails(&[frame(TEXT, "a").first(), frame(opcode, "b")], 1002);
        fails(&[frame(BINARY, "a").first(), frame(opcode, "b").first()], 1002);
    }
    fails(&[frame(TEXT, "a"), frame(CONTINUATION, "b")], 1002);
    fails(&[frame(TEXT, "a").first(), frame(CONTINUATION, "b"), frame(CONTINUATION, "c")], 1002);
}

#[test]
fn text_is_utf8() {
    // Alone, cut off, overlong, a surrogate, beyond the last, a byte that never is.
    for bad in [
        "\u{ff}".as_bytes()[1..].to_vec(),
        vec![0xe2, 0x82],
        vec![0xc0, 0xaf],
        vec![0xed, 0xa0, 0x80],
        vec![0xf4, 0x90, 0x80, 0x80],
        vec![0xff],
    ] {
        fails(&[frame(TEXT, &bad)], 1007);
        fails(&[frame(TEXT, "ok").first(), frame(CONTINUATION, &bad)], 1007);
        let outcome = play(&[frame(BINARY, &bad)]);
        assert_eq!(outcome.events, [binary(bad)], "binary is anything");
    }
}

#[test]
fn a_character_may_be_cut_by_fragments() {
    let whole = "€𝄞ä".as_bytes();
    for at in 0..=whole.len() {
        let outcome = play(&[frame(TEXT, &whole[..at]).first(), frame(PING, ""), frame(CONTINUATION, &whole[at..])]);
        assert_eq!(outcome.events.last(), Some(&text("€𝄞ä")));
    }
    let mut each: Vec<_> = whole.iter().map(|b| frame(CONTINUATION, [*b]).first()).collect();
    each[0].opcode = TEXT;
    each.push(frame(CONTINUATION, ""));
    assert_eq!(play(&each).events, [text("€𝄞ä")]);
}

#[test]
fn what_no_fragment_can_mend_fails_before_the_message_is_whole() {
    fails(&[frame(TEXT, [0xe2]).first(), frame(CONTINUATION, "a").first()], 1007);
    fails(&[frame(TEXT, [0xff]).first()], 1007);
    fails(&[frame(TEXT, [0xe2, 0x82]).first(), frame(CONTINUATION, "")], 1007);
}

#[test]
fn limits_hold_for_frames_and_messages() {
    let Limits { max_message, max_frame } = LIMITS;
    let most = vec![b'x'; max_frame];
    assert_eq!(play(&[frame(BINARY, &most)]).events, [binary(most.clone())]);
    fails(&[frame(BINARY, vec![0; max_frame + 1])], 1009);
    // The rest of a message that is as long as it may be, and of one that is a byte longer.
    let rest = vec![b'x'; max_message - max_frame];
    for opcode in [TEXT, BINARY] {
        let first = frame(opcode, &most).first();
        assert_eq!(play(&[first.clone(), frame(CONTINUATION, &rest)]).events.len(), 1);
        fails(&[first.clone(), frame(CONTINUATION, [&rest[..], b"x"].concat())], 1009);
        fails(&[first, frame(CONTINUATION, &rest).first(), frame(CONTINUATION, "x").first()], 1009);
    }
    // A message in one frame, where frames may be longer.
    let mut session = Session::new(Limits { max_message: 10, max_frame: 100 });
    session.feed(&frame(TEXT, "x".repeat(11)).bytes());
    assert!(matches!(session.next_event(), Some(Event::Failed(v)) if v.code == 1009));
}

#[test]
fn a_length_that_is_too_big_fails_at_the_header() {
    for len in [LIMITS.max_frame as u64 + 1, u64::from(u32::MAX) + 1, u64::MAX >> 1, u64::MAX] {
        let mut session = Session::new(LIMITS);
        session.feed(&[0x82, 0xff]);
        assert_eq!(session.next_event(), None);
        session.feed(&len.to_be_bytes());
        session.feed(&[1, 2, 3, 4]);
        assert!(matches!(session.next_event(), Some(Event::Failed(v)) if v.code == 1009), "{len}");
        assert_eq!(answers(&session.take_output())[0].code(), 1009);
    }
}

#[test]
fn bytes_may_come_one_by_one() {
    let frames = [
        frame(TEXT, "grüße"),
        frame(BINARY, vec![7; 300]).first(),
        frame(PING, "?"),
        frame(CONTINUATION, vec![8; 200]),
        frame(TEXT, ""),
        close(4000, "bye"),
    ];
    let at_once = play(&frames);
    let (mut session, mut one_by_one) = (Session::new(LIMITS), Vec::new());
    for byte in frames.iter().flat_map(Frame::bytes) {
        session.feed(&[byte]);
        one_by_one.extend(events(&mut session));
    }
    assert_eq!(one_by_one, at_once.events);
    assert_eq!(one_by_one.len(), 5);
    assert_eq!(answers(&session.take_output()), at_once.answers);
}

#[test]
fn large_messages_come_and_go() {
    let large: Vec<u8> = (0..10_000_000_u32).map(|i| ((i * 31) >> 3) as u8).collect();
    let mut session = Session::new(Limits::default());
    for piece in frame(BINARY, &large).bytes().chunks(65_536) {
        assert_eq!(session.next_event(), None);
        session.feed(piece);
    }
    assert_eq!(session.next_event(), Some(binary(large.clone())));
    session.send_binary(&large).expect("open");
    assert_eq!(answers(&session.take_output()), [Answer { opcode: BINARY, payload: large }]);
}

#[test]
fn what_is_sent_are_frames_of_each_length() {
    let mut session = Session::new(LIMITS);
    let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000];
    for len in lengths {
        session.send_text(&"t".repeat(len)).expect("open");
        session.send_binary(&vec![9; len]).expect("open");
    }
    session.ping(&[1; 125]).expect("open");
    assert_eq!(session.ping(&[1; 126]), Err(SendError::TooLong(126)));
    let sent = answers(session.output());
    assert_eq!(
        sent.iter().map(|a| a.payload.len()).collect::<Vec<_>>(),
        [lengths.iter().flat_map(|l| [*l, *l]).collect(), vec![125]].concat()
    );
    assert_eq!(sent.last().map(|a| a.opcode), Some(PING));
    session.clear_output();
    assert!(session.output().is_empty());
}
