//! The file that the configuration names: read, judged, compiled.

use std::{
    fs::File,
    io::Read,
    path::Path,
    sync::{
        Arc, OnceLock,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use nffi_abi::panic_text;
use wasmtime::Engine;

use crate::{cache::Cache, engine, failure::one_line, options::Options, runtime::Runtime, wasi};

const MOST_BYTES: u64 = 512 << 20;
/// How long the checks of a process compile for the cache. The host gives each half a minute; what one has compiled the next one
/// finds.
const CHECKS_COMPILE: Duration = Duration::from_secs(25);
/// When the first check of this process began.
static FIRST_CHECK: OnceLock<Instant> = OnceLock::new();

/// What a runtime runs: modules or components.
pub trait Code: Sized + Send + Sync + 'static {
    /// Is it one that can run here? What takes a compiler is left to `load`.
    fn judge(bytes: &[u8], options: &Options) -> Result<(), String>;

    /// Also says what is noteworthy.
    fn load(engine: &Engine, cache: &Cache, options: &Options, bytes: &[u8]) -> Result<(Self, Vec<String>), String>;

    /// How many threads of a runtime call [`Runtime::leave`] in the end.
    fn threads(options: &Options) -> usize;

    /// Starts them.
    fn start(runtime: &Arc<Runtime<Self>>) -> std::io::Result<()>;
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

/// Says in one line what is wrong with the file, and which it is.
fn place(options: &Options) -> impl Fn(String) -> String + use<'_> {
    |error| one_line(&format!("module {}: {error}", options.module.display()))
}

/// Is it one that can run here?
pub fn judge<C: Code>(bytes: &[u8], options: &Options) -> Result<(), String> {
    C::judge(bytes, options).map_err(place(options))
}

/// Loads it for a runtime. Also says what is noteworthy.
pub fn load<C: Code>(
    engine: &Engine,
    cache: &Cache,
    options: &Options,
    bytes: &[u8],
) -> Result<(C, Vec<String>), String> {
    judge::<C>(bytes, options)?;
    C::load(engine, cache, options, bytes).map_err(place(options))
}

/// For a configuration's check: everything but running it. What takes long to compile is left to the workers.
pub fn check<C: Code>(options: &Options) -> Result<(), String> {
    let until = *FIRST_CHECK.get_or_init(Instant::now) + CHECKS_COMPILE;
    wasi::open_dirs(&options.dirs)?;
    let bytes = read(&options.module)?;
    judge::<C>(&bytes, options)?;
    let valid = wasmparser::Validator::new().validate_all(&bytes);
    valid.map_err(|error| place(options)(format!("is not valid: {error}")))?;
    let engine = engine::for_check(options, &bytes)?;
    let (done, wait) = mpsc::channel();
    let options = options.clone();
    let compiling = thread::Builder::new().name("nffi-wasm-check".to_owned()).spawn(move || {
        let cache = Cache::new(&options.cache);
        let _ = done.send(load::<C>(&engine, &cache, &options, &bytes).map(drop));
    });
    let compiling = compiling.map_err(|error| format!("no thread to compile with: {error}"))?;
    match wait.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Err(RecvTimeoutError::Disconnected) => {
            let panic = compiling.join().err().unwrap_or_else(|| Box::new("without an outcome"));
            Err(format!("panicked: {}", panic_text(&*panic)))
        }
    }
}
