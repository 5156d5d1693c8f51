//! A component: judged, compiled, linked.

use std::sync::Arc;

use wasmparser::{ComponentExternalKind, Instance, Parser, Payload};
use wasmtime::{Engine, component::Linker};
use wasmtime_wasi_http::p2::bindings::{ProxyIndices, ProxyPre};

use super::{guest::State, server, tls::Tls};
use crate::{
    cache::{Cache, Key},
    code::Code,
    compiled::compiled,
    failure::chain,
    options::Options,
    runtime::Runtime,
};

const HANDLER: &str = "wasi:http/incoming-handler@0.2.";

/// A component that is ready to be instantiated.
pub struct Component {
    pub pre: ProxyPre<State>,
    /// Where it may ask others.
    pub tls: Option<Tls>,
}

/// What of the engine's pool one instance takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Of core modules.
    pub instances: u32,
    pub memories: u32,
    pub tables: u32,
}

impl Code for Component {
    fn judge(bytes: &[u8], _: &Options) -> Result<(), String> {
        judge(bytes)
    }

    fn load(engine: &Engine, cache: &Cache, options: &Options, bytes: &[u8]) -> Result<(Self, Vec<String>), String> {
        let key = Key::of(engine, bytes, b"");
        let (component, remarks): (wasmtime::component::Component, _) =
            compiled(engine, cache, &key, || Ok(bytes.into()))?;
        let linked = || {
            let mut linker = Linker::new(engine);
            wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
            wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
            let pre = linker.instantiate_pre(&component)?;
            // Looks the handler up, and its type.
            ProxyIndices::new(&pre)?;
            ProxyPre::new(pre)
        };
        let pre = linked().map_err(|error| chain(&error))?;
        let tls = if options.outbound.is_empty() { None } else { Some(Tls::new(&options.outbound_ca)?) };
        Ok((Self { pre, tls }, remarks))
    }

    /// The loop; tokio's are its own.
    fn threads(_: &Options) -> usize {
        1
    }

    fn start(runtime: &Arc<Runtime<Self>>) -> std::io::Result<()> {
        server::start(runtime)
    }
}

fn judge(bytes: &[u8]) -> Result<(), String> {
    if !bytes.starts_with(b"\0asm") {
        return Err("is not WebAssembly".to_owned());
    }
    if !Parser::is_component(bytes) {
        return Err("is a module: interface wasi-http takes components (target wasip2), interface wasi takes modules"
            .to_owned());
    }
    let broken = |error: wasmparser::BinaryReaderError| format!("is broken: {error}");
    let (mut depth, mut others, mut handles) = (0, Vec::new(), false);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            // The last is its own.
            Payload::End(_) => depth -= 1,
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(broken)?;
                    if export.name.name.starts_with(HANDLER) && export.kind == ComponentExternalKind::Instance {
                        handles = true;
                    } else {
                        others.push(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    if handles {
        return Ok(());
    }
    let has = if others.is_empty() { "nothing".to_owned() } else { others.join(", ") };
    Err(format!("does not export {HANDLER}x, the handler of wasi:http/proxy; it exports {has}"))
}

impl Needs {
    pub const MODULE: Self = Self { instances: 1, memories: 1, tables: 1 };
    /// At least: so that a changed file finds room, too.
    const COMPONENT: Self = Self { instances: 8, memories: 1, tables: 4 };

    /// Of a file that was not judged yet.
    pub fn of(bytes: &[u8]) -> Self {
        if !Parser::is_component(bytes) {
            return Self::MODULE;
        }
        let mut needs = Self { instances: 0, memories: 0, tables: 0 };
        for payload in Parser::new(0).parse_all(bytes) {
            match payload {
                Ok(Payload::InstanceSection(section)) => {
                    let made = |instance: &Instance| matches!(instance, Instance::Instantiate { .. });
                    needs.instances += section.into_iter().flatten().filter(made).count() as u32;
                }
                Ok(Payload::MemorySection(section)) => needs.memories += section.count(),
                Ok(Payload::TableSection(section)) => needs.tables += section.count(),
                Ok(_) => {}
                // judge() says what is wrong.
                Err(_) => break,
            }
        }
        Self {
            instances: needs.instances.max(Self::COMPONENT.instances),
            memories: needs.memories.max(Self::COMPONENT.memories),
            tables: needs.tables.max(Self::COMPONENT.tables),
        }
    }
}
