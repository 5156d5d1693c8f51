//! A worker's own part of a zone.

use std::{collections::HashMap, ptr, ptr::NonNull, sync::atomic::Ordering};

use nffi_core::{mark::TaskMark, meter::Meter};

use crate::{
    view::Gauges,
    zone::{GAUGES, Gauge, Memory, Runtime, Worker, WorkerId, Zone},
};

/// One process that counts. What it reports is added to what others have.
pub struct Member<M: Memory> {
    zone: Zone<M>,
    worker: NonNull<Worker>,
    /// By the worker's own number of a runtime.
    runtimes: HashMap<u32, Known>,
}

/// Why a runtime is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// The worker has [`GAUGES`] already.
    Worker,
    /// The zone is full.
    Zone,
}

struct Known {
    gauge: usize,
    runtime: NonNull<Runtime>,
}

impl<M: Memory> Member<M> {
    /// This process counts in the zone from now on. `None` where there is no room for it.
    pub fn join(zone: Zone<M>, id: WorkerId) -> Option<Self> {
        let worker = zone.add_worker(id)?;
        Some(Self { zone, worker, runtimes: HashMap::new() })
    }

    fn worker(&self) -> &'static Worker {
        // SAFETY: an entry stays until its process is gone.
        unsafe { self.worker.as_ref() }
    }

    /// Where the tasks of this process may be marked.
    pub fn marks(&self) -> &'static [TaskMark] {
        &self.worker().marks
    }

    /// Is the runtime known here?
    pub fn holds(&self, number: u32) -> bool {
        self.runtimes.contains_key(&number)
    }

    /// Makes the runtime known here; it keeps its place until it is [forgotten](Self::forget).
    pub fn hold(&mut self, number: u32, name: &str) -> Result<(), NoRoom> {
        if !self.holds(number) {
            let known = self.known(number, name)?;
            self.runtimes.insert(number, known);
        }
        Ok(())
    }

    /// Adds what was measured since the last time, and says how it stands now. Of a runtime that is not held, nothing.
    pub fn report(&self, number: u32, meter: &Meter, now: Gauges) {
        let Some(known) = self.runtimes.get(&number) else { return };
        // SAFETY: a runtime that this process holds is not freed.
        unsafe { known.runtime.as_ref() }.add(meter);
        let gauge = &self.worker().gauges[known.gauge];
        let shown = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        gauge.queued.store(shown(now.queued), Ordering::Relaxed);
        gauge.in_flight.store(shown(now.in_flight), Ordering::Relaxed);
        gauge.abandoned.store(shown(now.abandoned), Ordering::Relaxed);
    }

    fn known(&self, number: u32, name: &str) -> Result<Known, NoRoom> {
        let free = |gauge: &Gauge| gauge.runtime.load(Ordering::Relaxed).is_null();
        let at = self.worker().gauges.iter().position(free).ok_or(NoRoom::Worker)?;
        debug_assert!(at < GAUGES);
        let gauge = &self.worker().gauges[at];
        gauge.number.store(number, Ordering::Relaxed);
        let runtime = self.zone.hold_runtime(name.as_bytes(), gauge).ok_or(NoRoom::Zone)?;
        Ok(Known { gauge: at, runtime })
    }

    /// The runtime is over, and nothing more will be reported of it.
    pub fn forget(&mut self, number: u32) {
        if let Some(known) = self.runtimes.remove(&number) {
            let gauge = &self.worker().gauges[known.gauge];
            for value in [&gauge.queued, &gauge.in_flight, &gauge.abandoned] {
                value.store(0, Ordering::Relaxed);
            }
            gauge.runtime.store(ptr::null_mut(), Ordering::Release);
        }
    }

    /// The process ends as it should.
    pub fn leave(&self) {
        self.worker().left.store(1, Ordering::Release);
    }
}
