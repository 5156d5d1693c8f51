//! HTTP tasks: what a runtime may do, in which order, and what the event loop gets of it.

#![allow(clippy::expect_used)]

mod support;

use std::{
    fs::{self, File},
    io::Write,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use nffi_core::{
    abi::{
        self, NFFI_AGAIN, NFFI_BAD, NFFI_CANCEL, NFFI_EOF, NFFI_FULL, NFFI_GONE, NFFI_HTTP, NFFI_HTTP_UPGRADE,
        NFFI_MORE, NFFI_OK, NFFI_PIECES, NFFI_READABLE, NFFI_WRITABLE,
    },
    dispatch::{Outcome, Submission},
    http::{Head, Http, HttpEnd, RequestHead},
    options::Settings,
    pipe::{Piece, Pieces, WINDOW, Weight},
    queue::monotonic_ns,
};
use support::{Event, Read, Rt, Ticket, request, world};

const PIECE: [u8; 1024] = [7; 1024];

/// An HTTP request that may be polled.
fn open(number: u32, flags: u32, more: bool, body: Option<File>) -> Ticket {
    let head = RequestHead {
        flags,
        version: 1001,
        method: b"GET",
        path: b"/",
        body_fd: body.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        ..RequestHead::default()
    };
    let submission = Submission {
        data: head.block().expect("memory"),
        pieces: Some(Arc::new(Pieces::default())),
        more,
        http: Some(Box::new(Http::new(body.map(Into::into)))),
        request_id: 7,
        ..request(b"")
    };
    world().submit(number, submission).expect("admitted")
}

/// The same, polled.
fn get(number: u32, rt: Rt, flags: u32) -> (Ticket, u64) {
    let ticket = open(number, flags, false, None);
    let event = rt.next();
    assert_eq!((event.kind, event.task), (NFFI_HTTP, ticket.task));
    (ticket, event.task)
}

type Headers = Vec<(Vec<u8>, Vec<u8>)>;

fn headers_of(head: &Head) -> Headers {
    head.headers().map(|(n, v)| (n.to_vec(), v.to_vec())).collect()
}

/// What the event loop finds in the pipe.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Head(u16, Headers),
    Data(Vec<u8>),
    File(u64, u64),
}

impl From<Piece> for Got {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Head(head) => Self::Head(head.status, headers_of(&head)),
            Piece::Data(data) => Self::Data(data.as_slice().to_vec()),
            Piece::File { offset, length, .. } => Self::File(offset, length),
        }
    }
}

fn data(bytes: &[u8]) -> Got {
    Got::Data(bytes.to_vec())
}

fn pieces(ticket: &Ticket) -> &Pieces {
    ticket.pieces.as_deref().expect("pieces")
}

/// Takes all that is there, and is done with it.
fn take_all(ticket: &Ticket) -> Vec<Got> {
    let mut all = Vec::new();
    while let Some(piece) = pieces(ticket).answer.take() {
        consumed(ticket, piece.weight());
        all.push(piece.into());
    }
    all
}

fn consumed(ticket: &Ticket, weight: usize) {
    world().on_loop(|l| l.dispatch.consumed(ticket.task, pieces(ticket), weight));
}

fn ended(ticket: &Ticket) -> HttpEnd {
    match world().wait(ticket) {
        Outcome::Http(end) => end,
        other => panic!("not an HTTP answer but {other:?}"),
    }
}

/// A file of that name, which is gone already but for its descriptor; and what /proc calls it.
fn file(name: &str, text: &[u8]) -> (File, PathBuf) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a file");
    file.write_all(text).expect("written");
    fs::remove_file(&path).expect("removed");
    let mut link = path.into_os_string();
    link.push(" (deleted)");
    (file, link.into())
}

/// How many descriptors of this process are of that file.
fn descriptors(link: &Path) -> usize {
    let all = fs::read_dir("/proc/self/fd").expect("proc");
    all.filter(|fd| fs::read_link(fd.as_ref().expect("an entry").path()).is_ok_and(|to| to == link)).count()
}

const TYPE: (&[u8], &[u8]) = (b"Content-Type", b"text/plain");

fn plain() -> Headers {
    vec![(TYPE.0.to_vec(), TYPE.1.to_vec())]
}

#[test]
fn a_head_and_a_reply_come_together() {
    let (number, rt) = world().start_idle(Settings::default());
    let before = monotonic_ns();
    let ticket = open(number, 0, false, None);
    assert_eq!(world().on_loop(|l| l.dispatch.polled(ticket.task)), None);
    let event = rt.next();
    let task = event.task;
    assert_eq!((event.kind, event.flags), (NFFI_HTTP, NFFI_PIECES));
    assert_eq!(event.data.len(), size_of::<abi::nffi_http_request>(), "the event's len is the structure's");
    assert_eq!(rt.http(task) as usize, event.address);
    let polled = world().on_loop(|l| l.dispatch.polled(task)).expect("it was");
    assert!(before <= polled && polled <= monotonic_ns());
    assert_eq!(rt.read(task), Read::Status(NFFI_EOF));
    assert_eq!(rt.http_head(task, 200, &[TYPE, (b"A", b""), TYPE]), NFFI_OK);
    assert!(take_all(&ticket).is_empty() && !world().was_nudged(&ticket), "it waits for what comes with it");
    assert_eq!(rt.reply(task, 0, b"all"), NFFI_OK);
    let end = ended(&ticket);
    let head = end.head.expect("a head");
    let expected = [plain(), vec![(b"A".to_vec(), vec![])], plain()].concat();
    assert_eq!((head.status, headers_of(&head)), (200, expected));
    assert_eq!((end.status, end.data.as_slice(), end.polled), (0, &b"all"[..], polled));
    assert!(end.trailers.is_none() && take_all(&ticket).is_empty());
    assert!(rt.http(task).is_null(), "it has ended");
    assert_eq!(world().on_loop(|l| l.dispatch.polled(task)), None);
}

#[test]
fn a_head_goes_before_the_first_piece() {
    let (number, rt) = world().start_idle(Settings::default());
    let (ticket, task) = get(number, rt, 0);
    rt.http_head(task, 999, &[TYPE]);
    assert_eq!(rt.write(task, b"one"), NFFI_OK);
    world().nudge(&ticket);
    assert_eq!(take_all(&ticket), [Got::Head(999, plain()), data(b"one")]);
    assert_eq!(rt.write(task, b"two"), NFFI_OK);
    assert_eq!(take_all(&ticket), [data(b"two")]);
    assert_eq!(rt.end(task, 0), NFFI_OK);
    let end = ended(&ticket);
    assert!(end.head.is_none() && end.data.is_empty() && end.status == 0);
}

#[test]
fn a_write_of_no_bytes_sends_the_head() {
    let (number, rt) = world().start_idle(Settings::default());
    let (ticket, task) = get(number, rt, 0);
    rt.http_head(task, 200, &[]);
    assert_eq!(rt.write(task, b""), NFFI_OK);
    world().nudge(&ticket);
    assert_eq!(take_all(&ticket), [Got::Head(200, vec![])]);
    assert_eq!(rt.write(task, b""), NFFI_OK);
    assert!(take_all(&ticket).is_empty(), "a flush is no piece");
    assert_eq!(pieces(&ticket).answer.bytes(), 0);
    rt.end(task, 0);
    assert!(ended(&ticket).head.is_none());
}

#[test]
fn informational_heads_go_at_once() {
    let (number, rt) = world().start_idle(Settings::default());
    let (ticket, task) = get(number, rt, 0);
    for status in [100, 102, 103, 103, 199] {
        assert_eq!(rt.http_head(task, status, &[TYPE]), NFFI_OK);
        world().nudge(&ticket);
        assert_eq!(take_all(&ticket), [Got::Head(status as u16, plain())]);
    }
    assert_eq!(rt.write(task, b"early"), NFFI_BAD, "they are not the head");
    assert_eq!(rt.http_head(task, 200, &[]), NFFI_OK);
    assert_eq!(rt.http_head(task, 103, &[]), NFFI_BAD);
    rt.end(task, 0);
    assert_eq!(ended(&ticket).head.expect("a head").status, 200);
}

#[test]
fn trailers_come_with_the_end() {
    let (number, rt) = world().start_idle(Settings::default());
    let (ticket, task) = get(number, rt, 0);
    rt.http_head(task, 200, &[]);
    rt.write(task, b"body");
    assert_eq!(rt.http_trailers(task, &[(b"X-Sum", b"42"), (b"X-Sum", b"43")]), NFFI_OK);
    assert_eq!(take_all(&ticket).len(), 2);
    rt.end(task, 0);
    let trailers = ended(&ticket).trailers.expect("trailers");
    let sum = |value: &[u8]| (b"X-Sum".to_vec(), value.to_vec());
    assert_eq!((trailers.status, headers_of(&trailers)), (0, vec![sum(b"42"), sum(b"43")]));
}

#[test]
fn a_failure_has_a_status_and_a_message() {
    let (number, rt) = world().start_idle(Settings::default());
    for with_head in [false, true] {
        let (ticket, task) = get(number, rt, 0);
        if with_head {
            rt.http_head(task, 200, &[]);
        }
        assert_eq!(rt.reply(task, 3, b"because"), NFFI_OK);
        let end = ended(&ticket);
        assert_eq!((end.status, end.data.as_slice(), end.head.is_some()), (3, &b"because"[..], with_head));
    }
}

#[test]
fn what_is_out_of_order_is_refused_and_said() {
    type Step = fn(Rt, u64) -> i32;
    const HEAD: Step = |rt, task| rt.http_head(task, 200, &[]);
    const FLUSH: Step = |rt, task| rt.write(task, b"");
    const TRAILERS: Step = |rt, task| rt.http_trailers(task, &[]);
    const UPGRADE: Step = |rt, task| rt.http_head(task, 101, &[]);
    const FILE: Step = |rt, task| rt.http_file(task, file("order", b"text").0, 0, -1);
    let cases: &[(&[Step], Step, &str)] = &[
        (&[], FLUSH, "write() for task {}, before http_head()"),
        (&[], FILE, "http_file() for task {}, before http_head()"),
        (&[], TRAILERS, "http_trailers() for task {}, before http_head()"),
        (&[], UPGRADE, "http_head() for task {}, with status 101, whose connection cannot be upgraded"),
        (&[HEAD], HEAD, "http_head() for task {}, which has its head already"),
        (&[HEAD, FLUSH], HEAD, "http_head() for task {}, which has its head already"),
        (&[HEAD], UPGRADE, "http_head() for task {}, which has its head already"),
        (&[HEAD, TRAILERS], HEAD, "http_head() for task {}, which has its head already"),
        (&[HEAD, TRAILERS], FLUSH, "write() for task {}, after http_trailers()"),
        (&[HEAD, TRAILERS], FILE, "http_file() for task {}, after http_trailers()"),
        (&[HEAD, TRAILERS], TRAILERS, "http_trailers() for task {}, which has its trailers already"),
        (&[HEAD], |rt, task| rt.http_trailers(task, &[(b"", b"")]), "http_trailers() for task {}, with a malformed"),
    ];
    let (number, rt) = world().start_idle(Settings::default());
    for (before, wrong, says) in cases {
        let (ticket, task) = get(number, rt, 0);
        for step in *before {
            assert_eq!(step(rt, task), NFFI_OK, "before {says}");
        }
        let there = pieces(&ticket).answer.bytes();
        // From a thread that never polled: whose fault it is, is known all the same.
        let wrong = *wrong;
        assert_eq!(thread::spawn(move || wrong(rt, task)).join().expect("thread"), NFFI_BAD, "{says}");
        let (line, request_id) = world().line(number, &says.replace("{}", &format!("{task:#x}")));
        assert_eq!((line.level, line.task, request_id), (3, task, 7));
        assert_eq!(pieces(&ticket).answer.bytes(), there, "nothing was sent: {says}");
        // And the answer goes on as if it had not been.
        if before.is_empty() {
            assert_eq!(HEAD(rt, task), NFFI_OK);
        }
        assert_eq!(rt.reply(task, 0, b"whole"), NFFI_OK);
        assert_eq!(ended(&ticket).status, 0);
    }
}

#[test]
fn what_is_malformed_is_refused() {
    let (number, rt) = world().start_idle(Settings::default());
    let (ticket, task) = get(number, rt, 0);
    for status in [i32::MIN, -1, 0, 99, 1000, 65_736, i32::MAX] {
        assert_eq!(rt.http_head(task, status, &[]), NFFI_BAD, "{status}");
    }
    let bad: [(&[u8], &[u8]); 9] = [
        (b"", b"v"),
        (b"a b", b"v"),
        (b"a:", b"v"),
        (b"a\r\nb", b"v"),
        (b"\xe4", b"v"),
        (b"a", b"1\r\nb: 2"),
        (b"a", b"1\n"),
        (b"a", b"\r"),
        (b"a", b"1\0"),
    ];
    for header in bad {
        for status in [200, 103] {
            assert_eq!(rt.http_head(task, status, &[TYPE, header]), NFFI_BAD, "{header:?}");
        }
    }
    assert_eq!(pieces(&ticket).answer.bytes(), 0);
    world().line(number, "with a malformed status or header");
    assert_eq!(rt.http_head(task, 200, &[TYPE, (b"a", b"\xe4 \t\"")]), NFFI_OK);
    rt.end(task, 0);
    assert_eq!(ended(&ticket).head.expect("a head").headers().count(), 2);
}

#[test]
fn other_tasks_have_none_of_it() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = world().call(number, b"a message");
    let task = rt.next().task;
    assert!(rt.http(task).is_null());
    assert_eq!(rt.http_head(task, 200, &[]), NFFI_BAD);
    assert_eq!(rt.http_trailers(task, &[]), NFFI_BAD);
    let (text, link) = file("call", b"text");
    assert_eq!(rt.http_file(task, text, 0, -1), NFFI_BAD);
    assert_eq!(descriptors(&link), 0);
    world().line(number, "http_head() for task");
    assert_eq!(rt.reply(task, 0, b"answer"), NFFI_OK);
    assert_eq!(world().answer(&ticket), b"answer");
    for wrong in [task, 0, u64::MAX] {
        assert!(rt.http(wrong).is_null());
        assert_eq!(rt.http_head(wrong, 200, &[]), NFFI_BAD);
        assert_eq!(rt.http_trailers(wrong, &[]), NFFI_BAD);
        let (text, link) = file("gone", b"text");
        assert_eq!(rt.http_file(wrong, text, 0, -1), NFFI_BAD);
        assert_eq!(descriptors(&link), 0);
    }
}

#[test]
fn parts_of_files_are_pieces() {
    let (number, rt) = world().start_idle(Settings::default());
    let (ticket, task) = get(number, rt, 0);
    rt.http_head(task, 200, &[]);
    let (text, link) = file("parts", b"0123456789");
    for (offset, length, status) in
        [(0, -1, NFFI_OK), (3, 4, NFFI_OK), (10, -1, NFFI_OK), (0, 10, NFFI_FULL), (10, 0, NFFI_FULL)]
    {
        assert_eq!(rt.http_file(task, text.try_clone().expect("a descriptor"), offset, length), status);
    }
    assert_eq!(descriptors(&link), 6, "the host's are open");
    assert_eq!(
        take_all(&ticket),
        [
            Got::Head(200, vec![]),
            Got::File(0, 10),
            Got::File(3, 4),
            Got::File(10, 0),
            Got::File(0, 10),
            Got::File(10, 0)
        ]
    );
    assert_eq!(rt.next().kind, NFFI_WRITABLE);
    assert_eq!(descriptors(&link), 1);
    for (offset, length) in [(0, 11), (3, 8), (11, -1), (-1, 1), (0, -2), (i64::MAX, i64::MAX), (1, i64::MAX)] {
        let same = text.try_clone().expect("a descriptor");
        assert_eq!(rt.http_file(task, same, offset, length), NFFI_BAD, "{offset}, {length}");
    }
    assert_eq!(rt.http_file(task, File::open("/").expect("a folder"), 0, -1), NFFI_BAD);
    assert_eq!(rt.http_file(task, File::open("/dev/null").expect("a device"), 0, -1), NFFI_BAD);
    assert_eq!(descriptors(&link), 1, "those that were refused are closed");
    world().line(number, "with a file that is no regular one, or shorter than that");
    rt.end(task, 0);
    ended(&ticket);
}

#[test]
fn files_in_the_pipe_are_closed_with_it() {
    let (number, rt) = world().start_idle(Settings::default());
    let (ticket, task) = get(number, rt, 0);
    rt.http_head(task, 200, &[]);
    let (text, link) = file("left", b"text");
    assert_eq!(rt.http_file(task, text, 0, -1), NFFI_OK);
    world().cancel(&ticket);
    rt.end(task, 0);
    world().wait_until_idle(number);
    assert_eq!(descriptors(&link), 1, "the caller has the pipe still");
    drop(ticket);
    assert_eq!(descriptors(&link), 0);
}

/// Parts of files take little memory, but descriptors: they shut the window too, the shortest as well.
#[test]
fn files_shut_the_window() {
    for length in [1, 100_000] {
        let (number, rt) = world().start_idle(Settings::default());
        let (ticket, task) = get(number, rt, 0);
        rt.http_head(task, 200, &[]);
        let (text, link) = file("window", &vec![0; length]);
        let taken = (1..100)
            .find(|_| rt.http_file(task, text.try_clone().expect("a descriptor"), 0, -1) == NFFI_FULL)
            .expect("a window without end");
        assert!((2..=8).contains(&taken), "{taken}");
        assert_eq!(take_all(&ticket).len(), taken + 1);
        assert_eq!(rt.next().kind, NFFI_WRITABLE);
        assert_eq!(descriptors(&link), 1);
        rt.end(task, 0);
        ended(&ticket);
    }
}

/// Who has not been told to wait may write as much as it has, at once.
#[test]
fn one_piece_may_be_of_any_size() {
    let (number, rt) = world().start_idle(Settings { max_response: 10_000, ..Settings::default() });
    let (ticket, task) = get(number, rt, 0);
    rt.http_head(task, 200, &[]);
    assert_eq!(rt.write(task, b"a little"), NFFI_OK);
    let large = vec![7; 10 * WINDOW];
    assert_eq!(rt.write(task, &large), NFFI_FULL);
    assert_eq!(rt.write(task, b"and on"), NFFI_GONE, "it was told to wait");
    assert!(matches!(world().wait(&ticket), Outcome::TooLarge));
    assert_eq!(rt.end(task, 0), NFFI_GONE);
    world().wait_until_idle(number);
}

#[test]
fn hints_that_nobody_takes_are_dropped() {
    let (number, rt) = world().start_idle(Settings::default());
    let (ticket, task) = get(number, rt, 0);
    let link: (&[u8], &[u8]) = (b"Link", &PIECE);
    for _ in 0..1000 {
        assert_eq!(rt.http_head(task, 103, &[link]), NFFI_OK);
    }
    let bytes = pieces(&ticket).answer.bytes();
    assert!((WINDOW..WINDOW + 2 * PIECE.len()).contains(&bytes), "{bytes}");
    assert_eq!(rt.http_head(task, 200, &[]), NFFI_OK);
    assert_eq!(rt.reply(task, 0, b"all the same"), NFFI_OK);
    let end = ended(&ticket);
    assert_eq!((end.head.expect("a head").status, end.data.as_slice()), (200, &b"all the same"[..]));
}

#[test]
fn the_window_opens_when_bytes_are_consumed_not_when_they_are_taken() {
    let (number, rt) = world().start_idle(Settings::default());
    let (ticket, task) = get(number, rt, 0);
    rt.http_head(task, 200, &[]);
    let written = (1..=WINDOW).find(|_| rt.write(task, &PIECE) == NFFI_FULL).expect("a window without end");
    let taken: Vec<Piece> = std::iter::from_fn(|| pieces(&ticket).answer.take()).collect();
    assert_eq!(taken.len(), written + 1);
    assert!(rt.poll(8, 0).is_empty(), "taken, but they still take memory");
    let mut left: usize = taken.iter().map(Weight::weight).sum();
    assert!(left >= WINDOW);
    for piece in &taken {
        consumed(&ticket, piece.weight());
        left -= piece.weight();
        let events: Vec<_> = rt.poll(8, 0).iter().map(|event| (event.kind, event.task)).collect();
        if left <= WINDOW / 2 {
            assert_eq!(events, [(NFFI_WRITABLE, task)]);
            break;
        }
        assert!(events.is_empty(), "{left} bytes are left");
    }
    assert!(left > 0 && left <= WINDOW / 2);
    consumed(&ticket, left);
    assert!(rt.poll(8, 0).is_empty(), "one WRITABLE for one FULL");
    assert_eq!(pieces(&ticket).answer.bytes(), 0);
    assert_eq!(rt.write(task, &PIECE), NFFI_OK);
    rt.end(task, 0);
    ended(&ticket);
}

#[test]
fn an_upgrade_wants_the_flag_and_opens_both_ways() {
    let (number, rt) = world().start_idle(Settings::default());
    let (ticket, task) = get(number, rt, NFFI_HTTP_UPGRADE);
    assert_eq!(rt.read(task), Read::Status(NFFI_EOF), "a GET has no body");
    assert_eq!(rt.http_head(task, 101, &[(b"Upgrade", b"x")]), NFFI_OK);
    world().nudge(&ticket);
    assert_eq!(take_all(&ticket), [Got::Head(101, vec![(b"Upgrade".to_vec(), b"x".to_vec())])]);
    assert_eq!(rt.read(task), Read::Status(NFFI_AGAIN));
    world().send(&ticket, Some(b"from the client"));
    let events: Vec<_> = rt.poll(8, 0).iter().map(|event| (event.kind, event.task)).collect();
    assert_eq!(events, [(NFFI_READABLE, task)]);
    assert_eq!(rt.read(task), Read::Piece(b"from the client".to_vec()));
    assert_eq!(rt.write(task, b"to the client"), NFFI_OK);
    assert_eq!(take_all(&ticket), [data(b"to the client")]);
    assert_eq!(rt.read(task), Read::Status(NFFI_AGAIN));
    world().send(&ticket, None);
    assert_eq!(rt.next().kind, NFFI_READABLE);
    assert_eq!(rt.read(task), Read::Status(NFFI_EOF));
    assert_eq!(rt.write(task, b"half closed"), NFFI_OK, "the other way is open");

    let (text, link) = file("raw", b"text");
    assert_eq!(rt.http_file(task, text, 0, -1), NFFI_BAD);
    assert_eq!(descriptors(&link), 0);
    assert_eq!(rt.http_trailers(task, &[]), NFFI_BAD);
    assert_eq!(rt.http_head(task, 200, &[]), NFFI_BAD);
    world().line(number, "http_file() for task");
    world().line(number, "http_trailers() for task");
    assert_eq!(rt.reply(task, 0, b"bye"), NFFI_OK);
    let end = ended(&ticket);
    assert!(end.head.is_none() && end.data.as_slice() == b"bye");
}

#[test]
fn who_reads_early_is_told_after_the_upgrade_all_the_same() {
    let (number, rt) = world().start_idle(Settings::default());
    let (ticket, task) = get(number, rt, NFFI_HTTP_UPGRADE);
    // Before the task knows it may read, what came is kept.
    world().send(&ticket, Some(b"early"));
    assert_eq!(rt.read(task), Read::Status(NFFI_EOF));
    assert_eq!(rt.http_head(task, 101, &[]), NFFI_OK);
    assert_eq!(rt.read(task), Read::Piece(b"early".to_vec()));
    rt.end(task, 0);
    ended(&ticket);
}

#[test]
fn a_body_in_pieces_is_read() {
    let (number, rt) = world().start_idle(Settings::default());
    let ticket = open(number, abi::NFFI_HTTP_BODY, true, None);
    let event = rt.next();
    assert_eq!((event.kind, event.flags), (NFFI_HTTP, NFFI_PIECES | NFFI_MORE));
    assert_eq!(rt.read(event.task), Read::Status(NFFI_AGAIN));
    world().send(&ticket, Some(b"one"));
    world().send(&ticket, None);
    assert_eq!(rt.next().kind, NFFI_READABLE);
    assert_eq!(rt.read(event.task), Read::Piece(b"one".to_vec()));
    assert_eq!(rt.read(event.task), Read::Status(NFFI_EOF));
    rt.http_head(event.task, 200, &[]);
    rt.end(event.task, 0);
    ended(&ticket);
}

/// The structure that an event points to.
fn body_fd(event: &Event) -> i32 {
    // SAFETY: the event is one of an HTTP task that has not ended.
    unsafe { (*(event.address as *const abi::nffi_http_request)).body_fd }
}

#[test]
fn a_body_s_descriptor_is_open_until_the_end() {
    let (number, rt) = world().start_idle(Settings::default());
    let (body, link) = file("body", b"a body");
    let ticket = open(number, abi::NFFI_HTTP_BODY, false, Some(body));
    let event = rt.next();
    let fd = format!("/proc/self/fd/{}", body_fd(&event));
    assert_eq!(fs::read_link(&fd).expect("open"), link);
    assert_eq!(fs::read(&fd).expect("readable"), b"a body");
    rt.http_head(event.task, 200, &[]);
    rt.write(event.task, b"x");
    assert_eq!(descriptors(&link), 1);
    rt.end(event.task, 0);
    ended(&ticket);
    assert_eq!(descriptors(&link), 0);
}

#[test]
fn a_client_that_goes_while_the_task_is_queued() {
    let (number, rt) = world().start_idle(Settings::default());
    let (body, link) = file("queued", b"a body");
    let ticket = open(number, abi::NFFI_HTTP_BODY, false, Some(body));
    assert_eq!(descriptors(&link), 1);
    world().cancel(&ticket);
    assert_eq!((descriptors(&link), world().counts(number)), (0, (0, 0)));
    assert!(rt.poll(8, 0).is_empty());
    assert!(rt.http(ticket.task).is_null());
}

#[test]
fn a_client_that_goes_while_the_task_runs() {
    let (number, rt) = world().start_idle(Settings::default());
    for head_first in [false, true] {
        let (body, link) = file("running", b"a body");
        let ticket = open(number, NFFI_HTTP_UPGRADE, false, Some(body));
        let event = rt.next();
        let task = event.task;
        if head_first {
            rt.http_head(task, 200, &[]);
        }
        world().cancel(&ticket);
        assert_eq!((rt.next().kind, rt.cancelled(task)), (NFFI_CANCEL, 1));
        assert_eq!(rt.http(task) as usize, event.address, "the request is there until the end");
        assert_eq!(fs::read(format!("/proc/self/fd/{}", body_fd(&event))).expect("readable"), b"a body");
        // Whatever it would have been: right, or wrong.
        for status in [101, 103, 200, 0] {
            assert_eq!(rt.http_head(task, status, &[]), NFFI_GONE);
        }
        assert_eq!(rt.http_trailers(task, &[]), NFFI_GONE);
        assert_eq!(rt.write(task, b"x"), NFFI_GONE);
        assert_eq!(rt.read(task), Read::Status(NFFI_GONE));
        let (text, sent) = file("unsent", b"text");
        assert_eq!(rt.http_file(task, text, 0, -1), NFFI_GONE);
        assert_eq!(descriptors(&sent), 0);
        assert!(take_all(&ticket).is_empty());
        assert_eq!(rt.reply(task, 0, b"x"), NFFI_GONE);
        world().wait_until_idle(number);
        assert_eq!(descriptors(&link), 0);
    }
}

/// Heads and data race with the event loop that takes them: each answer is whole, its head first.
#[test]
fn heads_are_first_whoever_is_faster() {
    let (number, rt) = world().start_idle(Settings::default());
    for round in 0..300 {
        let (ticket, task) = get(number, rt, 0);
        let writer = thread::spawn(move || {
            rt.http_head(task, 103, &[]);
            rt.http_head(task, 200, &[TYPE]);
            for i in 0..round % 4 {
                rt.write(task, &[i as u8]);
            }
            rt.http_trailers(task, &[TYPE]);
            rt.end(task, 0);
        });
        let mut got = Vec::new();
        let end = loop {
            let over = world().on_loop(|l| l.has_ended(&ticket));
            got.extend(take_all(&ticket));
            if over {
                break ended(&ticket);
            }
        };
        writer.join().expect("writer");
        if let Some(head) = &end.head {
            got.push(Got::Head(head.status, headers_of(head)));
        }
        let mut expected = vec![Got::Head(103, vec![]), Got::Head(200, plain())];
        expected.extend((0..round % 4).map(|i| data(&[i as u8])));
        assert_eq!(got, expected);
        assert_eq!(headers_of(&end.trailers.expect("trailers")), plain());
    }
}
