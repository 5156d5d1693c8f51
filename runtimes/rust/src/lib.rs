//! Runtimes in Rust: one function, called from nginx without blocking it.

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
mod life;
pub mod log;
mod panics;
mod pool;
mod request;
mod service;
mod task;

pub use answer::{Answer, Argument, Outcome};
pub use error::{Error, Gone};
pub use nffi_macros::handler;
pub use request::Request;
pub use service::{Call, Context, Service};
pub use task::Task;

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

/// For the macros.
#[doc(hidden)]
pub mod __private {
    pub use nffi_abi::nffi_host;

    #[cfg(feature = "async")]
    pub use crate::aio::{argument_async, check_async, init_async};
    pub use crate::export::{check, init};
    use crate::{Argument, Error, Outcome, Request};

    /// Runs on: a thread of the pool.
    pub fn argument<'a, A: Argument<'a, Request>>(request: &'a Request) -> Result<A, Error> {
        if A::WHOLE {
            request.whole()?;
        }
        A::of(request)
    }

    pub fn outcome(outcome: impl Outcome) -> Result<Vec<u8>, Error> {
        outcome.into_result()
    }
}
