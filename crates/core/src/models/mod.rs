//! What happens between threads, run by loom in every order that they may come in:
//! `RUSTFLAGS="--cfg loom" cargo test -p nffi-core --release --lib models`.
//!
//! Every model ends: a wake-up that is lost is a deadlock, which loom reports. How far loom goes
//! is bounded by the number of times that a thread is interrupted against its will.

// Of the crate itself, models are a test; the stand-ins of queues.rs are not.
#![cfg_attr(test, allow(clippy::expect_used))]

pub(crate) mod queues;

#[cfg(test)]
mod http;
#[cfg(test)]
mod parking;
#[cfg(test)]
mod polling;
#[cfg(test)]
mod tasks;
#[cfg(test)]
mod way_back;
#[cfg(test)]
mod windows;
#[cfg(test)]
mod world;

/// Runs a model; a thread is interrupted at most `preemptions` times.
#[cfg(test)]
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}
