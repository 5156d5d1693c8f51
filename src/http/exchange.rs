//! One request and its task: what both are known by, and how they are parted.

use std::{
    collections::VecDeque,
    ffi::c_void,
    mem::{self, offset_of},
    sync::Arc,
};

use nffi_core::{
    buf::Buf,
    dispatch::{News, Outcome, Refusal, Submission, Times},
    http::Head,
    meter::End,
    pipe::{Piece, Pieces},
    queue::monotonic_ns,
    runtime::Runtime,
    trace,
};
use nginx_sys::{
    ngx_add_timer, ngx_del_timer, ngx_event_t, ngx_http_cleanup_add, ngx_http_request_t, ngx_http_run_posted_requests,
    ngx_msec_t, ngx_pool_cleanup_add,
};

use super::{answer, answer::OutBuf, body, conf::LocConf, failure, failure::Failure, request::Ready, upgrade};
use crate::{barrier::barrier, nginx, slow, worker};

/// Marks an owner's number as that of an exchange.
const OWNER: u32 = 1 << 30;

pub fn is_exchange(owner: u32) -> bool {
    owner & OWNER != 0 && owner != nffi_core::dispatch::NOBODY
}

/// All exchanges of the worker, by number.
#[derive(Debug, Default)]
pub struct Exchanges {
    list: Vec<*mut Exchange>,
    free: Vec<u32>,
    /// Given back since the loop began to hand out news, some of which may be for them still.
    resting: Vec<u32>,
}

impl Exchanges {
    fn add(&mut self, exchange: *mut Exchange) -> u32 {
        match self.free.pop() {
            Some(number) => {
                self.list[number as usize] = exchange;
                number
            }
            None => {
                self.list.push(exchange);
                self.list.len() as u32 - 1
            }
        }
    }

    fn remove(&mut self, number: u32) {
        self.list[number as usize] = std::ptr::null_mut();
        self.resting.push(number);
    }

    fn get(&self, owner: u32) -> Option<*mut Exchange> {
        self.list.get((owner & !OWNER) as usize).copied().filter(|exchange| !exchange.is_null())
    }

    /// All news of the last round have been handed out.
    pub fn rested(&mut self) {
        self.free.append(&mut self.resting);
    }
}

/// How far an exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// nginx reads the request's body; there is no task yet.
    Reading,
    /// The runtime works; the client has got nothing.
    Waiting,
    /// The head is sent.
    Sending,
    /// The client gets no more of the answer: it wants none, or gets something else. The task goes on
    /// to its end.
    Discarding(Discard),
    /// The connection is the runtime's.
    Upgraded,
    /// Parted: the request goes its own way, and there is no task, or nobody waits for it.
    Over,
}

/// What comes after the task's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// Nothing: the head was all.
    Nothing,
    /// An internal redirect to where X-Accel-Redirect said.
    Redirect,
}

/// Freed with the request's pool: log variables are asked for after its end.
#[derive(Debug)]
pub struct Exchange {
    pub r: *mut ngx_http_request_t,
    pub conf: *const LocConf,
    pub runtime: Arc<Runtime>,
    number: Option<u32>,
    pub task: u64,
    /// None before there are any.
    pub pieces: Option<Arc<Pieces>>,
    pub stage: Stage,
    /// The task is over, and this is how.
    pub ended: Option<Outcome>,
    /// In ms: to the head, then between two pieces.
    pub timeout: u64,
    timer: ngx_event_t,
    pub trace: u128,
    pub times: Times,
    /// What the client got, or was to get: the runtime's status, or that of a failure; 0 none.
    pub status: u16,
    /// The runtime's alone; 0 none.
    pub status_of_runtime: u16,
    /// How it ended for the client, where that is not how the task did.
    pub end: Option<End>,
    /// Bytes of the answer's body.
    pub bytes: u64,
    // ---- the answer
    /// nginx's headers point into what they hold.
    pub heads: Vec<Head>,
    /// Bytes of the body still to come, where the head said how many.
    pub rest: Option<u64>,
    /// Handed to nginx, oldest first, and not consumed yet; and those to be used again.
    pub busy: VecDeque<*mut OutBuf>,
    pub spare: Vec<*mut OutBuf>,
    // ---- the request's body, where it is streamed
    pub body: body::State,
    // ---- the upgraded connection
    pub raw: upgrade::State,
}

impl Exchange {
    /// Makes one for the request. `None` where nginx has no memory left.
    ///
    /// # Safety
    /// `r` is a live request in its content handler, and `conf` its location's.
    pub unsafe fn new(r: *mut ngx_http_request_t, conf: *const LocConf, runtime: Arc<Runtime>) -> Option<*mut Self> {
        // SAFETY: the caller's promise; all-zero is a valid event.
        unsafe {
            let at_end = ngx_http_cleanup_add(r, 0);
            let with_pool = ngx_pool_cleanup_add((*r).pool, 0);
            if at_end.is_null() || with_pool.is_null() {
                return None;
            }
            let timeout = (*conf).timeout().unwrap_or(runtime.settings.timeout);
            let mut timer: ngx_event_t = mem::zeroed();
            timer.handler = Some(on_timer);
            // Where nginx logs events it looks for a connection here.
            timer.data = (*r).connection.cast();
            timer.log = (*(*r).connection).log;
            let exchange = Box::into_raw(Box::new(Self {
                r,
                conf,
                runtime,
                number: None,
                task: 0,
                pieces: None,
                stage: Stage::Reading,
                ended: None,
                timeout,
                timer,
                trace: 0,
                times: Times::default(),
                status: 0,
                status_of_runtime: 0,
                end: None,
                bytes: 0,
                heads: Vec::new(),
                rest: None,
                busy: VecDeque::new(),
                spare: Vec::new(),
                body: body::State::default(),
                raw: upgrade::State::default(),
            }));
            (*at_end).handler = Some(at_request_end);
            (*at_end).data = exchange.cast();
            (*with_pool).handler = Some(with_request_pool);
            (*with_pool).data = exchange.cast();
            nginx::set_ctx(r, exchange.cast());
            Some(exchange)
        }
    }

    /// The exchange of a request that is still under way.
    ///
    /// # Safety
    /// `r` is a live request.
    pub unsafe fn of(r: *mut ngx_http_request_t) -> Option<*mut Self> {
        // SAFETY: our context is an exchange, which lives as long as the request's pool.
        unsafe {
            let exchange: *mut Self = nginx::ctx(r).cast();
            (!exchange.is_null() && (*exchange).stage != Stage::Over).then_some(exchange)
        }
    }

    /// The latest exchange of a request, also after an internal redirect, which takes the context
    /// away.
    ///
    /// # Safety
    /// `r` is a live request.
    pub unsafe fn latest(r: *mut ngx_http_request_t) -> Option<*mut Self> {
        // SAFETY: cleanups with our handler are those of new(), and new ones come first.
        unsafe {
            let ctx: *mut Self = nginx::ctx(r).cast();
            if !ctx.is_null() {
                return Some(ctx);
            }
            let mut cleanup = (*(*r).pool).cleanup;
            while let Some(this) = cleanup.as_ref() {
                if this.handler.is_some_and(|handler| std::ptr::fn_addr_eq(handler, HANDLER)) {
                    let exchange: *mut Self = this.data.cast();
                    if !exchange.is_null() && (*exchange).r == r {
                        return Some(exchange);
                    }
                }
                cleanup = this.next;
            }
            None
        }
    }

    /// Puts the request on the runtime's queue.
    pub fn submit(&mut self, ready: Ready) -> Result<(), Refusal> {
        let Ready { block, mut http, more, bytes } = ready;
        // SAFETY: the location's configuration outlives its requests.
        http.window = unsafe { (*self.conf).window() };
        if more {
            self.pieces = Some(Arc::new(Pieces::new(http.window)));
        }
        let this: *mut Self = self;
        let submitted = worker::with(|worker| {
            worker.admit(self.runtime.number, block.len())?;
            let number = worker.exchanges.add(this);
            self.number = Some(number);
            let mut submission = Submission::new(block, OWNER | number);
            // SAFETY: a live request has a connection.
            submission.request_id = unsafe { (*(*self.r).connection).number };
            submission.trace = self.trace;
            submission.pieces = self.pieces.clone();
            submission.more = more;
            submission.http = Some(Box::new(http));
            submission.bytes = bytes;
            self.times.submitted = monotonic_ns();
            submission.submitted = self.times.submitted;
            self.task = worker.submit(self.runtime.number, submission);
            self.stage = Stage::Waiting;
            Ok(())
        });
        submitted.unwrap_or(Err(Refusal::Unloaded))?;
        self.arm();
        Ok(())
    }

    /// The next piece of the answer.
    pub fn take_piece(&self) -> Option<Piece> {
        self.pieces.as_ref()?.answer.take()
    }

    /// So much of the answer takes no memory any more: the runtime may write again.
    pub fn consumed(&self, weight: usize) {
        // After the end nobody waits for it; and what came with the end was never in the window.
        let (Some(pieces), None) = (&self.pieces, &self.ended) else { return };
        worker::with(|worker| {
            worker.dispatch.consumed(self.task, pieces, weight);
            worker.after();
        });
    }

    /// Has the runtime room for more of the request?
    pub fn has_room(&self) -> bool {
        self.ended.is_none() && self.pieces.as_ref().is_some_and(|pieces| pieces.request.is_open())
    }

    /// Sends a piece of the request, or its end; true where that was the last for now: there is no room
    /// for more, or nobody takes it.
    pub fn send(&self, piece: Option<Buf>) -> bool {
        let Some(pieces) = &self.pieces else { return true };
        let sent = worker::with(|worker| {
            let sent = worker.dispatch.send(self.task, pieces, piece);
            worker.after();
            sent
        });
        !matches!(sent, Some(Ok(false)))
    }

    /// Gives the client's traceparent on, or makes one; what is to be added to the headers.
    pub fn set_trace(&mut self, given: Option<&[u8]>) -> Option<String> {
        if let Some(trace) = given.and_then(trace::parse) {
            self.trace = trace;
            return None;
        }
        let (trace, header) = trace::make();
        self.trace = trace;
        Some(header)
    }

    /// Parts the request from its task, and says so where its answer is not whole. Any number of times.
    ///
    /// # Safety
    /// The exchange's request is live.
    pub unsafe fn close(&mut self, status: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            failure::parted(self, status);
            self.part();
        }
    }

    /// Parts the request from its task; one that is under way is cancelled. Any number of times.
    ///
    /// # Safety
    /// The exchange's request is live, or was parted before.
    pub unsafe fn part(&mut self) {
        self.disarm();
        if self.stage == Stage::Over {
            return;
        }
        let stage = mem::replace(&mut self.stage, Stage::Over);
        self.times.over = match &self.ended {
            Some(Outcome::Http(end)) => end.over,
            _ => monotonic_ns(),
        };
        let (task, number) = (mem::take(&mut self.task), self.number.take());
        let polled = worker::with(|worker| {
            if let Some(number) = number {
                worker.exchanges.remove(number);
            }
            let polled = worker.dispatch.polled(task);
            if task != 0 {
                let number = self.runtime.number;
                worker.dispatch.count_http(number, self.status_of_runtime, self.bytes);
                match &self.ended {
                    None => worker.cancel_as(task, self.end.unwrap_or(End::Cancelled)),
                    Some(Outcome::Http(over)) => {
                        let good = if over.status == 0 { End::Ok } else { End::Error };
                        worker.dispatch.judge(number, self.end.unwrap_or(good), self.times.submitted, over);
                    }
                    // Measured already.
                    Some(_) => {}
                }
                worker.report_soon();
            }
            polled
        });
        if let Some(polled) = polled.flatten() {
            self.times.polled = polled;
        }
        if stage != Stage::Upgraded {
            // SAFETY: the caller's promise: nobody has parted it before.
            unsafe { slow::log(self) };
        }
    }

    // ---- the timer ---------------------------------------------------------------------------

    /// From now on the runtime has its time again, unless the client's body is waited for: then nginx's timer
    /// runs. Holds a worker that exits gracefully.
    pub fn arm(&mut self) {
        if self.body == body::State::Reading {
            self.disarm();
            return;
        }
        // SAFETY: our own event, which lives as long as the exchange, and is taken off by close().
        unsafe { ngx_add_timer(&raw mut self.timer, self.timeout as ngx_msec_t) };
    }

    /// The same, once the client's body is not waited for any more; not while the answer waits for the client.
    pub fn rearm(&mut self) {
        if self.busy.is_empty() {
            self.arm();
        }
    }

    pub fn disarm(&mut self) {
        if self.timer.timer_set() != 0 {
            // SAFETY: as in arm().
            unsafe { ngx_del_timer(&raw mut self.timer) };
        }
    }
}

/// What is to be done with the request once the exchange is through with its own.
#[derive(Debug)]
pub enum Next {
    /// Something else has to happen first.
    Wait,
    /// nginx's result: the request is over, as far as the exchange goes.
    Finalize(nginx_sys::ngx_int_t),
    /// An error_page for this status.
    Page(nginx_sys::ngx_int_t),
    Fail(Failure),
    /// To where X-Accel-Redirect said.
    Redirect,
}

/// Does what `next` says; afterwards the exchange and the request may be gone.
///
/// # Safety
/// `exchange` is one of a live request; the caller touches neither any more.
pub unsafe fn go_on(exchange: *mut Exchange, next: Next) {
    // SAFETY: the caller's promise.
    unsafe {
        match next {
            Next::Wait => {}
            Next::Finalize(rc) => {
                let r = (*exchange).r;
                let status = usize::try_from(rc).ok().filter(|rc| *rc != 0).unwrap_or((*r).headers_out.status);
                (*exchange).close(status);
                nginx_sys::ngx_http_finalize_request(r, rc);
            }
            Next::Page(status) => {
                let r = (*exchange).r;
                (*exchange).end = Some(End::Ok);
                (*exchange).part();
                // As ngx_http_finalize_request() does, but for two that it takes for nginx's own orders: 408 and 444 would
                // get no page but a connection that is cut.
                let rc = nginx_sys::ngx_http_special_response_handler(r, status);
                nginx_sys::ngx_http_finalize_request(r, rc);
            }
            Next::Fail(failure) => failure::fail(exchange, failure),
            Next::Redirect => answer::redirect(exchange),
        }
    }
}

/// Runs `step` outside of any event of the request's own, and what nginx wants to run after it.
///
/// # Safety
/// `exchange` is one of a live request.
unsafe fn run(exchange: *mut Exchange, step: impl FnOnce(*mut Exchange) -> Next) {
    // SAFETY: the caller's promise. The connection's structure outlives the request.
    unsafe {
        let r = (*exchange).r;
        let c = (*r).connection;
        nginx::set_log_request(r);
        let next = step(exchange);
        go_on(exchange, next);
        ngx_http_run_posted_requests(c);
    }
}

/// Hands news of an exchange's task to it. Runs on: event loop, while nobody holds the worker.
pub fn deliver(news: News) {
    let (owner, outcome) = match news {
        News::Ended { owner, outcome } => (owner, Some(outcome)),
        News::Pieces { owner } => (owner, None),
        News::Runtime { .. } => return,
    };
    let Some(exchange) = worker::with(|worker| worker.exchanges.get(owner)).flatten() else { return };
    // SAFETY: exchanges leave the list before their requests end.
    barrier((), || unsafe {
        run(exchange, |exchange| {
            let this = &mut *exchange;
            if let Some(mut outcome) = outcome {
                if let Outcome::Http(end) = &mut outcome {
                    this.times.polled = end.polled;
                    this.pieces = this.pieces.take().or_else(|| end.pieces.take());
                }
                this.ended = Some(outcome);
            } else if this.pieces.is_none() {
                this.pieces = worker::with(|worker| worker.dispatch.pieces(this.task)).flatten();
            }
            if this.stage == Stage::Upgraded { upgrade::advance(exchange) } else { answer::advance(exchange) }
        });
    });
}

unsafe extern "C" fn on_timer(event: *mut ngx_event_t) {
    // SAFETY: only events of exchanges have this handler, and close() takes them off.
    barrier((), || unsafe {
        let exchange: *mut Exchange = event.byte_sub(offset_of!(Exchange, timer)).cast();
        run(exchange, |_| Next::Fail(Failure::Timeout));
    });
}

/// The request ends, whoever ends it.
unsafe extern "C" fn at_request_end(data: *mut c_void) {
    // SAFETY: set by new(); pools go after cleanups.
    barrier((), || unsafe {
        let this = &mut *data.cast::<Exchange>();
        let main = (*this.r).main;
        this.close((*main).headers_out.status);
    });
}

const HANDLER: unsafe extern "C" fn(*mut c_void) = with_request_pool;

unsafe extern "C" fn with_request_pool(data: *mut c_void) {
    barrier((), || {
        // SAFETY: made by new(), and nginx calls this once.
        let mut exchange = unsafe { Box::from_raw(data.cast::<Exchange>()) };
        // SAFETY: at_request_end() has done it before, for a live request.
        unsafe { exchange.part() };
        // SAFETY: no one looks at the buffers of a request that is gone.
        unsafe { answer::drop_pieces(&mut exchange) };
    });
}
