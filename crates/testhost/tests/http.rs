//! HTTP: the library and the program, on the C fixture of t/fixtures.

#![allow(clippy::expect_used)]

mod fixtures;

use std::{
    fs::File,
    io::{Read, Seek, Write},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use fixtures::fixture;
use nffi_testhost::{HttpBody, HttpError, HttpReceived, HttpRequest, LogLine, Refusal, RuntimeId, Settings, TestHost};

const SOON: Duration = Duration::from_secs(20);

fn start(settings: Settings) -> (MutexGuard<'static, TestHost>, RuntimeId) {
    let mut host = TestHost::lock();
    let path = fixture("libhttp.so");
    let runtime = host.load(path.to_str().expect("text"), b"{}", settings).expect("loaded");
    (host, runtime)
}

fn get(target: &str) -> HttpRequest {
    HttpRequest::new("GET", target)
}

/// A file of so many letters.
fn file_of(letters: usize) -> (File, std::path::PathBuf) {
    let path = std::env::temp_dir().join(format!("nffi-http-{}-{letters}", std::process::id()));
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("a file");
    let text: Vec<u8> = (0..letters).map(|i| b'a' + (i % 26) as u8).collect();
    file.write_all(&text).expect("written");
    file.rewind().expect("rewound");
    (file, path)
}

#[test]
fn an_answer_from_head_to_end() {
    let (mut host, runtime) = start(Settings::default());
    let answer = host.http(runtime, get("/hello"), SOON).expect("an answer");
    assert_eq!((answer.head.status, &answer.body[..], answer.cut), (200, &b"hello\n"[..], None));
    assert_eq!(answer.head.header("content-type"), Some(&b"text/plain"[..]));
    assert_eq!((answer.pieces, answer.trailers.len(), answer.informational.len()), (1, 0, 0));

    let answer = host.http(runtime, get("/status?code=418"), SOON).expect("an answer");
    assert_eq!((answer.head.status, answer.body.len()), (418, 0));
    let answer = host.http(runtime, get("/stream?n=3&size=2"), SOON).expect("an answer");
    assert_eq!((&answer.body[..], answer.pieces), (&b"aabbcc"[..], 3));
    let answer = host.http(runtime, get("/trailers"), SOON).expect("an answer");
    let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    assert_eq!((&answer.body[..], answer.trailers), (&b"ttttt"[..], vec![pair("X-Sum", "42"), pair("X-Done", "yes")]));
    let answer = host.http(runtime, get("/hints"), SOON).expect("an answer");
    assert_eq!(answer.informational.iter().map(|head| head.status).collect::<Vec<_>>(), [103]);
    assert_eq!(answer.head.status, 200);
    let answer = host.http(runtime, get("/header?name=A&value=1&name=A&value=2"), SOON).expect("an answer");
    assert_eq!(answer.head.headers, [pair("A", "1"), pair("A", "2")]);
    host.unload(runtime, SOON).expect("all were ended");
}

#[test]
fn a_request_arrives_as_it_was_made() {
    let (mut host, runtime) = start(Settings::default());
    let mut request = HttpRequest::new("PUT", "/app/a%20b?q=1&r").header("Host", "example.org").header("X", "1");
    request.prefix = b"/app".to_vec();
    request.params = vec![(b"user".to_vec(), b"me".to_vec())];
    request.tls = true;
    let answer = host.http(runtime, request.body("12345"), SOON).expect("an answer");
    let text = String::from_utf8(answer.body).expect("text");
    for line in [
        "method: PUT",
        "raw_path: /app/a%20b",
        "path: /app/a b",
        "query: q=1&r",
        "prefix: /app",
        "version: 1001",
        "scheme: https",
        "client_addr: 127.0.0.1",
        "server_name: example.org",
        "flags: body tls",
        "content_length: 5",
        "body: memory",
        "> Host: example.org",
        "> X: 1",
        "> Content-Length: 5",
        "param user=me",
    ] {
        assert!(text.lines().any(|l| l == line), "{line:?} is not in {text}");
    }
    let mut elsewhere = get("/apple");
    elsewhere.prefix = b"/app".to_vec();
    let answer = host.http(runtime, elsewhere, SOON).expect("an answer");
    let text = String::from_utf8(answer.body).expect("text");
    assert!(text.contains("\nprefix: \n") && text.contains("\nflags:\n") && text.contains("> Host: localhost\n"));
    assert!(matches!(host.http(runtime, get("hello"), SOON), Err(HttpError::Request(_))));
    host.unload(runtime, SOON).expect("all were ended");
}

#[test]
fn bodies_of_each_kind() {
    let (mut host, runtime) = start(Settings::default());
    let post = |body| HttpRequest { body, ..HttpRequest::new("POST", "/body") };
    let answer = host.http(runtime, post(HttpBody::Memory(b"in memory".to_vec())), SOON).expect("an answer");
    assert_eq!(answer.body, b"in memory");
    let (file, path) = file_of(200_000);
    std::fs::remove_file(&path).expect("removed");
    let answer = host.http(runtime, post(HttpBody::File(file)), SOON).expect("an answer");
    assert_eq!(answer.body.len(), 200_000);
    assert!(answer.body.iter().enumerate().all(|(i, b)| *b == b'a' + (i % 26) as u8));

    let exchange = host.http_open(runtime, post(HttpBody::Streamed(None)), SOON).expect("open");
    for i in 0..50u8 {
        assert!(host.http_send(exchange, &vec![i; 3000]));
        let mut received = host.http_receive(exchange, SOON).expect("sound");
        if i == 0 {
            assert!(matches!(received, HttpReceived::Head(head) if head.status == 200));
            received = host.http_receive(exchange, SOON).expect("sound");
        }
        assert_eq!(received, HttpReceived::Piece(vec![i; 3000]));
    }
    assert_eq!(host.http_receive(exchange, Duration::from_millis(5)), Ok(HttpReceived::Nothing));
    assert!(host.http_send_end(exchange));
    assert_eq!(host.http_receive(exchange, SOON), Ok(HttpReceived::End));
    assert_eq!(host.http_receive(exchange, SOON), Err(HttpError::NoSuchExchange));
    assert!(!host.http_send(exchange, b"late"));
    host.unload(runtime, SOON).expect("all were ended");
}

#[test]
fn files_are_read() {
    let (mut host, runtime) = start(Settings::default());
    let (_, path) = file_of(150_000);
    let path = path.to_str().expect("text");
    let answer = host.http(runtime, get(&format!("/file?path={path}")), SOON).expect("an answer");
    assert_eq!((answer.body.len(), &answer.body[..3]), (150_000, &b"abc"[..]));
    let target = format!("/file?path={path}&before=2&offset=27&length=3&length_header=5");
    let answer = host.http(runtime, get(&target), SOON).expect("an answer");
    assert_eq!((&answer.body[..], answer.pieces, answer.cut), (&b"<<bcd"[..], 2, None));
    let answer = host.http(runtime, get(&format!("/file?path={path}&offset=200000")), SOON);
    assert!(matches!(answer, Err(HttpError::Runtime { status: 1, .. })), "{answer:?}");
    std::fs::remove_file(path).expect("removed");
    host.unload(runtime, SOON).expect("all were ended");
}

#[test]
fn a_client_that_wants_no_body_gets_none() {
    let (mut host, runtime) = start(Settings::default());
    for target in ["/hello", "/stream", "/length?say=1000&send=3", "/flush"] {
        let answer = host.http(runtime, HttpRequest::new("HEAD", target), SOON).expect("an answer");
        assert_eq!((answer.head.status, answer.body.len(), answer.cut), (200, 0, None), "{target}");
    }
    let answer = host.http(runtime, get("/stream?code=204"), SOON).expect("an answer");
    assert_eq!((answer.head.status, answer.body.len()), (204, 0));
    host.unload(runtime, SOON).expect("all were ended");
}

#[test]
fn what_nginx_answers_with_an_error_is_one() {
    let (mut host, runtime) = start(Settings::default());
    let lines: Arc<Mutex<Vec<LogLine>>> = Arc::default();
    host.on_line({
        let lines = lines.clone();
        move |line| lines.lock().expect("alone").push(line)
    });
    let mut fails = |target: &str| host.http(runtime, get(target), SOON).expect_err("no answer");
    assert_eq!(fails("/fail?status=3&text=because"), HttpError::Runtime { status: 3, message: b"because".to_vec() });
    for target in ["/wrong?how=no_head", "/length?say=5&send=6", "/length?say=5&send=4", "/length?say=x&send=1"] {
        let error = fails(target);
        assert!(matches!(error, HttpError::Protocol(_)), "{target}: {error}");
        assert_eq!(error.status(), 502);
    }
    assert!(lines.lock().expect("alone").is_empty());
    for how in ["write_first", "two_heads", "upgrade", "status", "directory", "late"] {
        let answer = host.http(runtime, get(&format!("/wrong?how={how}")), SOON).expect("an answer after all");
        assert_eq!((answer.head.status, answer.cut), (200, None), "{how}");
        let said = std::mem::take(&mut *lines.lock().expect("alone"));
        let as_it_should = |line: &LogLine| line.level == 3 && line.call > 0 && line.runtime == "http";
        assert!(!said.is_empty() && said.iter().all(as_it_should), "{how}: {said:?}");
    }
    host.http(runtime, get("/wrong?how=twice"), SOON).expect("the first counts");
    host.unload(runtime, SOON).expect("all were ended");
    let said = lines.lock().expect("alone").iter().any(|line| line.message.starts_with(b"end() for task"));
    assert!(said, "an end of what had ended");
    host.on_line(|_| {});
    assert_eq!(host.http(runtime, get("/hello"), SOON), Err(HttpError::Refused(Refusal::Unloaded)));
}

#[test]
fn what_goes_wrong_after_the_head_cuts_the_answer() {
    let (mut host, runtime) = start(Settings::default());
    let mut cut = |target: &str| {
        let answer = host.http(runtime, get(target), SOON).expect("a head");
        assert_eq!(answer.head.status, 200);
        (answer.body.len(), answer.cut.expect("cut"))
    };
    assert_eq!(cut("/fail?after=7&status=2&ms=1"), (7, HttpError::Runtime { status: 2, message: vec![] }));
    assert!(matches!(cut("/length?say=5&send=3&pieces=1"), (3, HttpError::Protocol(_))));
    assert!(matches!(cut("/length?say=5&send=8&pieces=1"), (0, HttpError::Protocol(_))));
    host.unload(runtime, SOON).expect("all were ended");
}

#[test]
fn a_runtime_deaf_to_full_is_cut_off() {
    let (mut host, runtime) = start(Settings { max_response: 100_000, ..Settings::default() });
    let exchange = host.http_open(runtime, get("/flood?n=1000&size=10000"), SOON).expect("open");
    // Nothing is received until it is over.
    let error = loop {
        host.turn(Some(Duration::from_millis(10)));
        if host.in_flight(runtime) == 0 {
            break std::iter::from_fn(|| Some(host.http_receive(exchange, SOON)))
                .find_map(Result::err)
                .expect("an error");
        }
    };
    assert!(matches!(error, HttpError::Protocol(ref why) if why.contains("window was shut")), "{error}");
    host.unload(runtime, SOON).expect("it was ended");
}

#[test]
fn a_window_that_is_left_shut_stops_the_runtime() {
    let (mut host, runtime) = start(Settings::default());
    let mut request = get("/stream?n=100&size=1000");
    request.window = 5000;
    let exchange = host.http_open(runtime, request, SOON).expect("open");
    let full = |host: &mut TestHost| {
        let answer = host.http(runtime, get("/report"), SOON).expect("an answer");
        String::from_utf8(answer.body).expect("text").contains("full 1,")
    };
    while !full(&mut host) {}
    // Other requests go on meanwhile, this one does not.
    for _ in 0..20 {
        assert!(full(&mut host));
    }
    let mut bytes = 0;
    loop {
        match host.http_receive(exchange, SOON).expect("sound") {
            HttpReceived::Piece(piece) => bytes += piece.len(),
            HttpReceived::End => break,
            _ => {}
        }
    }
    assert_eq!(bytes, 100_000);
    host.unload(runtime, SOON).expect("all were ended");
}

#[test]
fn time_is_the_runtimes_only_while_it_is_waited_for() {
    let (mut host, runtime) = start(Settings::default());
    let short = Duration::from_millis(100);
    assert_eq!(host.http(runtime, get("/sleep"), short), Err(HttpError::Timeout));
    // Each piece in its time, all of them in more.
    let answer = host.http(runtime, get("/stream?n=8&size=1&ms=30"), Duration::from_millis(200)).expect("an answer");
    assert_eq!((answer.body.len(), answer.cut), (8, None));
    // It is the client that takes its time.
    let exchange = host.http_open(runtime, get("/stream?n=4&size=1"), short).expect("open");
    host.http(runtime, get("/sleep?ms=250"), SOON).expect("an answer");
    let received: Vec<_> = std::iter::from_fn(|| match host.http_receive(exchange, SOON).expect("in time") {
        HttpReceived::End => None,
        received => Some(received),
    })
    .collect();
    assert_eq!(received.len(), 5);
    host.unload(runtime, SOON).expect("all were ended");
    assert_eq!(host.stats(runtime).timeouts, 1);
}

#[test]
fn a_client_that_goes_away_cancels() {
    let (mut host, runtime) = start(Settings::default());
    for target in ["/sleep", "/stream?n=100000&size=1000"] {
        let exchange = host.http_open(runtime, get(target), SOON).expect("open");
        host.http_receive(exchange, Duration::from_millis(20)).expect("sound");
        host.http_close(exchange);
        assert_eq!(host.http_receive(exchange, SOON), Err(HttpError::NoSuchExchange));
    }
    host.unload(runtime, SOON).expect("both were ended");
    assert_eq!(host.stats(runtime).cancelled, 2);
}

#[test]
fn an_upgraded_connection_is_bytes_both_ways() {
    let (mut host, runtime) = start(Settings::default());
    let upgrade = |target: &str| get(target).header("Connection", "keep-alive, Upgrade").header("Upgrade", "echo");
    let exchange = host.http_open(runtime, upgrade("/upgrade?greet=3"), SOON).expect("open");
    match host.http_receive(exchange, SOON) {
        Ok(HttpReceived::Head(head)) => {
            assert_eq!((head.status, head.header("Upgrade")), (101, Some(&b"echo"[..])));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(host.http_receive(exchange, SOON), Ok(HttpReceived::Piece(b"ggg".to_vec())));
    for i in 0..20u8 {
        assert!(host.http_send(exchange, &vec![i; 2000]));
        assert_eq!(host.http_receive(exchange, SOON), Ok(HttpReceived::Piece(vec![i; 2000])));
    }
    assert!(host.http_send_end(exchange));
    assert_eq!(host.http_receive(exchange, SOON), Ok(HttpReceived::Piece(b"bye\n".to_vec())));
    assert_eq!(host.http_receive(exchange, SOON), Ok(HttpReceived::End));

    // Not asked for, not of HTTP/1.1: 101 is refused.
    let old = HttpRequest { version: 1000, ..upgrade("/upgrade") };
    for request in [get("/upgrade"), get("/upgrade").header("Connection", "Upgrade"), old] {
        assert_eq!(host.http(runtime, request, SOON).expect("an answer").head.status, 426);
    }
    host.unload(runtime, SOON).expect("all were ended");
}

// ---- the program ------------------------------------------------------------------------------------

/// Exit code, standard output, standard error.
fn run(arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nffi-testhost"))
        .arg(fixture("libhttp.so"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start");
    let mut stdin = child.stdin.take().expect("stdin");
    let input = input.to_vec();
    // It may end without reading all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("wait");
    writer.join().expect("writer");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

#[test]
fn the_program_shows_an_answer() {
    let (code, out, err) = run(&["--http", "GET /hello", "--http", "GET /status?code=404"], b"");
    assert_eq!((code, out.as_str()), (0, "hello\n"), "{err}");
    assert!(err.contains("HTTP/1.1 200\nContent-Type: text/plain\n\n"), "{err}");
    assert!(err.contains("HTTP/1.1 404\n\n"), "{err}");
    assert!(err.contains("6 bytes in 1 pieces"), "{err}");
    let (code, out, err) =
        run(&["--http", "GET /app/show?x=1", "--header", "A: b: c", "--prefix", "/app", "--param", "who=me=you"], b"");
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("> A: b: c\n") && out.contains("prefix: /app\n") && out.contains("param who=me=you\n"),
        "{out}"
    );
    let (code, out, err) = run(&["--http", "GET /trailers"], b"");
    assert_eq!((code, out.as_str()), (0, "ttttt"), "{err}");
    assert!(err.contains("X-Sum: 42\nX-Done: yes\n"), "{err}");
}

#[test]
fn the_program_sends_bodies() {
    let (code, out, err) = run(&["--http", "POST /body", "--stdin"], b"whole");
    assert_eq!((code, out.as_str()), (0, "whole"), "{err}");
    let big = "0123456789".repeat(30_000);
    let (code, out, err) = run(&["--http", "POST /body", "--stdin", "--stream"], big.as_bytes());
    assert_eq!(code, 0, "{err}");
    assert!(out == big);
    let (_, path) = file_of(5000);
    let path = path.to_str().expect("text");
    let (code, out, err) = run(&["--http", "PUT /show", "--body-file", path], b"");
    std::fs::remove_file(path).expect("removed");
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("body: file\n") && out.contains("content_length: 5000\n"), "{out}");
}

#[test]
fn the_program_upgrades() {
    let (code, out, err) = run(&["--http", "GET /upgrade", "--upgrade"], b"there and back\n");
    assert_eq!((code, out.as_str()), (0, "there and back\nbye\n"), "{err}");
    assert!(err.contains("HTTP/1.1 101\nUpgrade: echo\n"), "{err}");
    let (code, out, err) = run(&["--http", "GET /hello", "--upgrade"], b"nobody reads this");
    assert_eq!((code, out.as_str()), (0, "hello\n"), "{err}");
}

#[test]
fn the_program_says_what_went_wrong() {
    let (code, out, err) = run(&["--http", "GET /fail?text=because"], b"");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("status 1: because; a client of nginx gets 502"), "{err}");
    let (code, out, err) = run(&["--http", "GET /length?say=5&send=3&pieces=1"], b"");
    assert_eq!((code, out.as_str()), (1, "xxx"));
    assert!(err.contains("2 bytes less than its Content-Length says, after 3 bytes"), "{err}");
    let (code, _, err) = run(&["--http", "GET /sleep", "--timeout", "50"], b"");
    assert!(code == 1 && err.contains("timeout"), "{err}");
    for wrong in [
        &["--http", "/hello"][..],
        &["--http", "GET hello"],
        &["--header", "A: b"],
        &["--http", "GET /", "--header", "A"],
        &["--http", "GET /", "--call", "x"],
        &["--http", "GET /", "--param", "x"],
        &["--http", "GET /", "--body-file", "/dev/null"],
        &["--http", "GET /", "--body-file", "/nowhere"],
        &["--http", "GET /", "--http", "GET /", "--stdin"],
        &["--http", "GET /", "--repeat", "3", "--upgrade"],
    ] {
        let (code, _, err) = run(wrong, b"");
        assert_eq!(code, 2, "{wrong:?}: {err}");
    }
}

#[test]
fn the_program_counts() {
    let (code, out, err) = run(&["--http", "GET /hello", "--repeat", "500", "--concurrency", "8"], b"");
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("500 requests, 8 at once: "), "{out}");
    let (code, _, err) = run(&["--http", "GET /status?code=404", "--repeat", "20"], b"");
    assert!(code == 0 && err.contains("20 times 404"), "{err}");
    let (code, _, err) = run(&["--http", "GET /fail", "--repeat", "20", "--concurrency", "4"], b"");
    assert!(code == 1 && err.contains("20 times status 1"), "{err}");
}

/// What a runtime writes is on standard output before the runtime ends the answer.
#[test]
fn the_program_shows_pieces_as_they_come() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nffi-testhost"))
        .arg(fixture("libhttp.so"))
        .args(["--http", "POST /body", "--stdin", "--stream"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start");
    let (mut stdin, mut stdout) = (child.stdin.take().expect("stdin"), child.stdout.take().expect("stdout"));
    for piece in [b"one", b"two"] {
        stdin.write_all(piece).expect("written");
        stdin.flush().expect("flushed");
        let mut back = [0; 3];
        stdout.read_exact(&mut back).expect("read");
        assert_eq!(&back, piece);
    }
    drop(stdin);
    assert!(child.wait().expect("wait").success());
}
