//! Runtimes: started, found ready or failed, unloaded, stopped, buried.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Dispatch, Entry, NOBODY, News, Outcome, Refusal, State, Stats};
use crate::{
    foreign::Foreign,
    meter::{End, Meter},
    queue::monotonic_ns,
    runtime::{self, Runtime, Spec},
    word::{self, Word},
};

impl Dispatch {
    /// Starts a runtime; calls may be submitted at once. Its number is never used again.
    pub fn start(&mut self, spec: Spec) -> u32 {
        let runtime = self.adopt(&spec);
        runtime::start(self.host, &runtime, spec);
        runtime.number
    }

    /// Makes a runtime known, without a thread that starts it.
    pub(crate) fn adopt(&mut self, spec: &Spec) -> Arc<Runtime> {
        self.adopt_as(spec, None)
    }

    /// The same for a library of another ABI: the host calls its init, and says in `started` what
    /// came of it. `gone` is called once no thread that has served the runtime is left, after its
    /// end; on any thread.
    pub fn adopt_foreign(&mut self, spec: &Spec, gone: fn()) -> Arc<Runtime> {
        self.adopt_as(spec, Some(Foreign::new(gone)))
    }

    fn adopt_as(&mut self, spec: &Spec, foreign: Option<Foreign>) -> Arc<Runtime> {
        let runtime = self.host.registry.add(|number| {
            let mut runtime = Runtime::new(number, spec);
            runtime.foreign = foreign;
            runtime
        });
        debug_assert_eq!(runtime.number as usize, self.runtimes.len());
        self.runtimes.push(Entry {
            runtime: runtime.clone(),
            state: State::Starting,
            stats: Stats::default(),
            meter: Meter::default(),
            in_flight: 0,
            abandoned: 0,
            unflushed: false,
        });
        runtime
    }

    pub fn entry(&self, number: u32) -> Option<&Entry> {
        self.runtimes.get(number as usize)
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.runtimes.iter()
    }

    /// New calls are refused from now on, accepted ones finish, then the runtime gets STOP; a
    /// foreign one as soon as nothing is queued.
    pub fn unload(&mut self, number: u32) -> Result<(), Refusal> {
        let entry = self.runtimes.get_mut(number as usize).ok_or(Refusal::NoSuchRuntime)?;
        if matches!(entry.state, State::Failed(_)) {
            // Nothing runs; but it may be loaded anew.
            entry.become_(State::Stopped);
            return Ok(());
        }
        if let Some(refusal) = entry.refusal() {
            return Err(refusal);
        }
        entry.become_(State::Unloading);
        if entry.runtime.foreign.is_some() {
            entry.runtime.queue.stop();
        }
        self.stop_if_idle(number);
        Ok(())
    }

    pub(super) fn stop_if_idle(&mut self, number: u32) {
        let entry = &self.runtimes[number as usize];
        if entry.state == State::Unloading && entry.in_flight == 0 {
            entry.runtime.queue.stop();
            if entry.runtime.has_stopped() {
                // What it still had to answer kept it from being over.
                self.host.bulletin();
            }
        }
    }

    /// From now on nothing is admitted.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// STOP for all, after what is queued; then waits until every runtime has said stopped(),
    /// each for its own stop_timeout but none longer than `at_most`. `meanwhile` is called now
    /// and then. True where all have stopped.
    pub fn stop_all(&mut self, at_most: Duration, mut meanwhile: impl FnMut(&mut Self)) -> bool {
        self.leave();
        let begin = Instant::now();
        for entry in &self.runtimes {
            entry.runtime.queue.stop();
        }
        loop {
            let late = |entry: &Entry| {
                begin.elapsed() >= at_most.min(Duration::from_millis(entry.runtime.settings.stop_timeout))
            };
            let waits = |entry: &Entry| matches!(entry.state, State::Starting | State::Ready | State::Unloading);
            let pending = |entry: &&Entry| waits(entry) && !entry.runtime.has_stopped();
            if self.runtimes.iter().filter(pending).all(late) {
                break;
            }
            let runtimes: Vec<_> = self.runtimes.iter().filter(pending).map(|e| e.runtime.clone()).collect();
            self.host.wait_for_stopped(Duration::from_millis(10), || runtimes.iter().all(|r| r.has_stopped()));
            meanwhile(self);
        }
        meanwhile(self);
        self.runtimes.iter().all(|e| e.runtime.has_stopped() || matches!(e.state, State::Failed(_) | State::Stopped))
    }

    /// Is there a task that a leaving process should stay for? Those that somebody waits for, and
    /// casts, are; those whose caller has gone are for their runtime's stop_timeout only.
    /// `leaving_for`: ms since the process began to leave.
    pub fn holds(&self, leaving_for: u64) -> bool {
        self.runtimes.iter().any(|entry| {
            // Nobody will end what a runtime that is over has left.
            !matches!(entry.state, State::Failed(_) | State::Stopped)
                && (entry.in_flight > entry.abandoned
                    || (entry.abandoned > 0 && leaving_for < entry.runtime.settings.stop_timeout))
        })
    }

    /// Tasks of all runtimes that have not ended.
    pub fn unended(&self) -> usize {
        self.unended
    }

    pub(super) fn look_at_runtimes(&mut self, news: &mut Vec<News>) {
        for number in 0..self.runtimes.len() as u32 {
            let entry = &mut self.runtimes[number as usize];
            let runtime = entry.runtime.clone();
            let changed = match runtime.started.get() {
                None => false,
                Some(Ok(())) => entry.state == State::Starting && entry.become_(State::Ready),
                Some(Err(why)) => {
                    let failed = entry.become_(State::Failed(why.clone()))
                        || (entry.state == State::Unloading && entry.become_(State::Stopped));
                    if failed {
                        self.bury(number, why, news);
                    }
                    failed
                }
            };
            let entry = &mut self.runtimes[number as usize];
            entry.stats.dropped_logs = runtime.dropped_logs.load(Ordering::Relaxed);
            // A start that failed has failed, also where it has cleaned up after itself.
            let failed = matches!(entry.state, State::Failed(_));
            // A foreign one may answer after STOP.
            let busy = runtime.foreign.is_some() && entry.in_flight > 0 && !self.leaving;
            let stopped = !failed && !busy && runtime.has_stopped() && entry.become_(State::Stopped);
            if stopped {
                self.bury(number, "it has stopped by itself", news);
            }
            if changed || stopped {
                news.push(News::Runtime { number });
            }
        }
    }

    /// A runtime is over. What is queued or running is answered with `why`, threads that poll all
    /// the same get STOP, and its queue is freed once the last of them has gone.
    fn bury(&mut self, number: u32, why: &str, news: &mut Vec<News>) {
        self.fail_queued(number, why, news);
        self.fail_running(number, why, news);
        let entry = &mut self.runtimes[number as usize];
        entry.runtime.queue.stop();
        // A thread that a failed init left behind may sleep on the descriptor: it must stay.
        if entry.runtime.has_stopped() || !entry.runtime.queue.has_poll_fd() {
            self.host.registry.remove(number);
            entry.runtime = Arc::new(entry.runtime.remains());
        }
    }

    /// Answers all that is queued: no one will poll it.
    fn fail_queued(&mut self, number: u32, why: &str, news: &mut Vec<News>) {
        let runtime = self.runtimes[number as usize].runtime.clone();
        while let Some(task) = runtime.queue.pop() {
            let Some((slot, slot_number, generation)) = self.host.table.resolve(task) else { continue };
            if slot.word.cancel(generation) != Ok(true) {
                runtime.queue.gone_fresh();
                continue;
            }
            // SAFETY: cancelled while QUEUED.
            drop(unsafe { slot.empty() });
            let owner = self.tasks[slot_number as usize].owner;
            self.runtimes[number as usize].stats.errors += 1;
            self.measure(slot_number, number, End::Error, 0, monotonic_ns());
            if owner != NOBODY {
                news.push(News::Ended { owner, outcome: Outcome::Failed(why.to_owned()) });
            }
            self.retire(slot_number, !Word::worn_out(generation), number);
        }
    }

    /// Tells those who wait for a task that was polled that no one will answer it.
    fn fail_running(&mut self, number: u32, why: &str, news: &mut Vec<News>) {
        for slot_number in 1..self.tasks.len() as u32 {
            let owner = self.tasks[slot_number as usize].owner;
            if owner == NOBODY {
                continue;
            }
            let Some(slot) = self.host.table.get(slot_number) else { continue };
            let generation = slot.word.generation();
            if slot.runtime() == number && slot.word.running(generation).is_ok() {
                self.cancel_as(word::handle(generation, slot_number), End::Error);
                news.push(News::Ended { owner, outcome: Outcome::Failed(why.to_owned()) });
            }
        }
    }
}
