//! The panic barrier: nothing unwinds into nginx or Lua.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nginx_sys::NGX_LOG_ALERT;

use crate::errlog;

/// Calls `f`; `otherwise` where it panicked, which is logged. Runs on: event loop, or the process
/// that reads the configuration.
pub fn barrier<T>(otherwise: T, f: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| {
        errlog::cycle(
            NGX_LOG_ALERT as _,
            format_args!("nffi: internal error (a panic); what was going on is given up"),
        );
        otherwise
    })
}
