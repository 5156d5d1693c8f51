//! The Java host: a runtime that runs handlers written in Java, in a JVM inside the worker.
//!
//! One JVM serves all Java runtimes of a process; each has threads, class loader and handler of its own. What happens to
//! a task is decided in Java (`nffi/`, the jar): here are the JVM, the options, and the way over.
//!
//! # Layout, in the order of a start
//!
//! - `exports`: the two functions of the ABI, and the one place where errors become messages
//! - `config`: the options in nginx.conf; `config/json` reads them
//! - `libjvm`: where the JVM is, and which version
//! - `jvm`: the one JVM of the process: that all agree on it, and its start
//! - `signals`: which one the JVM takes for itself
//! - `natives`: the methods that Java calls, among them the one exchange that costs
//! - `seed`: the loader for classes that were written for lua-resty-ffi

mod config;
mod exports;
mod jvm;
mod libjvm;
mod natives;
mod seed;
mod signals;
