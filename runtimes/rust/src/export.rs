//! What a library exports: init and check, for whichever kind of service.

use std::{
    ffi::{c_char, c_int},
    fmt::Display,
};

use nffi_abi::{NFFI_ABI, bytes, nffi_host, nffi_queue, put_message};
use serde::de::DeserializeOwned;

use crate::{
    Context, Error, Service, config,
    host::Host,
    log::{self, Level, Place},
    panics, pool,
};

/// Options that every runtime has beside its own.
pub(crate) struct Options {
    threads: Option<usize>,
    pub(crate) log_level: Level,
}

const OPTIONS: [&str; 2] = ["threads", "log_level"];
const THREADS_MAX: u16 = 1024;

/// The two kinds of options of a configuration.
fn read<C: DeserializeOwned>(cfg: &[u8]) -> Result<(Options, C), config::Error> {
    let mut options = Options { threads: None, log_level: Level::Info };
    let own = config::read(
        cfg,
        &mut |name, value| {
            match name {
                "threads" => {
                    let n: u16 = config::one(name, value)?;
                    if !(1..=THREADS_MAX).contains(&n) {
                        return Err(config::number_of_threads(THREADS_MAX, n));
                    }
                    options.threads = Some(n.into());
                }
                "log_level" => options.log_level = config::one(name, value)?,
                _ => return Ok(false),
            }
            Ok(true)
        },
        &OPTIONS,
    )?;
    Ok((options, own))
}

/// What a start has to go on.
pub(crate) struct Start {
    pub(crate) host: Host,
    pub(crate) options: Options,
    pub(crate) context: Context,
}

/// `nffi_runtime_init_v1` of a blocking service.
///
/// # Safety
/// The arguments are those of `nffi_runtime_init_v1`, as include/nffi.h says.
pub unsafe fn init<S: Service>(
    host: *const nffi_host,
    queue: nffi_queue,
    cfg: *const c_char,
    len: usize,
    err: *mut c_char,
    err_cap: usize,
) -> c_int {
    // SAFETY: as the caller promises.
    unsafe {
        init_with(host, queue, cfg, len, err, err_cap, S::default_threads, |start, config| {
            pool::start::<S>(start, config)
        })
    }
}

/// `nffi_runtime_check_v1` of a blocking service.
///
/// # Safety
/// The arguments are those of `nffi_runtime_check_v1`, as include/nffi.h says.
pub unsafe fn check<S: Service>(cfg: *const c_char, len: usize, err: *mut c_char, err_cap: usize) -> c_int {
    // SAFETY: as the caller promises.
    unsafe { check_with(cfg, len, err, err_cap, S::check) }
}

/// # Safety
/// As [`init`].
#[allow(clippy::too_many_arguments)] // the ABI's
pub(crate) unsafe fn init_with<C: DeserializeOwned>(
    host: *const nffi_host,
    queue: nffi_queue,
    cfg: *const c_char,
    len: usize,
    err: *mut c_char,
    err_cap: usize,
    default_threads: fn() -> usize,
    start: impl FnOnce(&Start, C) -> Result<(), Error>,
) -> c_int {
    // SAFETY: err has room for err_cap bytes.
    unsafe {
        guard(err, err_cap, || {
            // SAFETY: the host's table, and its configuration during this call.
            let (host, cfg) = (Host::new(host, queue), bytes(cfg, len));
            let host = host.ok_or_else(|| format!("this runtime needs a host of ABI {NFFI_ABI}"))?;
            let (options, config) = read::<C>(cfg).map_err(|error| error.to_string())?;
            let place = Place { host, task: 0, level: options.log_level };
            log::install(place);
            panics::install();
            let _here = log::enter(place);
            let context = Context { threads: options.threads.unwrap_or_else(default_threads).max(1) };
            let result = panics::catch(|| start(&Start { host, options, context }, config)).flatten();
            result.map_err(|error| error.message().to_owned())
        })
    }
}

/// # Safety
/// As [`check`].
pub(crate) unsafe fn check_with<C: DeserializeOwned, E: Display + 'static>(
    cfg: *const c_char,
    len: usize,
    err: *mut c_char,
    err_cap: usize,
    check: impl FnOnce(&C) -> Result<(), E>,
) -> c_int {
    // SAFETY: err has room for err_cap bytes; the configuration is valid during this call.
    unsafe {
        guard(err, err_cap, || {
            let (_, config) = read::<C>(bytes(cfg, len)).map_err(|error| error.to_string())?;
            check(&config).map_err(|error| Error::of(&error).message().to_owned())
        })
    }
}

/// The boundary: an error becomes the host's message, and so does a panic.
///
/// # Safety
/// `err` is NULL or has room for `err_cap` bytes.
unsafe fn guard(err: *mut c_char, err_cap: usize, body: impl FnOnce() -> Result<(), String>) -> c_int {
    let message = match panics::catch(body) {
        Ok(Ok(())) => return 0,
        Ok(Err(message)) => message,
        Err(panic) => panic.to_string(),
    };
    // SAFETY: as the caller promises.
    unsafe { put_message(err, err_cap, &message) };
    1
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    fn message(cap: usize, text: &str) -> String {
        let mut room = vec![0x55 as c_char; cap + 1];
        // SAFETY: the room is larger than what it is told.
        unsafe { put_message(room.as_mut_ptr(), cap, text) };
        assert_eq!(room[cap], 0x55, "one byte too many");
        let bytes: Vec<u8> = room[..cap].iter().take_while(|c| **c != 0).map(|c| c.cast_unsigned()).collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn messages_are_cut_between_characters() {
        assert_eq!(message(10, "short"), "short");
        assert_eq!(message(6, "short"), "short");
        assert_eq!(message(5, "short"), "shor");
        assert_eq!(message(3, "aäb"), "a");
        assert_eq!(message(1, "x"), "");
        // SAFETY: NULL, and no room.
        unsafe { put_message(ptr::null_mut(), 10, "x") };
    }

    #[test]
    fn the_options_of_every_runtime() {
        let (options, config::NoOptions {}) = read(br#"{"threads":"8","log_level":"debug"}"#).unwrap();
        assert_eq!((options.threads, options.log_level), (Some(8), Level::Debug));
        let error = |cfg: &str| read::<config::NoOptions>(cfg.as_bytes()).err().unwrap().to_string();
        assert_eq!(error(r#"{"threads":"0"}"#), "option \"threads\": a number from 1 to 1024 expected, got 0");
        assert_eq!(
            error(r#"{"log_level":"loud"}"#).split(" expected").next(),
            Some("option \"log_level\": off or error or warn or info or debug or trace")
        );
        assert_eq!(error(r#"{"thread":"1"}"#), "unknown option \"thread\", known are: threads, log_level");
    }
}
