//! The one signal that the JVM would take from nginx despite -Xrs: USR2, with which it samples threads. Its handler
//! crashes on a thread that is not Java's, and `pkill -USR2 nginx` reaches workers, too.
//!
//! The JVM can be told another, by an environment variable that it reads when it starts, and by nothing else. It is not
//! set here: other runtimes start at the same time, on threads of their own, and may read and write the environment.
//! The host sets it before it starts any of them.

use std::{env, ffi::OsStr};

use libc::{SIGRTMAX, SIGRTMIN};

const VARIABLE: &str = "_JAVA_SR_SIGNUM";

/// What is to be said of the signal that the JVM takes; None where it is one that nobody else uses.
pub fn complaint() -> Option<String> {
    complaint_of(env::var_os(VARIABLE).as_deref())
}

fn complaint_of(value: Option<&OsStr>) -> Option<String> {
    let number = value.and_then(OsStr::to_str).and_then(|text| text.parse().ok());
    if number.is_some_and(|number| (SIGRTMIN()..=SIGRTMAX()).contains(&number)) {
        return None;
    }
    let is = value.map_or_else(|| "not set".to_owned(), |value| format!("\"{}\"", value.to_string_lossy()));
    Some(format!(
        "{VARIABLE} is {is}: the JVM takes SIGUSR2, or that signal, and its handler may crash on a thread that is not \
         Java's. Set it to a real-time signal, as 40, before any runtime starts"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_time_signal_will_do() {
        for good in ["40", "64"] {
            assert_eq!(complaint_of(Some(good.as_ref())), None, "{good}");
        }
        for bad in ["", "12", "17", "65", "-1", "x"] {
            let said = complaint_of(Some(bad.as_ref())).unwrap();
            assert!(said.starts_with(&format!("_JAVA_SR_SIGNUM is \"{bad}\": the JVM takes")), "{said}");
        }
        assert!(complaint_of(None).unwrap().starts_with("_JAVA_SR_SIGNUM is not set"));
    }
}
