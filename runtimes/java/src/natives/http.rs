//! What HTTP needs besides. Heads come as `heads` has them.

use std::ptr;

use jni::sys::{JNIEnv, jarray, jboolean, jbyteArray, jclass, jint, jlong, jobject};
use libc::c_int;
use nffi_abi::{NFFI_BAD, NFFI_OK, nffi_host, nffi_http_request};

use super::{guarded, heads, host};

/// Of a file, at once.
const MOST_READ: usize = 64 * 1024;

pub extern "system" fn has_http(_: *mut JNIEnv, _: jclass, table: jlong) -> jboolean {
    guarded(false, || {
        let host = host(table)?;
        // A table of an earlier host ends before.
        Some(host.size as usize >= size_of::<nffi_host>() && host.http_head.is_some())
    })
}

/// A Java array's bytes; none where it has none, as a head that is not there.
///
/// # Safety
/// `env` is the calling thread's, `array` an array.
pub unsafe fn block(env: *mut JNIEnv, array: jbyteArray) -> Vec<u8> {
    // SAFETY: the vector is as long as the array.
    unsafe {
        let len = ((**env).v1_1.GetArrayLength)(env, array as jarray);
        let mut block = vec![0; len as usize];
        if len > 0 {
            ((**env).v1_1.GetByteArrayRegion)(env, array, 0, len, block.as_mut_ptr().cast());
        }
        block
    }
}

/// Gives a head, where there is one.
pub fn head(host: &nffi_host, task: u64, block: &[u8]) -> c_int {
    if block.is_empty() {
        return NFFI_OK;
    }
    // SAFETY: Java has no heads where the host has no HTTP; they are copied.
    let given = heads::decode(block, |status, headers| unsafe {
        Some(host.http_head?(task, status, headers.as_ptr(), headers.len()))
    });
    given.flatten().unwrap_or(NFFI_BAD)
}

/// Gives what goes before the last piece, where it is there. What the host refuses it has logged, and it knows what an
/// answer without a head is.
pub fn before_end(host: &nffi_host, task: u64, head_block: &[u8], trailers: &[u8]) {
    head(host, task, head_block);
    if !trailers.is_empty() {
        // SAFETY: as for a head.
        heads::decode(trailers, |_, headers| unsafe {
            Some(host.http_trailers?(task, headers.as_ptr(), headers.len()))
        });
    }
}

/// A status of 1xx.
pub extern "system" fn inform(env: *mut JNIEnv, _: jclass, table: jlong, task: jlong, block: jbyteArray) -> jint {
    guarded(NFFI_BAD, || {
        // SAFETY: an array of the calling thread's.
        let block = unsafe { self::block(env, block) };
        Some(head(host(table)?, task.cast_unsigned(), &block))
    })
}

/// Sends a part of an open file, after the head where there is one.
pub extern "system" fn file(
    env: *mut JNIEnv,
    _: jclass,
    table: jlong,
    task: jlong,
    head_block: jbyteArray,
    descriptor: jobject,
    offset: jlong,
    length: jlong,
) -> jint {
    guarded(NFFI_BAD, || {
        let host = host(table)?;
        // SAFETY: objects of the calling thread's; Java holds the file open meanwhile, and the host takes the copy.
        unsafe {
            let fd = libc::fcntl(number_of(env, descriptor)?, libc::F_DUPFD_CLOEXEC, 0);
            if fd < 0 {
                return None;
            }
            let code = head(host, task.cast_unsigned(), &block(env, head_block));
            if code != NFFI_OK {
                libc::close(fd);
                return Some(code);
            }
            Some(host.http_file?(task.cast_unsigned(), fd, offset, length))
        }
    })
}

/// What a java.io.FileDescriptor stands for: its class has no method that would say.
///
/// # Safety
/// `env` is the calling thread's, `descriptor` a FileDescriptor.
unsafe fn number_of(env: *mut JNIEnv, descriptor: jobject) -> Option<c_int> {
    // SAFETY: as the caller promises; a field that is not there leaves an error pending, with which Java goes on.
    unsafe {
        let class = ((**env).v1_1.GetObjectClass)(env, descriptor);
        let field = ((**env).v1_1.GetFieldID)(env, class, c"fd".as_ptr(), c"I".as_ptr());
        (!field.is_null()).then(|| ((**env).v1_1.GetIntField)(env, descriptor, field))
    }
}

/// A part of a file that the host lends, by way of memory that does not move. How many bytes, or an errno below 0.
pub extern "system" fn pread(
    env: *mut JNIEnv,
    _: jclass,
    fd: jint,
    position: jlong,
    into: jbyteArray,
    at: jint,
    len: jint,
) -> jint {
    guarded(-libc::EIO, || {
        let mut part = Vec::<u8>::with_capacity((len as usize).min(MOST_READ));
        // SAFETY: the vector has room for so much; Java has checked the range of the array.
        unsafe {
            let count = libc::pread(fd, part.as_mut_ptr().cast(), part.capacity().min(MOST_READ), position);
            if count < 0 {
                return Some(-std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO));
            }
            let count = (count as jint).min(len);
            ((**env).v1_1.SetByteArrayRegion)(env, into, at, count, part.as_ptr().cast());
            Some(count)
        }
    })
}

/// The head of a request that was too long for the exchange's buffer. Null, and a pending OutOfMemoryError, where the
/// heap is full.
pub extern "system" fn request(env: *mut JNIEnv, _: jclass, address: jlong) -> jbyteArray {
    guarded(ptr::null_mut(), || {
        // SAFETY: the address of an event's request, whose task has not ended.
        unsafe {
            let request = heads::Request::new((address as *const nffi_http_request).as_ref()?);
            let mut block = vec![0; request.len()];
            request.write(&mut block);
            let array = ((**env).v1_1.NewByteArray)(env, block.len() as jint);
            if !array.is_null() {
                ((**env).v1_1.SetByteArrayRegion)(env, array, 0, block.len() as jint, block.as_ptr().cast());
            }
            Some(array)
        }
    })
}
