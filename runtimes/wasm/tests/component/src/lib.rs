//! Does what the first part of the path says; see `handle`.

use std::{
    io::{Read, Write},
    process::exit,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use wasip2::{
    clocks::monotonic_clock::subscribe_duration,
    http::{
        outgoing_handler,
        types::{
            ErrorCode, Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse,
            ResponseOutparam, Scheme,
        },
    },
    io::streams::{InputStream, StreamError},
};

wasip2::http::proxy::export!(Component);

struct Component;

static REQUESTS: AtomicU32 = AtomicU32::new(0);

impl wasip2::exports::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let number = || query.parse::<usize>().unwrap_or(0);
        match path {
            "/hello" => text(out, "hello\n"),
            "/head" => head(&request, out),
            "/echo" => echo(request, out),
            "/count" => {
                let body = request.consume().unwrap();
                let stream = body.stream().unwrap();
                let mut count = 0;
                while let Some(piece) = read(&stream) {
                    count += piece.len();
                }
                text(out, &count.to_string());
            }
            // So many MiB.
            "/stream" => {
                let (body, mut stream) = begin(out, 200, &[]);
                for n in 0..number() * 16 {
                    stream.write_all(&[n as u8; 65536]).unwrap();
                }
                drop(stream);
                OutgoingBody::finish(body, None).unwrap();
            }
            // So many pieces of 64 KiB, each noted once it is written.
            "/flood" => {
                let (body, mut stream) = begin(out, 200, &[]);
                for n in 0..number() {
                    stream.write_all(&[n as u8; 65536]).unwrap();
                    eprintln!("wrote {n}");
                }
                drop(stream);
                OutgoingBody::finish(body, None).unwrap();
            }
            // One piece, then nothing for so many ms.
            "/slow" => {
                let (body, mut stream) = begin(out, 200, &[]);
                stream.write_all(b"first ").unwrap();
                sleep(number() as u64);
                stream.write_all(b"second").unwrap();
                drop(stream);
                OutgoingBody::finish(body, None).unwrap();
            }
            "/trailers" => {
                let (body, mut stream) = begin(out, 200, &[]);
                stream.write_all(b"body").unwrap();
                drop(stream);
                let trailers = Fields::new();
                trailers.append("x-sum", b"4").unwrap();
                OutgoingBody::finish(body, Some(trailers)).unwrap();
            }
            "/status" => {
                let (body, stream) = begin(out, number() as u16, &[("x-one", "1"), ("x-one", "2")]);
                drop(stream);
                OutgoingBody::finish(body, None).unwrap();
            }
            "/state" => text(out, &(REQUESTS.fetch_add(1, Relaxed) + 1).to_string()),
            "/sleep" => {
                sleep(number() as u64);
                text(out, "slept");
            }
            "/loop" => while std::hint::black_box(true) {},
            "/loop-after" => {
                let _open = begin(out, 200, &[]);
                sleep(20);
                while std::hint::black_box(true) {}
            }
            "/trap" => innermost(),
            "/trap-after" => {
                let (_body, mut stream) = begin(out, 200, &[]);
                stream.write_all(b"half of it").unwrap();
                // Until then nothing is sent, and it would be a 502.
                sleep(20);
                innermost();
            }
            "/exit" => exit(3),
            "/none" => {}
            "/unfinished" => {
                let (body, mut stream) = begin(out, 200, &[]);
                stream.write_all(b"half of it").unwrap();
                sleep(20);
                drop(stream);
                drop(body);
            }
            "/error" => ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("of its own".to_owned())))),
            // So many MiB.
            "/memory" => {
                let memory = vec![1u8; number() << 20];
                text(out, &std::hint::black_box(memory).len().to_string());
            }
            "/deep" => text(out, &deep(1).to_string()),
            "/after" => {
                text(out, "answered");
                sleep(number() as u64);
                eprintln!("worked on");
            }
            "/output" => {
                println!("to stdout");
                eprintln!("to stderr");
                text(out, "");
            }
            "/environment" => {
                let arguments: Vec<String> = std::env::args().skip(1).collect();
                text(out, &format!("{:?} {arguments:?}", std::env::var("STAGE")));
            }
            "/file" => match std::fs::read_to_string(query) {
                Ok(file) => text(out, &file),
                Err(error) => text(out, &format!("{:?}", error.kind())),
            },
            "/write" => text(out, &format!("{:?}", std::fs::write(query, "new").map_err(|error| error.kind()))),
            "/connect" => match std::net::TcpStream::connect(query) {
                Ok(_) => text(out, "connected"),
                Err(error) => text(out, &format!("{:?}", error.kind())),
            },
            // AUTHORITY/PATH
            "/fetch" | "/fetch-tls" => match fetch(path, query) {
                Ok(body) => text(out, &body),
                Err(code) => text(out, &format!("{code:?}")),
            },
            _ => {
                let (body, _) = begin(out, 404, &[]);
                OutgoingBody::finish(body, None).unwrap();
            }
        }
    }
}

fn begin(
    out: ResponseOutparam,
    status: u16,
    headers: &[(&str, &str)],
) -> (OutgoingBody, wasip2::io::streams::OutputStream) {
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value.as_bytes()).unwrap();
    }
    let response = OutgoingResponse::new(fields);
    response.set_status_code(status).unwrap();
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().unwrap();
    (body, stream)
}

fn text(out: ResponseOutparam, text: &str) {
    let length = text.len().to_string();
    let (body, mut stream) = begin(out, 200, &[("content-type", "text/plain"), ("content-length", &length)]);
    stream.write_all(text.as_bytes()).unwrap();
    drop(stream);
    OutgoingBody::finish(body, None).unwrap();
}

fn head(request: &IncomingRequest, out: ResponseOutparam) {
    let mut seen = format!(
        "{:?} {:?} {:?} {:?}\n",
        request.method(),
        request.scheme(),
        request.authority(),
        request.path_with_query()
    );
    for (name, value) in request.headers().entries() {
        seen += &format!("{name}: {}\n", String::from_utf8_lossy(&value));
    }
    text(out, &seen);
}

/// None at the end.
fn read(stream: &InputStream) -> Option<Vec<u8>> {
    match stream.blocking_read(65536) {
        Ok(piece) => Some(piece),
        Err(StreamError::Closed) => None,
        Err(StreamError::LastOperationFailed(error)) => panic!("{}", error.to_debug_string()),
    }
}

fn echo(request: IncomingRequest, out: ResponseOutparam) {
    let (answer, mut to) = begin(out, 200, &[]);
    let body = request.consume().unwrap();
    let from = body.stream().unwrap();
    while let Some(piece) = read(&from) {
        to.write_all(&piece).unwrap();
    }
    drop(to);
    OutgoingBody::finish(answer, None).unwrap();
}

fn sleep(ms: u64) {
    subscribe_duration(ms * 1_000_000).block();
}

#[inline(never)]
fn innermost() {
    panic!("on purpose");
}

/// Has nothing on the stack in its memory, which would be used up first.
#[inline(never)]
fn deep(n: u64) -> u64 {
    if n == u64::MAX { 0 } else { deep(n + 1).rotate_left(1) ^ n }
}

fn fetch(how: &str, target: &str) -> Result<String, ErrorCode> {
    let (authority, path) = target.split_once('/').unwrap_or((target, ""));
    let request = OutgoingRequest::new(Fields::new());
    let scheme = if how == "/fetch-tls" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(&format!("/{path}"))).unwrap();
    let answer = outgoing_handler::handle(request, None)?;
    answer.subscribe().block();
    let answer = answer.get().unwrap().unwrap()?;
    let status = answer.status();
    let body = answer.consume().unwrap();
    let mut text = String::new();
    body.stream().unwrap().read_to_string(&mut text).unwrap();
    drop(IncomingBody::finish(body));
    Ok(format!("{status} {text}"))
}
