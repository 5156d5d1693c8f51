//! W3C Trace Context, Level 1: the client's `traceparent` is passed on, or one is made.

use std::cell::Cell;

/// As long as every version 00 is: `00-<32 hex>-<16 hex>-<2 hex>`.
const LEN: usize = 55;

/// The trace-id in a header's value, if it is a valid one. Of a version that is not known, what comes
/// after the first four fields is left alone.
pub fn parse(value: &[u8]) -> Option<u128> {
    let text = std::str::from_utf8(value).ok()?;
    let is_hex = |s: &str| s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() < LEN || !text.is_char_boundary(LEN) || (text.len() > LEN && !text[LEN..].starts_with('-')) {
        return None;
    }
    let mut fields = text[..LEN].split('-');
    let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let lengths = [version.len(), trace.len(), parent.len(), flags.len()];
    if lengths != [2, 32, 16, 2] || ![version, trace, parent, flags].into_iter().all(is_hex) {
        return None;
    }
    if version == "ff" || (version == "00" && text.len() > LEN) || parent.bytes().all(|b| b == b'0') {
        return None;
    }
    u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)
}

/// A new trace and its `traceparent`, sampled: whether to record it is for those who do to decide.
pub fn make() -> (u128, String) {
    let trace = (u128::from(random()) << 64 | u128::from(random())).max(1);
    let parent = random().max(1);
    (trace, format!("00-{trace:032x}-{parent:016x}-01"))
}

/// Not for secrets: splitmix64 (Steele, Lea, Flood 2014) from a seed of the kernel's.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(seed());
    }
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mut z = next;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: eight bytes of our own. Where the kernel has none yet, the time must do.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    if got == 8 {
        return u64::from_ne_bytes(bytes);
    }
    nffi_core::queue::monotonic_ns() ^ u64::from(std::process::id()).rotate_left(32)
}
