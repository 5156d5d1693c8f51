//! The attribute macros of the crate `nffi`.
