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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::fakehost::FakeHost;

    const SLOW: &str = r#"{"query":"slow"}"#;
    const STATS: &str = r#"{"query":"stats"}"#;

    /// A service on a status file of a few hundred packages: enough to be slow for a second.
    fn serve(slow_threads: usize) -> FakeHost {
        let fake = FakeHost::new();
        let path = std::env::temp_dir().join(format!("nffi-packages-{}-{}", std::process::id(), fake.next_task()));
        let stanza = |n: u32| format!("Package: p{n}\nStatus: install ok installed\nDepends: p{}\n\n", n / 3);
        std::fs::write(&path, (1..400).map(stanza).collect::<String>()).unwrap();
        start(fake.host(), &Config { status: path.clone(), threads: 2, slow_threads }).unwrap();
        std::fs::remove_file(&path).unwrap();
        fake
    }

    fn stats(fake: FakeHost) -> Value {
        let (status, answer) = fake.answer(fake.call(STATS));
        assert_eq!(status, 0, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }

    fn wait_for_load(fake: FakeHost, running: usize, waiting: usize) {
        let began = Instant::now();
        while stats(fake)["slow"] != json!({ "running": running, "waiting": waiting }) {
            assert!(began.elapsed() < Duration::from_secs(60), "{:?}", stats(fake)["slow"]);
        }
    }

    /// Every thread goes, the last one says so, and no task was answered twice.
    fn stop(fake: FakeHost) {
        fake.stop();
        fake.wait_for_stopped();
        assert_eq!(fake.counts(), (1, 0));
    }

    #[test]
    fn answers_and_errors() {
        let fake = serve(1);
        let (status, answer) = fake.answer(fake.call(r#"{"query":"search","name":"p399"}"#));
        assert_eq!(status, 0);
        assert!(answer.contains(r#""total":1"#), "{answer}");
        let (status, message) = fake.answer(fake.call("nonsense"));
        assert_eq!(status, query::BAD_REQUEST);
        assert!(message.starts_with("bad request: "), "{message}");
        assert_eq!(stats(fake)["packages"], 399);
        stop(fake);
    }

    #[test]
    fn quick_answers_come_while_every_slow_thread_works() {
        let fake = serve(1);
        let slow: Vec<u64> = (0..3).map(|_| fake.call(SLOW)).collect();
        wait_for_load(fake, 1, 2);
        for task in slow {
            assert!(!fake.has_answer(task));
            fake.cancel(task);
            assert_eq!(fake.answer(task), (CALLED_OFF, "called off".to_owned()));
        }
        wait_for_load(fake, 0, 0);
        stop(fake);
    }

    #[test]
    fn a_slow_query_is_answered() {
        let fake = serve(1);
        let (status, answer) = fake.answer(fake.call(SLOW));
        assert_eq!(status, 0, "{answer}");
        assert!(answer.contains(r#""packages":399"#), "{answer}");
        stop(fake);
    }

    #[test]
    fn cancelled_before_it_came() {
        let fake = serve(1);
        fake.cancel(fake.next_task());
        assert_eq!(fake.answer(fake.call(SLOW)), (CALLED_OFF, "called off".to_owned()));
        stop(fake);
    }

    #[test]
    fn a_full_lane_is_busy() {
        let fake = serve(1);
        let first = fake.call(SLOW);
        wait_for_load(fake, 1, 0);
        let rest: Vec<u64> = (0..SLOW_WAITING).map(|_| fake.call(SLOW)).collect();
        wait_for_load(fake, 1, SLOW_WAITING);
        assert_eq!(fake.answer(fake.call(SLOW)), (BUSY, "busy: 64 slow queries wait already".to_owned()));
        stop(fake);
        assert_eq!(fake.answer(first).0, CALLED_OFF);
        for task in rest {
            assert_eq!(fake.answer(task), (BUSY, "stopping".to_owned()));
        }
    }

    #[test]
    fn a_call_that_is_dropped_answers_for_itself() {
        let fake = FakeHost::new();
        let task = fake.call("x");
        let Event::Call(call) = fake.host().poll() else { panic!("a call expected") };
        drop(call);
        assert_eq!(fake.answer(task).0, query::INTERNAL);
    }

    #[test]
    fn a_failed_start_leaves_no_thread() {
        let fake = FakeHost::new();
        let config = Config { status: "/nonexistent".into(), ..Config::default() };
        let error = start(fake.host(), &config).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nonexistent: "), "{error}");
        assert_eq!(fake.counts(), (0, 0));
    }
}
