//! What a library finds around it: environment variables, and a current directory.
//!
//! The environment is the process's: two runtimes that want different values of one variable cannot
//! both have their way. The current directory is a thread's, on Linux: the thread that starts a
//! runtime takes one of its own, and the threads that it starts inherit it. nginx keeps its own.

use std::{
    collections::HashMap,
    env,
    ffi::{CString, c_char},
    path::{Path, PathBuf},
    ptr,
    sync::{LazyLock, Mutex, PoisonError},
};

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

    /// Makes them those of this thread, and of all that it starts; the variables are the whole
    /// process's. `runtime` is named where another one wants something else. Runs on: a runtime's
    /// start thread, before its library is loaded.
    pub fn enter(&self, runtime: &str) -> Result<(), String> {
        for (name, value) in &self.env {
            match value {
                Some(value) => set_once(runtime, name, value)?,
                None if env::var_os(name).is_some() => {}
                None => {
                    return Err(format!(
                        "env {name}: it is not set in this process; nginx hands a variable to its workers where \
                         \"env {name};\" stands at the top of nginx.conf"
                    ));
                }
            }
        }
        match &self.working_directory {
            Some(dir) => move_thread(dir),
            None => Ok(()),
        }
    }

    /// The same for a process that checks a configuration and ends: nobody else is in it.
    pub fn enter_child(&self) -> Result<(), String> {
        for (name, value) in &self.env {
            if let Some(value) = value {
                set(name, value);
            }
        }
        match &self.working_directory {
            Some(dir) => env::set_current_dir(dir).map_err(|e| format!("working_directory \"{}\": {e}", dir.display())),
            None => Ok(()),
        }
    }
}

fn set_once(runtime: &str, name: &str, value: &str) -> Result<(), String> {
    /// By name: the value, and the runtime that set it.
    static SET: LazyLock<Mutex<HashMap<String, (String, String)>>> = LazyLock::new(Mutex::default);
    let mut all = SET.lock().unwrap_or_else(PoisonError::into_inner);
    match all.get(name) {
        Some((known, _)) if known == value => Ok(()),
        Some((known, by)) if by != runtime => {
            Err(format!("env {name}: runtime \"{by}\" has set it to \"{known}\", and a process has one environment"))
        }
        _ => {
            set(name, value);
            all.insert(name.to_owned(), (value.to_owned(), runtime.to_owned()));
            Ok(())
        }
    }
}

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// Sets a variable without pulling the old environment from under another thread's getenv, as
/// setenv would: a new array is published, and the old one is left to whoever still reads it.
fn set(name: &str, value: &str) {
    let Ok(entry) = CString::new(format!("{name}={value}")) else { return };
    let prefix = format!("{name}=");
    let mut entries = Vec::new();
    // SAFETY: environ is NULL or an array of C strings that ends with NULL; whoever replaces it
    // leaves the old one as it is, or is nginx before its workers have threads.
    unsafe {
        let mut old = (&raw mut environ).read_volatile();
        while !old.is_null() && !(*old).is_null() {
            if libc::strncmp(*old, prefix.as_ptr().cast(), prefix.len()) != 0 {
                entries.push(*old);
            }
            old = old.add(1);
        }
    }
    entries.push(entry.into_raw());
    entries.push(ptr::null_mut());
    let published = Box::leak(entries.into_boxed_slice()).as_mut_ptr();
    // SAFETY: a pointer's store is one instruction, and both arrays stay valid.
    unsafe { (&raw mut environ).write_volatile(published) };
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
    env::set_current_dir(dir).map_err(|e| format!("working_directory \"{}\": {e}", dir.display()))
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
            around.add_env(&words(option)).expect("a good option");
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
    #[cfg_attr(miri, ignore = "C's environment")]
    fn a_variable_is_the_whole_process_s() {
        with_env(&[&["NFFI_TEST_ENV", "one"]]).enter("a").expect("set");
        assert_eq!(env::var("NFFI_TEST_ENV").as_deref(), Ok("one"));
        with_env(&[&["NFFI_TEST_ENV", "one"], &["NFFI_TEST_ENV_2", "two"]]).enter("b").expect("the same again");
        let error = with_env(&[&["NFFI_TEST_ENV", "other"]]).enter("b").unwrap_err();
        assert!(error.contains("runtime \"a\" has set it to \"one\""), "{error}");
        with_env(&[&["NFFI_TEST_ENV", "three"]]).enter("a").expect("its own may change");
        assert_eq!(env::var("NFFI_TEST_ENV").as_deref(), Ok("three"));
        assert_eq!(env::var("NFFI_TEST_ENV_2").as_deref(), Ok("two"));
    }

    #[test]
    #[cfg_attr(miri, ignore = "C's environment")]
    fn a_variable_that_is_asked_for_must_be_there() {
        with_env(&[&["PATH"]]).enter("a").expect("there");
        let error = with_env(&[&["NFFI_TEST_NO_SUCH"]]).enter("a").unwrap_err();
        assert!(error.contains("env NFFI_TEST_NO_SUCH;"), "{error}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "threads of the kernel's")]
    fn a_directory_is_the_thread_s_and_its_children_s() {
        let before = env::current_dir().expect("here");
        let around = Surroundings { working_directory: Some("/proc".into()), ..Default::default() };
        around.check().expect("a directory");
        let seen = std::thread::spawn(move || {
            around.enter("a").expect("moved");
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
