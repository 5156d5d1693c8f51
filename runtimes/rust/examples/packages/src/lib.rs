//! An example runtime that does a real job: it reads the packages installed on this machine from
//! dpkg's status file into an in-memory SQLite database and answers questions about them.
//!
//! A request is a small JSON message, so is the answer:
//!
//! | request                              | answer                                               |
//! |--------------------------------------|------------------------------------------------------|
//! | `{"query":"search","name":"nginx"}`  | the packages whose name contains it                  |
//! | `{"query":"stats"}`                  | what was read, and how busy the slow lane is         |
//! | `{"query":"slow"}`                   | a simulation that takes SQLite a second or more      |
//!
//! An error is an answer with a status other than 0, in HTTP's numbers, and a message.
//!
//! # Layout, in the order of a request's way
//!
//! - `config`: the options in nginx.conf
//! - `service`: what the SDK calls, and which thread does what
//! - `lane`: the queue of slow queries, with a way to call one off
//! - `query`: requests, answers and the SQL between them
//! - `store`: the database, and how it is filled
//! - `dpkg`: the status file's parser

mod config;
mod dpkg;
mod lane;
mod query;
mod service;
mod store;

nffi::export!(service::Packages);
