//! The loop that takes events, and the requests that it starts.

use std::{
    future::{Future, poll_fn},
    os::fd::OwnedFd,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use nffi_abi::{
    NFFI_CALL, NFFI_CANCEL, NFFI_HTTP, NFFI_MORE, NFFI_READABLE, NFFI_STOP, NFFI_WRITABLE, nffi_event, panic_text,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::{Builder, Runtime as Tokio},
    sync::{Notify, Semaphore, oneshot},
    time::{Sleep, sleep_until},
};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;

use super::{
    Component,
    answer::{self, Pause, Sent},
    body::Body,
    exchange::{Exchange, Exchanges, Open},
    guest,
    request::{Malformed, request},
};
use crate::{
    failure::Failure,
    host::{Level, Request},
    runtime::Runtime,
};

/// Events that are taken at a time.
const BATCH: usize = 64;
/// How long threads that open files are waited for at the end.
const LEAVE: Duration = Duration::from_millis(100);

type Asked = http::Request<Body>;
type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Server {
    runtime: Arc<Runtime<Component>>,
    exchanges: Arc<Exchanges>,
    /// One for each instance. Requests that find none wait in their order.
    instances: Semaphore,
    /// Requests that have not ended.
    running: AtomicUsize,
    idle: Notify,
    /// With one thread most requests are over at the first look, and need no task of tokio's.
    alone: bool,
}

/// Runs on: the host's start thread.
pub fn start(runtime: &Arc<Runtime<Component>>) -> std::io::Result<()> {
    let options = &runtime.options;
    let alone = options.threads == 1;
    let mut builder = if alone { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    let tokio = builder.enable_all().worker_threads(options.threads).thread_name("nffi-wasm-http").build()?;
    let queue = {
        let _in_tokio = tokio.enter();
        // SAFETY: an OwnedFd is one descriptor for as long as it lives, and the AsyncFd has it.
        unsafe { AsyncFd::register_with_interest(runtime.host.poll_fd()?, Interest::READABLE) }?
    };
    let server = Arc::new(Server {
        runtime: runtime.clone(),
        exchanges: Arc::default(),
        instances: Semaphore::new(options.instances),
        running: AtomicUsize::new(0),
        idle: Notify::new(),
        alone,
    });
    thread::Builder::new().name("nffi-wasm-http".to_owned()).spawn(move || run(tokio, &server, queue)).map(drop)
}

/// Runs on: a thread of the runtime's own, from start to stop.
fn run(tokio: Tokio, server: &Arc<Server>, queue: AsyncFd<OwnedFd>) {
    let serve = server.clone().serve(queue);
    if server.alone {
        tokio.block_on(serve);
    } else {
        // The loop is one of tokio's tasks: it wakes the others cheaper from within.
        tokio.block_on(async { tokio.spawn(serve).await.unwrap_or(()) });
    }
    tokio.shutdown_timeout(LEAVE);
    server.runtime.leave();
}

/// What a look at the queue has found.
enum Taken {
    /// A whole batch: there may be more.
    Batch,
    All,
    Stop,
}

impl Server {
    async fn serve(self: Arc<Self>, queue: AsyncFd<OwnedFd>) {
        loop {
            // Only fails where tokio is shutting down.
            let Ok(mut ready) = queue.readable().await else { return };
            loop {
                match poll_fn(|context| Poll::Ready(self.take(context))).await {
                    Taken::Stop => return self.finish().await,
                    // Under load too, requests that have begun go on.
                    Taken::Batch => tokio::task::yield_now().await,
                    Taken::All => break,
                }
            }
            // What came since the last look has made it readable anew, and is not lost by this.
            ready.clear_ready();
        }
    }

    /// STOP: what runs may finish. It has its own limit, and the host its patience.
    async fn finish(&self) {
        self.exchanges.stopping();
        while self.running.load(SeqCst) > 0 {
            self.idle.notified().await;
        }
    }

    fn take(self: &Arc<Self>, context: &mut Context<'_>) -> Taken {
        let mut events = Vec::new();
        self.runtime.host.poll(&mut events, BATCH, 0);
        for event in &events {
            match event.kind {
                NFFI_HTTP => self.begin(event, context),
                NFFI_CALL => {
                    self.runtime.host.reply(
                        event.task,
                        1,
                        b"takes HTTP requests (nffi_pass), not messages (nffi.call)",
                    );
                }
                NFFI_READABLE => self.exchanges.readable(event.task),
                NFFI_WRITABLE => self.exchanges.writable(event.task),
                NFFI_CANCEL => self.exchanges.cancelled(event.task),
                NFFI_STOP => return Taken::Stop,
                // Of a later version of the ABI.
                _ => {}
            }
        }
        if events.len() < BATCH { Taken::All } else { Taken::Batch }
    }

    fn begin(self: &Arc<Self>, event: &nffi_event, context: &mut Context<'_>) {
        // Before the first look at the request: the event that it waits for must find it.
        let open = self.exchanges.open(self.runtime.host, event.task);
        // The cancellation may have come before.
        if self.runtime.host.cancelled(event.task) {
            return;
        }
        // SAFETY: the task has not been ended: it is, with `open`, at the earliest.
        let head = unsafe { Request::of(event) };
        let scheme = if head.is_tls() { Scheme::Https } else { Scheme::Http };
        let asked = match Body::of(head, event.flags & NFFI_MORE != 0, &open.exchange) {
            Ok(body) => request(head, body),
            Err(error) => {
                let message = format!("the request's body cannot be opened: {error}");
                return open.exchange.end(1, message.as_bytes());
            }
        };
        let asked = match asked {
            Ok(asked) => asked,
            Err(Malformed(what)) => {
                open.exchange.log(Level::Info, &format!("a malformed request: {what}"));
                return plain(&open.exchange, 400, "400 Bad Request\n");
            }
        };
        self.running.fetch_add(1, SeqCst);
        let mut future: Answering = Box::pin(self.clone().answer(open, asked, scheme));
        if self.alone && future.as_mut().poll(context).is_ready() {
            return;
        }
        tokio::spawn(future);
    }

    /// From a request to the end of its component.
    async fn answer(self: Arc<Self>, open: Open, asked: Asked, scheme: Scheme) {
        let counted = Counted(self.clone());
        let exchange = open.exchange.clone();
        let mut sent = Sent::default();
        let outcome = AssertUnwindSafe(self.run(&exchange, asked, scheme, &mut sent)).catch_unwind().await;
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            // A mistake of ours. It costs one request.
            Err(panic) => Some(Failure::Trap(format!("the runtime panicked: {}", panic_text(&*panic)), Vec::new())),
        };
        match failure {
            None => {}
            // Its answer is complete; what came afterwards is for the log.
            Some(failure) if exchange.has_ended() => exchange.log(Level::Error, &failure.message()),
            Some(failure @ Failure::Time(_)) if !sent.head => {
                exchange.log(Level::Error, &failure.message());
                plain(&exchange, 504, "504 Gateway Time-out\n");
            }
            Some(failure) => exchange.end(1, failure.message().as_bytes()),
        }
        drop(open);
        drop(counted);
    }

    async fn run(
        &self,
        exchange: &Arc<Exchange>,
        asked: Asked,
        scheme: Scheme,
        sent: &mut Sent,
    ) -> Result<(), Failure> {
        let options = &self.runtime.options;
        let mut gone = pin!(poll_fn(|context| exchange.poll_gone(context)));
        let instance = tokio::select! {
            biased;
            instance = self.instances.acquire() => instance.map_err(|_| Failure::Gone)?,
            () = &mut gone => return Err(Failure::Gone),
        };
        // For as long as the component runs: a slow client may take its answer after that.
        let mut running = Some((instance, Ticking::new(&self.runtime)));
        let until = options.time_limit.map(|limit| Instant::now() + limit);
        let (sender, receiver) = oneshot::channel();
        let mut guest = pin!(guest::run(self.runtime.clone(), exchange.clone(), asked, scheme, until, sender));
        let pause = Pause::default();
        let mut answer = pin!(answer::send(receiver, exchange, options.max_output, &pause, sent));
        let mut time: Option<Pin<Box<Sleep>>> = None;
        let mut answered = false;
        poll_fn(|context| {
            loop {
                // The component first: where it fails, what it has written before must not pass for an answer.
                if running.is_some()
                    && let Poll::Ready(outcome) = guest.as_mut().poll(context)
                {
                    outcome?;
                    running = None;
                }
                if !answered && let Poll::Ready(outcome) = answer.as_mut().poll(context) {
                    outcome?;
                    answered = true;
                }
                if running.is_none() && answered {
                    return Poll::Ready(Ok(()));
                }
                if !pause.take() {
                    break;
                }
            }
            if gone.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Failure::Gone));
            }
            // Of a component that waits: one that runs is interrupted. How long the client takes is the host's business.
            if running.is_some()
                && let Some(until) = until
                && time.get_or_insert_with(|| Box::pin(sleep_until(until.into()))).as_mut().poll(context).is_ready()
            {
                return Poll::Ready(Err(Failure::Time(options.time_limit.unwrap_or_default())));
            }
            Poll::Pending
        })
        .await
    }
}

/// An answer of the runtime's own.
fn plain(exchange: &Exchange, status: u16, text: &str) {
    match exchange.head(status, &[(b"Content-Type", b"text/plain")]) {
        Ok(()) => exchange.end(0, text.as_bytes()),
        Err(_) => exchange.end(1, b"the head of the answer was refused"),
    }
}

/// Counts a request until it is over.
struct Counted(Arc<Server>);

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, SeqCst) == 1 {
            self.0.idle.notify_one();
        }
    }
}

/// Components are interrupted for as long as there is one.
struct Ticking<'a>(&'a Runtime<Component>);

impl<'a> Ticking<'a> {
    fn new(runtime: &'a Runtime<Component>) -> Self {
        runtime.ticker.enter();
        Self(runtime)
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.ticker.leave();
    }
}
