//! Modules of WASI preview 1: interfaces wasi and message.

use std::{collections::HashSet, sync::Arc, thread};

use wasmparser::{ExternalKind, Parser, Payload, TypeRef};
use wasmtime::{Engine, ExternType, InstancePre, Linker, Module, ModuleExport};

use crate::{
    cache::{Cache, Key},
    code::Code,
    compiled::compiled,
    failure::chain,
    guest::State,
    options::Options,
    runtime::Runtime,
    snapshot, wasi,
    worker::Worker,
};

const PAGE: u64 = 65536;
/// What runs first in a reactor, a module without a main().
pub const INITIALIZE: &str = "_initialize";
/// What runs before a snapshot, too.
pub const WIZER_INITIALIZE: &str = "wizer-initialize";

/// A module that is ready to be instantiated.
pub struct Function {
    pub pre: InstancePre<State>,
    /// What each instance runs: its initialisation, if it has one that is to come, and what answers.
    pub steps: Vec<ModuleExport>,
    pub memory: ModuleExport,
}

impl Code for Function {
    fn judge(bytes: &[u8], options: &Options) -> Result<(), String> {
        judge(bytes, options)
    }

    fn load(engine: &Engine, cache: &Cache, options: &Options, bytes: &[u8]) -> Result<(Self, Vec<String>), String> {
        let salt = if options.snapshot { snapshot::salt(options) } else { Vec::new() };
        let key = Key::of(engine, bytes, &salt);
        let (module, remarks): (Module, _) = compiled(engine, cache, &key, || {
            if options.snapshot { snapshot::taken(options, bytes).map(Into::into) } else { Ok(bytes.into()) }
        })?;
        Ok((Self::new(&module, options)?, remarks))
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

/// With all that it may call.
pub fn linked(module: &Module) -> wasmtime::Result<InstancePre<State>> {
    let mut linker = Linker::new(module.engine());
    wasi::add_to(&mut linker)?;
    linker.instantiate_pre(module)
}

/// What answers a request.
fn entry(options: &Options, exports: &HashSet<String>) -> String {
    let usual = if exports.contains(INITIALIZE) { "handle" } else { "_start" };
    options.entry.clone().unwrap_or_else(|| usual.to_owned())
}

/// The names of a module's exported functions.
pub fn exports(bytes: &[u8]) -> Result<HashSet<String>, String> {
    let broken = |error: wasmparser::BinaryReaderError| format!("is broken: {error}");
    let mut names = HashSet::new();
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::ExportSection(section) = payload.map_err(broken)? {
            for export in section {
                let export = export.map_err(broken)?;
                if export.kind == ExternalKind::Func {
                    names.insert(export.name.to_owned());
                }
            }
        }
    }
    Ok(names)
}

impl Function {
    /// Of a module that was judged to be sound, or of its snapshot.
    fn new(module: &Module, options: &Options) -> Result<Self, String> {
        let pre = linked(module).map_err(|error| chain(&error))?;
        let plain = |ty: &ExternType| ty.func().is_some_and(|ty| ty.params().len() + ty.results().len() == 0);
        let functions = module.exports().filter(|export| export.ty().func().is_some());
        let mut names: HashSet<String> = functions.map(|export| export.name().to_owned()).collect();
        if options.snapshot && !names.contains("_start") {
            // As it was called before the snapshot.
            names.insert(INITIALIZE.to_owned());
        }
        let mut steps = Vec::new();
        let initialised = options.snapshot || !names.contains(INITIALIZE);
        for name in (!initialised).then(|| INITIALIZE.to_owned()).into_iter().chain([entry(options, &names)]) {
            if !module.get_export(&name).is_some_and(|ty| plain(&ty)) {
                return Err(format!("{name} takes parameters or returns results; it must do neither"));
            }
            steps.extend(module.get_export_index(&name));
        }
        let memory = module.get_export_index("memory").ok_or("does not export its memory")?;
        Ok(Self { pre, steps, memory })
    }
}

/// Is it one that can run here? Says all that is missing at once. That it is valid is for wasmtime to say.
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
    let mut memory = false;
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
                    memory |= export.name == "memory" && export.kind == ExternalKind::Memory;
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
    let exports = exports(bytes)?;
    let entry = entry(options, &exports);
    if !exports.contains(&entry) {
        return Err(match entry.as_str() {
            "_start" => {
                "does not export the function _start: it must be a command, with a main(), or a reactor".to_owned()
            }
            entry => {
                format!("does not export the function {entry}, which answers requests: name another with entry NAME")
            }
        });
    }
    if options.snapshot && !exports.contains(INITIALIZE) && !exports.contains(WIZER_INITIALIZE) {
        return Err(format!(
            "snapshot: exports neither {INITIALIZE}, as a reactor does, nor {WIZER_INITIALIZE}: there is nothing to run once"
        ));
    }
    if !memory {
        return Err("does not export its memory".to_owned());
    }
    Ok(())
}
