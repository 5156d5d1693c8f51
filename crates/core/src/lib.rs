//! The host of nffi's ABI: everything between a caller and a runtime library that does not
//! depend on who the caller is. There is no nginx in it; the nginx module and the test host
//! are both built on this crate.
//!
//! # Layout, in the order of a call
//!
//! | module       | what                                                                        |
//! |--------------|-----------------------------------------------------------------------------|
//! | [`dispatch`] | the event loop's side: submit, cancel, drain. One thread, no locks          |
//! | [`buf`]      | memory that crosses the boundary: malloc'd, owned                           |
//! | [`word`]     | a task's one atomic word: generation, state, flags, and their transitions   |
//! | [`slot`]     | what a task is made of, and the table of all tasks                          |
//! | [`queue`]    | what a runtime polls: tasks, control events, STOP                           |
//! | [`wake`]     | parking and waking pollers without losing a wake-up                         |
//! | [`pollfd`]   | the same for event loops inside runtimes, by an eventfd                     |
//! | [`pipe`]     | pieces of a request or an answer, with a window                             |
//! | [`http`]     | an HTTP request in one block, and the heads of answers                      |
//! | [`trace`]    | the W3C's `traceparent`                                                     |
//! | [`done`]     | the way back: finished tasks, and the sink that wakes the event loop        |
//! | [`runtime`]  | one loaded library with one configuration; its life                        |
//! | [`registry`] | runtimes by handle, for the functions that runtimes call                    |
//! | [`host`]     | those functions: the `nffi_host` table                                      |
//! | [`foreign`]  | the same for libraries of another ABI                                       |
//! | [`library`]  | finding, checking (from the ELF) and loading a library                      |
//! | [`options`]  | a runtime's settings and its configuration string                           |
//! | [`signals`]  | keeping the process's signals off runtime threads                           |
//! | [`log`]      | log lines of runtimes on their way to the event loop                        |
//! | [`meter`]    | what is measured of a runtime's tasks                                       |
//! | [`mark`]     | marks of tasks under way that outlive the process                           |
//! | `models`     | all of this between threads, under loom                                     |
//!
//! # Threads
//!
//! Two kinds: *the event loop* (one, it owns [`dispatch::Dispatch`]) and *runtime threads* (any
//! number; they enter through [`host`]). They share [`host::Host`] only. Each function says which
//! kind it runs on.

pub mod buf;
pub mod dispatch;
pub mod done;
pub mod foreign;
pub mod host;
pub mod http;
pub mod library;
pub mod log;
pub mod mark;
pub mod meter;
#[cfg(loom)]
mod models;
pub mod options;
pub mod pipe;
pub mod pollfd;
mod primitive;
pub mod queue;
pub mod registry;
pub mod runtime;
pub mod signals;
pub mod slot;
pub mod surroundings;
pub mod trace;
pub mod wake;
pub mod word;

pub use libloading;
pub use nffi_abi as abi;
