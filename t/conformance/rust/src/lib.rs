//! The conformance handler: what every language's SDK is asked to do, in Rust.

#[cfg(feature = "async")]
mod aio;
#[cfg(not(feature = "async"))]
mod blocking;
mod command;

use std::time::Duration;

/// `greeting TEXT; init_fail TEXT; init_sleep MS;`
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Config {
    greeting: String,
    init_fail: Option<String>,
    init_sleep: u64,
}

impl Config {
    fn init_sleep(&self) -> Duration {
        Duration::from_millis(self.init_sleep)
    }
}
