//! The loop that takes events, and the futures that it starts.

use std::{
    future::{Future, poll_fn},
    os::fd::OwnedFd,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use nffi_abi::{NFFI_CALL, NFFI_CANCEL, NFFI_HTTP, NFFI_READABLE, NFFI_STOP, NFFI_WRITABLE, nffi_event};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::{Builder, Runtime},
    sync::Notify,
    task::AbortHandle,
};

use super::{Request, Service};
use crate::{
    Context as Facts, Error,
    export::Start,
    life::{Flow, GRACE, Life},
    log, panics,
    task::Task,
};

/// Events that are taken at a time.
const BATCH: usize = 64;

/// How long threads of `spawn_blocking` are waited for at the end.
const LEAVE: Duration = Duration::from_millis(100);

/// A call's future, with its answer.
pub(crate) type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a runtime answers with.
pub(crate) struct Parts<S> {
    pub(crate) service: S,
    /// None: it takes messages only.
    pub(crate) http: Option<Box<dyn TakesHttp>>,
}

/// What answers HTTP requests.
pub(crate) trait TakesHttp: Send + Sync {
    /// Begins with a request. The future ends it, also where it is dropped.
    ///
    /// # Safety
    /// `event` is an NFFI_HTTP that `life`'s host has handed out just now, for the first time.
    unsafe fn take(&self, life: &Arc<Life>, event: &nffi_event) -> (Arc<dyn Running>, Answering);
}

/// A call that goes on as a task of tokio's.
pub(crate) trait Running: Flow {
    /// It will hear of events, until it says otherwise.
    fn registered(&self);

    /// How it is dropped.
    fn set_abort(&self, handle: AbortHandle);
}

/// Runs on: the host's thread for the start.
pub(crate) fn start<S: Service>(
    start: &Start,
    make: impl AsyncFnOnce(&Facts) -> Result<Parts<S>, Error>,
) -> Result<(), Error> {
    let life = Life::new(start.host, start.options.log_level, start.context.threads);
    let threads = start.context.threads;
    let runtime = build(threads, life.place(0))
        .map_err(|error| Error::from(format!("cannot start tokio with {threads} threads: {error}")))?;
    let Parts { service, http } = runtime.block_on(make(&start.context))?;
    let queue = {
        let _in_tokio = runtime.enter();
        let watch = |fd: OwnedFd| {
            // SAFETY: an OwnedFd is one descriptor for as long as it lives, and the AsyncFd has it.
            Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
        };
        life.host.poll_fd().and_then(watch)
    }
    .map_err(|error| Error::from(format!("cannot watch the queue: {error}")))?;

    let server = Arc::new(Server { life, service, http, running: AtomicUsize::new(0), idle: Notify::new() });
    // Before the thread: it may be told to stop at once.
    server.life.set_started();
    let thread = thread::Builder::new().name("nffi-async".to_owned());
    let spawned = thread.spawn({
        let server = Arc::clone(&server);
        move || run(runtime, server, queue, threads == 1)
    });
    spawned.map(drop).map_err(|error| {
        server.life.set_failed();
        Error::from(format!("cannot start a thread: {error}"))
    })
}

fn build(threads: usize, place: log::Place) -> std::io::Result<Runtime> {
    let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.enable_all().worker_threads(threads).thread_name("nffi-async").on_thread_start(move || {
        // For as long as the thread lives.
        std::mem::forget(log::enter(place));
    });
    builder.build()
}

/// What a look at the queue has found.
enum Taken {
    /// A whole batch: there may be more.
    Batch,
    All,
    Stop,
}

struct Server<S> {
    service: S,
    http: Option<Box<dyn TakesHttp>>,
    /// Calls that have a task of tokio's and have not ended.
    running: AtomicUsize,
    idle: Notify,
    /// The last to go: see [`Life`].
    life: Arc<Life>,
}

/// Runs on: the runtime's own thread, from start to stop.
fn run<S: Service>(runtime: Runtime, server: Arc<Server<S>>, queue: AsyncFd<OwnedFd>, alone: bool) {
    let _here = log::enter(server.life.place(0));
    let serve = Arc::clone(&server).serve(queue, alone);
    // With more threads the loop is one of their tasks: it wakes them cheaper from within.
    let outcome = if alone {
        panics::catch(|| runtime.block_on(serve))
    } else {
        panics::catch(|| runtime.block_on(async { runtime.spawn(serve).await.unwrap_or(()) }))
    };
    if let Err(error) = outcome {
        server.life.place(0).line(log::Level::Error, &format!("the runtime is over: {error}"));
    }
    // Drops what is still running, which ends those calls.
    runtime.shutdown_timeout(LEAVE);
    drop(server);
}

impl<S: Service> Server<S> {
    async fn serve(self: Arc<Self>, queue: AsyncFd<OwnedFd>, alone: bool) {
        loop {
            // Only fails where tokio is shutting down, or its driver is gone.
            let Ok(mut ready) = queue.readable().await else { return };
            loop {
                match poll_fn(|context| Poll::Ready(self.take(context, alone))).await {
                    Taken::Stop => return self.stop().await,
                    // Under load too, futures that have begun go on.
                    Taken::Batch => tokio::task::yield_now().await,
                    Taken::All => break,
                }
            }
            // What came since the last look has made it readable anew, and is not lost by this.
            ready.clear_ready();
        }
    }

    /// Takes a batch of events.
    fn take(self: &Arc<Self>, context: &mut Context<'_>, alone: bool) -> Taken {
        let mut events = [nffi_event::default(); BATCH];
        let events = self.life.host.poll(&mut events, 0);
        for event in events {
            match event.kind {
                NFFI_CALL => self.call(event, context, alone),
                NFFI_HTTP => self.http(event, context, alone),
                NFFI_STOP => return Taken::Stop,
                _ => self.tell(event),
            }
        }
        if events.len() < BATCH { Taken::All } else { Taken::Batch }
    }

    fn tell(&self, event: &nffi_event) {
        let Some(flow) = self.life.flow(event.task) else { return };
        match event.kind {
            NFFI_READABLE => flow.readable(),
            NFFI_WRITABLE => flow.writable(),
            NFFI_CANCEL => flow.cancelled(),
            // Of a later version of the ABI.
            _ => {}
        }
    }

    fn call(self: &Arc<Self>, event: &nffi_event, context: &mut Context<'_>, alone: bool) {
        // SAFETY: the host has handed the event out just now, to this loop alone.
        let request = Request::new(unsafe { Task::new(Arc::clone(&self.life), event) });
        let events = Arc::clone(&request.events);
        self.begin(event.task, events, Box::pin(Arc::clone(self).answer(request)), context, alone);
    }

    fn http(self: &Arc<Self>, event: &nffi_event, context: &mut Context<'_>, alone: bool) {
        // SAFETY: the host has handed the event out just now, to this loop alone.
        unsafe {
            match &self.http {
                Some(http) => {
                    let (running, future) = http.take(&self.life, event);
                    self.begin(event.task, running, future, context, alone);
                }
                None => Task::refuse_http(&self.life, event),
            }
        }
    }

    fn begin(
        self: &Arc<Self>,
        id: u64,
        running: Arc<dyn Running>,
        mut future: Answering,
        context: &mut Context<'_>,
        alone: bool,
    ) {
        // Most handlers of one thread are done at the first look, and need no task of their own.
        if alone && poll_once(future.as_mut(), context) {
            return;
        }
        self.spawn(id, running, future);
    }

    /// Answers one call.
    async fn answer(self: Arc<Self>, mut request: Request) {
        let result = {
            let handler = pin!(self.service.handle(&request));
            Caught { handler, place: self.life.place(request.id()) }.await
        };
        let result = result.and_then(|result| result.map_err(|error| Error::of(&error)));
        request.finish(result.as_deref());
    }

    fn spawn(self: &Arc<Self>, id: u64, running: Arc<dyn Running>, future: Answering) {
        // First registered, then begun: the event that it waits for must find it.
        running.registered();
        self.life.register(id, Arc::clone(&running) as Arc<dyn Flow>);
        self.running.fetch_add(1, Ordering::AcqRel);
        let counted = Counted(Arc::clone(self));
        let task = tokio::spawn(async move {
            let _counted = counted;
            future.await;
        });
        running.set_abort(task.abort_handle());
        // The cancellation may have come before the call was registered.
        if self.life.host.cancelled(id) {
            running.cancelled();
        }
    }

    /// STOP: what runs may finish, for a while.
    async fn stop(self: &Arc<Self>) {
        self.life.begin_stop();
        let finish = async {
            let told = self.service.stop();
            let idle = async {
                while self.running.load(Ordering::Acquire) > 0 {
                    self.idle.notified().await;
                }
            };
            tokio::join!(told, idle);
        };
        let _ = tokio::time::timeout(GRACE, finish).await;
    }
}

/// True where it is done. A panic in it, or in dropping it, has been answered and logged.
fn poll_once(future: Pin<&mut (dyn Future<Output = ()> + Send)>, context: &mut Context<'_>) -> bool {
    panics::catch(|| future.poll(context).is_ready()).unwrap_or(true)
}

/// A handler's future: it is polled where its lines carry the call's number, and a panic is an error.
pub(crate) struct Caught<'a, F> {
    pub(crate) handler: Pin<&'a mut F>,
    pub(crate) place: log::Place,
}

impl<F: Future> Future for Caught<'_, F> {
    type Output = Result<F::Output, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let _here = log::enter(this.place);
        match panics::catch(|| this.handler.as_mut().poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

/// Counts a running call until it is dropped, however it ends.
struct Counted<S>(Arc<Server<S>>);

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_one();
        }
    }
}
