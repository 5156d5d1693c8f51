//! The functions of tests/functions are modules that can run. With NFFI_WASM_FUNCTIONS they are written there,
//! for the test with nginx.

use std::{fs, path::PathBuf};

#[test]
fn they_are_written() {
    let source: PathBuf = [env!("CARGO_MANIFEST_DIR"), "functions"].iter().collect();
    let target = std::env::var_os("NFFI_WASM_FUNCTIONS").map(PathBuf::from);
    let mut count = 0;
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let module = wat::parse_file(&path).unwrap();
        wasmparser::validate(&module).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if let Some(target) = &target {
            fs::create_dir_all(target).unwrap();
            fs::write(target.join(path.with_extension("wasm").file_name().unwrap()), module).unwrap();
        }
        count += 1;
    }
    assert!(count > 10, "{count} functions");
}
