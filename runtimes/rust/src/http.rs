//! HTTP requests for any tower service: axum's apps run as they are.
//!
//! ```standalone_crate
//! use axum::{Router, routing::get};
//!
//! #[nffi::service]
//! async fn app() -> Router {
//!     Router::new().route("/hello", get(async || "hello\n"))
//! }
//! ```
//!
//! is a library for `nffi_pass` in nginx.conf. What it takes and returns: [`service`](crate::service).
//! Requests have a [`Body`], and an [`Info`] among their extensions. Answers go out as the app makes
//! them; where the client is slow, the app waits. A [`File`] is sent by the kernel.
//!
//! # Layout
//!
//! - `app`: what runs for nffi, and its start
//! - `head`, [`Info`]: what came of a request; [`Body`]: its body
//! - `answer`: an answer on its way out; [`File`]
//! - `upgrade`: connections that become something else
//! - `exchange`: the task below all of them

mod answer;
mod app;
mod body;
mod exchange;
mod file;
mod head;
mod info;
mod upgrade;

pub use app::{App, Serves};
#[doc(hidden)]
pub use app::{check_http, init_both, init_http};
pub use body::{Body, BodyError};
pub use file::File;
pub use info::Info;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error and what caused it, on one line.
fn text_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Many repeat their cause.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
