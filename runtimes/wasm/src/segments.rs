//! Data segments, joined before a snapshot is taken. Toolchains leave zeros out by starting another segment: Go's write tens of
//! thousands. Of each of them an empty passive one is left in the snapshot, and wasmtime looks at all of those for every
//! instance, which takes longer than the function.

use std::borrow::Cow;

use wasm_encoder::{ConstExpr, DataCountSection, DataSection, Module, RawSection, SectionId};
use wasmparser::{Data, DataKind, Operator, Parser, Payload, Result, Validator};

/// What is filled with zeros between two segments, and in all. Wider gaps would make the compiled file larger for nothing.
const GAP: u64 = 64 << 10;
const ZEROS: u64 = 16 << 20;
/// Fewer are not worth a thought.
const FEW: usize = 16;

/// A segment of the memory, where it begins.
struct Segment {
    at: u32,
    bytes: Vec<u8>,
}

/// The same module with its data in few pieces; as it was where that cannot be.
pub fn joined(bytes: &[u8]) -> Cow<'_, [u8]> {
    match rewritten(bytes) {
        Ok(Some(fewer)) if Validator::new().validate_all(&fewer).is_ok() => fewer.into(),
        // Or it is broken, which is for the compiler to say.
        _ => bytes.into(),
    }
}

/// None where there is nothing to do.
fn rewritten(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut all = Vec::new();
    let mut sections = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        sections.extend(payload.as_section());
        if let Payload::DataSection(section) = payload {
            all = section.into_iter().collect::<Result<_>>()?;
        }
    }
    let Some(segments) = (all.len() > FEW).then(|| few(&all)).flatten() else { return Ok(None) };
    let mut whole = Module::new();
    for (id, range) in sections {
        if id == SectionId::DataCount as u8 {
            whole.section(&DataCountSection { count: segments.len() as u32 });
        } else if id == SectionId::Data as u8 {
            let mut data = DataSection::new();
            for segment in &segments {
                data.active(0, &ConstExpr::i32_const(segment.at as i32), segment.bytes.iter().copied());
            }
            whole.section(&data);
        } else {
            whole.section(&RawSection { id, data: &bytes[range] });
        }
    }
    Ok(Some(whole.finish()))
}

/// None where a segment is passive, has an offset that must be computed, or lies on another: then the order counts, and stays as
/// it is.
fn few(all: &[Data<'_>]) -> Option<Vec<Segment>> {
    let mut parts: Vec<(u32, &[u8])> =
        all.iter().map(|data| Some((offset(data)?, data.data))).collect::<Option<_>>()?;
    parts.sort_by_key(|(at, _)| *at);
    let mut joined: Vec<Segment> = Vec::new();
    let mut zeros = 0;
    for (at, bytes) in parts {
        if let Some(last) = joined.last_mut() {
            let end = u64::from(last.at) + last.bytes.len() as u64;
            let gap = u64::from(at).checked_sub(end)?;
            if gap < GAP && zeros + gap <= ZEROS {
                zeros += gap;
                last.bytes.resize(last.bytes.len() + gap as usize, 0);
                last.bytes.extend_from_slice(bytes);
                continue;
            }
        }
        joined.push(Segment { at, bytes: bytes.to_vec() });
    }
    Some(joined)
}

fn offset(segment: &Data<'_>) -> Option<u32> {
    let DataKind::Active { memory_index: 0, offset_expr } = &segment.kind else { return None };
    let mut operators = offset_expr.get_operators_reader();
    match (operators.read().ok()?, operators.read().ok()?) {
        (Operator::I32Const { value }, Operator::End) => Some(value as u32),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with these segments, and how many it has afterwards.
    fn segments_of(offsets: impl IntoIterator<Item = u32>) -> (Vec<u8>, usize) {
        let segments: String = offsets.into_iter().map(|at| format!("(data (i32.const {at}) \"ab\")")).collect();
        let text = format!("(module (memory (export \"memory\") 1000) {segments} (func (export \"_start\")))");
        let module = wat::parse_str(text).expect("a module");
        let joined = joined(&module).into_owned();
        let count = Parser::new(0).parse_all(&joined).find_map(|payload| match payload {
            Ok(Payload::DataSection(section)) => Some(section.count() as usize),
            _ => None,
        });
        (joined, count.expect("data"))
    }

    #[test]
    fn many_are_joined_over_gaps() {
        let (module, count) = segments_of((0..100).map(|n| n * 10).chain([500_000, 500_002]));
        assert_eq!(count, 2);
        let at = module.windows(12).position(|window| window == b"ab\0\0\0\0\0\0\0\0ab");
        assert!(at.is_some());
    }

    #[test]
    fn what_is_far_apart_makes_nothing_large() {
        let (module, count) = segments_of((0..1000).map(|n| n * 60_000));
        assert!(count < 1000 && module.len() < (ZEROS + 100_000) as usize);
    }

    #[test]
    fn in_any_order() {
        assert_eq!(segments_of((0..100).map(|n| n * 10).rev().chain([5])).1, 1);
    }

    #[test]
    fn what_counts_by_its_order_is_left() {
        assert_eq!(segments_of((0..100).map(|n| n * 10).chain([991])).1, 101);
    }

    #[test]
    fn few_are_left() {
        assert_eq!(segments_of([0, 10, 20]).1, 3);
    }
}
