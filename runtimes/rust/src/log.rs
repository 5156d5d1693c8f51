//! Lines in nginx's error log, with the runtime's name and the request that they belong to.
//!
//! What is logged with [`tracing`] or the `log` crate goes there, once a runtime has started:
//!
//! ```
//! # let (user, error) = ("ann", "no route");
//! tracing::warn!(user, %error, "cannot greet");
//! // [warn] 4711#4711: *12 nffi runtime "hello": cannot greet user="ann" error=no route
//! ```
//!
//! Fields follow the message, then those of the spans around it, the innermost first. `trace!` is
//! nginx's `debug`. The option `log_level` says how much is passed on (`info`); of that nginx writes
//! what its `error_log` asks for.
//!
//! The request is known in the handler, on its own thread or in its own future. A task or thread
//! that a handler starts logs without it, unless it runs in [`Watch::scope`](crate::Watch::scope).
//!
//! A library that installs a subscriber of its own takes part with [`layer`].

mod layer;

use std::{
    cell::Cell,
    sync::{
        Once, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU32, Ordering},
    },
};

use nffi_abi::{NFFI_LOG_DEBUG, NFFI_LOG_ERR, NFFI_LOG_INFO, NFFI_LOG_WARN};
use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, Registry, layer::SubscriberExt as _, registry::LookupSpan};

use crate::host::Host;

/// How much is logged: the option `log_level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    fn of(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::TRACE => Self::Trace,
        }
    }

    fn from_number(number: u32) -> Self {
        [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug]
            .get(number as usize)
            .copied()
            .unwrap_or(Self::Trace)
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }

    /// The host's number.
    pub(crate) fn syslog(self) -> u32 {
        match self {
            Self::Off | Self::Error => NFFI_LOG_ERR,
            Self::Warn => NFFI_LOG_WARN,
            Self::Info => NFFI_LOG_INFO,
            Self::Debug | Self::Trace => NFFI_LOG_DEBUG,
        }
    }
}

/// Where a thread's lines go.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) host: Host,
    /// 0 none.
    pub(crate) task: u64,
    pub(crate) level: Level,
}

impl Place {
    /// Does nothing once the runtime has stopped: a thread of tokio's or the service's own may outlive
    /// it, and log.
    pub(crate) fn line(&self, level: Level, message: &str) {
        let living = living();
        if living.iter().any(|place| place.host.queue() == self.host.queue()) {
            self.host.log(self.task, level.syslog(), message);
        }
    }
}

thread_local! {
    static HERE: Cell<Option<Place>> = const { Cell::new(None) };
}

/// The runtimes that have not stopped. Lines of threads that no runtime knows go to the last of them.
/// Whoever hands a line to the host holds it meanwhile, so that nobody does once `forget` is over.
static LIVING: RwLock<Vec<Place>> = RwLock::new(Vec::new());

fn living() -> RwLockReadGuard<'static, Vec<Place>> {
    LIVING.read().unwrap_or_else(PoisonError::into_inner)
}

/// The most talkative level of all runtimes so far, so that what nobody logs costs nothing.
static MOST: AtomicU32 = AtomicU32::new(Level::Off as u32);

/// Until it is dropped, the thread's lines go to a place; then to the one before.
pub(crate) struct Entered(Option<Place>);

pub(crate) fn enter(place: Place) -> Entered {
    Entered(HERE.with(|here| here.replace(Some(place))))
}

impl Drop for Entered {
    fn drop(&mut self) {
        // A thread that is ending may have lost its cell already.
        let _ = HERE.try_with(|here| here.set(self.0));
    }
}

pub(crate) fn place() -> Option<Place> {
    let here = HERE.try_with(Cell::get).ok().flatten();
    here.or_else(|| living().last().copied())
}

/// A runtime starts: its lines, and those of the libraries that it uses, go to its host.
pub(crate) fn install(place: Place) {
    static ONCE: Once = Once::new();
    LIVING.write().unwrap_or_else(PoisonError::into_inner).push(place);
    let before = MOST.fetch_max(place.level as u32, Ordering::AcqRel);
    ONCE.call_once(|| {
        // Where there is one already, whoever installed it has decided.
        let _ = tracing::subscriber::set_global_default(Registry::default().with(layer()));
        let _ = tracing_log::LogTracer::init();
    });
    if before < place.level as u32 {
        tracing::callsite::rebuild_interest_cache();
    }
}

/// A runtime ends: when this returns no thread logs for it, nor will.
pub(crate) fn forget(host: Host) {
    LIVING.write().unwrap_or_else(PoisonError::into_inner).retain(|place| place.host.queue() != host.queue());
}

/// What takes `tracing`'s events to the host. Only for those who build a subscriber of their own,
/// before the runtime starts: the SDK installs one that has this layer and no other.
pub fn layer<S>() -> impl Layer<S>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    layer::HostLayer
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::{c_char, c_int},
        sync::{atomic::AtomicUsize, mpsc},
        thread,
        time::Duration,
    };

    use nffi_abi::{NFFI_ABI, bytes, nffi_host, nffi_queue, nffi_task};

    use super::*;

    static LOGGED: AtomicUsize = AtomicUsize::new(0);

    /// Takes its time for "slow".
    unsafe extern "C" fn log(_: nffi_queue, _: nffi_task, _: c_int, message: *const c_char, len: usize) {
        // SAFETY: len bytes, valid for the call.
        if unsafe { bytes(message, len) } == b"slow" {
            LOGGED.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(100));
        }
        LOGGED.fetch_add(1, Ordering::SeqCst);
    }

    fn host() -> Host {
        let table = nffi_host {
            abi: NFFI_ABI,
            size: u32::try_from(size_of::<nffi_host>()).unwrap(),
            log: Some(log),
            ..*nffi_core::host::table()
        };
        // SAFETY: it stays for ever.
        unsafe { Host::new(Box::leak(Box::new(table)), 1 << 40) }.unwrap()
    }

    #[test]
    fn nobody_logs_for_a_runtime_that_was_forgotten() {
        let place = Place { host: host(), task: 0, level: Level::Info };
        let logged = || LOGGED.load(Ordering::SeqCst);
        install(place);
        // A thread that is logging just now is waited for.
        let (send, begun) = mpsc::channel();
        let slow = thread::spawn(move || {
            send.send(()).unwrap();
            place.line(Level::Info, "slow");
        });
        begun.recv().unwrap();
        while logged() == 0 {
            thread::yield_now();
        }
        forget(place.host);
        assert_eq!(logged(), 2);
        place.line(Level::Info, "late");
        assert_eq!(logged(), 2);
        slow.join().unwrap();
    }
}
