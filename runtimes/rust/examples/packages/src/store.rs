//! The database: in memory, filled once, then read by many connections at a time.
//!
//! SQLite's memdb VFS shares one database between the connections of a process that open the same
//! name, and lets them all read at once. (A shared cache would not do: there one running query
//! holds a mutex that every other connection wants.)

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use rusqlite::{Connection, OpenFlags, params};
use thiserror::Error;

use crate::dpkg::{self, Package, ParseError, Relation};

/// `needs` holds only what nothing else could replace: a dependency that two installed packages
/// satisfy outlives either of them. It is keyed by the needed package, because every query asks
/// "who falls with this one?".
const SCHEMA: &str = "
    CREATE TABLE package (
        id            INTEGER PRIMARY KEY,
        name          TEXT NOT NULL,
        version       TEXT NOT NULL,
        architecture  TEXT NOT NULL,
        section       TEXT NOT NULL,
        installed_kib INTEGER,
        summary       TEXT NOT NULL,
        needed_by     INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX package_name ON package (name);
    CREATE TABLE needs (
        needed  INTEGER NOT NULL REFERENCES package,
        package INTEGER NOT NULL REFERENCES package,
        PRIMARY KEY (needed, package)
    ) WITHOUT ROWID;
";

/// For every package: how many others would lose something they need, directly or at a distance.
const COUNT_NEEDED_BY: &str = "
    WITH RECURSIVE falls (root, id) AS (
        SELECT id, id FROM package
        UNION
        SELECT falls.root, needs.package FROM falls JOIN needs ON needs.needed = falls.id
    )
    UPDATE package SET needed_by = counted.n
      FROM (SELECT root, count(*) - 1 AS n FROM falls GROUP BY root) AS counted
     WHERE counted.root = package.id
";

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Parse { path: PathBuf, source: ParseError },
    #[error("{path}: no installed package in it")]
    Empty { path: PathBuf },
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// Reads and parses the status file; what a configuration test does, too.
pub fn read_status(path: &std::path::Path) -> Result<Vec<Package>, StoreError> {
    let bytes = std::fs::read(path).map_err(|source| StoreError::Read { path: path.to_owned(), source })?;
    let packages = dpkg::parse(&bytes).map_err(|source| StoreError::Parse { path: path.to_owned(), source })?;
    if packages.is_empty() {
        return Err(StoreError::Empty { path: path.to_owned() });
    }
    Ok(packages)
}

/// The way to the database, which memdb drops with the last connection to it.
pub struct Store {
    uri: String,
    /// Never used again; in a mutex, since a connection alone cannot be shared.
    _filled: Mutex<Connection>,
}

impl Store {
    pub fn fill(packages: &[Package]) -> Result<Self, StoreError> {
        // A library may be initialised more than once in a process; each time gets its own data.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let uri = format!("file:/nffi-packages-{number}?vfs=memdb");

        let mut db = Connection::open_with_flags(&uri, OpenFlags::default())?;
        let tx = db.transaction()?;
        tx.execute_batch(SCHEMA)?;
        {
            let mut package = tx.prepare("INSERT INTO package VALUES (?, ?, ?, ?, ?, ?, ?, 0)")?;
            for (id, p) in packages.iter().enumerate() {
                let kib = p.installed_kib.and_then(|kib| i64::try_from(kib).ok());
                package.execute(params![id as i64, p.name, p.version, p.architecture, p.section, kib, p.summary])?;
            }
            let mut needs = tx.prepare("INSERT INTO needs VALUES (?, ?)")?;
            for (package, needed) in irreplaceable(packages) {
                needs.execute(params![needed as i64, package as i64])?;
            }
        }
        tx.execute(COUNT_NEEDED_BY, [])?;
        tx.commit()?;
        Ok(Self { uri, _filled: Mutex::new(db) })
    }

    /// A connection of one's own, for one thread.
    pub fn reader(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.uri, flags)?;
        // A long query's intermediate rows stay off the disk.
        db.pragma_update(None, "temp_store", "MEMORY")?;
        Ok(db)
    }
}

/// The pairs (package, needed) in which nothing else installed could take the needed one's place.
fn irreplaceable(packages: &[Package]) -> HashSet<(usize, usize)> {
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for (id, package) in packages.iter().enumerate() {
        for name in std::iter::once(&package.name).chain(&package.provides) {
            by_name.entry(name).or_default().push(id);
        }
    }
    // Of two architectures' builds of one package, the dependant's own is meant, unless it says otherwise.
    let satisfies = |dependant: &Package, relation: &Relation| -> Vec<usize> {
        let all = by_name.get(relation.name.as_str()).cloned().unwrap_or_default();
        let same = |id: &usize| {
            let architecture = packages[*id].architecture.as_str();
            architecture == "all" || architecture == dependant.architecture
        };
        if relation.qualified || !all.iter().any(same) { all } else { all.into_iter().filter(same).collect() }
    };

    let mut pairs = HashSet::new();
    for (id, package) in packages.iter().enumerate() {
        for choice in &package.needs {
            let mut fits: Vec<usize> = choice.iter().flat_map(|relation| satisfies(package, relation)).collect();
            fits.sort_unstable();
            fits.dedup();
            if let [only] = fits[..]
                && only != id
            {
                pairs.insert((id, only));
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name/arch (provided, …): needed, …`, a line each, turned into a status file.
    pub fn packages(lines: &[(&str, &str, &str, &str)]) -> Vec<Package> {
        let stanza = |&(name, arch, provides, depends): &(&str, &str, &str, &str)| {
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: {arch}\nProvides: {provides}\nDepends: {depends}\n\n"
            )
        };
        dpkg::parse(lines.iter().map(stanza).collect::<String>().as_bytes()).unwrap()
    }

    fn pairs(lines: &[(&str, &str, &str, &str)]) -> Vec<(usize, usize)> {
        let mut pairs: Vec<_> = irreplaceable(&packages(lines)).into_iter().collect();
        pairs.sort_unstable();
        pairs
    }

    #[test]
    fn a_choice_is_no_need() {
        let lines = [
            ("app", "all", "", "one | two, base"),
            ("one", "all", "", ""),
            ("two", "all", "", ""),
            ("base", "all", "", ""),
        ];
        assert_eq!(pairs(&lines), [(0, 3)]);
    }

    #[test]
    fn a_choice_with_one_installed_is_a_need() {
        assert_eq!(pairs(&[("app", "all", "", "gone | here"), ("here", "all", "", "")]), [(0, 1)]);
    }

    #[test]
    fn what_is_provided_counts() {
        assert_eq!(pairs(&[("app", "all", "", "mta"), ("exim", "all", "mta", "")]), [(0, 1)]);
        assert!(
            pairs(&[("app", "all", "", "mta"), ("exim", "all", "mta", ""), ("postfix", "all", "mta", "")]).is_empty()
        );
        assert!(pairs(&[("app", "all", "plugin", "plugin"), ("other", "all", "", "")]).is_empty());
    }

    #[test]
    fn architectures() {
        let lines = [("app", "i386", "", "libc"), ("libc", "amd64", "", ""), ("libc", "i386", "", "")];
        assert_eq!(pairs(&lines), [(0, 2)]);
        let lines = [("app", "i386", "", "perl:any"), ("perl", "amd64", "", ""), ("perl", "i386", "", "")];
        assert!(pairs(&lines).is_empty());
        let lines = [("app", "i386", "", "perl"), ("perl", "amd64", "", "")];
        assert_eq!(pairs(&lines), [(0, 1)]);
    }

    #[test]
    fn needed_by_counts_at_a_distance_and_survives_circles() {
        let lines = [("a", "all", "", "b"), ("b", "all", "", "c"), ("c", "all", "", "b"), ("d", "all", "", "")];
        let store = Store::fill(&packages(&lines)).unwrap();
        let db = store.reader().unwrap();
        let mut query = db.prepare("SELECT name, needed_by FROM package ORDER BY name").unwrap();
        let rows: Vec<(String, i64)> =
            query.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect();
        let expected = [("a", 0), ("b", 2), ("c", 2), ("d", 0)].map(|(name, n)| (name.to_owned(), n));
        assert_eq!(rows, expected);
    }

    #[test]
    fn stores_are_apart_and_readers_cannot_write() {
        let one = Store::fill(&packages(&[("a", "all", "", "")])).unwrap();
        let two = Store::fill(&packages(&[("a", "all", "", ""), ("b", "all", "", "")])).unwrap();
        let count = |store: &Store| -> i64 {
            store.reader().unwrap().query_row("SELECT count(*) FROM package", [], |row| row.get(0)).unwrap()
        };
        assert_eq!((count(&one), count(&two)), (1, 2));
        assert!(one.reader().unwrap().execute("DELETE FROM package", []).is_err());
    }

    #[test]
    fn errors_name_the_file() {
        let missing = read_status("/nonexistent/status".as_ref()).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read /nonexistent/status: "), "{missing}");
        let empty = read_status("/dev/null".as_ref()).unwrap_err().to_string();
        assert_eq!(empty, "/dev/null: no installed package in it");
    }
}
