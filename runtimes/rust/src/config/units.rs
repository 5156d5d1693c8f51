//! Times and sizes, as nginx writes them.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

/// A number of bytes: `1024`, `64k`, `1m`, `1g`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a size such as 1024, 64k or 1m")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                size(text)
                    .map(Size)
                    .ok_or_else(|| E::custom(format_args!("a size such as 1024, 64k or 1m expected, got {text:?}")))
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }
        }
        from.deserialize_any(Text)
    }
}

fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let factor: u64 = match unit {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    number?.checked_mul(factor)
}

/// Parts of falling units may follow each other: `1h30m`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 6] =
        [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut total: u64 = 0;
    let mut left = text;
    let mut from = 0;
    while !left.is_empty() || from == 0 {
        let (number, rest) = split(left);
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = if end == 0 { "s" } else { &rest[..end] };
        // A number alone is seconds, and nothing can follow it.
        let at = UNITS.iter().position(|(name, _)| *name == unit)?;
        if at < from || (end == 0 && !rest.is_empty()) {
            return None;
        }
        total = total.checked_add(number?.checked_mul(UNITS[at].1)?)?;
        from = at + 1;
        left = &rest[end..];
    }
    Some(Duration::from_millis(total))
}

/// The digits in front, as a number, and the rest.
fn split(text: &str) -> (Option<u64>, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().ok(), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("1024", 1024), ("64k", 65536), ("1M", 1 << 20), ("2g", 2 << 30)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "k", "-1", "1.5m", "1kb", "1 k", "99999999999999999999", "18446744073709551615k"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn times() {
        for (text, ms) in [("5", 5000), ("500ms", 500), ("5s", 5000), ("1h30m", 5_400_000), ("1m30", 90_000), ("0", 0)]
        {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1s", "1.5s", "5 s", "5x", "1s1m", "1s1s", "99999999999999999999", "1s "] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
