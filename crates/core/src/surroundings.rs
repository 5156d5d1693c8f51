//! What a library finds around it: environment variables, and a current directory.
//!
//! The environment is the process's: two runtimes that want different values of one variable cannot
//! both have their way, and it is set once, before any of them has a thread. The current directory is a thread's, on Linux: the thread that starts a
//! runtime takes one of its own, and the threads that it starts inherit it. nginx keeps its own.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Set by the host itself, where nobody else has. A JVM reads it once, when it starts, and takes
/// USR2 without it: its handler ends the process where that signal comes to a thread that is not
/// Java's, as nginx's is. By the time a Java library is loaded other runtimes have threads, which may
/// read or write the environment: the host alone can set it in time. 40 is a real-time signal, which
/// nobody else uses.
const DEFAULTS: [(&str, &str); 1] = [("_JAVA_SR_SIGNUM", "40")];

/// Sets the variables that libraries need and cannot set themselves, unless they are set already.
///
/// # Safety
/// As [`Surroundings::set_env`].
pub unsafe fn set_defaults() {
    for (name, value) in DEFAULTS {
        if env::var_os(name).is_none() {
            // SAFETY: the caller's promise.
            unsafe { env::set_var(name, value) };
        }
    }
}

/// The options `env` and `working_directory`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// Name and value; without one the variable must be there already.
    pub env: Vec<(String, Option<String>)>,
    pub working_directory: Option<PathBuf>,
}

impl Surroundings {
    /// `env NAME VALUE`, `env NAME=VALUE`, `env NAME`.
    pub fn add_env(&mut self, words: &[String]) -> Result<(), String> {
        let (name, value) = match words {
            [name, value] => (name.as_str(), Some(value.as_str())),
            [word] => match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word.as_str(), None),
            },
            _ => return Err("invalid number of arguments in \"env\": a name, or a name and a value".to_owned()),
        };
        let bad = |text: &str| text.contains('\0');
        if name.is_empty() || name.contains('=') || bad(name) || value.is_some_and(bad) {
            return Err(format!("invalid name \"{name}\" in \"env\""));
        }
        if self.env.iter().any(|(known, _)| known == name) {
            return Err(format!("\"env {name}\" is duplicate"));
        }
        self.env.push((name.to_owned(), value.map(str::to_owned)));
        Ok(())
    }

    /// Is the working directory one?
    pub fn check(&self) -> Result<(), String> {
        let Some(dir) = &self.working_directory else { return Ok(()) };
        match dir.metadata() {
            Ok(meta) if meta.is_dir() => Ok(()),
            Ok(_) => Err(format!("working_directory \"{}\" is no directory", dir.display())),
            Err(e) => Err(format!("working_directory \"{}\": {e}", dir.display())),
        }
    }

    /// Do both want the same of the process? `other` belongs to the runtime of that name.
    pub fn agrees_with(&self, other: &Self, name: &str) -> Result<(), String> {
        for (variable, value) in self.env.iter().filter_map(|(n, v)| Some((n, v.as_ref()?))) {
            let theirs = other.env.iter().find(|(known, _)| known == variable).and_then(|(_, v)| v.as_ref());
            if let Some(theirs) = theirs.filter(|theirs| *theirs != value) {
                return Err(format!(
                    "env {variable}: runtime \"{name}\" sets it to \"{theirs}\", and a process has one environment"
                ));
            }
        }
        Ok(())
    }

    /// Sets the variables that have a value, in the whole process.
    ///
    /// # Safety
    /// No other thread reads or writes the environment meanwhile: best before there is one.
    pub unsafe fn set_env(&self) {
        for (name, value) in &self.env {
            if let Some(value) = value {
                // SAFETY: the caller's promise.
                unsafe { env::set_var(name, value) };
            }
        }
    }

    /// Looks for the variables that others had to set, and takes this thread, and all that it will
    /// start, to the working directory. Runs on: a runtime's start thread, before its library is
    /// loaded.
    pub fn enter(&self) -> Result<(), String> {
        if let Some((name, _)) = self.env.iter().find(|(name, value)| value.is_none() && env::var_os(name).is_none()) {
            return Err(format!(
                "env {name}: it is not set in this process; nginx hands a variable to its workers where \
                 \"env {name};\" stands at the top of nginx.conf"
            ));
        }
        match &self.working_directory {
            Some(dir) => move_thread(dir),
            None => Ok(()),
        }
    }

    /// Takes the whole process to the working directory: one that checks a configuration and ends.
    pub fn move_process(&self) -> Result<(), String> {
        self.working_directory.as_deref().map_or(Ok(()), move_to)
    }
}

fn move_to(dir: &Path) -> Result<(), String> {
    env::set_current_dir(dir).map_err(|e| format!("working_directory \"{}\": {e}", dir.display()))
}

fn move_thread(dir: &Path) -> Result<(), String> {
    // SAFETY: no memory is involved; what is unshared belongs to this thread from now on.
    if unsafe { libc::unshare(libc::CLONE_FS) } != 0 {
        let error = std::io::Error::last_os_error();
        return Err(format!(
            "working_directory: a thread cannot have a directory of its own here (unshare: {error}); use nginx's \
             own \"working_directory\" at the top of nginx.conf"
        ));
    }
    move_to(dir)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    fn with_env(options: &[&[&str]]) -> Surroundings {
        let mut around = Surroundings::default();
        for option in options {
            assert_eq!(around.add_env(&words(option)), Ok(()), "{option:?}");
        }
        around
    }

    #[test]
    fn three_ways_to_write_a_variable() {
        let around = with_env(&[&["A", "1 2"], &["B=x=y"], &["C"], &["D", ""]]);
        let expected = [("A", Some("1 2")), ("B", Some("x=y")), ("C", None), ("D", Some(""))];
        assert_eq!(around.env, expected.map(|(n, v)| (n.to_owned(), v.map(str::to_owned))));
        for bad in [&["=x"][..], &["A=b", "c"], &[], &["A", "b", "c"], &["A\0", "b"], &["A", "b\0"]] {
            assert!(with_env(&[]).add_env(&words(bad)).is_err(), "{bad:?}");
        }
        assert!(with_env(&[&["A"]]).add_env(&words(&["A", "1"])).unwrap_err().contains("duplicate"));
    }

    #[test]
    fn a_process_has_one_environment() {
        let one = with_env(&[&["X", "1"], &["Y", "2"], &["Z"]]);
        assert_eq!(with_env(&[&["X", "1"], &["Z", "3"], &["W", "4"]]).agrees_with(&one, "one"), Ok(()));
        assert_eq!(with_env(&[&["Y"]]).agrees_with(&one, "one"), Ok(()), "any value will do");
        let error = with_env(&[&["Y", "3"]]).agrees_with(&one, "one").unwrap_err();
        assert!(error.contains("env Y: runtime \"one\" sets it to \"2\""), "{error}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "C's environment")]
    fn a_variable_that_is_asked_for_must_be_there() {
        with_env(&[&["PATH"]]).enter().expect("there");
        let error = with_env(&[&["NFFI_TEST_NO_SUCH"]]).enter().unwrap_err();
        assert!(error.contains("env NFFI_TEST_NO_SUCH;"), "{error}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "threads of the kernel's")]
    fn a_directory_is_the_thread_s_and_its_children_s() {
        let before = env::current_dir().expect("here");
        let around = Surroundings { working_directory: Some("/proc".into()), ..Default::default() };
        around.check().expect("a directory");
        let seen = std::thread::spawn(move || {
            around.enter().expect("moved");
            std::thread::spawn(|| env::current_dir().expect("there")).join().expect("joined")
        });
        assert_eq!(seen.join().expect("joined"), Path::new("/proc"));
        assert_eq!(env::current_dir().expect("here"), before);
    }

    #[test]
    fn a_directory_that_is_none_is_refused() {
        let around = |dir: &str| Surroundings { working_directory: Some(dir.into()), ..Default::default() };
        assert!(around("/nffi-no-such").check().unwrap_err().contains("/nffi-no-such"));
        assert!(around("/etc/hostname").check().unwrap_err().contains("is no directory"));
    }
}
