//! Handlers that are async functions, on tokio.
//!
//! ```standalone_crate
//! use std::time::Duration;
//!
//! #[nffi::handler]
//! async fn hello(request: &nffi::aio::Request) -> Result<Vec<u8>, String> {
//!     tokio::time::sleep(Duration::from_millis(1)).await;
//!     Ok([b"hello, ", request.data()].concat())
//! }
//! ```
//!
//! A call whose caller goes (timeout, disconnect) is cancelled: its future is dropped.
//!
//! With `threads 1`, the default, everything runs on one thread, handlers included: a handler that
//! computes for long holds up the others, so give that to `tokio::task::spawn_blocking`, or take more
//! threads.

mod request;
pub(crate) mod serve;
mod service;

use std::ffi::{c_char, c_int};

use nffi_abi::{nffi_host, nffi_queue};

use crate::{Argument, Error, export};
pub use request::Request;
use serve::Parts;
pub use service::Service;

/// `nffi_runtime_init_v1` of an async service.
///
/// # Safety
/// The arguments are those of `nffi_runtime_init_v1`, as include/nffi.h says.
#[doc(hidden)]
pub unsafe fn init_async<S: Service>(
    host: *const nffi_host,
    queue: nffi_queue,
    cfg: *const c_char,
    len: usize,
    err: *mut c_char,
    err_cap: usize,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe {
        export::init_with(
            host,
            queue,
            cfg,
            len,
            err,
            err_cap,
            || 1,
            |start, config| {
                serve::start(start, async |context| {
                    let service = S::new(config, context).await.map_err(|error| Error::of(&error))?;
                    Ok(Parts { service, http: None })
                })
            },
        )
    }
}

/// `nffi_runtime_check_v1` of an async service.
///
/// # Safety
/// The arguments are those of `nffi_runtime_check_v1`, as include/nffi.h says.
#[doc(hidden)]
pub unsafe fn check_async<S: Service>(cfg: *const c_char, len: usize, err: *mut c_char, err_cap: usize) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { export::check_with(cfg, len, err, err_cap, S::check) }
}

/// For the macro.
#[doc(hidden)]
pub async fn argument_async<'a, A: Argument<'a, Request>>(request: &'a Request) -> Result<A, Error> {
    if A::WHOLE {
        request.whole().await?;
    }
    A::of(request)
}
