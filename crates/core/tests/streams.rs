//! Pieces, both ways.

#![allow(clippy::expect_used)]

mod support;

use std::{sync::Arc, thread};

use nffi_core::{
    abi::{
        NFFI_AGAIN, NFFI_BAD, NFFI_CALL, NFFI_CANCEL, NFFI_EOF, NFFI_FULL, NFFI_GONE, NFFI_MORE, NFFI_OK, NFFI_PIECES,
        NFFI_READABLE, NFFI_WRITABLE,
    },
    dispatch::Outcome,
    options::Settings,
    pipe::{Pieces, WINDOW},
};
use support::{Read, Rt, Ticket, request, world};

const PIECE: [u8; 1024] = [7; 1024];

/// Takes all pieces of the answer until the task ends; its last word is a piece too.
fn collect(ticket: &Ticket) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let over = world().on_loop(|l| l.has_ended(ticket));
        while let Some(piece) = world().receive(ticket) {
            all.push(piece);
        }
        if over {
            let last = world().answer(ticket);
            if !last.is_empty() {
                all.push(last);
            }
            return all;
        }
        thread::yield_now();
    }
}

#[test]
fn an_answer_in_pieces_keeps_their_order() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().open(number, b"head", false);
    let event = rt.next();
    assert_eq!((event.flags, &event.data[..]), (NFFI_PIECES, &b"head"[..]));
    assert_eq!(rt.read(event.task), Read::Status(NFFI_EOF), "no more of the request");
    for i in 0..10u8 {
        assert_eq!(rt.write(event.task, &[i]), NFFI_OK);
        assert_eq!(rt.write(event.task, b""), NFFI_OK);
    }
    world().nudge(&ticket);
    assert_eq!(rt.reply(event.task, 0, b"last"), NFFI_OK);
    let mut expected: Vec<Vec<u8>> = (0..10u8).flat_map(|i| [vec![i], vec![]]).collect();
    expected.push(b"last".to_vec());
    assert_eq!(collect(&ticket), expected);
}

#[test]
fn the_answers_window_shuts_and_opens_once() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().open(number, b"", false);
    let task = rt.next().task;
    for _ in 0..WINDOW / PIECE.len() - 1 {
        assert_eq!(rt.write(task, &PIECE), NFFI_OK);
    }
    assert_eq!(rt.write(task, &PIECE), NFFI_FULL);
    assert_eq!(rt.write(task, &PIECE), NFFI_FULL, "who does not listen is told again");
    for _ in 0..WINDOW / PIECE.len() / 2 {
        world().receive(&ticket).expect("a piece");
    }
    assert!(rt.poll(8, 0).is_empty(), "more than half of it is still there");
    world().receive(&ticket).expect("a piece");
    let events = rt.poll(8, 0);
    assert_eq!(events.iter().map(|e| (e.kind, e.task)).collect::<Vec<_>>(), [(NFFI_WRITABLE, task)]);
    while world().receive(&ticket).is_some() {}
    assert!(rt.poll(8, 0).is_empty(), "one WRITABLE for one FULL");
    assert_eq!(rt.write(task, &PIECE), NFFI_OK);
    rt.end(task, 0);
    assert_eq!(collect(&ticket).len(), 1);
}

#[test]
fn a_runtime_deaf_to_full_is_cut_off() {
    let (number, rt) = world().start_idle(Settings { max_response: 10_000, ..Settings::default() });
    let ticket = world().open(number, b"", false);
    let task = rt.next().task;
    let taken = (0..1000).take_while(|_| rt.write(task, &PIECE) != NFFI_GONE).count();
    assert_eq!(taken, (WINDOW + 10_000) / PIECE.len());
    assert!(matches!(world().wait(&ticket), Outcome::TooLarge));
    assert_eq!((rt.next().kind, rt.cancelled(task)), (NFFI_CANCEL, 1));
    assert_eq!(rt.end(task, 0), NFFI_GONE);
    world().wait_until_idle(number);
}

#[test]
fn one_piece_larger_than_the_window() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().open(number, b"", false);
    let task = rt.next().task;
    assert_eq!(rt.write(task, &[1; WINDOW * 3]), NFFI_FULL);
    assert_eq!(world().receive(&ticket).expect("a piece").len(), WINDOW * 3);
    assert_eq!(rt.next().kind, NFFI_WRITABLE);
    rt.end(task, 0);
    collect(&ticket);
}

#[test]
fn pieces_of_no_bytes_are_bounded_too() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().open(number, b"", true);
    let task = rt.next().task;
    let shut = |mut more: Box<dyn FnMut() -> bool>| (0..WINDOW + 10).any(|_| more());
    assert!(shut(Box::new(|| rt.write(task, b"") == NFFI_FULL)));
    assert!(shut(Box::new(|| world().send(&ticket, Some(b"")))));
    for _ in 0..WINDOW / 2 {
        assert_eq!(rt.read(task), Read::Piece(vec![]));
        assert_eq!(world().receive(&ticket), Some(vec![]));
    }
    assert_eq!(rt.next().kind, NFFI_WRITABLE);
    world().nudge(&ticket);
    rt.end(task, 0);
}

#[test]
fn a_request_in_pieces_is_pulled() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().open(number, b"head", true);
    let event = rt.next();
    assert_eq!((event.kind, event.flags), (NFFI_CALL, NFFI_PIECES | NFFI_MORE));
    let task = event.task;
    assert_eq!(rt.read(task), Read::Status(NFFI_AGAIN));
    assert_eq!(rt.read(task), Read::Status(NFFI_AGAIN));
    assert!(!world().send(&ticket, Some(b"one")));
    assert!(!world().send(&ticket, Some(b"two")));
    let events = rt.poll(8, 0);
    assert_eq!(events.iter().map(|e| (e.kind, e.task)).collect::<Vec<_>>(), [(NFFI_READABLE, task)], "one READABLE");
    assert_eq!(rt.read(task), Read::Piece(b"one".to_vec()));
    assert_eq!(rt.read(task), Read::Piece(b"two".to_vec()));
    assert_eq!(rt.read(task), Read::Status(NFFI_AGAIN));
    assert!(!world().send(&ticket, None));
    assert_eq!(rt.next().kind, NFFI_READABLE, "the end is news too");
    assert_eq!(rt.read(task), Read::Status(NFFI_EOF));
    assert_eq!(rt.read(task), Read::Status(NFFI_EOF));
    assert!(rt.poll(8, 0).is_empty());
    rt.end(task, 0);
    collect(&ticket);
}

#[test]
fn the_requests_window_shuts_and_opens_once() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().open(number, b"", true);
    let task = rt.next().task;
    for _ in 0..WINDOW / PIECE.len() - 1 {
        assert!(!world().send(&ticket, Some(&PIECE)));
    }
    assert!(world().send(&ticket, Some(&PIECE)), "shut");
    for _ in 0..WINDOW / PIECE.len() / 2 - 1 {
        assert_eq!(rt.read(task), Read::Piece(PIECE.to_vec()));
    }
    assert!(!world().was_nudged(&ticket), "more than half of it is still there");
    assert_eq!(rt.read(task), Read::Piece(PIECE.to_vec()));
    world().nudge(&ticket);
    assert!(!world().send(&ticket, Some(&PIECE)));
    rt.end(task, 0);
    assert!(collect(&ticket).is_empty());
}

/// A caller may send before any poller has taken the task, past the window even.
#[test]
fn a_request_longer_than_the_window_sent_before_it_is_polled() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().open(number, b"", true);
    for i in 1..=WINDOW / PIECE.len() {
        assert_eq!(world().send(&ticket, Some(&PIECE)), i == WINDOW / PIECE.len());
    }
    let task = rt.next().task;
    assert_eq!(task, ticket.task);
    for _ in 0..WINDOW / PIECE.len() {
        assert_eq!(rt.read(task), Read::Piece(PIECE.to_vec()));
    }
    world().nudge(&ticket);
    rt.end(task, 0);
    collect(&ticket);
}

#[test]
fn and_cancelled_before_it_is_polled() {
    let (number, rt) = world().start_idle(Settings { queue: 1, ..Settings::default() });
    let ticket = world().open(number, b"", true);
    for _ in 0..2 * WINDOW / PIECE.len() {
        world().send(&ticket, Some(&PIECE));
    }
    world().cancel(&ticket);
    assert_eq!(world().counts(number), (0, 0));
    assert!(rt.poll(8, 0).is_empty());
    assert!(world().on_loop(|l| l.dispatch.send(ticket.task, ticket.pieces.as_ref().expect("pieces"), None)).is_err());
    let next = world().call(number, b"");
    rt.end(rt.next().task, 0);
    world().wait(&next);
}

#[test]
fn pieces_for_a_caller_that_wants_one_answer_are_gathered() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().call(number, b"");
    let task = rt.next().task;
    for piece in [&b"one "[..], b"", b"two "] {
        assert_eq!(rt.write(task, piece), NFFI_OK);
    }
    assert_eq!(rt.end(task, 0), NFFI_OK);
    assert_eq!(world().answer(&ticket), b"one two ");

    let ticket = world().call(number, b"");
    let task = rt.next().task;
    rt.write(task, b"one ");
    rt.reply(task, 0, b"and the rest");
    assert_eq!(world().answer(&ticket), b"one and the rest");

    let ticket = world().call(number, b"");
    let task = rt.next().task;
    rt.write(task, b"half of an answer");
    rt.reply(task, 3, b"then this happened");
    match world().wait(&ticket) {
        Outcome::Answer(answer) => {
            assert_eq!((answer.status, answer.data.as_slice()), (3, &b"then this happened"[..]));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn gathered_pieces_are_bounded() {
    let (number, rt) = world().start_idle(Settings { max_response: 2500, ..Settings::default() });
    let ticket = world().call(number, b"");
    let task = rt.next().task;
    assert_eq!(rt.write(task, &PIECE), NFFI_OK);
    assert_eq!(rt.write(task, &PIECE), NFFI_OK);
    assert_eq!(rt.cancelled(task), 0);
    assert_eq!(rt.write(task, &PIECE), NFFI_GONE);
    assert!(matches!(world().wait(&ticket), Outcome::TooLarge), "at once, not when the task ends");
    assert_eq!(rt.cancelled(task), 1);
    assert_eq!((rt.next().kind, rt.write(task, b"x")), (NFFI_CANCEL, NFFI_GONE));
    assert_eq!(world().counts(number), (1, 1));
    assert_eq!(rt.end(task, 0), NFFI_GONE);
    world().wait_until_idle(number);

    // The last word counts, and so does an overflow that the loop has not seen before the end.
    let ticket = world().call(number, b"");
    let task = rt.next().task;
    rt.write(task, &PIECE);
    rt.write(task, &PIECE);
    rt.reply(task, 0, &PIECE);
    assert!(matches!(world().wait(&ticket), Outcome::TooLarge));
    let ticket = world().call(number, b"");
    let task = rt.next().task;
    world().on_loop(|_| {
        rt.write(task, &[0; 2501]);
        rt.end(task, 0);
    });
    assert!(matches!(world().wait(&ticket), Outcome::TooLarge));
    world().wait_until_idle(number);
}

#[test]
fn a_stream_whose_caller_has_gone() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().open(number, b"", true);
    let task = rt.next().task;
    world().send(&ticket, Some(b"unread"));
    rt.write(task, b"unread");
    world().cancel(&ticket);
    assert_eq!(rt.next().kind, NFFI_CANCEL);
    assert_eq!(rt.write(task, b"x"), NFFI_GONE);
    assert_eq!(rt.read(task), Read::Status(NFFI_GONE));
    assert_eq!(rt.end(task, 0), NFFI_GONE);
    assert_eq!(rt.write(task, b"x"), NFFI_BAD);
    world().wait_until_idle(number);
    let pieces = ticket.pieces.clone().expect("pieces");
    assert_eq!(Arc::strong_count(&pieces), 2, "the host has let go");
}

#[test]
fn two_threads_write_to_one_stream() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().open(number, b"", false);
    let task = rt.next().task;
    let writers: Vec<_> = (0..2u8)
        .map(|id| {
            thread::spawn(move || {
                for i in 0..=255u8 {
                    assert!(rt.write(task, &[id, i]) >= 0);
                }
            })
        })
        .collect();
    let ender = thread::spawn(move || {
        writers.into_iter().for_each(|w| w.join().expect("writer"));
        rt.end(task, 0);
    });
    let pieces = collect(&ticket);
    ender.join().expect("ender");
    for id in 0..2u8 {
        let own: Vec<u8> = pieces.iter().filter(|p| p[0] == id).map(|p| p[1]).collect();
        assert_eq!(own, (0..=255).collect::<Vec<_>>(), "in the order of the calls");
    }
}

/// Echoes pieces as a well-behaved runtime does: reads until AGAIN or FULL, goes on at
/// READABLE and WRITABLE.
fn echo_pieces(rt: Rt) {
    thread::spawn(move || {
        loop {
            let event = rt.next();
            match event.kind {
                NFFI_CALL | NFFI_READABLE | NFFI_WRITABLE => loop {
                    match rt.read(event.task) {
                        Read::Piece(piece) => {
                            if rt.write(event.task, &piece) == NFFI_FULL {
                                break;
                            }
                        }
                        Read::Status(NFFI_AGAIN) => break,
                        Read::Status(NFFI_EOF) => {
                            rt.end(event.task, 0);
                            break;
                        }
                        other => panic!("{other:?}"),
                    }
                },
                _ => return rt.stopped(),
            }
        }
    });
}

#[test]
fn megabytes_both_ways_at_once() {
    let number = world().start(Settings::default(), echo_pieces);
    let tickets: Vec<_> = (0..4).map(|_| world().open(number, b"", true)).collect();
    let callers: Vec<_> = tickets
        .into_iter()
        .map(|ticket| {
            thread::spawn(move || {
                let piece = |i: usize| vec![i as u8; 1 + i * 37 % 9000];
                let (mut sent, mut got, mut received) = (0, 0, Vec::new());
                let total = 2 << 20;
                let mut pieces = 0;
                let mut may_send = true;
                while got < total {
                    while may_send && sent < total {
                        let next = piece(pieces);
                        sent += next.len();
                        pieces += 1;
                        may_send = !world().send(&ticket, Some(&next));
                        if sent >= total {
                            world().send(&ticket, None);
                        }
                    }
                    while let Some(piece) = world().receive(&ticket) {
                        got += piece.len();
                        received.push(piece);
                    }
                    if got < total {
                        world().nudge(&ticket);
                        may_send = may_send || ticket.pieces.as_ref().expect("pieces").request.is_open();
                    }
                }
                assert_eq!(got, sent);
                assert!(received.iter().enumerate().all(|(i, p)| *p == piece(i)));
                world().answer(&ticket);
            })
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().expect("caller"));
    world().wait_until_idle(number);
}

#[test]
fn pieces_of_a_submission_are_given_back() {
    let (number, rt) = world().start_idle(Settings::default());
    let pieces = Arc::new(Pieces::default());
    let mut submission = request(b"");
    submission.pieces = Some(pieces.clone());
    let ticket = world().submit(number, submission).expect("admitted");
    rt.reply(rt.next().task, 0, b"");
    world().wait(&ticket);
    drop(ticket);
    assert_eq!(Arc::strong_count(&pieces), 1);
}
