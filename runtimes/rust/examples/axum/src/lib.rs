//! A notebook: an axum app inside nginx. examples/axum/nginx.conf beside this crate serves it.
//!
//! | | |
//! |---|---|
//! | `GET /` | a page that uses the rest |
//! | `GET /notes`, `POST /notes` | all notes, or a new one, as JSON |
//! | `GET /notes/{id}`, `DELETE /notes/{id}` | one of them |
//! | `GET /events` | every change, as server-sent events |
//! | `GET /chat` | a WebSocket: what one says, all hear |

mod chat;
mod notes;

use std::sync::Arc;

use axum::{Router, extract::FromRef, response::Html, routing::get};
use tower_http::trace::TraceLayer;

use chat::Room;
use notes::Notebook;

/// What stands in the `nffi_runtime` block.
#[derive(Debug, serde::Deserialize)]
pub struct Config {
    /// How many notes there may be: `most_notes 1000;`
    #[serde(default = "most_notes")]
    most_notes: usize,
}

fn most_notes() -> usize {
    1000
}

#[derive(Clone, FromRef)]
struct App {
    notebook: Arc<Notebook>,
    room: Room,
}

fn check(config: &Config) -> Result<(), &'static str> {
    if config.most_notes == 0 { Err("most_notes 0: there would be no room for any") } else { Ok(()) }
}

/// Started once in every worker: each has a notebook of its own.
#[nffi::service(check = check)]
pub fn app(config: Config) -> Router {
    let state = App { notebook: Arc::new(Notebook::new(config.most_notes)), room: Room::default() };
    Router::new()
        .route("/", get(async || Html(include_str!("page.html"))))
        .merge(notes::routes())
        .route("/chat", get(chat::join))
        .with_state(state)
        .layer(TraceLayer::new_for_http())
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::{Request, StatusCode},
    };
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(app: &Router, method: &str, path: &str, body: &'static str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let response = app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// An app is a value: it needs neither nginx nor a host to be tested.
    #[tokio::test]
    async fn notes_come_and_go() {
        let app = app(Config { most_notes: 2 });
        assert_eq!(ask(&app, "GET", "/notes", "").await, (StatusCode::OK, "[]".to_owned()));
        let made = ask(&app, "POST", "/notes", r#"{"text":"buy milk"}"#).await;
        assert_eq!(made, (StatusCode::CREATED, r#"{"id":1,"text":"buy milk"}"#.to_owned()));
        assert_eq!(ask(&app, "GET", "/notes/1", "").await.1, made.1);
        assert_eq!(ask(&app, "POST", "/notes", r#"{"text":""}"#).await.0, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(ask(&app, "POST", "/notes", r#"{"text":"two"}"#).await.0, StatusCode::CREATED);
        assert_eq!(ask(&app, "POST", "/notes", r#"{"text":"three"}"#).await.0, StatusCode::INSUFFICIENT_STORAGE);
        assert_eq!(ask(&app, "DELETE", "/notes/1", "").await.0, StatusCode::NO_CONTENT);
        assert_eq!(ask(&app, "DELETE", "/notes/1", "").await.0, StatusCode::NOT_FOUND);
        assert_eq!(ask(&app, "GET", "/notes", "").await.1, r#"[{"id":2,"text":"two"}]"#);
    }

    #[test]
    fn options_are_looked_at() {
        assert!(check(&Config { most_notes: 0 }).is_err());
        assert!(check(&nffi::config::from_slice(b"{}").unwrap()).is_ok());
    }
}
