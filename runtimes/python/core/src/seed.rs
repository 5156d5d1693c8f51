//! "MODULE[?],FUNCTION,CFG": imports the module and calls its function, as lua-resty-ffi's Python
//! loader does. What it is given are addresses, which the user's code turns into pointers through
//! cffi or ctypes.

use std::ffi::CString;

use pyo3::prelude::*;

use crate::package;

/// init's result where no function has given one.
const FAILED: i32 = 1;

/// Runs on: event loop.
pub fn init(spec: &[u8], with_length: bool, tq: usize) -> i32 {
    let mut parts = spec.splitn(3, |byte| *byte == b',');
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (module, function) = (text(), text());
    // 0 is NULL: no CFG. The rest stays for good, since a library may keep the address.
    let cfg = parts.next();
    let len = cfg.map_or(0, <[u8]>::len);
    let address = match cfg.map(CString::new) {
        None => 0,
        Some(Ok(cfg)) => cfg.into_raw() as usize,
        // The older ABI has a length, and may have NULs.
        Some(Err(e)) => {
            let mut bytes = e.into_vec();
            bytes.push(0);
            Vec::leak(bytes).as_ptr() as usize
        }
    };
    let result = Python::attach(|py| {
        let load = package::load(py)?.getattr("seed")?;
        load.call1((module, function, address, with_length.then_some(len), tq))?.extract::<i32>()
    });
    result.unwrap_or_else(|e| {
        eprintln!("ffi_python3: {e}");
        FAILED
    })
}
