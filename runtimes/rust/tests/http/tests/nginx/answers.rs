//! What of an answer reaches the client.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use crate::support::{Nginx, file_of};

#[test]
fn small_answers() {
    Nginx::each(|nginx| {
        let answer = nginx.get("/hello");
        assert_eq!((answer.header("content-length"), answer.pair()), (Some("6"), (200, "hello\n".to_owned())));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        let answer = nginx.get("/headers");
        let cookies: Vec<_> = answer.headers.iter().filter(|header| header.0 == "set-cookie").collect();
        assert_eq!(cookies.iter().map(|cookie| &*cookie.1).collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!(answer.header("content-type"), Some("text/x-mine"));
        // On one connection, one after the other.
        let mut client = nginx.client();
        for _ in 0..50 {
            assert_eq!(client.ask("GET", "/hello", &[], b"").text(), "hello\n");
        }
        nginx.quit();
    });
}

#[test]
fn statuses_without_a_body() {
    let nginx = Nginx::start("", "");
    for (status, body) in [(200, "status 200\n"), (204, ""), (304, ""), (418, "status 418\n"), (500, "status 500\n")] {
        let mut client = nginx.client();
        assert_eq!(client.ask("GET", &format!("/status/{status}"), &[], b"").pair(), (status, body.to_owned()));
        // The connection goes on.
        assert_eq!(client.ask("GET", "/hello", &[], b"").text(), "hello\n");
    }
    let mut client = nginx.client();
    let answer = client.ask("HEAD", "/hello", &[], b"");
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("6")));
    let answer = client.ask("HEAD", "/file/text.txt", &[], b"");
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("10")));
    assert_eq!(client.ask("GET", "/hello", &[], b"").text(), "hello\n");
    nginx.quit();
}

#[test]
fn large_answers() {
    Nginx::each(|nginx| {
        for size in [0, 65_536, 262_144, 262_145, 20_000_000] {
            let answer = nginx.get(&format!("/pour-one/{size}"));
            assert_eq!(answer.header("content-length"), Some(&*size.to_string()));
            assert!(answer.complete && answer.body == vec![b'x'; size], "{size}");
        }
        nginx.quit();
    });
}

#[test]
fn events_come_one_by_one() {
    Nginx::each(|nginx| {
        let mut client = nginx.client();
        client.request("GET", "/sse", &[], b"");
        let head = client.head();
        assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
        for n in 0..3 {
            assert_eq!(client.chunk().unwrap(), format!("data: event {n}\n\n").as_bytes());
        }
        assert_eq!(client.chunk().unwrap(), b"");
        nginx.quit();
    });
}

#[test]
fn trailers() {
    let nginx = Nginx::start("", "");
    let answer = nginx.ask("GET", "/trailers", &["TE: trailers"], b"");
    assert!(answer.complete && answer.body == b"onetwo", "{answer:?}");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "42".to_owned())]);
    nginx.quit();
}

#[test]
fn files() {
    Nginx::each(|nginx| {
        assert_eq!(nginx.text("/file/text.txt"), "0123456789");
        assert_eq!(nginx.text("/part/text.txt"), "3456");
        assert_eq!(nginx.text("/file/empty"), "");
        assert_eq!(nginx.get("/file/none").status, 404);
        assert_eq!(nginx.get("/file/%2e").status, 404);
        let big: Vec<u8> = (0..5_000_000_u32).map(|n| n as u8).collect();
        fs::write(file_of(&nginx, "big"), &big).unwrap();
        for path in ["/file/big", "/served/big"] {
            let answer = nginx.get(path);
            assert_eq!((answer.header("content-length"), answer.complete), (Some("5000000"), true), "{path}");
            assert!(answer.body == big, "{path}");
        }
        let answer = nginx.ask("GET", "/served/text.txt", &["Range: bytes=2-4"], b"");
        assert_eq!((answer.status, answer.text()), (206, "234".to_owned()));
        nginx.quit();
    });
}

#[test]
fn layers() {
    Nginx::each(|nginx| {
        assert_eq!(nginx.get("/slow").status, 504);
        let answer = nginx.ask("GET", "/gzip", &["Accept-Encoding: gzip"], b"");
        assert_eq!((answer.header("content-encoding"), &answer.body[..2]), (Some("gzip"), &[0x1f, 0x8b][..]));
        assert!(answer.complete && answer.body.len() < 1000, "{}", answer.body.len());
        assert_eq!(nginx.text("/gzip").len(), 11_000);
        nginx.quit();
    });
}

/// Before the head the client gets an answer, after it a cut connection. The log has the place, the
/// trace, and the request.
#[test]
fn failures() {
    Nginx::each(|nginx| {
        assert_eq!(nginx.get("/panic").pair(), (500, "Internal Server Error".to_owned()));
        let line = nginx.logged(&["[error]", "nffi runtime \"app\"", "panicked at", "lib.rs", "at once"]);
        assert!(line.contains(" *"), "{line}");
        nginx.logged(&["[error]", "nffi runtime \"app\"", "nffi_http_tests::"]);
        assert_eq!(nginx.get("/error-first").pair(), (500, "Internal Server Error".to_owned()));
        nginx.logged(&["[error]", "no first"]);
        for (path, why) in [("/panic-late", "half way"), ("/error-late", "it broke")] {
            let answer = nginx.get(path);
            assert_eq!((answer.status, &*answer.text(), answer.complete), (200, "begun", false), "{path}");
            nginx.logged(&["[error]", why]);
        }
        assert_eq!(nginx.get("/101").status, 500);
        nginx.logged(&["[error]", "status 101 for a client that asked for no upgrade"]);
        assert_eq!(nginx.get("/status/102").status, 500);
        assert_eq!(nginx.text("/hello"), "hello\n");
        nginx.quit();
    });
}

#[test]
fn lines_carry_the_request() {
    let nginx = Nginx::start("threads 2;", "");
    assert_eq!(nginx.text("/log"), "logged");
    for text in ["in the handler", "in a task"] {
        let line = nginx.logged(&["[warn]", text]);
        assert!(line.contains(" *") && line.contains("trace: "), "{line}");
    }
    nginx.quit();
}

#[test]
fn messages_beside_requests() {
    let nginx = Nginx::start("", "");
    assert_eq!(nginx.text("/message"), "message to you\n");
    assert_eq!(nginx.text("/name"), "one");
    nginx.quit();
}

#[test]
fn a_client_of_a_unix_socket_has_no_address() {
    let nginx = Nginx::start("", "");
    let mut client = UnixStream::connect(nginx.dir.join("socket")).unwrap();
    client.write_all(b"GET /show HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("HTTP/1.0\n") && answer.contains("client false"), "{answer}");
    nginx.quit();
}
