//! WebAssembly functions: a runtime that answers each request from a fresh instance of a module, on
//! wasmtime.
//!
//! # Layout, in the order of a request's way
//!
//! | module     | what                                                                           |
//! |------------|--------------------------------------------------------------------------------|
//! | `exports`  | the two functions of the library                                               |
//! | `options`  | the options of the `nffi_runtime` block                                        |
//! | `engine`   | wasmtime's settings                                                            |
//! | `code`     | the file of the configuration: read, judged, compiled                          |
//! | `function` | modules of WASI preview 1                                                      |
//! | `snapshot` | a module that was initialised once                                             |
//! | `compiled` | from bytes to what runs, by way of the cache                                   |
//! | `cache`    | compiled modules on disk                                                       |
//! | `watch`    | a changed file takes the place of the old one                                  |
//! | `runtime`  | what the threads of one runtime share                                          |
//! | `worker`   | a thread: takes tasks, and works on many of them in turn                       |
//! | `gather`   | bodies that come piece by piece                                                |
//! | `contract` | requests and answers as JSON                                                   |
//! | `segments` | data segments, joined before a snapshot is taken                              |
//! | `guest`    | one request in one instance, and its limits                                    |
//! | `wasi`     | what a module may call: WASI preview 1                                         |
//! | `http`     | components of wasi:http, which have a loop of their own                        |
//! | `failure`  | why there is no answer                                                         |
//! | `ticker`   | makes wasmtime look at the clock                                               |
//! | `host`     | the C ABI as safe functions                                                    |

mod cache;
mod code;
mod compiled;
mod contract;
#[cfg(test)]
mod cost;
mod engine;
mod exports;
mod failure;
mod function;
#[cfg(test)]
mod fuzz;
mod gather;
mod guest;
mod host;
mod http;
mod options;
mod runtime;
mod segments;
mod snapshot;
mod ticker;
mod wasi;
mod watch;
mod worker;
