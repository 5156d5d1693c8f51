//! The conformance handler in Rust.
