//! The one call that every request makes: answers out, events in. Both lie in direct buffers of the calling Java
//! thread, as records that Batch.java writes and reads. Nothing of JNI is used, so it costs little more than a call in C.
//!
//! A record of an answer: task u64, status i32, the lengths of an HTTP head, of trailers, of data i32 3, and the bytes
//! of each, padded to 8. Head and trailers are as `heads` has them.
//! A record of an event: kind u32, flags u32, task u64, deadline u64, address u64, length u64, inlined u64,
//! and, where inlined is 1, the bytes, padded to 8. Of an HTTP request the bytes are its head as `heads` has it.

use std::{mem::MaybeUninit, ptr, slice};

use jni::sys::{JNIEnv, jclass, jint, jlong};
use nffi_abi::{NFFI_CALL, NFFI_HTTP, nffi_answer, nffi_event, nffi_host, nffi_http_request};

use super::{guarded, heads, host, http};

/// Of events and of answers.
const MOST: usize = 64;
const ANSWER: usize = 24;
const EVENT: usize = 48;
/// Longer requests are fetched one by one: several of them would not fit the buffer.
const INLINE: usize = 16 * 1024;

/// Sends `answers` answers, then polls up to `max` events (none at all where that is 0). Returns how many came.
pub extern "system" fn exchange(
    _: *mut JNIEnv,
    _: jclass,
    table: jlong,
    queue: jlong,
    out: jlong,
    answers: jint,
    into: jlong,
    room: jint,
    max: jint,
    timeout: jint,
) -> jint {
    guarded(0, || {
        let host = host(table)?;
        if answers > 0 {
            // SAFETY: Batch.java has written so many records at this address.
            unsafe { send(host, out as *const u8, answers as usize)? };
        }
        let max = usize::try_from(max).ok()?.min(MOST);
        if max == 0 {
            return Some(0);
        }
        let mut events = [MaybeUninit::<nffi_event>::uninit(); MOST];
        // SAFETY: room for MOST events; the host fills in as many as it returns.
        let events = unsafe {
            let count = host.poll?(queue.cast_unsigned(), events.as_mut_ptr().cast(), max, timeout).min(max);
            slice::from_raw_parts(events.as_ptr().cast::<nffi_event>(), count)
        };
        // SAFETY: a buffer of `room` bytes; Batch.java gives one that holds MOST records without their bytes.
        unsafe { hand_over(events, into as *mut u8, room as usize) };
        Some(events.len() as jint)
    })
}

fn padded(len: usize) -> usize {
    len.next_multiple_of(8)
}

/// # Safety
/// `record` is where `count` whole records begin.
unsafe fn send(host: &nffi_host, mut record: *const u8, count: usize) -> Option<()> {
    let mut answers = [const { MaybeUninit::<nffi_answer>::uninit() }; MOST];
    let mut filled = 0;
    for _ in 0..count.min(MOST) {
        // SAFETY: a record is as long as it says; alloc's memory has room for its bytes.
        unsafe {
            let task = record.cast::<u64>().read_unaligned();
            let status = record.add(8).cast::<i32>().read_unaligned();
            let [head, trailers, len] = record.add(12).cast::<[u32; 3]>().read_unaligned().map(|len| len as usize);
            let (trailers_at, data_at) = (ANSWER + padded(head), ANSWER + padded(head) + padded(trailers));
            let head = slice::from_raw_parts(record.add(ANSWER), head);
            let trailers = slice::from_raw_parts(record.add(trailers_at), trailers);
            http::before_end(host, task, head, trailers);
            let data: *mut u8 = host.alloc?(len.max(1)).cast();
            // Without memory the answer is lost, the caller is not.
            let status = if data.is_null() && status == 0 { 1 } else { status };
            if !data.is_null() {
                ptr::copy_nonoverlapping(record.add(data_at), data, len);
            }
            let answer = nffi_answer { task, status, flags: 0, data: data.cast(), len, result: 0, reserved: 0 };
            answers[filled].write(answer);
            filled += 1;
            record = record.add(data_at + padded(len));
        }
    }
    // SAFETY: the first `filled` are written; their data is the host's from here on.
    unsafe { host.reply_many?(answers.as_mut_ptr().cast(), filled) };
    Some(())
}

/// # Safety
/// `into` has `room` bytes, at least EVENT for each of `events`.
unsafe fn hand_over(events: &[nffi_event], into: *mut u8, room: usize) {
    let mut at = 0;
    for (index, event) in events.iter().enumerate() {
        // The records that follow must fit without their bytes.
        let reserved = (events.len() - index) * EVENT;
        // SAFETY: an HTTP event's data is its request, which lives until its task ends.
        let request = (event.kind == NFFI_HTTP)
            .then(|| unsafe { event.data.cast::<nffi_http_request>().as_ref().map(|r| heads::Request::new(r)) })
            .flatten();
        let len = request.as_ref().map_or(event.len, heads::Request::len);
        let small = request.is_some() || event.kind == NFFI_CALL && len <= INLINE;
        let inlined = small && at + reserved + padded(len) <= room;
        // SAFETY: as reserved above; the event's bytes are the host's until the task ends.
        unsafe {
            let record = into.add(at);
            record.cast::<[u32; 2]>().write_unaligned([event.kind, event.flags]);
            let rest = [event.task, event.deadline, event.data as u64, len as u64, u64::from(inlined)];
            record.add(8).cast::<[u64; 5]>().write_unaligned(rest);
            at += EVENT;
            if inlined {
                match request {
                    Some(request) => request.write(slice::from_raw_parts_mut(into.add(at), len)),
                    None => ptr::copy_nonoverlapping(event.data.cast::<u8>(), into.add(at), len),
                }
                at += padded(len);
            }
        }
    }
}
