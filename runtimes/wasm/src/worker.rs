//! A thread: takes tasks, and works on many of them in turn. A function that runs long, or sleeps, lets
//! others go on.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use nffi_abi::{
    NFFI_CALL, NFFI_CANCEL, NFFI_HTTP, NFFI_MORE, NFFI_READABLE, NFFI_STOP, nffi_event, nffi_task, panic_text,
};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    contract::{self, Answer},
    failure::Failure,
    function::Function,
    guest::{self, Ended, Input, State},
    host::{self, Host, Level, Request},
    options::Interface,
    runtime::Runtime,
};

/// Tasks that are taken at once, where they are short.
const BATCH: usize = 8;
/// What "short" is, in ns.
const SHORT: u64 = 100_000;
/// How long a caller's leaving may go unnoticed while all functions sleep.
const LOOK: u64 = 100_000_000;

/// A task that has begun and not ended.
struct Running {
    task: nffi_task,
    http: bool,
    wake_at: Arc<AtomicU64>,
    future: Pin<Box<dyn Future<Output = Ended>>>,
}

pub struct Worker<'a> {
    runtime: &'a Runtime<Function>,
    host: Host,
    running: Vec<Running>,
    /// Tasks that were taken and have not begun.
    taken: Vec<nffi_event>,
    /// How long functions run, smoothed; ns.
    usual: u64,
    stop: bool,
}

impl<'a> Worker<'a> {
    pub fn new(runtime: &'a Runtime<Function>) -> Self {
        // Long at first: until it is known.
        Self { runtime, host: runtime.host, running: Vec::new(), taken: Vec::new(), usual: SHORT, stop: false }
    }

    /// Until STOP, and until all that has begun is over.
    pub fn serve(mut self) {
        let share = self.runtime.share();
        let mut ticking = false;
        while !self.stop || !self.running.is_empty() {
            let wait = self.wait();
            if wait != 0 && ticking {
                self.runtime.ticker.leave();
                ticking = false;
            }
            let room = share.saturating_sub(self.running.len());
            if self.stop || room == 0 {
                if wait > 0 {
                    thread::sleep(Duration::from_millis(wait as u64));
                }
            } else {
                let batch = if self.usual < SHORT { BATCH } else { 1 };
                let mut events = std::mem::take(&mut self.taken);
                self.host.poll(&mut events, batch.min(room), wait);
                if !events.is_empty() && !ticking {
                    self.runtime.ticker.enter();
                    ticking = true;
                }
                for event in &events {
                    self.take(event);
                }
                self.taken = events;
            }
            if !self.running.is_empty() {
                if !ticking {
                    self.runtime.ticker.enter();
                    ticking = true;
                }
                self.go_on();
            }
        }
        if ticking {
            self.runtime.ticker.leave();
        }
        self.runtime.leave();
    }

    /// How long to wait for events, in ms: not at all while something can run.
    fn wait(&self) -> i32 {
        let Some(next) = self.running.iter().map(|running| running.wake_at.load(Relaxed)).min() else { return -1 };
        let left = next.saturating_sub(now()).min(LOOK);
        // Rounded up: a function that wakes too early only goes to sleep again.
        left.div_ceil(1_000_000) as i32
    }

    fn take(&mut self, event: &nffi_event) {
        match event.kind {
            NFFI_STOP => self.stop = true,
            NFFI_READABLE => {
                if let Some((event, body)) = self.runtime.gather.go_on(self.host, event.task) {
                    self.begin(&event.0, Some(body));
                }
            }
            // Those that run look for themselves.
            NFFI_CANCEL => self.runtime.gather.drop_task(self.host, event.task),
            NFFI_HTTP if self.runtime.options.interface != Interface::Wasi => {
                self.host.reply(event.task, 1, b"takes messages (nffi.call), not HTTP requests (nffi_pass)");
            }
            NFFI_CALL if self.runtime.options.interface == Interface::Wasi => {
                self.host.reply(event.task, 1, b"takes HTTP requests (nffi_pass), not messages (nffi.call)");
            }
            NFFI_HTTP | NFFI_CALL if event.flags & NFFI_MORE != 0 => {
                let first = if event.kind == NFFI_CALL {
                    // SAFETY: the task has not been ended.
                    unsafe { host::message(event) }.to_vec()
                } else {
                    Vec::new()
                };
                if let Some((event, body)) = self.runtime.gather.begin(self.host, *event, first) {
                    self.begin(&event.0, Some(body));
                }
            }
            NFFI_HTTP | NFFI_CALL => self.begin(event, None),
            _ => {}
        }
    }

    /// Begins with a task; `body` is there where it came in pieces.
    fn begin(&mut self, event: &nffi_event, body: Option<Vec<u8>>) {
        let http = event.kind == NFFI_HTTP;
        let input = if http {
            // SAFETY: the task has not been ended.
            let request = unsafe { Request::of(event) };
            match whole_body(request, body.as_deref()) {
                Ok(body) => Input::Owned(contract::encode(request, &body)),
                Err(error) => {
                    let message = format!("the request's body cannot be read: {error}");
                    self.host.reply(event.task, 1, message.as_bytes());
                    return;
                }
            }
        } else {
            match body {
                Some(body) => Input::Owned(body),
                // SAFETY: the task is ended only after its future, and with it the input, is gone: in `end`.
                None => Input::Task(unsafe { host::message(event) }),
            }
        };
        let options = &self.runtime.options;
        let wake_at = Arc::new(AtomicU64::new(0));
        let begun = Instant::now();
        let surroundings = &self.runtime.surroundings;
        let state = State::new(self.host, event.task, surroundings, options, input, wake_at.clone());
        let future = Box::pin(guest::run(self.runtime.code(), state));
        self.running.push(Running { task: event.task, http, wake_at, future });
        self.step(self.running.len() - 1, begun);
    }

    /// Lets each one that can run go on, once.
    fn go_on(&mut self) {
        let time = now();
        let mut at = self.running.len();
        while at > 0 {
            at -= 1;
            let wake = self.running[at].wake_at.load(Relaxed);
            if wake <= time || wake > time + LOOK {
                self.step(at, Instant::now());
            }
        }
    }

    fn step(&mut self, at: usize, begun: Instant) {
        let mut context = Context::from_waker(Waker::noop());
        let future = &mut self.running[at].future;
        let outcome = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
        let took = begun.elapsed().as_nanos() as u64;
        self.usual = (self.usual * 15 + took) / 16;
        let ended = match outcome {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(ended)) => ended,
            // A mistake of ours. It costs one request.
            Err(panic) => {
                let what = format!("the runtime panicked: {}", panic_text(&*panic));
                Ended { result: Err(Failure::Trap(what, Vec::new())) }
            }
        };
        let Running { task, http, future, .. } = self.running.swap_remove(at);
        // With it goes what points into the task.
        drop(future);
        self.end(task, http, ended);
    }

    fn end(&self, task: nffi_task, http: bool, ended: Ended) {
        let failure = match ended.result {
            Ok(output) if !http => return self.host.reply(task, 0, &output),
            Ok(output) => match Answer::of(&output) {
                Ok(answer) => return self.answer(task, &answer),
                Err(why) => Failure::Contract(why),
            },
            Err(failure) => failure,
        };
        if http && matches!(failure, Failure::Time(_)) {
            self.host.log(task, Level::Error, &failure.message());
            let answer = Answer {
                status: 504,
                headers: vec![("Content-Type".to_owned(), "text/plain".to_owned())],
                body: b"504 Gateway Time-out\n".to_vec(),
            };
            return self.answer(task, &answer);
        }
        self.host.reply(task, 1, failure.message().as_bytes());
    }

    fn answer(&self, task: nffi_task, answer: &Answer) {
        let headers: Vec<(&[u8], &[u8])> =
            answer.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        if self.host.head(task, answer.status, &headers) {
            self.host.reply(task, 0, &answer.body);
        } else {
            self.host.reply(task, 1, b"the head of the answer was refused");
        }
    }
}

/// The body, wherever it is.
fn whole_body<'a>(request: Request<'a>, gathered: Option<&'a [u8]>) -> std::io::Result<std::borrow::Cow<'a, [u8]>> {
    if let Some(body) = gathered {
        return Ok(body.into());
    }
    let Some((fd, length)) = request.body_file() else { return Ok(request.body().into()) };
    // SAFETY: the host's descriptor, open until the task is ended.
    let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(fd) };
    let mut body = vec![0; length];
    let mut done = 0;
    while done < length {
        match rustix::io::pread(fd, &mut body[done..], done as u64) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(body.into())
}

/// CLOCK_MONOTONIC, ns.
fn now() -> u64 {
    crate::wasi::ns(clock_gettime(ClockId::Monotonic))
}
