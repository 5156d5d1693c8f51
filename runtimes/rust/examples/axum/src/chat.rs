//! A room of WebSockets.

use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, Utf8Bytes, WebSocket},
    },
    response::Response,
};
use tokio::sync::broadcast::{self, error::RecvError};

/// The longest message.
const LONGEST: usize = 64 * 1024;
/// Messages that a slow listener may lag behind.
const LAG: usize = 64;

#[derive(Debug, Clone)]
pub struct Room(broadcast::Sender<Utf8Bytes>);

impl Default for Room {
    fn default() -> Self {
        Self(broadcast::channel(LAG).0)
    }
}

pub async fn join(State(room): State<Room>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(LONGEST).on_upgrade(async move |socket| talk(room, socket).await)
}

/// Until the client goes, in whatever way.
async fn talk(Room(room): Room, mut socket: WebSocket) {
    let mut said = room.subscribe();
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    // Somebody listens: this one.
                    let _ = room.send(text);
                }
                // Pings are answered by the library.
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
            text = said.recv() => match text {
                Ok(text) => if socket.send(Message::Text(text)).await.is_err() { return },
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}
