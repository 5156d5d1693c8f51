//! ASGI 3: what an app is called with, native. The loop, lifespan and the log are Python's:
//! `nffi/_asgi.py`.
//!
//! | module     | what                                                                     |
//! |------------|--------------------------------------------------------------------------|
//! | `server`   | batches of events in, a task for each request                            |
//! | `eager`    | an asyncio task whose first step is taken at once                        |
//! | `scope`    | the dict that says what the request is                                   |
//! | `exchange` | one HTTP request: `receive` and `send`                                   |
//! | `socket`   | one WebSocket: `receive` and `send`                                       |
//! | `pings`    | whether a WebSocket's client is still there                              |
//! | `message`  | what is in the dicts that an app sends                                   |
//! | `waiting`  | what `receive()` and `send()` return, to be awaited                      |
//! | `call`     | calls that cost less than the limited API's                              |
//! | `gil`      | a value that the GIL guards                                              |
//!
//! All of it runs on the loop's thread; other threads of an app that call `send` have the GIL, too.

mod call;
mod eager;
mod exchange;
mod gil;
mod message;
mod pings;
mod scope;
mod server;
mod socket;
mod waiting;

pub use self::server::Server;
