//! One request in one instance, and its limits.

use std::{sync::Arc, time::Instant};

use tokio::sync::oneshot;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline, component::ResourceTable};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    WasiHttpCtx, WasiHttpCtxView, WasiHttpView,
    p2::{
        bindings::http::types::{ErrorCode, Scheme},
        body::HyperOutgoingBody,
    },
};

use super::{Component, body::Body, exchange::Exchange, outbound::Hooks, output::Output};
use crate::{
    failure::{Failure, Stop},
    options::Options,
    runtime::Runtime,
};

/// What a component answers with.
pub type Answer = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// What belongs to one instance.
pub struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    limit: usize,
    /// Of all its memories together.
    memory: usize,
    /// It has asked for more memory than it may have.
    starved: bool,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.memory.saturating_sub(current).saturating_add(desired);
        let may = grown <= self.limit;
        self.starved |= !may;
        if may {
            self.memory = grown;
        }
        Ok(may)
    }

    fn table_growing(&mut self, _: usize, desired: usize, most: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= most.unwrap_or(usize::MAX))
    }
}

fn wasi(options: &Options, output: &Output) -> Result<WasiCtx, String> {
    let mut builder = WasiCtx::builder();
    builder.stdout(output.clone()).stderr(output.clone());
    // Nothing of the network: what is allowed is asked for by wasi:http.
    builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    for (name, value) in &options.env {
        builder.env(name, value);
    }
    if !options.args.is_empty() {
        builder.arg(options.module.file_name().unwrap_or_default().to_string_lossy()).args(&options.args);
    }
    for dir in &options.dirs {
        let may = if dir.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
        let opened = builder.preopened_dir(&dir.host, &dir.guest, may);
        opened.map_err(|error| format!("dir {}: {}", dir.host.display(), crate::failure::chain(&error)))?;
    }
    Ok(builder.build())
}

/// Runs a component to the end of its handler. The answer, once the component has given it, is sent to `answer`.
pub async fn run(
    runtime: Arc<Runtime<Component>>,
    exchange: Arc<Exchange>,
    request: http::Request<Body>,
    scheme: Scheme,
    until: Option<Instant>,
    answer: oneshot::Sender<Answer>,
) -> Result<(), Failure> {
    let options = &runtime.options;
    let output = Output::new(runtime.host, exchange.task, options.log_level);
    let state = State {
        table: ResourceTable::new(),
        wasi: wasi(options, &output).map_err(|why| Failure::Trap(why, Vec::new()))?,
        http: WasiHttpCtx::new(),
        hooks: Hooks { runtime: runtime.clone(), exchange: exchange.clone() },
        limit: options.memory_limit,
        memory: 0,
        starved: false,
    };
    let component = runtime.code();
    let mut store = Store::new(component.pre.engine(), state);
    store.limiter(|state| state);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |context| {
        let hooks = &context.data().hooks;
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Stop::Time.into());
        }
        if hooks.runtime.host.cancelled(hooks.exchange.task) {
            return Err(Stop::Gone.into());
        }
        Ok(UpdateDeadline::Yield(1))
    });
    let outcome = call(&mut store, &component, request, scheme, answer).await;
    output.finish();
    let Err(error) = outcome else { return Ok(()) };
    let failure = match error.downcast_ref::<I32Exit>() {
        Some(I32Exit(0)) => return Ok(()),
        Some(I32Exit(code)) => Failure::Exit(*code),
        None => match Failure::of(&error, options.time_limit, options.max_output) {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        },
    };
    let starved = store.data().starved.then_some(options.memory_limit);
    failure.log_details(runtime.host, exchange.task, starved);
    Err(failure)
}

async fn call(
    store: &mut Store<State>,
    component: &Component,
    request: http::Request<Body>,
    scheme: Scheme,
    answer: oneshot::Sender<Answer>,
) -> wasmtime::Result<()> {
    if let Some(fuel) = store.data().hooks.runtime.options.fuel {
        store.set_fuel(fuel)?;
    }
    let request = store.data_mut().http().new_incoming_request(scheme, request)?;
    let answer = store.data_mut().http().new_response_outparam(answer)?;
    let proxy = component.pre.instantiate_async(&mut *store).await?;
    proxy.wasi_http_incoming_handler().call_handle(store, request, answer).await
}
