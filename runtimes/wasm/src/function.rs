//! Modules of WASI preview 1: interfaces wasi and message.

use std::{sync::Arc, thread};

use wasmparser::{ExternalKind, Parser, Payload, TypeRef};
use wasmtime::{Engine, ExternType, InstancePre, Linker, Module, ModuleExport};

use crate::{
    cache::Cache, code::Code, compiled::compiled, failure::chain, guest::State, options::Options, runtime::Runtime,
    wasi, worker::Worker,
};

const PAGE: u64 = 65536;

/// A module that is ready to be instantiated.
pub struct Function {
    pub pre: InstancePre<State>,
    pub start: ModuleExport,
    pub memory: ModuleExport,
}

impl Code for Function {
    fn judge(bytes: &[u8], options: &Options) -> Result<(), String> {
        judge(bytes, options)
    }

    fn load(engine: &Engine, cache: &Cache, bytes: &[u8]) -> Result<(Self, Vec<String>), String> {
        let (module, remarks) = compiled::<Module>(engine, cache, bytes)?;
        Ok((Self::new(engine, &module)?, remarks))
    }

    fn threads(options: &Options) -> usize {
        options.threads
    }

    fn start(runtime: &Arc<Runtime<Self>>) -> std::io::Result<()> {
        for n in 0..runtime.options.threads {
            let theirs = runtime.clone();
            let name = format!("nffi-wasm-{n}");
            thread::Builder::new().name(name).spawn(move || Worker::new(&theirs).serve())?;
        }
        Ok(())
    }
}

impl Function {
    fn new(engine: &Engine, module: &Module) -> Result<Self, String> {
        let mut linker = Linker::new(engine);
        wasi::add_to(&mut linker).map_err(|error| chain(&error))?;
        let pre = linker.instantiate_pre(module).map_err(|error| chain(&error))?;
        let plain = |ty: &ExternType| ty.func().is_some_and(|ty| ty.params().len() + ty.results().len() == 0);
        if !module.get_export("_start").is_some_and(|ty| plain(&ty)) {
            return Err("_start takes parameters or returns results; it must do neither".to_owned());
        }
        let export = |name| module.get_export_index(name).ok_or_else(|| format!("does not export {name}"));
        Ok(Self { pre, start: export("_start")?, memory: export("memory")? })
    }
}

/// Is it a command that can run here? Says all that is missing at once. That it is valid is for wasmtime to say.
fn judge(bytes: &[u8], options: &Options) -> Result<(), String> {
    if !bytes.starts_with(b"\0asm") {
        let text = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'(');
        return Err(if text {
            "is WebAssembly text: make it binary first (wat2wasm, or wasm-tools parse)".to_owned()
        } else {
            "is not WebAssembly".to_owned()
        });
    }
    if Parser::is_component(bytes) {
        return Err("is a component: interface wasi and message take modules (target wasip1), interface wasi-http takes components".to_owned());
    }
    let mut unknown = Vec::new();
    let (mut start, mut memory) = (None, false);
    let broken = |error: wasmparser::BinaryReaderError| format!("is broken: {error}");
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(broken)?;
                    let known = import.module == wasi::MODULE
                        && matches!(import.ty, TypeRef::Func(_))
                        && wasi::NAMES.contains(&import.name);
                    if !known {
                        unknown.push(format!("{}.{}", import.module, import.name));
                    }
                }
            }
            Payload::MemorySection(section) => {
                for ty in section {
                    let ty = ty.map_err(broken)?;
                    if ty.memory64 {
                        return Err("has a 64-bit memory: build it for wasm32".to_owned());
                    }
                    if ty.shared {
                        return Err("has a shared memory: build it without threads".to_owned());
                    }
                    let least = ty.initial.saturating_mul(PAGE);
                    if least > options.memory_limit as u64 {
                        return Err(format!(
                            "needs {least} bytes of memory to begin with, more than the memory_limit of {}",
                            options.memory_limit
                        ));
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(broken)?;
                    match (export.name, export.kind) {
                        ("_start", kind) => start = Some(kind == ExternalKind::Func),
                        ("memory", ExternalKind::Memory) => memory = true,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if !unknown.is_empty() {
        return Err(format!(
            "imports what is not there: {}. Only functions of {} are",
            unknown.join(", "),
            wasi::MODULE
        ));
    }
    if start != Some(true) {
        return Err(
            "does not export the function _start: it must be a command, with a main(), not a library".to_owned()
        );
    }
    if !memory {
        return Err("does not export its memory".to_owned());
    }
    Ok(())
}
