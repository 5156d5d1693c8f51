//! The threads. Some poll the host's queue and answer quick queries on the spot; they pass slow ones
//! on to threads that do nothing else, so that no number of slow queries holds up a quick one.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::{
    config::Config,
    ffi::{Call, Event, Host},
    lane::Lane,
    query::{self, BUSY, CALLED_OFF, Failure, Query},
    store::{self, Store, StoreError},
};

/// Slow queries that may wait for a thread; past that the answer is "busy", at once.
const SLOW_WAITING: usize = 64;

/// The priority of slow queries, as of nice(1).
const SLOW_NICE: i32 = 10;

struct Service {
    host: Host,
    lane: Lane<Call>,
    /// What the database's own answer cannot know.
    about: Value,
    threads: AtomicUsize,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Fills the database and starts the threads. All of them or none: they wait at a gate until the
/// last one is there, and go home if it never opens.
///
/// Runs on: the host's loading thread.
pub fn start(host: Host, config: &Config) -> Result<(), StartError> {
    let store = Store::fill(&store::read_status(&config.status)?)?;
    let about = json!({
        "status_file": config.status,
        "threads": config.threads,
        "slow_threads": config.slow_threads,
    });

    let roles =
        [(config.threads, "packages", Service::serve as Role), (config.slow_threads, "packages-slow", Service::work)];
    let mut crew = Vec::new();
    for (count, name, role) in roles {
        for _ in 0..count {
            crew.push((name, role, store.reader()?));
        }
    }

    let threads = AtomicUsize::new(crew.len());
    let service = Arc::new(Service { host, lane: Lane::new(SLOW_WAITING), about, threads });
    let mut gates = Vec::new();
    for (name, role, mut db) in crew {
        let (gate, open) = mpsc::channel();
        let service = Arc::clone(&service);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            if open.recv().is_ok() {
                service.run(role, &mut db);
            }
        })?;
        gates.push(gate);
    }
    for gate in gates {
        // A thread that has its gate waits for nothing else, so it is there.
        let _ = gate.send(());
    }
    Ok(())
}

type Role = fn(&Service, &mut Connection);

impl Service {
    /// Runs on: each thread of the runtime, from start to stop.
    fn run(&self, role: Role, db: &mut Connection) {
        // A panic answers its own call (see Call) and costs nothing else: back to work.
        while catch_unwind(AssertUnwindSafe(|| role(self, db))).is_err() {}
        if self.threads.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.host.stopped();
        }
    }

    /// Runs on: a quick thread, until the host says stop.
    fn serve(&self, db: &mut Connection) {
        loop {
            match self.host.poll() {
                Event::Call(call) => self.take(db, call),
                Event::Cancel(id) => self.call_off(id),
                Event::Other => {}
                Event::Stop => break,
            }
        }
        for call in self.lane.close() {
            answer(call, Err(Failure::new(BUSY, "stopping")));
        }
    }

    fn take(&self, db: &Connection, call: Call) {
        match Query::parse(call.request()) {
            Ok(query) if query.is_slow() => self.pass_on(call),
            Ok(query) => answer(call, self.quick(db, &query)),
            Err(failure) => answer(call, Err(failure)),
        }
    }

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
        let id = call.id();
        if let Err(call) = self.lane.push(id, call) {
            let message = format!("busy: {SLOW_WAITING} slow queries wait already");
            return answer(call, Err(Failure::new(BUSY, message)));
        }
        // Another thread may have taken the cancellation before the job was in the lane.
        if self.host.cancelled(id) {
            self.call_off(id);
        }
    }

    fn call_off(&self, id: u64) {
        if let Some(call) = self.lane.call_off(id) {
            answer(call, Err(Failure::new(CALLED_OFF, "called off")));
        }
    }

    /// Runs on: a slow thread, until the lane is closed.
    fn work(&self, db: &mut Connection) {
        // Where processors are few, whoever answers in microseconds goes first: nginx, and the quick
        // threads. On Linux this sets the calling thread only; where it is refused, nothing is lost.
        let _ = rustix::process::setpriority_process(None, SLOW_NICE);
        while let Some((call, running)) = self.lane.next() {
            let outcome = query::slow(db, &running.called_off);
            drop(running);
            answer(call, outcome);
        }
    }
}

fn answer(call: Call, outcome: Result<Value, Failure>) {
    match outcome {
        Ok(value) => call.reply(0, value.to_string().as_bytes()),
        Err(failure) => call.reply(failure.status, failure.message.as_bytes()),
    }
}
