//! The loader of lua-resty-ffi for Java: the configuration is `class[?],method,text`, and the class's
//! `static int method(String text, long tq)` starts threads of its own, which poll the queue `tq` by the C functions of
//! that interface. The class is looked for on CLASSPATH.

use std::{
    any::Any,
    ffi::{CStr, c_char, c_int, c_void},
    slice, thread,
};

use jni::{JValue, jni_sig, jni_str};

use nffi_abi::panic_text;

use crate::jvm;

const FAILED: c_int = -1;

/// The later of the two interfaces: `cfg` ends with a zero byte, and may be NULL.
///
/// # Safety
/// `cfg` is NULL or a C string, during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn libffi_init(cfg: *const c_char, tq: *mut c_void) -> c_int {
    // SAFETY: as the caller promises.
    let cfg = if cfg.is_null() { &[] } else { unsafe { CStr::from_ptr(cfg) }.to_bytes() };
    load(cfg, tq)
}

/// The earlier one.
///
/// # Safety
/// `cfg` has `len` bytes, during the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lib_nonblocking_ffi_init(cfg: *const c_char, len: c_int, tq: *mut c_void) -> c_int {
    let len = usize::try_from(len).unwrap_or(0);
    // SAFETY: as the caller promises.
    let cfg = if cfg.is_null() { &[] } else { unsafe { slice::from_raw_parts(cfg.cast(), len) } };
    load(cfg, tq)
}

/// Runs on: the event loop, which waits. The JVM gets a thread of its own to start on: attached to it, the event loop's
/// would be one of Java's for ever.
fn load(cfg: &[u8], tq: *mut c_void) -> c_int {
    let text = String::from_utf8_lossy(cfg).into_owned();
    let tq = tq as i64;
    let loading = thread::Builder::new().name("nffi:ffi_java".to_owned()).spawn(move || start(&text, tq));
    let result = match loading.map(thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(format!("panicked: {}", panic_text(&*panic as &(dyn Any + Send)))),
        Err(error) => Err(format!("cannot start a thread: {error}")),
    };
    result.unwrap_or_else(|error| {
        // This interface has no other place for it; a worker's stderr is error.log.
        eprintln!("ffi_java: {error}");
        FAILED
    })
}

fn start(cfg: &str, tq: i64) -> Result<c_int, String> {
    let target = Target::parse(cfg)?;
    let vm = jvm::start_any()?;
    let rc = vm.attach_current_thread(|env| -> jni::errors::Result<c_int> {
        let class = env.byte_array_from_slice(target.class.as_bytes())?;
        let method = env.byte_array_from_slice(target.method.as_bytes())?;
        let text = env.byte_array_from_slice(target.text.as_bytes())?;
        let args = [
            JValue::Object(&class),
            JValue::Bool(target.fresh),
            JValue::Object(&method),
            JValue::Object(&text),
            JValue::Long(tq),
        ];
        let seed = jni_str!("io/github/nffi/host/Seed");
        env.call_static_method(seed, jni_str!("start"), jni_sig!("([BZ[B[BJ)I"), &args)?.i()
    });
    rc.map_err(|error| format!("{cfg}: {error}"))
}

#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    class: &'a str,
    fresh: bool,
    method: &'a str,
    /// Whatever follows the second comma.
    text: &'a str,
}

impl<'a> Target<'a> {
    fn parse(cfg: &'a str) -> Result<Self, String> {
        let mut parts = cfg.splitn(3, ',');
        let class = parts.next().unwrap_or_default();
        let (class, fresh) = class.strip_suffix('?').map_or((class, false), |class| (class, true));
        let method = parts.next().unwrap_or_default();
        if class.is_empty() || method.is_empty() {
            return Err(format!("\"class[?],method,configuration\" expected, got \"{cfg}\""));
        }
        Ok(Self { class, fresh, method, text: parts.next().unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_method_and_the_rest() {
        let target = |class, fresh, method, text| Ok(Target { class, fresh, method, text });
        assert_eq!(Target::parse("demo.Echo,init,"), target("demo.Echo", false, "init", ""));
        assert_eq!(Target::parse("demo.Echo?,init"), target("demo.Echo", true, "init", ""));
        assert_eq!(
            Target::parse("demo.Echo,go,{\"a\":1,\"b\":2}"),
            target("demo.Echo", false, "go", "{\"a\":1,\"b\":2}")
        );
        for cfg in ["", "demo.Echo", "?,init", ",init", "demo.Echo,,x"] {
            assert!(Target::parse(cfg).unwrap_err().contains("expected, got"), "{cfg}");
        }
    }
}
