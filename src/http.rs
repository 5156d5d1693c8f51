//! The second front door: `nffi_pass`, HTTP requests for runtimes without any Lua. All of it runs on
//! the event loop.
//!
//! # The life of a request
//!
//! 1. The content [`handler`] makes an [`exchange`] and has nginx read the body: whole, or, with
//!    `nffi_request_buffering off`, its beginning.
//! 2. [`request`] puts head and body into one block, which goes onto the runtime's queue; the rest of
//!    a streamed [`body`] follows piece by piece.
//! 3. The runtime's head becomes nginx's own in [`head`], and its pieces go through nginx's output
//!    filters in [`answer`], as fast as the client takes them.
//! 4. After a 101 the connection is the runtime's: [`upgrade`].
//! 5. What goes wrong becomes a status, or a cut connection, and a line in the log: [`failure`].
//!
//! [`conf`] has the directives, [`variables`] what access logs can show, [`log`] and [`crate::slow`] what else
//! is written when a request is over.

mod answer;
mod body;
pub mod conf;
mod exchange;
mod failure;
mod handler;
mod head;
mod log;
mod request;
mod upgrade;
mod variables;

pub use self::{
    conf::{LocConf, status},
    exchange::{Exchange, Exchanges, deliver, is_exchange},
    log::handle as log,
    variables::add as add_variables,
};
