//! Runtimes in Rust: one function, called from nginx without blocking it.
//!
//! ```standalone_crate
//! #[nffi::handler]
//! fn hello(request: &[u8]) -> Result<Vec<u8>, String> {
//!     Ok([b"hello, ", request].concat())
//! }
//! ```
//!
//! in a crate with `crate-type = ["cdylib"]` is a library for `nffi_runtime` in nginx.conf; Lua gets
//! its answers by `nffi.call`. An `async fn` runs on tokio. State and options need a [`Service`] (or
//! an [`aio::Service`]) and [`export!`] (or [`export_async!`]). README.md beside this crate is the
//! guide.
//!
//! # Layout, in the order of a call's way
//!
//! - `export`: the two functions that a library exports, and options that every runtime has
//! - [`config`]: options as types
//! - `service`, [`aio`]: what a runtime implements
//! - `pool`, `crew`: the threads of blocking handlers; [`aio`] has the loop of async ones
//! - `task`, `request`: a call, and the duty to answer it once; its pieces
//! - `life`: what one runtime shares, and when it is over
//! - `answer`, `error`: what handlers take and return
//! - `http`: requests of HTTP, with that feature
//! - `panics`, [`log`]: what reaches nginx's error log
//! - `host`: the C ABI as safe functions

#[cfg(not(panic = "unwind"))]
compile_error!("nffi needs panic = \"unwind\" in the profile: with \"abort\" every panic would end the nginx worker");

#[cfg(feature = "async")]
pub mod aio;
mod answer;
pub mod config;
mod crew;
mod error;
mod export;
mod host;
#[cfg(feature = "http")]
pub mod http;
mod life;
pub mod log;
mod panics;
mod pool;
mod request;
mod service;
mod task;

pub use answer::{Answer, Argument, Outcome};
pub use error::{Error, Gone};
/// Makes a runtime library of a function. Once in a crate, which needs `crate-type = ["cdylib"]`.
///
/// The function takes the request: as `&[u8]`, `&str`, `Vec<u8>` or `String` (the whole of it, also
/// where it comes in pieces), or as [`&Request`](Request) ([`&aio::Request`](aio::Request) if it is
/// async). It returns an [`Answer`], or a `Result` of one with any error that is `Display`. An
/// `async fn` runs on tokio, any other on a thread of a pool. There are no options but
/// `threads` and `log_level`: for those, and for state, see [`Service`].
///
/// ```standalone_crate
/// #[nffi::handler]
/// fn shout(text: &str) -> Result<String, nffi::Error> {
///     if text.is_empty() {
///         return Err(nffi::Error::new(400, "what shall I shout?"));
///     }
///     Ok(text.to_uppercase())
/// }
/// ```
pub use nffi_macros::handler;
/// Makes a runtime library of an app that answers HTTP requests: any [`App`](http::App), such as axum's
/// `Router`. Once in a crate, which needs `crate-type = ["cdylib"]`.
///
/// The function makes the app, once for each start, in the tokio runtime that it will run in. It may be
/// async. It takes nothing, or its options (see [`config`]), or options and a [`&Context`](Context); it
/// returns the app, or a `Result` of one with any error that is `Display`.
///
/// ```standalone_crate
/// use axum::{Router, routing::get};
///
/// #[derive(serde::Deserialize)]
/// struct Config {
///     greeting: String,
/// }
///
/// #[nffi::service]
/// async fn app(config: Config) -> Result<Router, nffi::Error> {
///     Ok(Router::new().route("/hello", get(async move || config.greeting)))
/// }
/// ```
///
/// `#[nffi::service(check = function)]` names a function that looks at the options beyond their form,
/// at `nginx -t`: `fn(&Config) -> Result<(), E>`.
///
/// [`http::Serves`] is for libraries that take messages, too.
#[cfg(feature = "http")]
pub use nffi_macros::service;
pub use request::Request;
pub use service::{Call, Context, Service};
pub use task::{Task, Watch};

/// Makes a runtime library of a [`Service`]: exports `nffi_runtime_init_v1` and
/// `nffi_runtime_check_v1`. Once in a crate, which needs `crate-type = ["cdylib"]`.
#[macro_export]
macro_rules! export {
    ($service:ty) => {
        $crate::__export!($service, init, check);
    };
}

/// Makes a runtime library of an [`aio::Service`], as [`export!`] does of a [`Service`].
#[cfg(feature = "async")]
#[macro_export]
macro_rules! export_async {
    ($service:ty) => {
        $crate::__export!($service, init_async, check_async);
    };
}

/// Makes a runtime library of an [`aio::Service`] that has an app as well: see [`http::Serves`].
#[cfg(feature = "http")]
#[macro_export]
macro_rules! export_http {
    ($service:ty) => {
        $crate::__export!($service, init_both, check_async);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($service:ty, $init:ident, $check:ident) => {
        const _: () = {
            /// # Safety
            /// As include/nffi.h says.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn nffi_runtime_init_v1(
                host: *const $crate::__private::nffi_host,
                queue: u64,
                cfg: *const ::core::ffi::c_char,
                len: usize,
                err: *mut ::core::ffi::c_char,
                err_cap: usize,
            ) -> ::core::ffi::c_int {
                // SAFETY: as the host promises.
                unsafe { $crate::__private::$init::<$service>(host, queue, cfg, len, err, err_cap) }
            }

            /// # Safety
            /// As include/nffi.h says.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn nffi_runtime_check_v1(
                cfg: *const ::core::ffi::c_char,
                len: usize,
                err: *mut ::core::ffi::c_char,
                err_cap: usize,
            ) -> ::core::ffi::c_int {
                // SAFETY: as the host promises.
                unsafe { $crate::__private::$check::<$service>(cfg, len, err, err_cap) }
            }
        };
    };
}

/// The guide's code compiles.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// For the macros.
#[doc(hidden)]
pub mod __private {
    pub use nffi_abi::nffi_host;

    #[cfg(feature = "async")]
    pub use crate::aio::{argument_async, check_async, init_async};
    pub use crate::export::{check, init};
    #[cfg(feature = "http")]
    pub use crate::http::{check_http, init_both, init_http};
    use crate::{Argument, Error, Outcome, Request};

    /// Runs on: a thread of the pool.
    pub fn argument<'a, A: Argument<'a, Request>>(request: &'a Request) -> Result<A, Error> {
        if A::WHOLE {
            request.whole()?;
        }
        A::of(request)
    }

    /// Of what makes an app.
    #[cfg(feature = "http")]
    pub fn made<A, E: std::fmt::Display + 'static>(made: Result<A, E>) -> Result<A, Error> {
        made.map_err(|error| Error::of(&error))
    }

    pub fn outcome(outcome: impl Outcome) -> Result<Vec<u8>, Error> {
        outcome.into_result()
    }
}
