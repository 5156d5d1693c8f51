//! Who waits: coroutines asleep on a semaphore until their task, their stream or a runtime has
//! news. Owners are numbered; the numbers are what `nffi_core::dispatch` hands back.
//!
//! A caller can vanish at any time (request ended, thread killed). Nothing tells; but ngx_lua takes
//! the coroutine off its semaphore, and the count shows it. It is looked at when the answer
//! comes, and meanwhile by a sweep.

use std::{mem, ptr, sync::Arc};

use nffi_core::{dispatch::Outcome, pipe::Pieces};
use nginx_sys::{ngx_http_cleanup_t, ngx_http_request_t};

use crate::sema::{self, Sema, Wait};

/// So often a retired semaphore is looked at whose coroutine does not leave it: ten seconds.
const LAST_LOOK: u8 = 200;
/// Semaphores kept for the next calls; a burst's rest goes back to ngx_lua.
const POOLED: usize = 4096;

#[derive(Debug)]
pub struct Call {
    sem: Sema,
    pub task: u64,
    outcome: Option<Outcome>,
    /// The sweep that first saw it posted and not taken; 0: none.
    seen: u32,
}

/// A coroutine that waits for a runtime to be ready.
#[derive(Debug)]
pub struct Load {
    sem: Sema,
    pub runtime: u32,
}

#[derive(Debug)]
pub struct Stream {
    /// Guards against a number that is used again.
    pub serial: u32,
    pub runtime: u32,
    pub task: u64,
    pub pieces: Arc<Pieces>,
    /// Set once the runtime has ended the task.
    pub ended: Option<Outcome>,
    /// The way out is shut.
    pub sent_eof: bool,
    /// What has gone either way since its coroutine last yielded.
    pub spent: usize,
    /// Whoever waits in receive, and in send.
    waiters: [Option<Waiter>; 2],
    /// The request's cleanup that closes this stream; NULL once that has run.
    pub cleanup: *mut ngx_http_cleanup_t,
}

/// What a stream's coroutine may take or send before others have their turn.
const SPEND: usize = 256 * 1024;
/// What a piece counts for beside its bytes.
const PIECE: usize = 4096;

impl Stream {
    /// Bytes have gone through without a wait.
    pub fn spend(&mut self, bytes: usize) {
        self.spent = self.spent.saturating_add(bytes).saturating_add(PIECE);
    }

    pub fn has_spent_enough(&self) -> bool {
        self.spent >= SPEND
    }

    /// The coroutine yields now. True where that is for the sake of others.
    pub fn rest(&mut self) -> bool {
        std::mem::take(&mut self.spent) >= SPEND
    }
}

#[derive(Debug)]
struct Waiter {
    sem: Sema,
    posted: bool,
}

/// The two sides of a stream that a coroutine can wait on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Receive = 0,
    Send = 1,
}

#[derive(Debug, Default)]
enum Owner {
    #[default]
    Free,
    Call(Call),
    Load(Load),
    Stream(Box<Stream>),
}

/// An owner's number is its place here.
#[derive(Debug, Default)]
struct Place {
    owner: Owner,
    /// Where in `live` it is, unless it is free.
    at: u32,
}

#[derive(Debug)]
pub struct Owners {
    api: sema::Api,
    list: Vec<Place>,
    free: Vec<u32>,
    /// The numbers of those that are not free: what a sweep looks at.
    live: Vec<u32>,
    semas: Vec<Sema>,
    /// To be destroyed by the sweep, and how often it has seen them: a semaphore that has been
    /// posted still has its coroutine until the posted events have run.
    retired: Vec<(Sema, u8)>,
    /// Where in `live` the next sweep goes on.
    swept: usize,
    /// Sweeps so far, from 1 on.
    sweeps: u32,
    serial: u32,
}

impl Owners {
    pub fn new(api: sema::Api) -> Self {
        Self {
            api,
            list: Vec::new(),
            free: Vec::new(),
            live: Vec::new(),
            semas: Vec::new(),
            retired: Vec::new(),
            swept: 0,
            sweeps: 0,
            serial: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.retired.is_empty()
    }

    fn add(&mut self, owner: Owner) -> u32 {
        let place = Place { owner, at: self.live.len() as u32 };
        let number = match self.free.pop() {
            Some(number) => {
                self.list[number as usize] = place;
                number
            }
            None => {
                self.list.push(place);
                self.list.len() as u32 - 1
            }
        };
        self.live.push(number);
        number
    }

    fn remove(&mut self, number: u32) -> Owner {
        let Place { owner, at } = mem::take(&mut self.list[number as usize]);
        if !matches!(owner, Owner::Free) {
            self.free.push(number);
            // The last one takes its place among the live.
            self.live.swap_remove(at as usize);
            if let Some(&moved) = self.live.get(at as usize) {
                self.list[moved as usize].at = at;
            }
        }
        owner
    }

    fn get(&self, number: u32) -> Option<&Owner> {
        self.list.get(number as usize).map(|place| &place.owner)
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Owner> {
        self.list.get_mut(number as usize).map(|place| &mut place.owner)
    }

    fn sleep(&mut self, r: *mut ngx_http_request_t, timeout: i32) -> Result<Sema, String> {
        let sem = self.semas.pop().or_else(|| self.api.create()).ok_or("no memory")?;
        match self.api.wait(r, &sem, timeout) {
            Wait::Yield => Ok(sem),
            Wait::Refused(why) => {
                self.put_back(sem);
                Err(why)
            }
        }
    }

    fn put_back(&mut self, sem: Sema) {
        // Only a clean one: a stale post would wake the next coroutine at once. The others are not
        // destroyed here: this may run below the semaphore's own handler, which looks at it again.
        if self.semas.len() < POOLED && self.api.count(&sem) == 0 {
            self.semas.push(sem);
        } else {
            self.retire(sem);
        }
    }

    fn retire(&mut self, sem: Sema) {
        self.retired.push((sem, 0));
    }

    /// Gives everything back to ngx_lua, which looks at its semaphores' blocks when it goes. The
    /// event loop does not run any more.
    pub fn destroy(mut self) {
        for number in 0..self.list.len() as u32 {
            self.forget(number);
        }
        for sem in self.semas.drain(..).chain(self.retired.drain(..).map(|(sem, _)| sem)) {
            self.api.destroy(sem);
        }
    }

    // ---- calls -------------------------------------------------------------------------------

    /// Puts the running coroutine to sleep for a call. It must yield, whatever comes next.
    pub fn sleep_for_call(&mut self, r: *mut ngx_http_request_t, timeout: i32) -> Result<u32, String> {
        let sem = self.sleep(r, timeout)?;
        Ok(self.add(Owner::Call(Call { sem, task: 0, outcome: None, seen: 0 })))
    }

    /// The task that a call waits for.
    pub fn set_task(&mut self, number: u32, task: u64) {
        match self.get_mut(number) {
            Some(Owner::Call(call)) => call.task = task,
            Some(Owner::Stream(stream)) => stream.task = task,
            _ => {}
        }
    }

    /// The owner's task is over: wakes the coroutine, or forgets the owner where it has vanished.
    pub fn finish(&mut self, number: u32, outcome: Outcome) {
        match self.list.get_mut(number as usize).map(|place| &mut place.owner) {
            Some(Owner::Call(call)) if self.api.is_waiting(&call.sem) => {
                call.outcome = Some(outcome);
                self.api.post(&call.sem);
            }
            Some(Owner::Call(_)) => self.forget(number),
            Some(Owner::Stream(stream)) => {
                stream.ended = Some(outcome);
                self.wake_stream(number);
            }
            _ => {}
        }
    }

    /// The coroutine has resumed: takes the call out.
    pub fn take_call(&mut self, number: u32) -> Option<Call> {
        match self.get(number) {
            // Resumed by something that is not ours while it is still on the semaphore's queue.
            Some(Owner::Call(call)) if call.outcome.is_none() && self.api.is_waiting(&call.sem) => None,
            Some(Owner::Call(_)) => match self.remove(number) {
                Owner::Call(call) => Some(call),
                _ => None,
            },
            _ => None,
        }
    }

    /// Gives the semaphore of a taken call back, and the outcome out.
    pub fn recycle(&mut self, call: Call) -> Option<Outcome> {
        self.put_back(call.sem);
        call.outcome
    }

    /// Forgets an owner whose coroutine has vanished.
    pub fn forget(&mut self, number: u32) {
        match self.remove(number) {
            Owner::Free => {}
            Owner::Call(call) => self.put_back(call.sem),
            Owner::Load(load) => self.put_back(load.sem),
            Owner::Stream(stream) => {
                if !stream.cleanup.is_null() {
                    // SAFETY: its request is alive: its end would have cleared the pointer.
                    unsafe { (*stream.cleanup).data = ptr::null_mut() };
                }
                for waiter in stream.waiters.into_iter().flatten() {
                    // Whoever waits learns that it is closed.
                    if self.api.is_waiting(&waiter.sem) {
                        self.api.post(&waiter.sem);
                    }
                    self.retire(waiter.sem);
                }
            }
        }
    }

    // ---- loads -------------------------------------------------------------------------------

    pub fn sleep_for_load(&mut self, r: *mut ngx_http_request_t, timeout: i32, runtime: u32) -> Result<u32, String> {
        let sem = self.sleep(r, timeout)?;
        Ok(self.add(Owner::Load(Load { sem, runtime })))
    }

    /// A runtime has left its starting state. What they want to know they ask the runtime: the
    /// owners are done with.
    pub fn wake_loads(&mut self, runtime: u32) {
        for number in 0..self.list.len() as u32 {
            if matches!(self.get(number), Some(Owner::Load(load)) if load.runtime == runtime)
                && let Owner::Load(load) = self.remove(number)
            {
                self.api.post(&load.sem);
                self.retire(load.sem);
            }
        }
    }

    // ---- streams -----------------------------------------------------------------------------

    pub fn add_stream(&mut self, runtime: u32, pieces: Arc<Pieces>) -> (u32, u32) {
        self.serial = self.serial.wrapping_add(1).max(1);
        let serial = self.serial;
        let number = self.add(Owner::Stream(Box::new(Stream {
            serial,
            runtime,
            task: 0,
            pieces,
            ended: None,
            sent_eof: false,
            spent: 0,
            waiters: [None, None],
            cleanup: ptr::null_mut(),
        })));
        (number, serial)
    }

    pub fn stream(&mut self, number: u32, serial: u32) -> Option<&mut Stream> {
        match self.get_mut(number) {
            Some(Owner::Stream(stream)) if stream.serial == serial => Some(stream),
            _ => None,
        }
    }

    /// Puts the running coroutine to sleep until the side of the stream has news. It must yield.
    pub fn sleep_for_stream(
        &mut self,
        r: *mut ngx_http_request_t,
        timeout: i32,
        number: u32,
        side: Side,
    ) -> Result<(), String> {
        match &mut self.list[number as usize].owner {
            Owner::Stream(stream) => {
                let waiter = &mut stream.waiters[side as usize];
                if waiter.as_ref().is_some_and(|w| self.api.count(&w.sem) == if w.posted { 0 } else { -1 }) {
                    return Err("busy: another coroutine waits on this side of the stream".to_owned());
                }
                // Killed while it waited, or after it was posted.
                if let Some(vanished) = waiter.take() {
                    self.put_back(vanished.sem);
                }
            }
            _ => return Err("closed".to_owned()),
        }
        let sem = self.sleep(r, timeout)?;
        if let Owner::Stream(stream) = &mut self.list[number as usize].owner {
            stream.waiters[side as usize] = Some(Waiter { sem, posted: false });
        }
        Ok(())
    }

    /// The coroutine that waited on the side has resumed. True where it had been posted.
    pub fn settle_stream(&mut self, number: u32, side: Side) -> bool {
        if let Some(Owner::Stream(stream)) = self.get_mut(number)
            && let Some(waiter) = stream.waiters[side as usize].take()
        {
            self.put_back(waiter.sem);
            return waiter.posted;
        }
        false
    }

    /// Wakes whoever gave way to others on that side of the stream.
    pub fn go_on(&mut self, number: u32, side: Side) {
        let Some(place) = self.list.get_mut(number as usize) else { return };
        let Owner::Stream(stream) = &mut place.owner else { return };
        if let Some(waiter) = &mut stream.waiters[side as usize]
            && !waiter.posted
            && self.api.is_waiting(&waiter.sem)
        {
            waiter.posted = true;
            self.api.post(&waiter.sem);
        }
    }

    /// Wakes whoever waits on a side of the stream that has news.
    pub fn wake_stream(&mut self, number: u32) {
        let Some(place) = self.list.get_mut(number as usize) else { return };
        let Owner::Stream(stream) = &mut place.owner else { return };
        let over = stream.ended.is_some();
        let news = [over || !stream.pieces.answer.is_empty(), over || stream.pieces.request.is_open()];
        for (waiter, news) in stream.waiters.iter_mut().zip(news) {
            if let Some(waiter) = waiter
                && news
                && !waiter.posted
                && self.api.is_waiting(&waiter.sem)
            {
                waiter.posted = true;
                self.api.post(&waiter.sem);
            }
        }
    }

    // ---- the sweep ---------------------------------------------------------------------------

    /// Looks at up to `least` owners, a quarter of them if those are more, for coroutines that have
    /// vanished; `gone` gets the tasks that nobody waits for any more.
    pub fn sweep(&mut self, least: usize, gone: &mut Vec<u64>) {
        self.sweeps = self.sweeps.wrapping_add(1).max(1);
        self.sweep_retired(least);
        for _ in 0..least.max(self.live.len() / 4).min(self.live.len()) {
            if self.swept >= self.live.len() {
                self.swept = 0;
            }
            let Some(&number) = self.live.get(self.swept) else { break };
            let (task, vanished) = self.look_at(number);
            if !vanished {
                self.swept += 1;
                continue;
            }
            if task != 0 {
                gone.push(task);
            }
            // Another one takes its place, and is looked at next.
            self.forget(number);
        }
    }

    /// The owner's task, and whether its coroutine has vanished.
    fn look_at(&mut self, number: u32) -> (u64, bool) {
        let (api, sweep) = (self.api, self.sweeps);
        match &mut self.list[number as usize].owner {
            // Posted and resumed would have been taken at once. Posted, and not on the queue any
            // more, is a coroutine that was killed in between; taken off by the post, but not resumed
            // until another sweep, is one that went on in the meantime, by an error of a debug hook.
            // (One sweep may come by twice: what it forgets is replaced by the last.)
            Owner::Call(call) if call.outcome.is_some() => {
                let count = api.count(&call.sem);
                let before = call.seen;
                if before == 0 {
                    call.seen = sweep;
                }
                (0, count > 0 || (count == 0 && before != 0 && before != sweep))
            }
            Owner::Call(call) => (call.task, !api.is_waiting(&call.sem)),
            Owner::Load(load) => (0, !api.is_waiting(&load.sem)),
            // One that nobody waits on is closed by its request's end, or by Lua's collector.
            Owner::Stream(stream) => {
                let killed = |w: &Waiter| api.count(&w.sem) == i32::from(w.posted);
                (stream.task, stream.waiters.iter().flatten().any(killed))
            }
            Owner::Free => (0, false),
        }
    }

    fn sweep_retired(&mut self, budget: usize) {
        let batch: Vec<_> = self.retired.drain(..budget.min(self.retired.len())).collect();
        for (sem, seen) in batch {
            if seen > 0 && !self.api.is_waiting(&sem) {
                self.api.destroy(sem);
            } else if seen < LAST_LOOK {
                self.retired.push((sem, seen + 1));
            }
            // Else something is on its queue for ever that should not be: left alone, it harms nobody.
        }
    }
}
