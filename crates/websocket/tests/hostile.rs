//! Anything a client may send, and an app do, at random: right frames, wrong ones, mutated and raw bytes,
//! in pieces of any size. Failures are shrunk and reported with the input that makes them.

#![allow(clippy::expect_used)]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use nffi_websocket::{Deflate, Event, Limits, Session, deflate::Codec};
use proptest::{collection::vec, prelude::*};
use support::*;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// Counts what this thread holds.
struct Counting;

fn count(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

// SAFETY: the system's allocator does the work; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// With room for messages that a session does not keep the memory of.
const WIDE: Limits = Limits { max_message: 40_000, max_frame: 25_000 };

/// What happens to a session.
#[derive(Debug, Clone)]
enum Step {
    Frame(Frame),
    /// A frame with one byte changed and some cut off.
    Mutated(Frame, prop::sample::Index, u8, u8),
    Raw(Vec<u8>),
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Close(u16, String),
    /// The output is written away.
    Written,
    End,
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => vec(any::<u8>(), 0..20),
        4 => any::<String>().prop_map(|s| s.into_bytes().into_iter().take(700).collect()),
        2 => (0_usize..700, any::<u8>()).prop_map(|(n, b)| vec![b; n]),
        2 => (any::<u16>(), ".{0,40}").prop_map(|(code, s)| [&code.to_be_bytes()[..], s.as_bytes()].concat()),
        1 => (16_000_usize..26_000, any::<u8>()).prop_map(|(n, b)| vec![b; n]),
        1 => (990_u16..1020, "[a-z]{0,9}").prop_map(|(code, s)| [&code.to_be_bytes()[..], s.as_bytes()].concat()),
    ]
}

fn frames() -> impl Strategy<Value = Frame> {
    let opcode = prop_oneof![12 => 0_u8..3, 4 => 8_u8..11, 1 => 0_u8..16];
    let width = prop_oneof![8 => Just(Width::Shortest), 1 => Just(Width::Two), 1 => Just(Width::Eight)];
    let mask = prop_oneof![20 => any::<[u8; 4]>().prop_map(Some), 1 => Just(None)];
    let reserved = prop_oneof![20 => Just(0_u8), 1 => 0_u8..8, 1 => Just(4_u8)];
    (any::<bool>(), reserved, opcode, mask, width, payload(), 0_u8..4).prop_map(
        |(fin, mut reserved, opcode, mask, width, mut payload, how)| {
            // Where nothing was agreed on, that is wrong, too.
            if how == 0
                && (opcode == TEXT || opcode == BINARY)
                && let Some(compressed) = Codec::new(agreed("permessage-deflate")).compress(&payload)
            {
                (reserved, payload) = (4, compressed);
            }
            Frame {
                // Mostly as it must be.
                fin: fin || opcode > 2,
                reserved,
                opcode,
                mask,
                width,
                payload,
            }
        },
    )
}

/// No compression, or some.
fn deflates() -> impl Strategy<Value = Option<Deflate>> {
    prop_oneof![
        Just(None),
        Just(Some(agreed("permessage-deflate"))),
        Just(Some(agreed("permessage-deflate; client_max_window_bits; server_no_context_takeover"))),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => frames().prop_map(Step::Frame),
        2 => (frames(), any::<prop::sample::Index>(), any::<u8>(), 0_u8..4).prop_map(|(f, i, b, n)| Step::Mutated(f, i, b, n)),
        1 => vec(any::<u8>(), 0..40).prop_map(Step::Raw),
        2 => any::<String>().prop_map(Step::Text),
        2 => payload().prop_map(Step::Binary),
        1 => payload().prop_map(Step::Ping),
        1 => (prop_oneof![Just(1000_u16), any::<u16>()], ".{0,50}").prop_map(|(c, s)| Step::Close(c, s)),
        2 => Just(Step::Written),
        1 => Just(Step::End),
    ];
    vec(step, 0..24)
}

/// Feeds in pieces of `size`, each followed by all its events.
fn feed(session: &mut Session, bytes: &[u8], size: usize, events: &mut Vec<Event>) {
    for piece in bytes.chunks(size) {
        session.feed(piece);
        while let Some(event) = session.next_event() {
            events.push(event);
        }
    }
}

/// All that came out: events, and bytes.
fn run(steps: &[Step], size: usize, limits: Limits, deflate: Option<Deflate>) -> (Vec<Event>, Vec<u8>) {
    let mut session = Session::with_deflate(limits, deflate);
    let (mut events, mut output) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Frame(frame) => feed(&mut session, &frame.bytes(), size, &mut events),
            Step::Mutated(frame, at, byte, cut) => {
                let mut bytes = frame.bytes();
                let at = at.index(bytes.len());
                bytes[at] = *byte;
                bytes.truncate(bytes.len() - usize::from(*cut).min(bytes.len()));
                feed(&mut session, &bytes, size, &mut events);
            }
            Step::Raw(bytes) => feed(&mut session, bytes, size, &mut events),
            Step::Text(text) => drop(session.send_text(text)),
            Step::Binary(bytes) => drop(session.send_binary(bytes)),
            Step::Ping(bytes) => drop(session.ping(bytes)),
            Step::Close(code, reason) => drop(session.close(*code, reason)),
            Step::Written => output.append(&mut session.take_output()),
            Step::End => {
                session.feed_end();
                events.extend(support::events(&mut session));
            }
        }
    }
    output.append(&mut session.take_output());
    if session.is_over() {
        assert!(session.next_event().is_none() && !session.is_open());
    }
    (events, output)
}

fn is_last(event: &Event) -> bool {
    matches!(event, Event::Close { .. } | Event::Failed(_))
}

/// `PROPTEST_CASES=100000` in the environment makes a long run of it.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3 * config().cases, ..config() })]

    /// A client can read what is sent, whatever it and the app did; what is reported has an end, and does
    /// not depend on how the bytes were cut.
    #[test]
    fn the_output_is_well_formed_and_the_events_are_sane(
        steps in steps(), size in 1_usize..900, wide in any::<bool>(), deflate in deflates()
    ) {
        let limits = if wide { WIDE } else { LIMITS };
        let (events, output) = run(&steps, size, limits, deflate);
        let answers = inflated_answers(&output, deflate.map(Codec::new).as_mut());
        for (i, event) in events.iter().enumerate() {
            prop_assert_eq!(is_last(event), is_last(event) && i + 1 == events.len(), "an event behind the last one");
            if let Event::Text(text) = event {
                prop_assert!(std::str::from_utf8(text.as_ref()).is_ok() && text.len() <= limits.max_message);
            }
            if let Event::Binary(bytes) = event {
                prop_assert!(bytes.len() <= limits.max_message);
            }
        }
        match events.last() {
            Some(Event::Failed(_)) => prop_assert_eq!(answers.last().map(|a| a.opcode), Some(CLOSE)),
            Some(Event::Close { code, .. }) if *code != 1006 => {
                prop_assert_eq!(answers.last().map(|a| a.opcode), Some(CLOSE));
            }
            _ => {}
        }
        let (byte_by_byte, output_then) = run(&steps, if wide { 97 } else { 1 }, limits, deflate);
        prop_assert_eq!(events, byte_by_byte);
        prop_assert_eq!(output, output_then);
    }

    /// Bytes of no sense at all.
    #[test]
    fn noise_is_survived(noise in vec(any::<u8>(), 0..3000), size in 1_usize..900) {
        let (events, output) = run(&[Step::Raw(noise)], size, LIMITS, None);
        answers(&output);
        prop_assert!(events.iter().filter(|e| is_last(e)).count() <= 1);
    }

}

proptest! {
    #![proptest_config(config())]

    /// A client that only sends, and never lets its message end, cannot make the session hold more than
    /// the limits allow. (Room for a message grows by doubling.)
    #[test]
    fn memory_is_bounded(frames in vec(frames(), 0..60), size in 1_usize..900, deflate in deflates()) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        // What the thread has for all of its sessions.
        let _ = Codec::new(agreed("permessage-deflate")).inflate(&[0], 1);
        let before = HELD.get();
        MOST.set(before);
        let mut session = Session::with_deflate(LIMITS, deflate);
        for piece in bytes.chunks(size) {
            session.feed(piece);
            while session.next_event().is_some() {}
            session.clear_output();
        }
        let most = (MOST.get() - before) as usize;
        let text = if deflate.is_some() { 2 * (34 << 10) + LIMITS.max_message } else { 0 };
        let allowed = 2 * 4096 + 2 * LIMITS.max_message + 3 * LIMITS.max_frame + 4 * size + 1024 + text;
        prop_assert!(most <= allowed, "{most} bytes held, {allowed} allowed");
        drop(session);
        prop_assert_eq!(HELD.get(), before);
    }
}

/// Pings that nobody reads the answers of: the output has no more bytes than what was fed.
#[test]
fn answers_to_pings_are_shorter_than_the_pings() {
    let mut session = Session::new(LIMITS);
    let mut fed = 0;
    for i in 0..10_000 {
        let ping = frame(PING, vec![b'x'; i % 126]).bytes();
        fed += ping.len();
        session.feed(&ping);
        while session.next_event().is_some() {}
    }
    assert!(session.output().len() < fed);
    assert_eq!(answers(session.output()).len(), 10_000);
}

#[test]
fn an_idle_session_keeps_little() {
    let large = Limits { max_message: 4 << 20, max_frame: 4 << 20 };
    let before = HELD.get();
    let mut session = Session::new(large);
    for opcode in [BINARY, TEXT] {
        session.feed(&frame(opcode, vec![b'x'; 1 << 20]).bytes());
        let message = session.next_event().expect("a message");
        session.send_binary(&vec![0; 2 << 20]).expect("open");
        assert!(HELD.get() - before > 3 << 20);
        session.clear_output();
        drop(message);
        // A message in fragments, each small or not.
        session.feed(&frame(opcode, vec![b'x'; 100_000]).first().bytes());
        session.feed(&frame(PING, "").bytes());
        session.feed(&frame(CONTINUATION, "x").bytes());
        assert!(matches!(session.next_event(), Some(Event::Ping(_))) && session.next_event().is_some());
        assert_eq!(session.next_event(), None);
        assert!(HELD.get() - before < 64 << 10, "{} bytes", HELD.get() - before);
    }
}
