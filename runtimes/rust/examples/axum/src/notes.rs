//! Notes, and news of them.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::App;

/// Changes that a slow listener may lag behind.
const LAG: usize = 64;

#[derive(Debug, Clone, Serialize)]
struct Note {
    id: u64,
    text: String,
}

#[derive(Debug, Deserialize)]
struct NewNote {
    text: String,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Added(Note),
    Deleted(u64),
}

#[derive(Debug)]
pub struct Notebook {
    most: usize,
    pages: Mutex<Pages>,
    changes: broadcast::Sender<Change>,
}

#[derive(Debug, Default)]
struct Pages {
    notes: BTreeMap<u64, Note>,
    last: u64,
}

#[derive(Debug)]
enum Refused {
    Empty,
    Full,
    Unknown,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Empty => (StatusCode::UNPROCESSABLE_ENTITY, "a note has a text"),
            Self::Full => (StatusCode::INSUFFICIENT_STORAGE, "the notebook is full"),
            Self::Unknown => (StatusCode::NOT_FOUND, "there is no such note"),
        };
        (status, Json(serde_json::json!({ "error": text }))).into_response()
    }
}

impl Notebook {
    pub fn new(most: usize) -> Self {
        Self { most, pages: Mutex::default(), changes: broadcast::channel(LAG).0 }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, text: String) -> Result<Note, Refused> {
        if text.is_empty() {
            return Err(Refused::Empty);
        }
        let note = {
            let mut pages = self.pages();
            if pages.notes.len() >= self.most {
                return Err(Refused::Full);
            }
            pages.last += 1;
            let note = Note { id: pages.last, text };
            pages.notes.insert(note.id, note.clone());
            note
        };
        // An error only says that nobody listens.
        let _ = self.changes.send(Change::Added(note.clone()));
        Ok(note)
    }

    fn delete(&self, id: u64) -> Result<(), Refused> {
        self.pages().notes.remove(&id).ok_or(Refused::Unknown)?;
        let _ = self.changes.send(Change::Deleted(id));
        Ok(())
    }
}

pub fn routes() -> Router<App> {
    Router::new()
        .route("/notes", get(list).post(add))
        .route("/notes/{id}", get(show).delete(delete))
        .route("/events", get(events))
}

async fn list(State(notebook): State<Arc<Notebook>>) -> Json<Vec<Note>> {
    Json(notebook.pages().notes.values().cloned().collect())
}

async fn add(
    State(notebook): State<Arc<Notebook>>,
    Json(new): Json<NewNote>,
) -> Result<(StatusCode, Json<Note>), Refused> {
    let note = notebook.add(new.text)?;
    Ok((StatusCode::CREATED, Json(note)))
}

async fn show(State(notebook): State<Arc<Notebook>>, Path(id): Path<u64>) -> Result<Json<Note>, Refused> {
    notebook.pages().notes.get(&id).cloned().map(Json).ok_or(Refused::Unknown)
}

async fn delete(State(notebook): State<Arc<Notebook>>, Path(id): Path<u64>) -> Result<StatusCode, Refused> {
    notebook.delete(id).map(|()| StatusCode::NO_CONTENT)
}

/// Ends with the client's connection: the stream is dropped then.
async fn events(State(notebook): State<Arc<Notebook>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = stream::unfold(notebook.changes.subscribe(), async |mut changes| {
        loop {
            match changes.recv().await {
                // The text of a change cannot fail to be JSON.
                Ok(change) => return Some((Ok(Event::default().json_data(change).unwrap_or_default()), changes)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Sse::new(changes).keep_alive(KeepAlive::default())
}
