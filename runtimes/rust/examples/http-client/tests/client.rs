//! The library in a host, and a real server on this machine.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nffi_testhost::{CallError, Received, RuntimeId, Settings, TestHost};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server that knows a few paths, and counts clients that left while it kept them waiting.
struct Server {
    address: SocketAddr,
    left: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), left: Arc::default() };
        let left = Arc::clone(&server.left);
        thread::spawn(move || {
            for client in listener.incoming() {
                let left = Arc::clone(&left);
                thread::spawn(move || serve(client.unwrap(), &left));
            }
        });
        server
    }
}

fn serve(client: TcpStream, left: &AtomicUsize) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut client = client;
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    // One request a connection, and each answer says so: else the client's next request may meet the end of the last.
    let head = |status: &str, more: &str| format!("HTTP/1.1 {status}\r\n{more}\r\nConnection: close\r\n\r\n");
    let answer = |status: &str, body: &str| head(status, &format!("Content-Length: {}", body.len())) + body;
    let text = match first.split(' ').nth(1).unwrap() {
        "/hello" => answer("200 OK", "hello"),
        "/echo" => {
            let mut body = vec![0; length];
            std::io::Read::read_exact(&mut reader, &mut body).unwrap();
            answer("200 OK", &format!("{} {}", first.split(' ').next().unwrap(), String::from_utf8(body).unwrap()))
        }
        "/pieces" => {
            client.write_all(head("200 OK", "Transfer-Encoding: chunked").as_bytes()).unwrap();
            for piece in ["one", "two", "six"] {
                client.write_all(format!("3\r\n{piece}\r\n").as_bytes()).unwrap();
                thread::sleep(Duration::from_millis(20));
            }
            "0\r\n\r\n".to_owned()
        }
        "/silent" => {
            // Until the client closes.
            let mut line = String::new();
            let _ = reader.read_line(&mut line);
            left.fetch_add(1, Ordering::Relaxed);
            return;
        }
        "/broken" => head("200 OK", "Content-Length: 100") + "short",
        _ => answer("404 Not Found", "no"),
    };
    let _ = client.write_all(text.as_bytes());
}

struct Loaded {
    host: MutexGuard<'static, TestHost>,
    runtime: RuntimeId,
    server: Server,
}

impl Loaded {
    fn new(config: &str) -> Self {
        let server = Server::start();
        let mut host = TestHost::lock();
        let config = config.replace("SERVER", &format!("http://{}", server.address));
        let runtime = host.load(&library(), config.as_bytes(), Settings::default()).unwrap();
        Self { host, runtime, server }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    fn get(&mut self, path: &str) -> Result<String, CallError> {
        let url = self.url(path);
        self.call(&url)
    }

    fn call(&mut self, request: &str) -> Result<String, CallError> {
        self.host.call(self.runtime, request.as_bytes(), PATIENCE).map(|answer| String::from_utf8(answer).unwrap())
    }

    fn stop(mut self) {
        self.host.unload(self.runtime, PATIENCE).unwrap();
        assert_eq!(self.host.bad_answers(self.runtime), 0);
    }
}

fn library() -> String {
    let mut path = std::env::current_exe().unwrap();
    path.set_file_name("libnffi_http_client.so");
    path.display().to_string()
}

fn status(result: Result<String, CallError>) -> i32 {
    match result.unwrap_err() {
        CallError::Status { status, .. } => status,
        other => panic!("{other}"),
    }
}

#[test]
fn asks_and_answers() {
    let mut loaded = Loaded::new("{}");
    assert_eq!(loaded.get("/hello").unwrap(), "hello");
    assert_eq!(loaded.get("/pieces").unwrap(), "onetwosix");
    let post = format!(r#"{{"url":"{}","method":"POST","body":"data"}}"#, loaded.url("/echo"));
    assert_eq!(loaded.call(&post).unwrap(), "POST data");
    assert_eq!(status(loaded.get("/none")), 404);
    assert_eq!(status(loaded.get("/broken")), 502);
    assert_eq!(status(loaded.call("nonsense")), 400);
    loaded.stop();
}

#[test]
fn pieces_come_as_they_are_sent() {
    let mut loaded = Loaded::new("{}");
    let (runtime, url) = (loaded.runtime, loaded.url("/pieces"));
    let stream = loaded.host.open(runtime, url.as_bytes(), false, PATIENCE).unwrap();
    let mut pieces = Vec::new();
    while let Received::Piece(piece) = loaded.host.receive(stream, PATIENCE).unwrap() {
        pieces.push(String::from_utf8(piece).unwrap());
    }
    assert_eq!(pieces.concat(), "onetwosix");
    assert!(pieces.len() > 1, "{pieces:?}");
    loaded.stop();
}

/// One thread waits for a hundred servers, and hangs up on them when nobody asks any more.
#[test]
fn many_wait_at_once_and_are_hung_up_on() {
    let mut loaded = Loaded::new(r#"{"threads":"1"}"#);
    let (runtime, url) = (loaded.runtime, loaded.url("/silent"));
    let calls: Vec<_> = (0..100).map(|_| loaded.host.submit(runtime, url.as_bytes(), PATIENCE).unwrap()).collect();
    assert_eq!(loaded.get("/hello").unwrap(), "hello");
    calls.into_iter().for_each(|call| loaded.host.cancel(call));
    let began = Instant::now();
    while loaded.server.left.load(Ordering::Relaxed) == 0 || loaded.host.in_flight(runtime) > 0 {
        assert!(began.elapsed() < PATIENCE);
        loaded.host.turn(Some(Duration::from_millis(5)));
    }
    loaded.stop();
}

#[test]
fn limits() {
    let mut loaded = Loaded::new(r#"{"allow":"SERVER","read_timeout":"50ms","max_body":"4"}"#);
    assert_eq!(status(loaded.call("http://127.0.0.1:1/")), 403);
    assert_eq!(status(loaded.get("/silent")), 504);
    assert_eq!(status(loaded.get("/hello")), 502);
    loaded.stop();
    let mut loaded = Loaded::new(r#"{"connect_timeout":"1s"}"#);
    assert_eq!(status(loaded.call("http://127.0.0.1:1/")), 502);
    loaded.stop();
}

#[test]
fn a_configuration_that_makes_no_sense() {
    let mut host = TestHost::lock();
    let error = host.load(&library(), br#"{"allow":"x"}"#, Settings::default()).unwrap_err().to_string();
    assert!(error.starts_with("option \"allow\": no URL: \"x\""), "{error}");
}
