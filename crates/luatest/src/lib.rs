//! Tests of lua/ without nginx: the real files, in OpenResty's LuaJIT, with everything around them
//! faked. What nginx does with all of it is tested by t/.
//!
//! Layout:
//! - `host`: the C functions of the module, which write down what they are called with and reply
//!   as the test has scripted;
//! - `native`: the same functions as C sees them;
//! - `vm`: a VM with what ngx_lua would have put into it, and a tiny scheduler;
//! - `declared`: declarations read out of C and of Rust, to be compared.
//!
//! Everything of a test lives on its thread: so tests run beside one another.

// A harness: whatever fails here fails the test.
#![allow(clippy::expect_used, clippy::unwrap_used)]

pub mod declared;
pub mod host;
mod native;
pub mod vm;
