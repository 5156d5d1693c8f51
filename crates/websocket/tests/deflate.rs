//! permessage-deflate, RFC 7692: compressed messages in frames, right and wrong.

#![allow(clippy::expect_used)]

mod support;

use nffi_websocket::{Event, Session, deflate::Codec};
use support::*;

const OFFER: &str = "permessage-deflate; client_max_window_bits";

/// RSV1.
const COMPRESSED: u8 = 4;

fn session() -> Session {
    Session::with_deflate(LIMITS, Some(agreed(OFFER)))
}

fn codec() -> Codec {
    Codec::new(agreed(OFFER))
}

fn compressed(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame { reserved: COMPRESSED, ..frame(opcode, payload) }
}

fn feed(session: &mut Session, frames: &[Frame]) -> Vec<Event> {
    session.feed(&frames.iter().flat_map(Frame::bytes).collect::<Vec<_>>());
    events(session)
}

#[track_caller]
fn fails(frames: &[Frame], code: u16) {
    let mut session = session();
    let events = feed(&mut session, frames);
    let Some(Event::Failed(violation)) = events.last() else { panic!("{frames:?} passed: {events:?}") };
    assert_eq!(violation.code, code, "{violation}");
    assert_eq!(answers(&session.take_output()).last().map(Answer::code), Some(code));
    assert!(session.is_over());
}

fn text(i: usize) -> String {
    format!("grüße, {{\"number\": {i}, \"of\": \"a message that has more than sixty-four bytes\"}}")
}

#[test]
fn messages_come_and_go() {
    let (mut session, mut client) = (session(), codec());
    for i in 0..100 {
        let message = text(i);
        let payload = client.compress(message.as_bytes()).expect("compressed");
        assert_eq!(feed(&mut session, &[compressed(TEXT, &payload)]), [Event::Text(message.as_str().into())]);
        // Both kinds, and those that are not compressed, may follow each other.
        let payload = client.compress(message.as_bytes()).expect("compressed");
        assert_eq!(
            feed(&mut session, &[compressed(BINARY, &payload), frame(TEXT, "plain"), frame(BINARY, [1])]),
            [Event::Binary(message.clone().into()), Event::Text("plain".into()), Event::Binary(vec![1].into())]
        );
        session.send_text(&message).expect("open");
        session.send_binary(message.as_bytes()).expect("open");
        session.send_text("short").expect("open");
        session.ping(&[b'p'; 100]).expect("open");
        let output = session.take_output();
        assert!(i == 0 || output.len() < 2 * message.len());
        let sent = inflated_answers(&output, Some(&mut client));
        let answer = |opcode, payload: &[u8]| Answer { opcode, payload: payload.to_vec() };
        assert_eq!(
            sent,
            [
                answer(TEXT, message.as_bytes()),
                answer(BINARY, message.as_bytes()),
                answer(TEXT, b"short"),
                answer(PING, &[b'p'; 100]),
            ]
        );
    }
}

#[test]
fn fragments_of_a_compressed_message_with_control_frames_between() {
    let message = text(1);
    let payload = codec().compress(message.as_bytes()).expect("compressed");
    for at in 0..=payload.len() {
        let (first, rest) = payload.split_at(at);
        let frames = [
            compressed(TEXT, first).first(),
            frame(PING, "?"),
            frame(CONTINUATION, "").first(),
            frame(PONG, "!"),
            frame(CONTINUATION, rest),
        ];
        let mut session = session();
        assert_eq!(
            feed(&mut session, &frames),
            [Event::Ping("?".into()), Event::Pong("!".into()), Event::Text(message.as_str().into())]
        );
        assert_eq!(answers(&session.take_output()), [Answer { opcode: PONG, payload: "?".into() }]);
    }
}

#[test]
fn bytes_may_come_one_by_one() {
    let (mut client, mut session, mut got) = (codec(), session(), Vec::new());
    let payloads = [text(1), text(2)].map(|message| client.compress(message.as_bytes()).expect("compressed"));
    for byte in payloads.iter().flat_map(|payload| compressed(TEXT, payload).bytes()) {
        session.feed(&[byte]);
        got.extend(events(&mut session));
    }
    assert_eq!(got, [Event::Text(text(1).into()), Event::Text(text(2).into())]);
}

#[test]
fn the_bit_is_refused_where_it_may_not_be() {
    let payload = codec().compress(text(1).as_bytes()).expect("compressed");
    for frames in [
        // Not agreed on by this client: see frames.rs. Here: other bits, control frames, later fragments.
        vec![Frame { reserved: 2, ..frame(TEXT, "a") }],
        vec![Frame { reserved: 5, ..frame(TEXT, &payload) }],
        vec![compressed(PING, "a")],
        vec![compressed(CLOSE, [3, 232])],
        vec![compressed(CONTINUATION, "a")],
        vec![compressed(TEXT, &payload[..3]).first(), compressed(CONTINUATION, &payload[3..])],
        vec![frame(TEXT, "a").first(), compressed(TEXT, &payload)],
        vec![compressed(TEXT, &payload).first(), frame(TEXT, "a")],
        vec![compressed(3, &payload)],
    ] {
        fails(&frames, 1002);
    }
}

#[test]
fn what_cannot_be_inflated_fails() {
    fails(&[compressed(BINARY, [0xff; 20])], 1002);
    fails(&[compressed(TEXT, "plain text")], 1002);
    // It refers to what was never sent.
    fails(&[compressed(TEXT, [0xf2, 0x00, 0x11, 0x00, 0x00])], 1002);
    // Right as it came, wrong once inflated.
    let payload = codec().compress(&[0xff; 100]).expect("compressed");
    fails(&[compressed(TEXT, &payload)], 1007);
}

#[test]
fn limits_hold_for_what_is_inflated() {
    let most = LIMITS.max_message;
    let payload = codec().compress(&vec![b'x'; most]).expect("compressed");
    assert_eq!(feed(&mut session(), &[compressed(TEXT, &payload)]).len(), 1);
    let payload = codec().compress(&vec![b'x'; most + 1]).expect("compressed");
    fails(&[compressed(TEXT, &payload)], 1009);
    // A thousand times longer, and in fragments.
    let bomb = codec().compress(&vec![0; 500_000]).expect("compressed");
    assert!(bomb.len() < LIMITS.max_frame, "{}", bomb.len());
    fails(&[compressed(BINARY, &bomb)], 1009);
    fails(&[compressed(BINARY, &bomb[..100]).first(), frame(CONTINUATION, &bomb[100..])], 1009);
    // And for what comes.
    fails(&[compressed(BINARY, vec![0; LIMITS.max_frame + 1])], 1009);
    let most = vec![0; LIMITS.max_frame];
    fails(&[compressed(BINARY, &most).first(), frame(CONTINUATION, &most)], 1009);
}
