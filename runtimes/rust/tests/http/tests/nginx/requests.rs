//! What of a request reaches the app.

use crate::support::Nginx;

#[test]
fn heads_are_whole() {
    let nginx = Nginx::start("", "");
    let text = nginx.ask("PROPFIND", "/show?n=%41&x", &["X-A: 1", "x-a: \u{e4}", "X-Empty:"], b"the body").text();
    for line in [
        "PROPFIND /show?n=%41&x HTTP/1.1",
        "> host: localhost",
        "> x-a: 1\n> x-a: \u{e4}\n> x-empty: \n",
        "scheme http",
        "server_name localhost",
        "prefix \n",
        "path /show\n",
        "client true",
        "server true",
        "param A Some(\"%41\")\nparam B Some(\"b b\")",
        "trace 32",
        "cancelled false",
        "body Some(8) the body",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let text = nginx.ask("GET", "/show", &[], b"").text();
    assert!(text.contains("body Some(0) \n"), "{text}");
    nginx.quit();
}

#[test]
fn what_no_app_understands_is_a_bad_request() {
    let nginx = Nginx::start("", "");
    assert_eq!(nginx.get("/a<b").pair(), (400, "Bad Request".to_owned()));
    nginx.logged(&["*", "[info]", "a malformed request: the path"]);
    nginx.quit();
}

#[test]
fn extractors() {
    Nginx::each(|nginx| {
        let json = ["Content-Type: application/json"];
        assert_eq!(
            nginx.ask("POST", "/json", &json, br#"{"n":41,"text":"x"}"#).pair(),
            (200, r#"{"n":42,"text":"x"}"#.to_owned())
        );
        assert_eq!(nginx.ask("POST", "/json", &json, b"{").status, 400);
        assert_eq!(nginx.ask("POST", "/json", &[], b"{}").status, 415);
        assert_eq!(nginx.text("/user/7?n=8&text=a%20b"), "7 8 a b None");
        assert_eq!(nginx.get("/user/x?n=8&text=").status, 400);
        let form = ["Content-Type: application/x-www-form-urlencoded"];
        assert_eq!(nginx.ask("POST", "/form", &form, b"n=1&text=a+b").text(), "1 a b");
        assert_eq!(nginx.get("/nowhere").status, 404);
        assert_eq!(nginx.get("/json").status, 405);
        nginx.quit();
    });
}

#[test]
fn the_clients_address() {
    let nginx = Nginx::start("", "");
    let mut client = nginx.client();
    let own = client.0.get_ref().local_addr().unwrap();
    assert_eq!(client.ask("GET", "/connect", &[], b"").text(), own.to_string());
    nginx.quit();
}

/// In memory, in nginx's file, and in pieces.
#[test]
fn bodies_of_every_kind() {
    Nginx::each(|nginx| {
        for size in [1, 1000, 100_000, 3_000_000] {
            let body = vec![b'b'; size];
            for path in ["/count", "/streamed/count"] {
                assert_eq!(nginx.ask("POST", path, &[], &body).pair(), (200, size.to_string()), "{path}");
            }
            let answer = nginx.ask("POST", "/upper", &[], &body);
            assert!(answer.complete && answer.body == vec![b'B'; size], "{size}");
        }
        // Of unknown length.
        let mut client = nginx.client();
        client.request("POST", "/streamed/count", &["Transfer-Encoding: chunked"], b"");
        client.send(b"3\r\nabc\r\n");
        client.send(b"4\r\ndefg\r\n0\r\n\r\n");
        assert_eq!(client.answer(false).text(), "7");
        nginx.quit();
    });
}

#[test]
fn uploads() {
    let nginx = Nginx::start("", "");
    let file = vec![7_u8; 500_000];
    let mut body = b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nhello\r\n".to_vec();
    body.extend_from_slice(b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.bin\"\r\n\r\n");
    body.extend_from_slice(&file);
    body.extend_from_slice(b"\r\n--b--\r\n");
    for path in ["/multipart", "/streamed/multipart"] {
        let answer = nginx.ask("POST", path, &["Content-Type: multipart/form-data; boundary=b"], &body);
        assert_eq!(answer.pair(), (200, "a - 5 532\nf x.bin 500000 3500000\n".to_owned()), "{path}");
    }
    nginx.quit();
}

#[test]
fn both_ways_at_once() {
    Nginx::each(|nginx| {
        let mut client = nginx.client();
        client.request("POST", "/streamed/upper", &["Transfer-Encoding: chunked"], b"");
        // The head is there before any of the body.
        assert_eq!(client.head().status, 200);
        for word in ["one", "two", "three"] {
            client.send(format!("{:x}\r\n{word}\r\n", word.len()));
            assert_eq!(client.chunk().unwrap(), word.to_uppercase().as_bytes());
        }
        client.send("0\r\n\r\n");
        assert_eq!(client.chunk().unwrap(), b"");
        nginx.quit();
    });
}

/// Whoever has the body after the answer's end gets an error, and does not touch a task that is over.
#[test]
fn a_body_outlives_its_task() {
    Nginx::each(|nginx| {
        let mut client = nginx.client();
        client.request("POST", "/streamed/spawned", &["Transfer-Encoding: chunked"], b"");
        client.send("3\r\nabc\r\n");
        assert_eq!(client.answer(false).text(), "first 3");
        nginx.logged(&["[warn]", "the rest: ", "not completed"]);
        nginx.quit();
    });
}
