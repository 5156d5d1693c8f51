//! Runtimes in Rust: one function, called from nginx without blocking it.
