//! A host with one runtime, for a model: the real table and the real event loop's side.

use std::{path::PathBuf, sync::Arc};

use loom::sync::{
    Notify,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    buf::Buf,
    dispatch::{Dispatch, News, Submission},
    done::Sink,
    host::Host,
    http::{Http, RequestHead},
    options::Settings,
    pipe::Pieces,
    registry,
    runtime::{Runtime, Spec},
};

/// Of every task.
pub(super) const REQUEST_ID: u64 = 99;

struct Ring(Arc<Bell>);

#[derive(Default)]
struct Bell {
    notify: Notify,
    rung: AtomicUsize,
}

impl Sink for Ring {
    fn notify(&self) {
        self.0.rung.fetch_add(1, Ordering::Relaxed);
        self.0.notify.notify();
    }
}

/// The event loop; its thread is the one that runs the model.
pub(super) struct World {
    pub(super) dispatch: Dispatch,
    pub(super) host: &'static Host,
    pub(super) runtime: Arc<Runtime>,
    bell: Arc<Bell>,
}

/// Makes a world for the length of one run. All threads of the model are joined by then.
pub(super) fn with_world(queue: usize, model: impl FnOnce(&mut World)) {
    let host = Box::into_raw(Box::new(Host::default()));
    {
        // SAFETY: freed below, when the model has joined its threads and World is gone.
        let host: &'static Host = unsafe { &*host };
        let bell = Arc::new(Bell::default());
        host.set_sink(Box::new(Ring(bell.clone())));
        let mut dispatch = Dispatch::new(host);
        let settings = Settings { queue, ..Settings::default() };
        let spec = Spec {
            name: String::new(),
            library: PathBuf::new(),
            config: Default::default(),
            settings,
            surroundings: Default::default(),
        };
        let runtime = dispatch.adopt(&spec);
        model(&mut World { dispatch, host, runtime, bell });
        // To std, all threads of a model are one.
        registry::forget();
    }
    // SAFETY: from Box::into_raw above; no one has a reference any more.
    drop(unsafe { Box::from_raw(host) });
}

impl World {
    pub(super) fn submit(&mut self, owner: u32, pieces: Option<Arc<Pieces>>, more: bool) -> u64 {
        let data = Buf::copy_of(b"request").expect("memory");
        self.dispatch.submit(0, Submission { request_id: REQUEST_ID, pieces, more, ..Submission::new(data, owner) })
    }

    /// A task that a poller has taken already.
    pub(super) fn submit_and_poll(&mut self, pieces: Option<Arc<Pieces>>, more: bool) -> u64 {
        let task = self.submit(1, pieces, more);
        assert_eq!(super::polling::poll(self.host, &self.runtime, false), [(nffi_abi::NFFI_CALL, task)]);
        task
    }

    /// An HTTP task of owner 1.
    pub(super) fn submit_http(&mut self, flags: u32, pieces: Arc<Pieces>) -> u64 {
        let data = RequestHead { flags, body_fd: -1, ..RequestHead::default() }.block().expect("memory");
        let (pieces, http) = (Some(pieces), Some(Box::new(Http::new(None))));
        self.dispatch.submit(0, Submission { pieces, http, ..Submission::new(data, 1) })
    }

    /// The same, taken by a poller already.
    pub(super) fn submit_http_and_poll(&mut self, flags: u32, pieces: Arc<Pieces>) -> u64 {
        let task = self.submit_http(flags, pieces);
        assert_eq!(super::polling::poll(self.host, &self.runtime, false), [(nffi_abi::NFFI_HTTP, task)]);
        task
    }

    /// Waits for the sink and drains, until `f` has had enough.
    pub(super) fn run(&mut self, mut f: impl FnMut(&mut Dispatch, Vec<News>) -> bool) {
        loop {
            let mut news = Vec::new();
            self.dispatch.drain(&mut news);
            let enough = f(&mut self.dispatch, news);
            self.dispatch.flush();
            if enough {
                return;
            }
            self.bell.notify.wait();
        }
    }

    /// Drains until nothing is in flight; what ended on the way.
    pub(super) fn run_until_idle(&mut self) -> Vec<News> {
        let mut all = Vec::new();
        self.run(|dispatch, news| {
            all.extend(news);
            dispatch.unended() == 0
        });
        all
    }
}
