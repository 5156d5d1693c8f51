//! The methods of io.github.nffi.host.Native, and the start of a runtime in Java.
//!
//! Java holds the host's table and its queue as two numbers, and hands them back with each call.
//! Runs on: threads of Java's, unless it says otherwise.

mod exchange;
mod heads;
mod http;

use std::{ffi::c_void, panic::catch_unwind, ptr, slice};

use jni::{
    Env, JValue, JavaVM, NativeMethod, jni_sig, jni_str,
    objects::JByteArray,
    sys::{JNI_ABORT, JNIEnv, jarray, jbyteArray, jclass, jint, jintArray, jlong, jobject},
};
use nffi_abi::{NFFI_BAD, NFFI_LOG_WARN, NFFI_OK, nffi_host, nffi_queue};

use crate::config::Config;

/// A line in the host's log, before there is a Java to write it. Runs on: a start thread.
pub fn warn(host: &nffi_host, queue: nffi_queue, text: &str) {
    if let Some(log) = host.log {
        // SAFETY: the runtime's own queue; the text is copied.
        unsafe { log(queue, 0, NFFI_LOG_WARN.cast_signed(), text.as_ptr().cast(), text.len()) };
    }
}

/// Hands the runtime over to Java, which starts its threads. Runs on: a start thread.
pub fn start_runtime(vm: &JavaVM, host: *const nffi_host, queue: nffi_queue, config: &Config) -> Result<(), String> {
    let options = config.encode();
    let answer = vm.attach_current_thread(|env| -> jni::errors::Result<Option<Vec<u8>>> {
        register(env)?;
        let options = env.byte_array_from_slice(&options)?;
        let args = [JValue::Long(host as jlong), JValue::Long(queue.cast_signed()), JValue::Object(&options)];
        let entry = jni_str!("io/github/nffi/host/Entry");
        let answer = env.call_static_method(entry, jni_str!("start"), jni_sig!("(JJ[B)[B"), &args)?.l()?;
        if answer.is_null() {
            return Ok(None);
        }
        let message = env.cast_local::<JByteArray>(answer)?;
        env.convert_byte_array(&message).map(Some)
    });
    match answer {
        Ok(None) => Ok(()),
        Ok(Some(message)) => Err(String::from_utf8_lossy(&message).into_owned()),
        Err(error) => Err(format!("{error}: does nffi.jar belong to this library?")),
    }
}

fn register(env: &mut Env) -> jni::errors::Result<()> {
    let native = env.find_class(jni_str!("io/github/nffi/host/Native"))?;
    macro_rules! method {
        ($name:literal, $signature:literal, $function:expr) => {
            // SAFETY: the function's parameters are those of the signature.
            unsafe { NativeMethod::from_raw_parts(jni_str!($name), jni_str!($signature), $function as *mut c_void) }
        };
    }
    let methods = [
        method!("exchange", "(JJJIJIII)I", exchange::exchange),
        method!("address", "(Ljava/nio/ByteBuffer;)J", address),
        method!("reply", "(JJI[B[B[B)I", reply),
        method!("write", "(JJ[B[BII)I", write),
        method!("file", "(JJ[BLjava/io/FileDescriptor;JJ)I", http::file),
        method!("inform", "(JJ[B)I", http::inform),
        method!("read", "(JJ[I)[B", read),
        method!("fetch", "(J[BII)V", fetch),
        method!("pread", "(IJ[BII)I", http::pread),
        method!("request", "(J)[B", http::request),
        method!("hasHttp", "(J)Z", http::has_http),
        method!("cancelled", "(JJ)I", cancelled),
        method!("log", "(JJJI[B)V", log),
        method!("stopped", "(JJ)V", stopped),
    ];
    // SAFETY: all of them are static.
    unsafe { env.register_native_methods(native, &methods) }
}

/// The table behind Java's number.
fn host<'a>(table: jlong) -> Option<&'a nffi_host> {
    // SAFETY: the number that start_runtime handed over; the table lives as long as the process.
    unsafe { (table as *const nffi_host).as_ref() }
}

/// No panic passes into Java.
fn guarded<T>(otherwise: T, body: impl FnOnce() -> Option<T>) -> T {
    match catch_unwind(std::panic::AssertUnwindSafe(body)) {
        Ok(Some(value)) => value,
        _ => otherwise,
    }
}

/// A part of a Java array, copied into memory of the host's; NULL where there is none left.
///
/// # Safety
/// `env` is the calling thread's, `array` has `at + len` bytes, neither is negative.
unsafe fn copied(env: *mut JNIEnv, host: &nffi_host, array: jbyteArray, at: jint, len: jint) -> Option<*mut u8> {
    // SAFETY: alloc's memory has room for what is copied; the rest as the caller promises.
    unsafe {
        let data: *mut u8 = host.alloc?(len.max(1) as usize).cast();
        if !data.is_null() {
            ((**env).v1_1.GetByteArrayRegion)(env, array, at, len, data.cast());
        }
        Some(data)
    }
}

/// The address of a direct buffer: asked for once, for the exchange.
extern "system" fn address(env: *mut JNIEnv, _: jclass, buffer: jobject) -> jlong {
    // SAFETY: the thread's own environment, and a buffer that Java has checked.
    unsafe { ((**env).v1_4.GetDirectBufferAddress)(env, buffer) as jlong }
}

/// Ends a task, where the answer does not go with an exchange.
extern "system" fn reply(
    env: *mut JNIEnv,
    _: jclass,
    table: jlong,
    task: jlong,
    status: jint,
    head: jbyteArray,
    trailers: jbyteArray,
    data: jbyteArray,
) -> jint {
    guarded(NFFI_BAD, || {
        let host = host(table)?;
        // SAFETY: arrays of the calling thread's; what was copied is the host's from reply on.
        unsafe {
            http::before_end(host, task.cast_unsigned(), &http::block(env, head), &http::block(env, trailers));
            let len = ((**env).v1_1.GetArrayLength)(env, data as jarray);
            let data = copied(env, host, data, 0, len)?;
            if data.is_null() {
                // The answer is lost, the caller is not.
                return Some(host.end?(task.cast_unsigned(), if status == 0 { 1 } else { status }));
            }
            Some(host.reply?(task.cast_unsigned(), status, data.cast(), len as usize))
        }
    })
}

extern "system" fn write(
    env: *mut JNIEnv,
    _: jclass,
    table: jlong,
    task: jlong,
    head: jbyteArray,
    data: jbyteArray,
    at: jint,
    len: jint,
) -> jint {
    guarded(NFFI_BAD, || {
        let host = host(table)?;
        // SAFETY: Java has checked the range; what was copied is the host's from write on.
        unsafe {
            let code = http::head(host, task.cast_unsigned(), &http::block(env, head));
            if code != NFFI_OK {
                return Some(code);
            }
            let data = copied(env, host, data, at, len)?;
            if data.is_null() {
                return None;
            }
            Some(host.write?(task.cast_unsigned(), data.cast(), len as usize))
        }
    })
}

/// The next piece, or null; what the host returned is in the array's one place.
extern "system" fn read(env: *mut JNIEnv, _: jclass, table: jlong, task: jlong, result: jintArray) -> jbyteArray {
    let mut piece = ptr::null_mut();
    let code = guarded(NFFI_BAD, || {
        let host = host(table)?;
        let (mut data, mut len) = (ptr::null_mut(), 0);
        // SAFETY: the piece is ours until it is released, and copied before.
        unsafe {
            let code = host.read?(task.cast_unsigned(), &raw mut data, &raw mut len);
            if code == NFFI_OK {
                // Null, and a pending OutOfMemoryError, where the heap is full.
                piece = ((**env).v1_1.NewByteArray)(env, len as jint);
                if !piece.is_null() {
                    ((**env).v1_1.SetByteArrayRegion)(env, piece, 0, len as jint, data.cast());
                }
                host.release?(data.cast());
            }
            Some(code)
        }
    });
    // With an error pending nothing else may be called, and Java does not look at the result.
    if code != NFFI_OK || !piece.is_null() {
        // SAFETY: `result` has one place.
        unsafe { ((**env).v1_1.SetIntArrayRegion)(env, result, 0, 1, &raw const code) };
    }
    piece
}

/// Copies what the host lends: a request that was too long for the exchange's buffer, or a part of a body. The task has
/// not ended yet.
extern "system" fn fetch(env: *mut JNIEnv, _: jclass, from: jlong, into: jbyteArray, at: jint, len: jint) {
    // SAFETY: within what the host lends; Java has checked the range of the array.
    unsafe { ((**env).v1_1.SetByteArrayRegion)(env, into, at, len, from as *const i8) };
}

extern "system" fn cancelled(_: *mut JNIEnv, _: jclass, table: jlong, task: jlong) -> jint {
    // SAFETY: a handle that is not a task's is an error code.
    guarded(NFFI_BAD, || Some(unsafe { host(table)?.cancelled?(task.cast_unsigned()) }))
}

extern "system" fn log(
    env: *mut JNIEnv,
    _: jclass,
    table: jlong,
    queue: jlong,
    task: jlong,
    level: jint,
    text: jbyteArray,
) {
    guarded((), || {
        let host = host(table)?;
        // SAFETY: the elements are ours between Get and Release, as many as the array says.
        unsafe {
            let len = ((**env).v1_1.GetArrayLength)(env, text as jarray);
            let elements = ((**env).v1_1.GetByteArrayElements)(env, text, ptr::null_mut());
            if !elements.is_null() {
                let bytes = slice::from_raw_parts(elements, len as usize);
                host.log?(queue.cast_unsigned(), task.cast_unsigned(), level, bytes.as_ptr().cast(), bytes.len());
                ((**env).v1_1.ReleaseByteArrayElements)(env, text, elements, JNI_ABORT);
            }
        }
        Some(())
    });
}

extern "system" fn stopped(_: *mut JNIEnv, _: jclass, table: jlong, queue: jlong) {
    guarded((), || {
        // SAFETY: the runtime's own queue; Java says it once.
        unsafe { host(table)?.stopped?(queue.cast_unsigned()) };
        Some(())
    });
}
