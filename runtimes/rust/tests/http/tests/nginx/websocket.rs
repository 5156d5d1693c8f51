//! WebSockets of axum's, which are upgrades of hyper's.

use std::net::TcpStream;

use tungstenite::{
    Bytes, Message, WebSocket,
    handshake::client::Response,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::support::{Nginx, PATIENCE, wait_until};

type Socket = WebSocket<TcpStream>;

fn connect(nginx: &Nginx, path: &str) -> Result<(Socket, Response), u16> {
    let stream = TcpStream::connect(nginx.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut config = tungstenite::protocol::WebSocketConfig::default();
    (config.max_message_size, config.max_frame_size) = (None, None);
    let mut request = tungstenite::ClientRequestBuilder::new(format!("ws://localhost{path}").parse().unwrap());
    if path == "/ws" {
        request = request.with_sub_protocol("echo");
    }
    match tungstenite::client::client_with_config(request, stream, Some(config)) {
        Ok(both) => Ok(both),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn messages_large_and_small() {
    Nginx::each(|nginx| {
        let (mut socket, answer) = connect(&nginx, "/ws").unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], "echo");
        for size in [0, 1, 125, 126, 65_535, 65_536, 200_000, 8_000_000] {
            let data: Vec<u8> = (0..size).map(|n| n as u8).collect();
            socket.send(Message::binary(data.clone())).unwrap();
            assert!(socket.read().unwrap() == Message::binary(data), "{size}");
        }
        socket.send(Message::text("gr\u{fc}n")).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text("gr\u{fc}n"));
        // In pieces, and with a ping between them.
        let frame = |data: &'static str, code, last| Message::Frame(Frame::message(data, OpCode::Data(code), last));
        socket.send(frame("frag", Data::Text, false)).unwrap();
        socket.send(Message::Ping(Bytes::from_static(b"there?"))).unwrap();
        socket.send(frame("ment", Data::Continue, false)).unwrap();
        socket.send(frame("ed", Data::Continue, true)).unwrap();
        assert_eq!(socket.read().unwrap(), Message::Pong(Bytes::from_static(b"there?")));
        assert_eq!(socket.read().unwrap(), Message::text("fragmented"));
        // The client closes: the app's answer to that comes, and the end.
        socket.close(None).unwrap();
        assert!(matches!(socket.read().unwrap(), Message::Close(_)));
        wait_until("the app's socket is gone", || nginx.count("dropped") == 1);
        nginx.quit();
    });
}

#[test]
fn the_app_leaves() {
    Nginx::each(|nginx| {
        let (mut socket, _) = connect(&nginx, "/ws").unwrap();
        socket.send(Message::text("leave")).unwrap();
        // Without a close frame; the connection ends, and nothing hangs.
        assert!(socket.read().is_err());
        let (mut socket, _) = connect(&nginx, "/ws-panic").unwrap();
        assert!(socket.read().is_err());
        nginx.logged(&["[error]", "panicked", "in a socket"]);
        nginx.quit();
    });
}

#[test]
fn a_client_that_vanishes() {
    Nginx::each(|nginx| {
        let sockets: Vec<_> = (0..20).map(|_| connect(&nginx, "/ws").unwrap()).collect();
        wait_until("all are there", || nginx.count("sockets") == 20);
        drop(sockets);
        wait_until("all are gone", || nginx.count("dropped") == 20);
        nginx.quit();
    });
}

#[test]
fn an_app_that_does_not_want_to() {
    Nginx::each(|nginx| {
        assert_eq!(connect(&nginx, "/ws-refused").err(), Some(403));
        assert_eq!(connect(&nginx, "/hello").err(), Some(200));
        assert_eq!(connect(&nginx, "/panic").err(), Some(500));
        // Without a wish to upgrade.
        assert_eq!(nginx.get("/ws").status, 400);
        nginx.quit();
    });
}

#[test]
fn a_client_that_does_not_read_stops_the_app() {
    let nginx = Nginx::start("", "");
    let before = nginx.memory();
    let (mut socket, _) = connect(&nginx, "/ws").unwrap();
    socket.send(Message::text("pour")).unwrap();
    let mut poured = 0;
    wait_until("the app waits", || {
        let last = std::mem::replace(&mut poured, nginx.count("poured"));
        std::thread::sleep(std::time::Duration::from_millis(50));
        last == poured && poured > 0
    });
    for _ in 0..32 * 1024 {
        assert_eq!(socket.read().unwrap().len(), 1024);
    }
    assert!(nginx.count("poured") >= 32 << 20);
    let grown = nginx.memory().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB");
    drop(socket);
    wait_until("the app's socket is gone", || nginx.count("dropped") == 1);
    nginx.quit();
}

/// As nginx's own proxied upgrades do.
#[test]
fn a_socket_survives_a_reload() {
    let nginx = Nginx::start("", "");
    let (mut socket, _) = connect(&nginx, "/ws").unwrap();
    let old = nginx.workers();
    nginx.signal("HUP");
    wait_until("a new worker", || nginx.workers().iter().any(|pid| !old.contains(pid)));
    wait_until("the new one answers", || nginx.count("sockets") == 0);
    socket.send(Message::text("still there")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("still there"));
    socket.close(None).unwrap();
    assert!(matches!(socket.read().unwrap(), Message::Close(_)));
    wait_until("the old worker ends", || !nginx.workers().iter().any(|pid| old.contains(pid)));
    nginx.quit();
}
