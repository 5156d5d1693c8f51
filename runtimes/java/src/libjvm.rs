//! Where the JVM is, and which version.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The oldest that can run the jar.
pub const OLDEST: u32 = 17;
/// The oldest with virtual threads.
pub const VIRTUAL: u32 = 21;

const PLACE: &str = "lib/server/libjvm.so";
const ROOTS: &str = "/usr/lib/jvm";
/// What `java` is on a system of Debian's kind.
const ALTERNATIVE: &str = "/etc/alternatives/java";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// As the file system has it, without links: two names of one JVM are equal.
    pub library: PathBuf,
    /// None where the folder has no `release` file that says.
    pub version: Option<u32>,
}

/// Looks at the option, else at JAVA_HOME, else where distributions put a JVM.
pub fn find(java_home: Option<&Path>) -> Result<Found, String> {
    if let Some(home) = java_home {
        return in_home(home).ok_or_else(|| format!("java_home {0}: no {PLACE} in {0}", home.display()))?;
    }
    if let Some(home) = env::var_os("JAVA_HOME").filter(|home| !home.is_empty()) {
        let home = PathBuf::from(home);
        return in_home(&home)
            .ok_or_else(|| format!("JAVA_HOME is {0}, but there is no {PLACE} in {0}", home.display()))?;
    }
    usual(Path::new(ROOTS), Path::new(ALTERNATIVE)).ok_or_else(|| {
        format!("no JVM: {ROOTS} has no {PLACE} of Java {OLDEST} or later. Install one (Debian: openjdk-17-jre-headless), or say java_home")
    })
}

fn in_home(home: &Path) -> Option<Result<Found, String>> {
    let library = fs::canonicalize(home.join(PLACE)).ok()?;
    let version = version(home);
    Some(match version {
        Some(found) if found < OLDEST => {
            Err(format!("{} is Java {found}; Java {OLDEST} or later is needed", home.display()))
        }
        _ => Ok(Found { library, version }),
    })
}

/// The distribution's default, else the system's choice, else the newest.
fn usual(roots: &Path, java: &Path) -> Option<Found> {
    let default = in_home(&roots.join("default-java"));
    // bin/java leads to its home.
    let chosen = || in_home(fs::canonicalize(java).ok()?.parent()?.parent()?);
    if let Some(Ok(found)) = default.or_else(chosen) {
        return Some(found);
    }
    let homes = fs::read_dir(roots).ok()?.flatten().map(|entry| entry.path());
    let mut found: Vec<Found> = homes.filter_map(|home| in_home(&home)?.ok()).collect();
    found.sort_by(|a, b| (a.version, &a.library).cmp(&(b.version, &b.library)));
    found.pop()
}

/// `JAVA_VERSION="17.0.15"` in the file `release`.
fn version(home: &Path) -> Option<u32> {
    let release = fs::read_to_string(home.join("release")).ok()?;
    let text = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    let mut numbers = text.trim_matches('"').split(['.', '-', '+', '_']);
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(), // 1.8.0 is Java 8
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a JVM's; gone when dropped.
    struct Homes(PathBuf);

    impl Homes {
        fn new(name: &str) -> Self {
            let dir = env::temp_dir().join(format!("nffi-java-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn add(&self, name: &str, release: &str) -> PathBuf {
            let home = self.0.join(name);
            fs::create_dir_all(home.join("lib/server")).unwrap();
            fs::write(home.join(PLACE), "").unwrap();
            fs::write(home.join("release"), release).unwrap();
            home
        }
    }

    impl Drop for Homes {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_option_names_a_home() {
        let homes = Homes::new("option");
        let home = homes.add("jdk-21", "IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"21.0.2\"\n");
        let found = find(Some(&home)).unwrap();
        assert_eq!(found.version, Some(21));
        assert!(found.library.ends_with(PLACE));
        let error = find(Some(&homes.0)).unwrap_err();
        assert!(error.starts_with("java_home ") && error.contains(PLACE), "{error}");
    }

    #[test]
    fn an_old_java_is_refused() {
        let homes = Homes::new("old");
        let home = homes.add("jdk-8", "JAVA_VERSION=\"1.8.0_292\"\n");
        let error = find(Some(&home)).unwrap_err();
        assert!(error.contains("is Java 8; Java 17 or later is needed"), "{error}");
    }

    #[test]
    fn the_default_then_the_systems_choice_then_the_newest() {
        let homes = Homes::new("usual");
        let version = |java: &Path| usual(&homes.0, java).map(|found| found.version.unwrap());
        let none = homes.0.join("none");
        assert_eq!(version(&none), None);
        homes.add("a-25", "JAVA_VERSION=\"25\"\n");
        let chosen = homes.add("b-21", "JAVA_VERSION=\"21.0.1\"\n");
        homes.add("c-11", "JAVA_VERSION=\"11.0.1\"\n");
        fs::create_dir(chosen.join("bin")).unwrap();
        fs::write(chosen.join("bin/java"), "").unwrap();
        assert_eq!(version(&none), Some(25));
        assert_eq!(version(&chosen.join("bin/java")), Some(21));
        homes.add("default-java", "JAVA_VERSION=\"17.0.1\"\n");
        assert_eq!(version(&chosen.join("bin/java")), Some(17));
    }
}
