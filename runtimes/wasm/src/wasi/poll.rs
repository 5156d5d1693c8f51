//! Waiting. Only for time: the streams are always ready, and files, too. Other requests go on meanwhile.

use std::{
    future::{Future, poll_fn},
    sync::atomic::Ordering::Relaxed,
    task::Poll,
    time::Instant,
};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Caller, Linker};

use super::{
    MODULE,
    basics::{clock_id, ns},
    call::{Call, call_by},
    errno::{Errno, Fail, INVAL},
};
use crate::guest::State;

type Guest<'a> = Caller<'a, State>;

const SUBSCRIPTION: u32 = 48;
const EVENT: u32 = 32;
const MOST: u32 = 4096;

/// What of a poll is answered, and when.
#[derive(Default)]
struct Plan {
    /// Userdata, error, type and bytes that are there.
    ready: Vec<(u64, u16, u8, u64)>,
    /// Userdata, error, and when on CLOCK_MONOTONIC.
    clocks: Vec<(u64, u16, u64)>,
}

pub fn add_to(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        MODULE,
        "poll_oneoff",
        |mut guest: Guest, (from, to, count, done): (u32, u32, u32, u32)| -> Box<dyn Future<Output = _> + Send> {
            Box::new(async move {
                let mut plan = Plan::default();
                let rc = call_by(&mut guest, |call| {
                    plan = planned(call, from, count)?;
                    Ok(())
                })?;
                if rc != 0 {
                    return Ok(rc);
                }
                if plan.ready.is_empty() {
                    let until = plan.clocks.iter().map(|(_, _, until)| *until).min().unwrap_or(0);
                    sleep(&guest, until).await?;
                }
                call_by(&mut guest, |call| answer(call, &plan, to, done))
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "sched_yield",
        |guest: Guest, (): ()| -> Box<dyn Future<Output = wasmtime::Result<i32>> + Send> {
            Box::new(async move {
                yield_once(&guest).await?;
                Ok(0)
            })
        },
    )?;
    Ok(())
}

fn now() -> u64 {
    ns(clock_gettime(ClockId::Monotonic))
}

fn planned(call: &mut Call, from: u32, count: u32) -> Result<Plan, Fail> {
    if count == 0 || count > MOST {
        return Err(INVAL.into());
    }
    let mut plan = Plan::default();
    for n in 0..count {
        let at = from.checked_add(n * SUBSCRIPTION).ok_or(INVAL)?;
        call.bytes(at, SUBSCRIPTION)?;
        let user = call.u64_at(at)?;
        match call.bytes(at + 8, 1)?[0] {
            0 => {
                let timeout = call.u64_at(at + 24)?;
                let absolute = call.u16_at(at + 40)? & 1 != 0;
                match clock_id(call.u32_at(at + 16)?) {
                    Ok(_) if !absolute => plan.clocks.push((user, 0, now().saturating_add(timeout))),
                    Ok(ClockId::Monotonic) => plan.clocks.push((user, 0, timeout)),
                    Ok(clock) => {
                        let left = timeout.saturating_sub(ns(clock_gettime(clock)));
                        plan.clocks.push((user, 0, now().saturating_add(left)));
                    }
                    Err(Fail::Errno(Errno(error))) => plan.ready.push((user, error, 0, 0)),
                    Err(other) => return Err(other),
                }
            }
            kind @ (1 | 2) => {
                let fd = call.u32_at(at + 16)?;
                let error = call.state.descriptors.get(fd).err().map_or(0, |error| error.0);
                let left = call.state.stdin.bytes().len().saturating_sub(call.state.read);
                plan.ready.push((user, error, kind, if fd == 0 { left as u64 } else { 1 }));
            }
            _ => return Err(INVAL.into()),
        }
    }
    Ok(plan)
}

fn answer(call: &mut Call, plan: &Plan, to: u32, done: u32) -> Result<(), Fail> {
    let now = now();
    let over = plan.clocks.iter().filter(|(_, _, until)| *until <= now).map(|(user, error, _)| (*user, *error, 0, 0));
    let mut written = 0;
    for (user, error, kind, bytes) in plan.ready.iter().copied().chain(over) {
        let mut event = [0; EVENT as usize];
        event[..8].copy_from_slice(&user.to_le_bytes());
        event[8..10].copy_from_slice(&error.to_le_bytes());
        event[10] = kind;
        event[16..24].copy_from_slice(&bytes.to_le_bytes());
        call.put(to.checked_add(written * EVENT).ok_or(INVAL)?, &event)?;
        written += 1;
    }
    Ok(call.put_u32(done, written)?)
}

/// Until a time on CLOCK_MONOTONIC, or until the function has to stop.
async fn sleep(guest: &Guest<'_>, until: u64) -> wasmtime::Result<()> {
    poll_fn(|_| {
        if let Err(stop) = guest.data().judge() {
            return Poll::Ready(Err(stop.into()));
        }
        if now() >= until {
            return Poll::Ready(Ok(()));
        }
        let most = guest.data().until.map_or(u64::MAX, |limit| {
            now().saturating_add(
                u64::try_from(limit.saturating_duration_since(Instant::now()).as_nanos()).unwrap_or(u64::MAX),
            )
        });
        guest.data().wake_at.store(until.min(most).max(1), Relaxed);
        Poll::Pending
    })
    .await
}

async fn yield_once(guest: &Guest<'_>) -> wasmtime::Result<()> {
    let mut first = true;
    poll_fn(|_| {
        if let Err(stop) = guest.data().judge() {
            return Poll::Ready(Err(stop.into()));
        }
        if !std::mem::take(&mut first) {
            return Poll::Ready(Ok(()));
        }
        guest.data().wake_at.store(0, Relaxed);
        Poll::Pending
    })
    .await
}
