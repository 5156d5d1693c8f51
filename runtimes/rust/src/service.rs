//! A handler with state and configuration, whose calls block a thread of a pool.

use std::fmt::Display;

use serde::de::DeserializeOwned;

use crate::{Error, Request, task::Task};

/// What a runtime knows of itself when it starts.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Context {
    /// The option `threads`, or its default.
    pub threads: usize,
}

/// A runtime whose handler blocks: it runs on one of `threads` threads, and while it works that
/// thread does nothing else. [`export!`](crate::export) makes a library of it.
///
/// ```standalone_crate
/// #[derive(serde::Deserialize)]
/// struct Config {
///     greeting: String,
/// }
///
/// struct Hello {
///     greeting: String,
/// }
///
/// impl nffi::Service for Hello {
///     type Config = Config;
///     type Error = nffi::Error;
///
///     fn new(config: Config, _: &nffi::Context) -> Result<Self, nffi::Error> {
///         Ok(Self { greeting: config.greeting })
///     }
///
///     fn handle(&self, request: &nffi::Request) -> Result<Vec<u8>, nffi::Error> {
///         if request.data().is_empty() {
///             return Err(nffi::Error::new(400, "who is there?"));
///         }
///         Ok([self.greeting.as_bytes(), b", ", request.data()].concat())
///     }
/// }
///
/// nffi::export!(Hello);
/// ```
///
/// A library may be started more than once in a process, each time with a configuration of its own:
/// keep state in `self`, not in statics.
pub trait Service: Send + Sync + Sized + 'static {
    /// The options; see [`config`](crate::config). [`NoOptions`](crate::config::NoOptions) for none.
    type Config: DeserializeOwned;

    /// What goes wrong: [`Error`](crate::Error) where the caller is to get a status, else any type
    /// that is `Display`.
    type Error: Display + 'static;

    /// Starts the runtime. May take its time: calls wait meanwhile.
    ///
    /// Runs on: a thread of the host's own, once for each start. Threads that are started here have
    /// the runtime's working directory, and nginx's signals blocked.
    fn new(config: Self::Config, context: &Context) -> Result<Self, Self::Error>;

    /// Answers a call. A panic is an error of this call alone.
    ///
    /// Runs on: any thread of the pool, many at a time.
    fn handle(&self, request: &Request) -> Result<Vec<u8>, Self::Error>;

    /// How many threads handle calls, where the option `threads` does not say so: one for each core
    /// that the worker may use, and 4 at least, since handlers that block mostly wait.
    fn default_threads() -> usize {
        crate::pool::default_threads()
    }

    /// Looks whether a configuration can be served, beyond its form: does the file exist? Starts and
    /// keeps nothing.
    ///
    /// Runs on: a process of its own, at `nginx -t`, start and reload; 60 s at most.
    fn check(_config: &Self::Config) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Takes a call over. For services that answer some calls elsewhere, on threads of their own;
    /// without it the call is answered here, by [`handle`](Self::handle).
    ///
    /// Runs on: any thread of the pool.
    fn take(&self, call: Call) {
        call.answer(|request| self.handle(request));
    }

    /// The caller of a call has gone. A handler that is at work finds out by
    /// [`cancelled`](Task::cancelled); this is for calls that [`take`](Self::take) has put aside.
    /// May come before the call itself: put the call aside first, then ask it.
    ///
    /// Runs on: any thread of the pool.
    fn cancelled(&self, _id: u64) {}

    /// No more calls will come: answer what was put aside, end threads of your own. Runs once.
    ///
    /// Runs on: a thread of the pool.
    fn stop(&self) {}
}

/// A call to be answered, once, on any thread. Dropped without an answer, it is one with an error.
///
/// nginx waits at its end for calls that were not answered.
#[derive(Debug)]
pub struct Call {
    request: Request,
}

impl Call {
    pub(crate) fn new(task: Task) -> Self {
        Self { request: Request::new(task) }
    }

    /// What is asked.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Answers with what `handler` makes of the request. Its panic is an error of this call.
    pub fn answer<E: Display + 'static>(self, handler: impl FnOnce(&Request) -> Result<Vec<u8>, E>) {
        self.reply(|request| handler(request).map_err(|error| Error::of(&error)));
    }

    fn reply(mut self, handler: impl FnOnce(&Request) -> Result<Vec<u8>, Error>) {
        let result = {
            let _here = crate::log::enter(self.request.place());
            crate::panics::catch(|| handler(&self.request)).flatten()
        };
        self.request.finish(result.as_deref());
    }
}
