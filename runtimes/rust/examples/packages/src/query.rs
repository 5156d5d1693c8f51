//! What can be asked, and the SQL that answers it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use rusqlite::{Connection, ErrorCode, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A request.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "query", rename_all = "lowercase", deny_unknown_fields)]
pub enum Query {
    Search { name: String },
    Stats {},
    Slow {},
}

/// An error as the caller sees it: a status of HTTP's, and a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub status: i32,
    pub message: String,
}

impl Failure {
    pub fn new(status: i32, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

pub const BAD_REQUEST: i32 = 400;
pub const CALLED_OFF: i32 = 499;
pub const INTERNAL: i32 = 500;
pub const BUSY: i32 = 503;

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => Self::new(CALLED_OFF, "called off"),
            _ => Self::new(INTERNAL, format!("sqlite: {error}")),
        }
    }
}

/// What is wrong, without the place in a JSON text, which is one line anyway.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) if error.is_data() => text[..end].to_owned(),
        _ => text,
    }
}

impl Query {
    pub fn parse(request: &[u8]) -> Result<Self, Failure> {
        let query = serde_json::from_slice(request)
            .map_err(|error| Failure::new(BAD_REQUEST, format!("bad request: {}", reason(&error))))?;
        if let Self::Search { name } = &query
            && !(1..=NAME_MAX).contains(&name.len())
        {
            let message = format!("bad request: a name of 1 to {NAME_MAX} bytes expected, got {}", name.len());
            return Err(Failure::new(BAD_REQUEST, message));
        }
        Ok(query)
    }

    /// Takes long enough that it belongs into the slow lane.
    pub fn is_slow(&self) -> bool {
        matches!(self, Self::Slow {})
    }
}

const NAME_MAX: usize = 100;
const SEARCH_LIMIT: usize = 50;

/// One package of an answer.
#[derive(Serialize)]
struct Found {
    name: String,
    version: String,
    architecture: String,
    section: String,
    installed_kib: Option<i64>,
    needed_by: i64,
    summary: String,
}

impl Found {
    const COLUMNS: &str = "name, version, architecture, section, installed_kib, needed_by, summary";

    fn of(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get(0)?,
            version: row.get(1)?,
            architecture: row.get(2)?,
            section: row.get(3)?,
            installed_kib: row.get(4)?,
            needed_by: row.get(5)?,
            summary: row.get(6)?,
        })
    }
}

/// The packages whose name contains the given one: the name itself first, then those that begin with it.
pub fn search(db: &Connection, name: &str) -> Result<Value, Failure> {
    let lower = name.to_ascii_lowercase();
    let total: i64 = db
        .prepare_cached("SELECT count(*) FROM package WHERE instr(name, ?1)")?
        .query_row([&lower], |row| row.get(0))?;
    let sql = format!(
        "SELECT {} FROM package WHERE instr(name, ?1)
          ORDER BY name <> ?1, instr(name, ?1) > 1, name, architecture LIMIT ?2",
        Found::COLUMNS
    );
    let packages = db
        .prepare_cached(&sql)?
        .query_map(params![lower, SEARCH_LIMIT as i64], Found::of)?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "name": name, "total": total, "packages": packages }))
}

/// What is in the database.
pub fn stats(db: &Connection) -> Result<Value, Failure> {
    let (packages, kib): (i64, i64) = db
        .prepare_cached("SELECT count(*), coalesce(sum(installed_kib), 0) FROM package")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let needs: i64 = db.prepare_cached("SELECT count(*) FROM needs")?.query_row([], |row| row.get(0))?;
    let sql = format!("SELECT {} FROM package ORDER BY needed_by DESC, name LIMIT 5", Found::COLUMNS);
    let most_needed = db.prepare_cached(&sql)?.query_map([], Found::of)?.collect::<Result<Vec<_>, _>>()?;
    Ok(json!({
        "packages": packages,
        "needs": needs,
        "installed_kib": kib,
        "most_needed": most_needed,
        "sqlite": rusqlite::version(),
    }))
}

/// How many packages a trial removes.
const REMOVED: i64 = 3;

/// How many rows the simulation may visit. Around two seconds of work; a machine with few packages
/// gets more trials for it, so that the query is slow there too.
const STEPS: f64 = 1_800_000.0;

/// Remove some packages at random, and with them all that need them, at any distance: how many are
/// left? Tried often enough to know the middle and the ends. A trial is a query of its own inside the
/// query: thus it needs memory for one trial, not for all of them.
const SIMULATION: &str = "
    WITH RECURSIVE trial (t) AS (
        SELECT 1 UNION ALL SELECT t + 1 FROM trial WHERE t < ?1
    ),
    outcome (n) AS MATERIALIZED (
        SELECT (
            WITH RECURSIVE pick (k) AS (
                SELECT 1 UNION ALL SELECT k + 1 FROM pick WHERE k < ?2
            ),
            lost (id) AS (
                -- t in it makes this another query for each trial.
                SELECT abs(random() % ?3) + 0 * t FROM pick
                UNION
                SELECT needs.package FROM lost JOIN needs ON needs.needed = lost.id
            )
            SELECT count(*) FROM lost
        ) FROM trial
    )
    SELECT n, count(*) FROM outcome GROUP BY n ORDER BY n
";

/// Runs the simulation, until `called_off` becomes true.
///
/// A progress handler looks at the flag: unlike an interrupt handle, which reaches only a statement
/// that is already running, it cannot come too early.
pub fn slow(db: &mut Connection, called_off: &Arc<AtomicBool>) -> Result<Value, Failure> {
    let flag = Arc::clone(called_off);
    db.progress_handler(1000, Some(move || flag.load(Ordering::Relaxed)))?;
    let answer = simulate(db, STEPS);
    db.progress_handler(0, None::<fn() -> bool>)?;
    answer
}

fn simulate(db: &Connection, steps: f64) -> Result<Value, Failure> {
    let began = Instant::now();
    let (packages, mean): (i64, f64) =
        db.query_row("SELECT count(*), avg(needed_by + 1) FROM package", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let trials = (steps / (mean * REMOVED as f64)).ceil() as i64;

    // Pairs of (packages lost, how often), fewest first.
    let outcomes: Vec<(i64, i64)> = db
        .prepare_cached(SIMULATION)?
        .query_map([trials, REMOVED, packages], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;

    let lost: i64 = outcomes.iter().map(|(n, times)| n * times).sum();
    let halved: i64 = outcomes.iter().filter(|(n, _)| n * 2 > packages).map(|(_, times)| times).sum();
    Ok(json!({
        "question": format!("Remove {REMOVED} packages at random, and all that need them: how many are left?"),
        "packages": packages,
        "trials": trials,
        "left": {
            "mean": round(packages as f64 - lost as f64 / trials as f64),
            "median": packages - middle(&outcomes, trials),
            "most": packages - outcomes.first().map_or(0, |(n, _)| *n),
            "fewest": packages - outcomes.last().map_or(0, |(n, _)| *n),
        },
        "more_than_half_lost_percent": round(100.0 * halved as f64 / trials as f64),
        "rows_visited": lost,
        "ms": began.elapsed().as_millis() as u64,
    }))
}

/// The middle one of all trials.
fn middle(outcomes: &[(i64, i64)], trials: i64) -> i64 {
    let mut seen = 0;
    for (n, times) in outcomes {
        seen += times;
        if seen * 2 >= trials {
            return *n;
        }
    }
    0
}

fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dpkg, store::Store};

    /// A chain: each package needs the one before it.
    fn chain(names: &[&str]) -> Store {
        let stanza = |(at, name): (usize, &&str)| {
            let needs = if at == 0 { "" } else { names[at - 1] };
            format!("Package: {name}\nStatus: install ok installed\nDepends: {needs}\nDescription: it's {name}\n\n")
        };
        let status: String = names.iter().enumerate().map(stanza).collect();
        Store::fill(&dpkg::parse(status.as_bytes()).unwrap()).unwrap()
    }

    fn failure(request: &str) -> String {
        let failure = Query::parse(request.as_bytes()).unwrap_err();
        assert_eq!(failure.status, BAD_REQUEST);
        failure.message
    }

    #[test]
    fn requests() {
        let search = Query::parse(br#"{"query":"search","name":"a"}"#).unwrap();
        assert_eq!(search, Query::Search { name: "a".to_owned() });
        assert!(!search.is_slow());
        assert!(Query::parse(br#"{"query":"slow"}"#).unwrap().is_slow());
        assert_eq!(Query::parse(br#"{"query":"stats"}"#).unwrap(), Query::Stats {});
    }

    #[test]
    fn bad_requests_say_what_is_wrong() {
        assert!(failure("").starts_with("bad request: EOF"));
        assert!(failure(r#"{"query":"drop"}"#).contains("unknown variant `drop`"));
        assert!(failure(r#"{"query":"search"}"#).contains("missing field `name`"));
        assert!(failure(r#"{"query":"slow","fast":1}"#).contains("unknown field `fast`"));
        assert_eq!(failure(r#"{"query":"search","name":""}"#), "bad request: a name of 1 to 100 bytes expected, got 0");
        let long = format!(r#"{{"query":"search","name":"{}"}}"#, "x".repeat(101));
        assert!(failure(&long).ends_with("got 101"));
    }

    #[test]
    fn search_puts_the_closest_first() {
        let store = chain(&["zlib-nginx", "nginx-common", "libnginx", "nginx", "other"]);
        let answer = search(&store.reader().unwrap(), "NGINX").unwrap();
        let names: Vec<_> =
            answer["packages"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["nginx", "nginx-common", "libnginx", "zlib-nginx"]);
        assert_eq!(answer["total"], 4);
        assert_eq!(answer["packages"][0]["needed_by"], 1);
        assert_eq!(answer["packages"][0]["summary"], "it's nginx");
    }

    #[test]
    fn search_takes_every_byte_for_itself() {
        let store = chain(&["a_b", "axb", "a'b"]);
        let db = store.reader().unwrap();
        for (name, total) in [("a_b", 1), ("%", 0), ("a'b", 1), ("ä", 0), ("\0", 0)] {
            assert_eq!(search(&db, name).unwrap()["total"], total, "{name:?}");
        }
    }

    #[test]
    fn search_is_bounded() {
        let names: Vec<String> = (0..60).map(|n| format!("p{n}")).collect();
        let store = chain(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let answer = search(&store.reader().unwrap(), "p").unwrap();
        assert_eq!(answer["total"], 60);
        assert_eq!(answer["packages"].as_array().unwrap().len(), SEARCH_LIMIT);
    }

    #[test]
    fn stats_count() {
        let answer = stats(&chain(&["a", "b", "c"]).reader().unwrap()).unwrap();
        assert_eq!((&answer["packages"], &answer["needs"]), (&json!(3), &json!(2)));
        assert_eq!(answer["most_needed"][0]["name"], "a");
        assert_eq!(answer["most_needed"][0]["needed_by"], 2);
    }

    /// With one package there is only one outcome; with two in a chain, three picks leave 0 or 1.
    #[test]
    fn simulation_counts_what_is_left() {
        let one = simulate(&chain(&["a"]).reader().unwrap(), 3000.0).unwrap();
        assert_eq!(one["trials"], 1000);
        assert_eq!(one["left"], json!({ "mean": 0.0, "median": 0, "most": 0, "fewest": 0 }));

        // "a" survives a trial only if all three picks are "b": one in eight.
        let two = simulate(&chain(&["a", "b"]).reader().unwrap(), 90_000.0).unwrap();
        assert_eq!((&two["left"]["most"], &two["left"]["fewest"]), (&json!(1), &json!(0)));
        let mean = two["left"]["mean"].as_f64().unwrap();
        assert!((0.1..=0.2).contains(&mean), "{mean}");
    }

    #[test]
    fn middle_of_the_outcomes() {
        assert_eq!(middle(&[(1, 2), (5, 1), (9, 2)], 5), 5);
        assert_eq!(middle(&[(1, 3), (9, 2)], 5), 1);
        assert_eq!(middle(&[], 0), 0);
    }

    #[test]
    fn slow_stops_when_called_off() {
        let store = chain(&["a", "b", "c"]);
        let mut db = store.reader().unwrap();
        let called_off = Arc::new(AtomicBool::new(true));
        assert_eq!(slow(&mut db, &called_off).unwrap_err(), Failure::new(CALLED_OFF, "called off"));
        // The connection is as good as new.
        assert_eq!(search(&db, "a").unwrap()["total"], 1);
    }
}
