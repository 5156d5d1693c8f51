//! W3C Trace Context, Level 1: a caller's `traceparent` is passed on, or one is made.

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
    let mut header = String::with_capacity(LEN);
    header.push_str("00-");
    push_hex(&mut header, &trace.to_be_bytes());
    header.push('-');
    push_hex(&mut header, &parent.to_be_bytes());
    header.push_str("-01");
    (trace, header)
}

/// Every request without a trace pays for this, and `format!` takes several times as long.
fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
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
    crate::queue::monotonic_ns() ^ u64::from(std::process::id()).rotate_left(32)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;

    #[test]
    fn valid_ones_are_read() {
        assert_eq!(parse(GOOD.as_bytes()), Some(TRACE));
        assert_eq!(parse(GOOD.replace("-01", "-ff").as_bytes()), Some(TRACE));
        // A later version may have more fields.
        assert_eq!(parse(GOOD.replacen("00", "cc", 1).as_bytes()), Some(TRACE));
        assert_eq!(parse(format!("{}-more", GOOD.replacen("00", "cc", 1)).as_bytes()), Some(TRACE));
    }

    #[test]
    fn others_are_not() {
        let zero_trace = GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32));
        let zero_parent = GOOD.replace("b7ad6b7169203331", &"0".repeat(16));
        let bad = [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-more"),
            &format!("{GOOD}0"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.to_uppercase(),
            &GOOD.replace('-', "_"),
            &GOOD.replacen('f', "g", 1),
            &zero_trace,
            &zero_parent,
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
        ];
        for bad in bad {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    /// Whatever a client sends: every prefix, every byte replaced by every value.
    #[test]
    fn no_bytes_do_harm() {
        for len in 0..=GOOD.len() {
            for byte in 0..=255_u8 {
                let mut bytes = GOOD.as_bytes()[..len].to_vec();
                bytes.push(byte);
                parse(&bytes);
                let mut bytes = GOOD.as_bytes().to_vec();
                bytes[len.min(GOOD.len() - 1)] = byte;
                parse(&bytes);
            }
        }
        parse(&[0xff; 200]);
        parse("00-ä".repeat(20).as_bytes());
    }

    #[test]
    fn made_ones_are_valid_and_differ() {
        let (one, header) = make();
        assert_eq!(parse(header.as_bytes()), Some(one));
        assert_ne!(make().0, one);
    }
}
