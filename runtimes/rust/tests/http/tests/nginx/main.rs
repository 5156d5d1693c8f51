//! The app in a real nginx. Where nginx is, `scripts/test rust` says by the variables `NGINX_…`.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod answers;
mod life;
mod requests;
mod support;
mod websocket;
