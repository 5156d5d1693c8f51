//! A module or a component, from its bytes to what runs: out of the cache, or by compiling it.

use std::{borrow::Cow, fs::File, os::fd::AsRawFd, path::Path};

use wasmtime::{Engine, Module, component::Component};

use crate::{
    cache::{Cache, Key},
    failure::chain,
};

pub trait Compiled: Sized {
    fn compile(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Self>;
    fn serialize(&self) -> wasmtime::Result<Vec<u8>>;

    /// # Safety
    /// The file has what `serialize` gave, and never changes.
    unsafe fn deserialize(engine: &Engine, file: File) -> wasmtime::Result<Self>;
}

impl Compiled for Module {
    fn compile(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Self> {
        Self::new(engine, bytes)
    }

    fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
        self.serialize()
    }

    unsafe fn deserialize(engine: &Engine, file: File) -> wasmtime::Result<Self> {
        // SAFETY: the caller's promise.
        unsafe { Self::deserialize_open_file(engine, file) }
    }
}

impl Compiled for Component {
    fn compile(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Self> {
        Self::new(engine, bytes)
    }

    fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
        self.serialize()
    }

    unsafe fn deserialize(engine: &Engine, file: File) -> wasmtime::Result<Self> {
        // By a path, which is all that it takes: the one of the file that was looked at.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: the caller's promise.
        unsafe { Self::deserialize_file(engine, Path::new(&path)) }
    }
}

/// What `bytes` gives is compiled where the cache has nothing under `key`. Also says what is noteworthy.
pub fn compiled<'a, T: Compiled>(
    engine: &Engine,
    cache: &Cache,
    key: &Key,
    bytes: impl FnOnce() -> Result<Cow<'a, [u8]>, String>,
) -> Result<(T, Vec<String>), String> {
    let mut remarks = Vec::new();
    let cached = cache.load(engine, key).unwrap_or_else(|error| {
        remarks.push(format!("the cached module is not used: {error}"));
        None
    });
    if let Some(compiled) = cached {
        return Ok((compiled, remarks));
    }
    let compiled = T::compile(engine, &bytes()?).map_err(|error| chain(&error))?;
    if let Err(error) = cache.store(key, &compiled) {
        remarks.push(format!("the compiled module is not kept, each start compiles it: {error}"));
    }
    Ok((compiled, remarks))
}
