//! The event loop's half of a runtime: its state, and what is counted.

use std::sync::Arc;

use super::Refusal;
use crate::{meter::Meter, runtime::Runtime};

/// Where a runtime is in its life. See [`Entry::become_`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its start thread is at work; calls wait in its queue.
    Starting,
    Ready,
    /// Init said no, and why.
    Failed(String),
    /// No new calls; accepted ones are being finished.
    Unloading,
    /// Over: it will never touch the host again, or it never began to.
    Stopped,
}

/// Counted since the runtime was declared or loaded.
#[derive(Debug, Default, Clone)]
pub struct Stats {
    pub calls: u64,
    pub casts: u64,
    pub answers: u64,
    pub errors: u64,
    pub cancelled: u64,
    pub timeouts: u64,
    pub rejected: u64,
    pub dropped_logs: u64,
}

/// The event loop's half of a runtime.
#[derive(Debug)]
pub struct Entry {
    pub runtime: Arc<Runtime>,
    pub state: State,
    pub stats: Stats,
    /// Since somebody [took](super::Dispatch::take_meter) it.
    pub meter: Meter,
    /// Tasks not yet ended, abandoned ones and casts included.
    pub in_flight: usize,
    /// Of these, those whose caller has gone.
    pub abandoned: usize,
    /// Something was pushed since the last wake.
    pub(super) unflushed: bool,
}

impl Entry {
    /// The one place where a runtime changes its state; true where it did.
    ///
    /// ```text
    ///   Starting ──► Ready ──► Unloading ──► Stopped
    ///      │  └──────────────────▲  │           ▲
    ///      └──► Failed ────────────┴─────────────┘ (unloaded; init failed while unloading)
    /// ```
    pub(super) fn become_(&mut self, next: State) -> bool {
        let allowed = matches!(
            (&self.state, &next),
            (State::Starting, State::Ready | State::Failed(_) | State::Unloading)
                | (State::Ready, State::Unloading | State::Stopped)
                | (State::Unloading | State::Failed(_), State::Stopped)
        );
        if allowed {
            self.state = next;
        }
        allowed
    }

    pub(super) fn refusal(&self) -> Option<Refusal> {
        match &self.state {
            State::Starting | State::Ready => None,
            State::Failed(why) => Some(Refusal::Failed(why.clone())),
            State::Unloading | State::Stopped => Some(Refusal::Unloaded),
        }
    }
}
