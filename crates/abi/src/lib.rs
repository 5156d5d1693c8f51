//! `include/nffi.h` in Rust: the same names, the same layouts. The header is the contract and
//! holds the documentation; see there for OWNERSHIP, THREAD and RETURNS of every function.
#![no_std]
// What bindgen writes carries no SAFETY comments.
#![allow(non_camel_case_types, missing_docs, clippy::undocumented_unsafe_blocks)]

include!(concat!(env!("OUT_DIR"), "/nffi.rs"));

#[cfg(feature = "std")]
extern crate std;

mod entry;

pub use entry::{CheckFn, InitFn, bytes, put_message};
#[cfg(feature = "std")]
pub use entry::{guarded, panic_text};
