//! The app that the benchmark compares in nginx and behind it.

use axum::{Router, routing::get};

/// Answers `/hello` with five bytes.
#[nffi::service]
pub fn app() -> Router {
    Router::new().route("/hello", get(async || "hello"))
}
