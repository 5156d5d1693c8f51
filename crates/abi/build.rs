//! Generates the Rust side of the ABI from include/nffi.h, so that the two cannot drift.

use std::{env, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let header = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../include/nffi.h");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("nffi.rs");

    bindgen::Builder::default()
        .header(header.display().to_string())
        .allowlist_item("(nffi|NFFI)_.*")
        // The two exports are the runtime's to define, not ours to link against.
        .blocklist_function("nffi_runtime_.*")
        .prepend_enum_name(false)
        .derive_default(true)
        .use_core()
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
        .generate()?
        .write_to_file(out)?;
    Ok(())
}
