//! What `resty.nffi` asks of the module, and what it makes of the replies.

// Not only #[test] functions look at results.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod agreement;
mod arguments;
mod calls;
mod casts;
mod iterator;
mod loading;
mod modules;
mod phases;
mod runtimes;
mod streams;
