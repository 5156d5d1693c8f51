//! Components of the world wasi:http/proxy, 0.2: requests and answers are streams, both ways.
//!
//! | module      | what                                                        |
//! |-------------|-------------------------------------------------------------|
//! | `component` | a component: judged, compiled, linked                       |
//! | `server`    | the loop that takes events, and the requests that it starts |
//! | `exchange`  | a task: what its request's body and its answer share        |
//! | `request`   | the head of a request                                       |
//! | `body`      | its body                                                    |
//! | `guest`     | one request in one instance, and its limits                 |
//! | `answer`    | an answer on its way out                                    |
//! | `outbound`  | requests of the component's own                             |
//! | `output`    | stdout and stderr                                           |

mod answer;
mod body;
mod component;
mod exchange;
mod guest;
mod outbound;
mod output;
mod request;
mod server;
mod tls;

pub use component::{Component, Needs};
