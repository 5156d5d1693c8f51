//! A component of wasi:http behind NFFI_HTTP: streams both ways, and each limit with a request that does not keep it.
//!
//! NFFI_WASM_COMPONENT names the file that tests/component is built to. Without it nothing is tested, which
//! scripts/test says.

#![allow(clippy::unwrap_used)]

use std::{
    fs::File,
    io::{Read, Seek, Write},
    net::TcpListener,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use nffi_testhost::{HttpAnswer, HttpBody, HttpError, HttpReceived, HttpRequest, RuntimeId, TestHost};
use nffi_wasm_tests::{Lines, SOON, Scratch, load, refused, try_load, unload};

fn component() -> Option<PathBuf> {
    let path = std::env::var_os("NFFI_WASM_COMPONENT").map(PathBuf::from);
    if path.is_none() {
        eprintln!("not tested: NFFI_WASM_COMPONENT is not set");
    }
    path
}

/// A runtime of the component, with options as JSON's members.
macro_rules! serve {
    ($host:ident, $options:expr) => {{
        let Some(component) = component() else { return };
        let options = format!(r#""interface":"wasi-http"{}"#, $options);
        load(&mut $host, &component, &options)
    }};
}

fn get(host: &mut TestHost, runtime: RuntimeId, target: &str) -> Result<HttpAnswer, HttpError> {
    host.http(runtime, HttpRequest::new("GET", target), SOON)
}

fn body(host: &mut TestHost, runtime: RuntimeId, target: &str) -> String {
    let answer = get(host, runtime, target).unwrap();
    assert_eq!((answer.head.status, &answer.cut), (200, &None), "{target}");
    String::from_utf8(answer.body).unwrap()
}

/// The message of a request that comes to a 502.
fn fails(host: &mut TestHost, runtime: RuntimeId, target: &str) -> String {
    match get(host, runtime, target) {
        Err(HttpError::Runtime { status: 1, message }) => String::from_utf8(message).unwrap(),
        other => panic!("{target}: {other:?}"),
    }
}

/// The same where the head was sent.
fn is_cut(host: &mut TestHost, runtime: RuntimeId, target: &str) -> String {
    let answer = get(host, runtime, target).unwrap();
    assert_eq!(answer.head.status, 200);
    match answer.cut {
        Some(HttpError::Runtime { status: 1, message }) => String::from_utf8(message).unwrap(),
        other => panic!("{target}: {other:?}"),
    }
}

#[test]
fn a_request_arrives_whole() {
    let mut host = TestHost::lock();
    for threads in [1, 2] {
        let runtime = serve!(host, format!(r#","threads":"{threads}""#));
        let answer = get(&mut host, runtime, "/hello").unwrap();
        assert_eq!((answer.head.status, answer.body.as_slice(), answer.pieces), (200, &b"hello\n"[..], 1));
        assert_eq!(answer.head.header("content-type"), Some(&b"text/plain"[..]));
        let request = HttpRequest::new("PROPFIND", "/head?x=1&y=%C3%A9").header("Host", "example.com:8080");
        let request = HttpRequest { tls: true, ..request.header("X-Two", "a").header("x-two", "b") };
        let seen = String::from_utf8(host.http(runtime, request, SOON).unwrap().body).unwrap();
        let mut lines = seen.lines();
        assert_eq!(
            lines.next(),
            Some(
                r#"Method::Other("PROPFIND") Some(Scheme::Https) Some("example.com:8080") Some("/head?x=1&y=%C3%A9")"#
            )
        );
        assert_eq!(lines.collect::<Vec<_>>(), ["x-two: a", "x-two: b"]);
        let answer = get(&mut host, runtime, "/status?418").unwrap();
        let values = answer.head.headers.iter().filter(|(name, _)| name == b"x-one").count();
        assert_eq!((answer.head.status, values, answer.body.len()), (418, 2, 0));
        assert_eq!(get(&mut host, runtime, "/no/such").unwrap().head.status, 404);
        assert_eq!(get(&mut host, runtime, "/trailers").unwrap().trailers, [(b"x-sum".to_vec(), b"4".to_vec())]);
        let head = host.http(runtime, HttpRequest::new("HEAD", "/hello"), SOON).unwrap();
        assert_eq!((head.head.header("content-length"), head.body.len()), (Some(&b"6"[..]), 0));
        unload(&mut host, runtime);
    }
}

#[test]
fn every_request_has_an_instance_of_its_own() {
    let mut host = TestHost::lock();
    let runtime = serve!(host, r#","threads":"1""#);
    for _ in 0..20 {
        assert_eq!(body(&mut host, runtime, "/state"), "1");
    }
    unload(&mut host, runtime);
}

#[test]
fn bodies_of_all_kinds() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("http-body"));
    let runtime = serve!(host, "");
    for size in [0, 1, 65_536, 65_537, 1 << 20] {
        let sent: Vec<u8> = (0..size).map(|n: u32| (n * 7 % 256) as u8).collect();
        let answer = host.http(runtime, HttpRequest::new("POST", "/echo").body(sent.clone()), SOON).unwrap();
        assert!(answer.body == sent && answer.cut.is_none(), "{size} bytes in memory");
        let mut file = File::options().read(true).write(true).open(scratch.file("body", &sent)).unwrap();
        file.rewind().unwrap();
        let request = HttpRequest { body: HttpBody::File(file), ..HttpRequest::new("POST", "/echo") };
        let answer = host.http(runtime, request, SOON).unwrap();
        assert!(answer.body == sent && answer.cut.is_none(), "{size} bytes in a file");
    }
    unload(&mut host, runtime);
}

fn receive(host: &mut TestHost, exchange: nffi_testhost::HttpId) -> HttpReceived {
    let received = host.http_receive(exchange, SOON).unwrap();
    assert_ne!(received, HttpReceived::Nothing);
    received
}

#[test]
fn pieces_come_back_as_they_go_in() {
    let mut host = TestHost::lock();
    for threads in [1, 2] {
        let runtime = serve!(host, format!(r#","threads":"{threads}""#));
        let request = HttpRequest { body: HttpBody::Streamed(None), ..HttpRequest::new("POST", "/echo") };
        let echo = host.http_open(runtime, request, SOON).unwrap();
        assert!(matches!(receive(&mut host, echo), HttpReceived::Head(_)));
        for n in 0..20 {
            let piece = format!("piece {n}").into_bytes();
            assert!(host.http_send(echo, &piece));
            assert_eq!(receive(&mut host, echo), HttpReceived::Piece(piece));
        }
        host.http_send_end(echo);
        assert_eq!(receive(&mut host, echo), HttpReceived::End);
        unload(&mut host, runtime);
    }
}

#[test]
fn an_upload_is_larger_than_the_memory() {
    let mut host = TestHost::lock();
    let runtime = serve!(host, r#","memory_limit":"4m""#);
    let request = HttpRequest { body: HttpBody::Streamed(None), ..HttpRequest::new("POST", "/count") };
    let upload = host.http_open(runtime, request, SOON).unwrap();
    for _ in 0..512 {
        assert!(host.http_send(upload, &[1; 65_536]));
    }
    host.http_send_end(upload);
    assert!(matches!(receive(&mut host, upload), HttpReceived::Head(_)));
    assert_eq!(receive(&mut host, upload), HttpReceived::Piece((32 << 20).to_string().into_bytes()));
    unload(&mut host, runtime);
}

#[test]
fn an_answer_is_larger_than_the_memory_and_waits_for_its_reader() {
    let mut host = TestHost::lock();
    let runtime = serve!(host, r#","memory_limit":"4m""#);
    let answer = get(&mut host, runtime, "/stream?32").unwrap();
    assert_eq!((answer.body.len(), &answer.cut), (32 << 20, &None));
    unload(&mut host, runtime);
}

/// What this process has in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn an_answer_that_nobody_reads_stands_still() {
    const PIECES: usize = 1024;
    const PIECE: usize = 65_536;
    let mut host = TestHost::lock();
    let lines = Lines::of(&mut host);
    for threads in [1, 2] {
        let options = format!(r#","memory_limit":"4m","threads":"{threads}","log_level":"info""#);
        let runtime = serve!(host, options);
        let written = || lines.all().iter().filter(|line| line.starts_with("wrote ")).count();
        let (before, written_before) = (resident(), written());
        let stream = host.http_open(runtime, HttpRequest::new("GET", &format!("/flood?{PIECES}")), SOON).unwrap();
        // The lines say how far it is: no further for half a second, or to its end.
        let (mut seen, mut since, until) = (0, Instant::now(), Instant::now() + SOON);
        while (seen == 0 || since.elapsed() < Duration::from_millis(500)) && Instant::now() < until {
            host.turn(Some(Duration::from_millis(10)));
            let now = written() - written_before;
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
        // The window, and two pieces on their way from the component, each full and one more.
        assert!((1..=8).contains(&seen), "it wrote {seen} pieces that nobody has read");
        assert_eq!(host.in_flight(runtime), 1);
        let grown = resident().saturating_sub(before);
        assert!(grown < PIECES * PIECE / 4, "{grown} bytes more in memory");
        let mut total = 0;
        loop {
            match receive(&mut host, stream) {
                HttpReceived::Piece(piece) => total += piece.len(),
                HttpReceived::Head(_) => {}
                HttpReceived::End => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(total, PIECES * PIECE);
        unload(&mut host, runtime);
    }
}

#[test]
fn a_piece_does_not_wait_for_the_next() {
    let mut host = TestHost::lock();
    let runtime = serve!(host, "");
    let slow = host.http_open(runtime, HttpRequest::new("GET", "/slow?60000"), SOON).unwrap();
    assert!(matches!(receive(&mut host, slow), HttpReceived::Head(_)));
    assert_eq!(receive(&mut host, slow), HttpReceived::Piece(b"first ".to_vec()));
    // The client leaves: long before the component wakes, its instance is free.
    host.http_close(slow);
    unload(&mut host, runtime);
}

#[test]
fn a_trap_is_a_502_or_a_cut() {
    let mut host = TestHost::lock();
    let lines = Lines::of(&mut host);
    let runtime = serve!(host, "");
    assert_eq!(fails(&mut host, runtime, "/trap"), "the function failed: unreachable");
    let (level, call, _) = lines.find(&mut host, "innermost");
    assert!(level == 3 && call != 0);
    lines.find(&mut host, "on purpose");
    assert_eq!(is_cut(&mut host, runtime, "/trap-after"), "the function failed: unreachable");
    assert_eq!(fails(&mut host, runtime, "/exit"), "the function ended with exit code 1");
    let no_answer = "the function's output is not an answer: ";
    assert_eq!(
        fails(&mut host, runtime, "/none"),
        format!("{no_answer}there is none: response-outparam.set was not called")
    );
    assert_eq!(
        fails(&mut host, runtime, "/error"),
        format!("{no_answer}the error ErrorCode::InternalError(Some(\"of its own\"))")
    );
    assert_eq!(is_cut(&mut host, runtime, "/unfinished"), format!("{no_answer}its body was not finished"));
    assert_eq!(body(&mut host, runtime, "/hello"), "hello\n");
    unload(&mut host, runtime);
}

#[test]
fn an_endless_loop_is_a_504() {
    let mut host = TestHost::lock();
    for threads in [1, 2] {
        let runtime = serve!(host, format!(r#","threads":"{threads}","time_limit":"200ms""#));
        assert_eq!(get(&mut host, runtime, "/loop").unwrap().head.status, 504);
        // One that waits, too.
        assert_eq!(get(&mut host, runtime, "/sleep?3600000").unwrap().head.status, 504);
        assert_eq!(is_cut(&mut host, runtime, "/loop-after"), "the function was stopped after 200 ms (time_limit)");
        unload(&mut host, runtime);
    }
}

#[test]
fn a_client_that_leaves_stops_its_component() {
    let mut host = TestHost::lock();
    for threads in [1, 2] {
        let runtime = serve!(host, format!(r#","threads":"{threads}","time_limit":"off","instances":"2""#));
        for target in ["/loop", "/sleep?3600000", "/loop-after", "/slow?3600000"] {
            let request = host.http_open(runtime, HttpRequest::new("GET", target), SOON).unwrap();
            host.turn(Some(Duration::from_millis(20)));
            host.http_close(request);
        }
        assert_eq!(body(&mut host, runtime, "/hello"), "hello\n");
        unload(&mut host, runtime);
    }
}

#[test]
fn a_long_request_does_not_hold_up_others() {
    let mut host = TestHost::lock();
    let runtime = serve!(host, r#","threads":"1""#);
    let long = host.http_open(runtime, HttpRequest::new("GET", "/loop"), SOON).unwrap();
    for _ in 0..10 {
        assert_eq!(body(&mut host, runtime, "/hello"), "hello\n");
    }
    assert_eq!(host.in_flight(runtime), 1);
    host.http_close(long);
    unload(&mut host, runtime);
}

#[test]
fn past_the_instances_requests_wait() {
    let mut host = TestHost::lock();
    let runtime = serve!(host, r#","instances":"2","threads":"1""#);
    let begun = Instant::now();
    let waiting: Vec<_> =
        (0..10).map(|_| host.http_open(runtime, HttpRequest::new("GET", "/sleep?40"), SOON).unwrap()).collect();
    // One of those that wait leaves, and takes no instance.
    host.http_close(waiting[9]);
    for exchange in &waiting[..9] {
        assert!(matches!(receive(&mut host, *exchange), HttpReceived::Head(head) if head.status == 200));
    }
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}: more than two at a time", begun.elapsed());
    for exchange in &waiting[..9] {
        host.http_close(*exchange);
    }
    unload(&mut host, runtime);
}

#[test]
fn memory_stack_fuel_and_output_have_limits() {
    let mut host = TestHost::lock();
    let lines = Lines::of(&mut host);
    let runtime = serve!(host, r#","memory_limit":"8m""#);
    assert_eq!(body(&mut host, runtime, "/memory?4"), "4194304");
    fails(&mut host, runtime, "/memory?8");
    lines.find(&mut host, "more memory than 8388608 bytes was asked for and refused (memory_limit)");
    unload(&mut host, runtime);
    let runtime = serve!(host, r#","max_stack":"64k""#);
    assert_eq!(fails(&mut host, runtime, "/deep"), "the function failed: its stack is used up (max_stack)");
    unload(&mut host, runtime);
    let runtime = serve!(host, r#","fuel":"1000000","time_limit":"off""#);
    assert_eq!(body(&mut host, runtime, "/hello"), "hello\n");
    assert_eq!(fails(&mut host, runtime, "/loop"), "the function failed: its fuel is used up");
    unload(&mut host, runtime);
    let runtime = serve!(host, r#","max_output":"1m""#);
    assert_eq!(get(&mut host, runtime, "/stream?1").unwrap().body.len(), 1 << 20);
    assert_eq!(is_cut(&mut host, runtime, "/stream?2"), "the function wrote more than 1048576 bytes (max_output)");
    unload(&mut host, runtime);
}

#[test]
fn work_goes_on_after_the_answer() {
    let mut host = TestHost::lock();
    let lines = Lines::of(&mut host);
    let runtime = serve!(host, r#","log_level":"notice""#);
    assert_eq!(body(&mut host, runtime, "/after?100"), "answered");
    assert!(!lines.all().iter().any(|line| line == "worked on"));
    lines.find(&mut host, "worked on");
    assert_eq!(body(&mut host, runtime, "/output"), "");
    for text in ["to stdout", "to stderr"] {
        let (level, call, _) = lines.find(&mut host, text);
        assert!(level == 5 && call != 0, "{text}");
    }
    unload(&mut host, runtime);
}

#[test]
fn nothing_is_there_that_was_not_granted() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("http-grants"));
    scratch.file("file", b"what it says");
    let runtime = serve!(host, "");
    assert_eq!(body(&mut host, runtime, "/environment"), "Err(NotPresent) []");
    assert_ne!(body(&mut host, runtime, "/file?/data/file"), "what it says");
    assert_ne!(body(&mut host, runtime, "/file?/etc/passwd").lines().count(), 0);
    unload(&mut host, runtime);
    let folder = scratch.0.display();
    let options = format!(r#","guest_env":[["STAGE","test"]],"arg":["-v"],"dir":[["{folder}","/data","ro"]]"#);
    let runtime = serve!(host, options);
    assert_eq!(body(&mut host, runtime, "/environment"), r#"Ok("test") ["-v"]"#);
    assert_eq!(body(&mut host, runtime, "/file?/data/file"), "what it says");
    assert_eq!(body(&mut host, runtime, "/file?/data/../../etc/passwd"), "PermissionDenied");
    assert_eq!(body(&mut host, runtime, "/write?/data/file"), "Err(PermissionDenied)");
    unload(&mut host, runtime);
}

/// Answers one request after the other, and says where.
fn other_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut request = [0; 4096];
            let n = client.read(&mut request).unwrap();
            let line = String::from_utf8_lossy(&request[..n]).lines().next().unwrap_or_default().to_owned();
            let answer = format!("HTTP/1.1 201 Made\r\nContent-Length: {}\r\n\r\n{line}", line.len());
            client.write_all(answer.as_bytes()).unwrap();
        }
    });
    port
}

#[test]
fn no_connection_goes_out_that_is_not_allowed() {
    let mut host = TestHost::lock();
    let lines = Lines::of(&mut host);
    let port = other_server();
    let runtime = serve!(host, r#","allow_outbound":"127.0.0.1:9""#);
    assert_eq!(body(&mut host, runtime, &format!("/fetch?127.0.0.1:{port}/x")), "ErrorCode::HttpRequestDenied");
    lines.find(&mut host, &format!("a request to 127.0.0.1:{port} was refused: see allow_outbound"));
    // wasi:sockets, either.
    assert_eq!(body(&mut host, runtime, &format!("/connect?127.0.0.1:{port}")), "PermissionDenied");
    unload(&mut host, runtime);
    for threads in [1, 2] {
        let runtime = serve!(host, format!(r#","threads":"{threads}","allow_outbound":"127.0.0.1:{port}""#));
        assert_eq!(body(&mut host, runtime, &format!("/fetch?127.0.0.1:{port}/x")), "201 GET /x HTTP/1.1");
        unload(&mut host, runtime);
    }
}

fn tls_file(name: &str) -> String {
    format!("{}/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The same by TLS, with a certificate for 127.0.0.1 of an authority that nobody knows (tls/ca.crt). 4 MiB where it is
/// asked for /large.
fn other_server_with_tls() -> u16 {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let certificate = CertificateDer::from_pem_file(tls_file("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(tls_file("server.key")).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = std::sync::Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let server = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut client = rustls::StreamOwned::new(server, client.unwrap());
            let mut request = [0; 4096];
            // A client that does not trust us leaves here.
            let Ok(n) = client.read(&mut request) else { continue };
            let line = String::from_utf8_lossy(&request[..n]).lines().next().unwrap_or_default().to_owned();
            let body = if line.contains("/large") { "x".repeat(4 << 20) } else { line };
            let head = format!("HTTP/1.1 201 Made\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = client.write_all(format!("{head}{body}").as_bytes()).and_then(|()| client.flush());
        }
    });
    port
}

#[test]
fn https_goes_to_whom_the_configuration_trusts() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("http-tls"));
    let lines = Lines::of(&mut host);
    let port = other_server_with_tls();
    let to = format!(r#","allow_outbound":["127.0.0.1:{port}","localhost:{port}"]"#);
    let ca = format!(r#","outbound_ca":"{}""#, tls_file("ca.crt"));
    let runtime = serve!(host, to);
    assert_eq!(body(&mut host, runtime, &format!("/fetch-tls?127.0.0.1:{port}/x")), "ErrorCode::TlsCertificateError");
    lines.find(&mut host, &format!("the certificate of 127.0.0.1:{port} is of no authority that is known"));
    unload(&mut host, runtime);
    for threads in [1, 2] {
        let runtime = serve!(host, format!(r#"{to}{ca},"threads":"{threads}""#));
        for _ in 0..3 {
            let said = body(&mut host, runtime, &format!("/fetch-tls?127.0.0.1:{port}/x?y=1"));
            assert_eq!(said, "201 GET /x?y=1 HTTP/1.1");
        }
        let large = body(&mut host, runtime, &format!("/fetch-tls?127.0.0.1:{port}/large"));
        assert_eq!(large.len(), "201 ".len() + (4 << 20));
        // The certificate is for the address only.
        let said = body(&mut host, runtime, &format!("/fetch-tls?localhost:{port}/x"));
        assert_eq!(said, "ErrorCode::TlsCertificateError");
        // Without TLS it is another server's business.
        let said = body(&mut host, runtime, &format!("/fetch?127.0.0.1:{port}/x"));
        assert!(said.starts_with("ErrorCode::"), "{said}");
        unload(&mut host, runtime);
    }
    // A server that speaks no TLS.
    let plain = other_server();
    let runtime = serve!(host, format!(r#","allow_outbound":"127.0.0.1:{plain}"{ca}"#));
    assert_eq!(body(&mut host, runtime, &format!("/fetch-tls?127.0.0.1:{plain}/x")), "ErrorCode::TlsProtocolError");
    unload(&mut host, runtime);
    let Some(component) = component() else { return };
    for (file, why) in [
        (scratch.file("empty", b""), "has no certificate in it"),
        (scratch.file("bad", b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"), "is no PEM"),
        (scratch.0.join("none"), "No such file"),
    ] {
        let options = format!(r#""interface":"wasi-http"{to},"outbound_ca":"{}""#, file.display());
        let said = refused(&mut host, &component, &options);
        assert!(said.contains(&format!("outbound_ca {}: ", file.display())) && said.contains(why), "{said}");
    }
}

#[test]
fn what_is_refused() {
    let (mut host, scratch) = (TestHost::lock(), Scratch::new("http-refused"));
    let Some(component) = component() else { return };
    let module = scratch.function("module.wasm", r#"(module (memory (export "memory") 1) (func (export "_start")))"#);
    let other = scratch.function(
        "other.wasm",
        r#"(component (component $c) (instance $i (instantiate $c)) (export "a:b/c" (instance $i)))"#,
    );
    let foreign = scratch.function("foreign.wasm", r#"(component (import "a:b/c" (instance (export "f" (func)))))"#);
    let http = r#""interface":"wasi-http""#;
    for (file, options, why) in [
        (&module, http, "is a module: interface wasi-http takes components"),
        (&component, "", "is a component: interface wasi and message take modules"),
        (&other, http, "does not export wasi:http/incoming-handler@0.2.x"),
        (&other, http, "it exports a:b/c"),
        (&foreign, http, "it exports nothing"),
    ] {
        let said = refused(&mut host, file, options);
        assert!(said.contains(why), "{said}");
    }
    // Messages are not its business.
    let runtime = try_load(&mut host, &component, http).unwrap();
    let said = host.call(runtime, b"x", SOON).unwrap_err().to_string();
    assert!(said.contains("takes HTTP requests (nffi_pass), not messages"), "{said}");
    unload(&mut host, runtime);
}
