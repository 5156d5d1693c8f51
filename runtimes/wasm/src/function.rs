//! A module: read, judged, compiled.

use std::{
    fs::File,
    io::Read,
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use wasmparser::{ExternalKind, Parser, Payload, TypeRef};
use wasmtime::{Engine, ExternType, InstancePre, Linker, Module, ModuleExport};

use crate::{
    cache::{Cache, Key},
    engine,
    failure::chain,
    guest::State,
    options::Options,
    wasi,
};

const MOST_BYTES: u64 = 512 << 20;
const PAGE: u64 = 65536;
/// How long a check compiles for the cache. The host gives it ten seconds for everything.
const CHECK_COMPILES: Duration = Duration::from_secs(8);

/// A module that is ready to be instantiated.
pub struct Function {
    pub pre: InstancePre<State>,
    pub start: ModuleExport,
    pub memory: ModuleExport,
}

/// What was noteworthy about loading it.
pub struct Loaded {
    pub function: Function,
    pub remarks: Vec<String>,
}

pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| format!("module {}: {error}", path.display());
    let mut file = File::open(path).map_err(told)?;
    let meta = file.metadata().map_err(told)?;
    if !meta.is_file() {
        return Err(format!("module {}: is not a file", path.display()));
    }
    if meta.len() > MOST_BYTES {
        return Err(format!("module {}: has {} bytes, more than {MOST_BYTES}", path.display(), meta.len()));
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.read_to_end(&mut bytes).map_err(told)?;
    Ok(bytes)
}

/// Loads a module for a runtime: from the cache, or by compiling it.
pub fn load(engine: &Engine, cache: &Cache, options: &Options, bytes: &[u8]) -> Result<Loaded, String> {
    let place = |error: String| format!("module {}: {error}", options.module.display());
    judge(bytes, options).map_err(place)?;
    let mut remarks = Vec::new();
    let key = Key::of(engine, bytes);
    let cached = cache.load(engine, &key).unwrap_or_else(|error| {
        remarks.push(format!("the cached module is not used: {error}"));
        None
    });
    let module = match cached {
        Some(module) => module,
        None => {
            let module = Module::new(engine, bytes).map_err(|error| place(chain(&error)))?;
            if let Err(error) = cache.store(&key, &module) {
                remarks.push(format!("the compiled module is not kept, each start compiles it: {error}"));
            }
            module
        }
    };
    let function = Function::new(engine, &module).map_err(place)?;
    Ok(Loaded { function, remarks })
}

/// For a configuration's check: everything but running it. What takes long to compile is left to the workers.
pub fn check(options: &Options) -> Result<(), String> {
    wasi::open_dirs(&options.dirs)?;
    let bytes = read(&options.module)?;
    judge(&bytes, options).map_err(|error| format!("module {}: {error}", options.module.display()))?;
    let engine = engine::engine(options)?;
    Module::validate(&engine, &bytes)
        .map_err(|error| format!("module {}: is not valid: {}", options.module.display(), chain(&error)))?;
    let (done, wait) = mpsc::channel();
    let options = Arc::new(options.clone());
    let compiling = thread::Builder::new().name("nffi-wasm-check".to_owned()).spawn(move || {
        let cache = Cache::new(&options.cache);
        let _ = done.send(load(&engine, &cache, &options, &bytes).map(drop));
    });
    match compiling {
        Ok(_) => wait.recv_timeout(CHECK_COMPILES).unwrap_or(Ok(())),
        Err(error) => Err(format!("no thread to compile with: {error}")),
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
pub fn judge(bytes: &[u8], options: &Options) -> Result<(), String> {
    if !bytes.starts_with(b"\0asm") {
        let text = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'(');
        return Err(if text {
            "is WebAssembly text: make it binary first (wat2wasm, or wasm-tools parse)".to_owned()
        } else {
            "is not WebAssembly".to_owned()
        });
    }
    if Parser::is_component(bytes) {
        return Err("is a component: interface wasi and message take core modules (target wasip1)".to_owned());
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
