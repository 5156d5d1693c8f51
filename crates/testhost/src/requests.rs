//! HTTP requests of the command line: status and headers to standard error, the body to standard output.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    sync::mpsc::{Receiver, TryRecvError},
    time::{Duration, Instant},
};

use nffi_testhost::{HttpBody, HttpError, HttpHead, HttpId, HttpReceived, HttpRequest, RuntimeId, TestHost};

use crate::{cli::Arguments, report, streaming};

/// What the arguments say of them.
#[derive(Debug, Default)]
pub struct Requests {
    /// Method and target.
    requests: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Option<File>,
    pub upgrade: bool,
    pub prefix: Vec<u8>,
    params: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Requests {
    pub fn add_request(&mut self, text: &str) -> Result<(), String> {
        match text.split_once(' ') {
            Some((method, target)) if !method.is_empty() && target.starts_with('/') => {
                self.requests.push((method.into(), target.into()));
                Ok(())
            }
            _ => Err(format!("--http: 'METHOD /PATH' expected, got \"{text}\"")),
        }
    }

    pub fn add_header(&mut self, text: &str) -> Result<(), String> {
        let Some((name, value)) = text.split_once(':').filter(|(name, _)| !name.is_empty()) else {
            return Err(format!("--header: 'NAME: VALUE' expected, got \"{text}\""));
        };
        self.headers.push((name.into(), value.trim().into()));
        Ok(())
    }

    pub fn add_param(&mut self, text: &str) -> Result<(), String> {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(format!("--param: NAME=VALUE expected, got \"{text}\""));
        };
        self.params.push((name.into(), value.into()));
        Ok(())
    }

    pub fn open_body(&mut self, path: &OsStr) -> Result<(), String> {
        let file = File::open(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Err(format!("--body-file: {} is no regular file", path.display()));
        }
        self.body = Some(file);
        Ok(())
    }

    pub fn is_wanted(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Do the arguments fit one another?
    pub fn check(&self, calls: bool, stdin: bool) -> Result<(), &'static str> {
        let of_requests = !self.headers.is_empty()
            || self.body.is_some()
            || self.upgrade
            || !self.prefix.is_empty()
            || !self.params.is_empty();
        match () {
            () if !self.is_wanted() && of_requests => {
                Err("--header, --body-file, --upgrade, --prefix and --param go with --http")
            }
            () if self.is_wanted() && calls => Err("--http goes with neither --call nor --size"),
            () if self.body.is_some() && (stdin || self.upgrade) => {
                Err("--body-file goes with neither --stdin nor --upgrade")
            }
            () if stdin && self.requests.len() > 1 => Err("--stdin is the body of one --http only"),
            () => Ok(()),
        }
    }

    /// The first, without a body from standard input.
    pub fn first(&self) -> Result<HttpRequest, HttpError> {
        let none = || HttpError::Request("no request".into());
        let (method, target) = self.requests.first().ok_or_else(none)?;
        self.make(method, target).map_err(|e| HttpError::Request(format!("the body's file: {e}")))
    }

    fn make(&self, method: &str, target: &str) -> io::Result<HttpRequest> {
        let mut request = HttpRequest::new(method, target);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if self.upgrade {
            request = request.header("Connection", "Upgrade");
            if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("upgrade")) {
                request = request.header("Upgrade", "raw");
            }
        }
        if let Some(file) = &self.body {
            request.body = HttpBody::File(file.try_clone()?);
        }
        request.prefix = self.prefix.clone();
        request.params = self.params.clone();
        Ok(request)
    }
}

/// One after the other; true where each had a whole answer.
pub fn run(host: &mut TestHost, runtime: RuntimeId, all: &Requests, arguments: &Arguments) -> Result<bool, String> {
    let mut sound = true;
    for (method, target) in &all.requests {
        let mut request = all.make(method, target).map_err(|e| format!("the body's file: {e}"))?;
        let mut follows = all.upgrade;
        if arguments.stdin && !all.upgrade {
            if arguments.stream {
                request.body = HttpBody::Streamed(None);
                follows = true;
            } else {
                let mut body = Vec::new();
                io::stdin().read_to_end(&mut body).map_err(|e| format!("cannot read standard input: {e}"))?;
                request.body = HttpBody::Memory(body);
            }
        }
        sound &= one(host, runtime, request, follows, all.upgrade, arguments.timeout);
    }
    Ok(sound)
}

/// What of an answer has been seen.
#[derive(Default)]
struct Seen {
    bytes: usize,
    pieces: usize,
    upgraded: bool,
}

fn one(
    host: &mut TestHost,
    runtime: RuntimeId,
    request: HttpRequest,
    follows: bool,
    upgrade: bool,
    timeout: Duration,
) -> bool {
    let begin = Instant::now();
    let mut seen = Seen::default();
    let result = host.http_open(runtime, request, timeout).and_then(|exchange| {
        let mut input = (follows && !upgrade).then(|| streaming::read_stdin(host.waker()));
        let mut listening = false;
        loop {
            match host.http_take(exchange)? {
                Some(HttpReceived::End) => return Ok(()),
                Some(received) => {
                    if !show(received, &mut seen) {
                        host.http_close(exchange);
                        return Err(HttpError::Request("given up".into()));
                    }
                    continue;
                }
                None => {}
            }
            if seen.upgraded && input.is_none() && !listening {
                listening = true;
                input = Some(streaming::read_stdin(host.waker()));
            }
            if !feed(host, exchange, &mut input)? {
                host.turn(None);
            }
        }
    });
    let took = report::milliseconds(begin.elapsed());
    let what = format!("{} bytes in {} pieces", seen.bytes, seen.pieces);
    match &result {
        Ok(()) => report::say(&format!("{what} ({took})")),
        Err(error) if seen.bytes > 0 => report::say(&format!("{error}, after {what} ({took})")),
        Err(error) if error.status() > 0 => {
            report::say(&format!("{error}; a client of nginx gets {} ({took})", error.status()));
        }
        Err(error) => report::say(&format!("{error} ({took})")),
    }
    result.is_ok()
}

/// Hands on what has come from standard input; false where there is nothing, or no room.
fn feed(
    host: &mut TestHost,
    exchange: HttpId,
    input: &mut Option<Receiver<io::Result<Vec<u8>>>>,
) -> Result<bool, HttpError> {
    let Some(waiting) = input.as_ref().filter(|_| host.http_may_send(exchange)) else { return Ok(false) };
    match waiting.try_recv() {
        Ok(Ok(piece)) => {
            host.http_offer(exchange, &piece);
        }
        Ok(Err(error)) => {
            host.http_close(exchange);
            return Err(HttpError::Request(format!("cannot read standard input: {error}")));
        }
        Err(TryRecvError::Disconnected) => {
            *input = None;
            host.http_send_end(exchange);
        }
        Err(TryRecvError::Empty) => return Ok(false),
    }
    Ok(true)
}

/// False where standard output is closed.
fn show(received: HttpReceived, seen: &mut Seen) -> bool {
    match received {
        HttpReceived::Informational(head) => show_head(&head),
        HttpReceived::Head(head) => {
            seen.upgraded = head.status == 101;
            show_head(&head);
        }
        HttpReceived::Piece(piece) => {
            seen.bytes += piece.len();
            seen.pieces += 1;
            return report::put(&piece);
        }
        HttpReceived::Trailers(trailers) => show_headers(&trailers),
        HttpReceived::End | HttpReceived::Nothing => {}
    }
    true
}

fn show_head(head: &HttpHead) {
    eprintln!("HTTP/1.1 {}", head.status);
    show_headers(&head.headers);
    eprintln!();
}

fn show_headers(headers: &[(Vec<u8>, Vec<u8>)]) {
    for (name, value) in headers {
        eprintln!("{}: {}", report::one_line(name), report::one_line(value));
    }
}
