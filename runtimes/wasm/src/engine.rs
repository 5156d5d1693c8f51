//! wasmtime's settings. Every one that decides what code is made is said here, never left to a default:
//! compiled modules are found again on disk by them.

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails,
};

use crate::{http::Needs, options::Options};

/// What the host functions may use of a fiber's stack beyond the function's own.
const HOST_STACK: usize = 1 << 20;
const TABLE_ELEMENTS: usize = 100_000;
/// What stays of a memory with its slot, to be cleared by hand: cheaper than page faults. Of all slots together at
/// most so much, as far as they were ever in use.
const KEEP_TOGETHER: usize = 256 << 20;
const KEEP_BY_SCAN: usize = 32 << 20;
const KEEP_BY_MEMSET: usize = 128 << 10;

/// What modules may use: what the WebAssembly 2.0 toolchains make.
fn set_features(config: &mut Config) {
    config
        .wasm_multi_value(true)
        .wasm_bulk_memory(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(true)
        .relaxed_simd_deterministic(false)
        .wasm_tail_call(true)
        .wasm_extended_const(true)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
}

/// An engine for what these bytes are.
pub fn engine(options: &Options, bytes: &[u8]) -> Result<Engine, String> {
    made(&config(options, Needs::of(bytes)), options)
}

/// The same for a configuration's check: what it compiles is for the other. In a process of its own, it may use all
/// cores; threads within nginx's workers are `threads` and no more.
pub fn for_check(options: &Options, bytes: &[u8]) -> Result<Engine, String> {
    made(config(options, Needs::of(bytes)).parallel_compilation(true), options)
}

/// For a module that runs once: what counts is how long it takes to compile. Such code has large frames.
pub fn for_once(options: &Options) -> Result<Engine, String> {
    let options = Options { instances: 1, max_stack: options.max_stack * 8, ..options.clone() };
    let mut config = config(&options, Needs::MODULE);
    config.cranelift_opt_level(OptLevel::None);
    made(&config, &options)
}

fn made(config: &Config, options: &Options) -> Result<Engine, String> {
    Engine::new(config).map_err(|error| {
        format!("instances: there is no room for {}; try fewer: {}", options.instances, crate::failure::chain(&error))
    })
}

fn config(options: &Options, needs: Needs) -> Config {
    let mut config = Config::new();
    set_features(&mut config);
    config
        .wasm_component_model(true)
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_debug_verifier(false)
        .cranelift_nan_canonicalization(false)
        .epoch_interruption(true)
        .consume_fuel(options.fuel.is_some())
        .memory_init_cow(true)
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .memory_may_move(false)
        .guard_before_linear_memory(true)
        .signals_based_traps(true)
        .generate_address_map(true)
        .native_unwind_info(false)
        .debug_info(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .max_wasm_stack(options.max_stack)
        .async_stack_size(options.max_stack + HOST_STACK)
        .async_stack_zeroing(false)
        .concurrency_support(false)
        .parallel_compilation(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options, needs)));
    config
}

fn pool(options: &Options, needs: Needs) -> PoolingAllocationConfig {
    let count = options.instances as u32;
    let memories = count.saturating_mul(needs.memories);
    let scan = PoolingAllocationConfig::is_pagemap_scan_available();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(count)
        .total_core_instances(count.saturating_mul(needs.instances))
        .total_memories(memories)
        .total_tables(count.saturating_mul(needs.tables))
        .total_stacks(count)
        .max_core_instances_per_component(needs.instances)
        .max_memories_per_component(needs.memories)
        .max_tables_per_component(needs.tables)
        .max_memories_per_module(1)
        .max_tables_per_module(needs.tables)
        .max_component_instance_size(4 << 20)
        .table_elements(TABLE_ELEMENTS)
        .max_core_instance_size(4 << 20)
        .max_memory_size(4 << 30)
        .max_unused_warm_slots(memories)
        .linear_memory_keep_resident(if scan {
            KEEP_BY_SCAN.min(KEEP_TOGETHER / memories.max(1) as usize)
        } else {
            KEEP_BY_MEMSET
        })
        .table_keep_resident(if scan { 256 << 10 } else { 64 << 10 })
        .async_stack_keep_resident(64 << 10)
        .pagemap_scan(if scan { Enabled::Yes } else { Enabled::No });
    pool
}
