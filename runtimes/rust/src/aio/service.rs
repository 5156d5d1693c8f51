//! An async handler with state and configuration.

use std::{fmt::Display, future::Future};

use serde::de::DeserializeOwned;

use super::Request;
use crate::Context;

/// A runtime whose handler is an async function. [`export_async!`](crate::export_async) makes a
/// library of it.
///
/// ```standalone_crate
/// use std::time::Duration;
///
/// #[derive(serde::Deserialize)]
/// struct Config {
///     delay: Duration,
/// }
///
/// struct Late(Duration);
///
/// impl nffi::aio::Service for Late {
///     type Config = Config;
///     type Error = nffi::Error;
///
///     async fn new(config: Config, _: &nffi::Context) -> Result<Self, nffi::Error> {
///         Ok(Self(config.delay))
///     }
///
///     async fn handle(&self, request: &nffi::aio::Request) -> Result<Vec<u8>, nffi::Error> {
///         tokio::time::sleep(self.0).await;
///         Ok(request.data().to_vec())
///     }
/// }
///
/// nffi::export_async!(Late);
/// ```
///
/// As with the blocking [`Service`](crate::Service), state belongs into `self`, not into statics.
pub trait Service: Send + Sync + Sized + 'static {
    /// The options; see [`config`](crate::config).
    type Config: DeserializeOwned;

    /// What goes wrong: [`Error`](crate::Error) where the caller is to get a status, else any type
    /// that is `Display`.
    type Error: Display + 'static;

    /// Starts the runtime. Calls wait meanwhile.
    ///
    /// Runs on: a thread of the host's own, in the tokio runtime that the handlers will run in.
    fn new(config: Self::Config, context: &Context) -> impl Future<Output = Result<Self, Self::Error>>;

    /// Answers a call. A panic is an error of this call alone. Dropped when the caller has gone.
    ///
    /// Runs on: a thread of the tokio runtime, many calls at a time.
    fn handle(&self, request: &Request) -> impl Future<Output = Result<Vec<u8>, Self::Error>> + Send;

    /// Looks whether a configuration can be served, beyond its form. Starts and keeps nothing.
    ///
    /// Runs on: a process of its own, at `nginx -t`, start and reload; 60 s at most. There is no
    /// tokio runtime.
    fn check(_config: &Self::Config) -> Result<(), Self::Error> {
        Ok(())
    }

    /// No more calls will come. Runs once, for at most 700 ms, beside calls that are still at work.
    ///
    /// Runs on: a thread of the tokio runtime.
    fn stop(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}
