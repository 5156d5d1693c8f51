//! What a zone says, at one moment.

use nffi_core::meter::Meter;

/// What a worker has of a runtime now.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Gauges {
    /// Tasks that no thread has taken yet.
    pub queued: u64,
    /// Tasks that have not ended, the queued ones included.
    pub in_flight: u64,
    /// Of these, those whose caller has gone.
    pub abandoned: u64,
}

impl Gauges {
    /// Tasks that a thread has taken.
    pub fn running(&self) -> u64 {
        self.in_flight.saturating_sub(self.queued)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeView {
    pub name: String,
    pub meter: Meter,
    /// How often a worker that had it crashed.
    pub restarts: u64,
    /// By process number.
    pub workers: Vec<(i32, Gauges)>,
}

impl RuntimeView {
    /// Of all workers together.
    pub fn gauges(&self) -> Gauges {
        self.workers.iter().fold(Gauges::default(), |sum, (_, more)| Gauges {
            queued: sum.queued + more.queued,
            in_flight: sum.in_flight + more.in_flight,
            abandoned: sum.abandoned + more.abandoned,
        })
    }
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct View {
    /// By name.
    pub runtimes: Vec<RuntimeView>,
    pub workers: Vec<i32>,
    /// Workers that ended without leaving.
    pub crashes: u64,
}
