//! The service: quick queries are answered on the SDK's threads, on the spot; slow ones are passed
//! on to threads that do nothing else, so that no number of slow queries holds up a quick one.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use nffi::{Call, Context, Error, Request, Service};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    config::Config,
    lane::Lane,
    query::{self, BUSY, CALLED_OFF, Failure, Query},
    store::{self, Store},
};

/// Slow queries that may wait for a thread; past that the answer is "busy", at once.
const SLOW_WAITING: usize = 64;

/// The priority of slow queries, as of nice(1).
const SLOW_NICE: i32 = 10;

pub struct Packages {
    store: Store,
    /// Connections that nobody uses: at most one for each thread of the SDK.
    idle: Mutex<Vec<Connection>>,
    lane: Arc<Lane<Call>>,
    /// What the database's own answer cannot know.
    about: Value,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.status, failure.message)
    }
}

impl Service for Packages {
    type Config = Config;
    type Error = Error;

    fn default_threads() -> usize {
        2
    }

    fn check(config: &Config) -> Result<(), Error> {
        store::read_status(&config.status).map(drop).map_err(|error| error.to_string().into())
    }

    /// Fills the database and starts the slow threads.
    fn new(config: Config, context: &Context) -> Result<Self, Error> {
        let store = store::read_status(&config.status).and_then(|packages| Store::fill(&packages));
        let store = store.map_err(|error| error.to_string())?;
        let about = json!({
            "status_file": config.status,
            "threads": context.threads,
            "slow_threads": config.slow_threads,
        });
        // From here on `stop` or the drop ends what was started.
        let packages = Self { store, idle: Mutex::default(), lane: Arc::new(Lane::new(SLOW_WAITING)), about };
        for _ in 0..config.slow_threads {
            let mut db = packages.store.reader().map_err(|error| error.to_string())?;
            let lane = Arc::clone(&packages.lane);
            let thread = thread::Builder::new().name("packages-slow".to_owned());
            thread.spawn(move || work(&lane, &mut db)).map_err(|error| format!("cannot start a thread: {error}"))?;
        }
        Ok(packages)
    }

    fn take(&self, call: Call) {
        match Query::parse(call.request().data()) {
            Ok(query) if query.is_slow() => self.pass_on(call),
            _ => call.answer(|request| self.handle(request)),
        }
    }

    fn handle(&self, request: &Request) -> Result<Vec<u8>, Error> {
        let query = Query::parse(request.data())?;
        let db = match self.idle().pop() {
            Some(db) => db,
            None => self.store.reader().map_err(|error| error.to_string())?,
        };
        let answer = self.quick(&db, &query)?;
        // Not after a failure: whatever is the matter with it stays with it.
        self.idle().push(db);
        Ok(answer.to_string().into_bytes())
    }

    fn cancelled(&self, id: u64) {
        if let Some(call) = self.lane.call_off(id) {
            refuse(call, CALLED_OFF, "called off");
        }
    }

    fn stop(&self) {
        for call in self.lane.close() {
            refuse(call, BUSY, "stopping");
        }
    }
}

impl Drop for Packages {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Packages {
    fn quick(&self, db: &Connection, query: &Query) -> Result<Value, Failure> {
        match query {
            Query::Search { name } => query::search(db, name),
            Query::Stats {} | Query::Slow {} => {
                let (waiting, running) = self.lane.load();
                let mut stats = query::stats(db)?;
                stats["source"] = self.about.clone();
                stats["slow"] = json!({ "running": running, "waiting": waiting });
                Ok(stats)
            }
        }
    }

    fn pass_on(&self, call: Call) {
        let (id, watch) = (call.request().id(), call.request().watch());
        if let Err(call) = self.lane.push(id, call) {
            return refuse(call, BUSY, &format!("busy: {SLOW_WAITING} slow queries wait already"));
        }
        // Another thread may have taken the cancellation before the job was in the lane.
        if watch.cancelled() {
            self.cancelled(id);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs on: a slow thread, until the lane is closed.
fn work(lane: &Lane<Call>, db: &mut Connection) {
    // Where processors are few, whoever answers in microseconds goes first: nginx, and the quick
    // threads. On Linux this sets the calling thread only; where it is refused, nothing is lost.
    let _ = rustix::process::setpriority_process(None, SLOW_NICE);
    while let Some((call, running)) = lane.next() {
        call.answer(|_| {
            let outcome = query::slow(db, &running.called_off);
            // The lane is free again before the answer says so.
            drop(running);
            outcome.map(|value| value.to_string().into_bytes()).map_err(Error::from)
        });
    }
}

fn refuse(call: Call, status: i32, message: &str) {
    call.answer(|_| Err(Error::new(status, message)));
}
