//! Bringing a library of this ABI in: found, loaded and initialised on the event loop, as its users
//! are used to; and taken out again where they asked for that.

use std::{
    cell::RefCell,
    collections::HashMap,
    ffi::{CStr, c_char, c_int, c_void},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    thread,
};

use nffi_core::{
    buf::Buf,
    dispatch::State,
    host::HOST,
    libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LAZY, RTLD_LOCAL},
    library::{self, LibraryError},
    options::{MAX_TASKS, MAX_TIMEOUT, Settings},
    registry,
    runtime::{Runtime, Spec},
    signals::Blocked,
};

use super::{MAX_LEN, optional, to_pointer};
use crate::{
    barrier::barrier,
    lua::{self, FAILED, Reply},
    worker::Worker,
};

/// Which init: ngx.load_ffi's, or ngx.load_nonblocking_ffi's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Generation {
    /// `int libffi_init(char *cfg, void *tq)`
    Ffi,
    /// `int lib_nonblocking_ffi_init(char *cfg, int cfg_len, void *tq)`
    Nonblocking,
}

/// The address of a library's init.
#[derive(Clone, Copy)]
struct Init(*mut c_void);

// SAFETY: an address of code; the ABI lets init run on any thread.
unsafe impl Send for Init {}
// SAFETY: as above.
unsafe impl Sync for Init {}

type FfiInit = unsafe extern "C" fn(cfg: *mut c_char, tq: *mut c_void) -> c_int;
type NonblockingInit = unsafe extern "C" fn(cfg: *mut c_char, len: c_int, tq: *mut c_void) -> c_int;

impl Generation {
    fn init(self) -> &'static CStr {
        match self {
            Generation::Ffi => c"libffi_init",
            Generation::Nonblocking => c"lib_nonblocking_ffi_init",
        }
    }

    fn other(self) -> (Self, &'static str) {
        match self {
            Generation::Ffi => (Generation::Nonblocking, "ngx.load_nonblocking_ffi"),
            Generation::Nonblocking => (Generation::Ffi, "ngx.load_ffi"),
        }
    }
}

/// One runtime: a library with a configuration, and how it is entered.
type Key = (PathBuf, Option<Vec<u8>>, Generation);

/// What the worker keeps of this ABI's runtimes.
#[derive(Debug, Default)]
pub struct Seed {
    loaded: HashMap<Key, u32>,
    /// Every runtime that was initialised, and with `unpin` its library.
    held: Vec<Held>,
}

/// A library must stay while a thread that has served its runtime is there: it may be in the
/// library's code. Each such thread holds the runtime.
#[derive(Debug)]
struct Held {
    runtime: Weak<Runtime>,
    /// The handle that dlopen gave; `None` where the library stays for good.
    library: Option<*mut c_void>,
}

impl Seed {
    /// Takes out the libraries that nobody runs any more.
    pub fn close_unused(&mut self) {
        self.held.retain_mut(|held| {
            if held.runtime.strong_count() > 0 {
                return true;
            }
            if let Some(handle) = held.library.take() {
                // SAFETY: dlopen's, given back once. No thread that this host knows of runs its code.
                let _ = unsafe { Library::from_raw(handle) }.close();
            }
            false
        });
    }

    /// No thread of any of these runtimes is left.
    pub fn is_quiet(&self) -> bool {
        self.held.iter().all(|held| held.runtime.strong_count() == 0)
    }
}

/// How a library is to be loaded. `ngx_http_nffi_seed_options_t`; all numbers, NaN: the default.
#[repr(C)]
pub struct Options {
    max_queue: f64,
    timeout: f64,
    is_global: c_int,
    unpin: c_int,
    nonblocking: c_int,
}

impl Options {
    fn settings(&self) -> Result<Settings, String> {
        let number = |name: &str, value: f64, most: u64, default: u64| {
            if value.is_nan() {
                Ok(default)
            } else if value >= 1.0 && value <= most as f64 {
                Ok(value as u64)
            } else {
                Err(format!("bad option: \"{name}\" is a number from 1 to {most}"))
            }
        };
        let default = Settings::default();
        Ok(Settings {
            queue: number("max_queue", self.max_queue, MAX_TASKS as u64, default.queue as u64)? as usize,
            timeout: number("timeout", self.timeout, MAX_TIMEOUT, default.timeout)?,
            max_request: MAX_LEN,
            max_response: MAX_LEN,
            ..default
        })
    }

    fn generation(&self) -> Generation {
        if self.nonblocking != 0 { Generation::Nonblocking } else { Generation::Ffi }
    }
}

/// Loads a library with a configuration, or finds the runtime that runs with both. Returns the
/// runtime's number; or negative, with the rc of the library's init, or a message of nffi's own.
/// `config` NULL: none.
#[unsafe(no_mangle)]
unsafe extern "C" fn ngx_http_nffi_seed_load(
    name: *const c_char,
    name_len: usize,
    config: *const c_char,
    config_len: usize,
    options: *const Options,
    reply: *mut Reply,
) -> c_int {
    // SAFETY: Lua passes its own structures, and strings that it holds.
    let (reply, name, config, options) =
        unsafe { (&mut *reply, lua::bytes(name, name_len), optional(config, config_len), &*options) };
    let found = RefCell::new(None);
    let rc = lua::enter(reply, |worker, reply| match Request::make(worker, name, config, options) {
        Ok(Found::Running(number)) => number as c_int,
        Ok(Found::New(request)) => {
            *found.borrow_mut() = Some(request);
            lua::DONE
        }
        Err(why) => reply.fail(worker, why),
    });
    match found.take() {
        // Not below enter(): foreign code runs here, and the worker must be free meanwhile.
        Some(request) => barrier(FAILED, || request.load(reply)),
        None => rc,
    }
}

enum Found {
    Running(u32),
    New(Request),
}

/// A runtime that is to be made.
struct Request {
    key: Key,
    settings: Settings,
    is_global: bool,
    unpin: bool,
}

impl Request {
    fn make(worker: &mut Worker, name: &[u8], config: Option<&[u8]>, options: &Options) -> Result<Found, String> {
        let generation = options.generation();
        let settings = options.settings()?;
        let name = std::str::from_utf8(name).map_err(|_| "bad library: not UTF-8".to_owned())?;
        if let Some(config) = config {
            if config.len() > MAX_LEN {
                return Err(format!("bad configuration: {} bytes; up to {MAX_LEN} fit this ABI", config.len()));
            }
            if generation == Generation::Ffi && config.contains(&0) {
                return Err("bad configuration: a NUL byte in it; libffi_init takes a C string".to_owned());
            }
        }
        let library = find(name, lua::prefix()).map_err(|e| e.to_string())?;
        // What is over makes room, so that a file that was replaced is read anew.
        worker.seed.close_unused();
        let key = (library, config.map(<[u8]>::to_vec), generation);
        let running = worker.seed.loaded.get(&key).copied().filter(|&number| {
            worker.dispatch.entry(number).is_some_and(|e| matches!(e.state, State::Starting | State::Ready))
        });
        Ok(match running {
            Some(number) => Found::Running(number),
            None => Found::New(Self { key, settings, is_global: options.is_global != 0, unpin: options.unpin != 0 }),
        })
    }

    /// Loads and initialises. Other code of the process goes on as if this were a start thread: it
    /// inherits what nginx's signals must not reach, and an exit has a name to it.
    fn load(self, reply: &mut Reply) -> c_int {
        let _blocked = Blocked::new();
        let opened = self.open();
        HOST.after_load();
        let (library, init) = match opened {
            Ok(opened) => opened,
            Err(why) => return lua::enter(reply, |worker, reply| reply.fail(worker, why)),
        };
        let library = library.into_raw();
        let mut runtime = None;
        let rc = lua::enter(reply, |worker, _| {
            runtime = Some(self.adopt(worker, self.unpin.then_some(library)));
            lua::DONE
        });
        let Some(runtime) = runtime else { return rc };
        let rc = self.call_where_it_may(init, &runtime);
        HOST.after_load();
        // Set here only.
        let _ = runtime.started.set(match rc {
            0 => Ok(()),
            rc => Err(format!("{} returned {rc}", self.key.2.init().to_string_lossy())),
        });
        HOST.bulletin();
        lua::enter(reply, |worker, reply| {
            if rc != 0 {
                return reply.bytes(worker, rc, Buf::none());
            }
            worker.seed.loaded.insert(self.key.clone(), runtime.number);
            runtime.number as c_int
        })
    }

    /// The library, and the address of its init.
    fn open(&self) -> Result<(Library, Init), String> {
        let (path, _, generation) = &self.key;
        let pinned = if self.unpin { 0 } else { libc::RTLD_NODELETE };
        let global = if self.is_global { RTLD_GLOBAL } else { RTLD_LOCAL };
        // Lazily: a library that has worked with a symbol that is never called goes on working.
        // SAFETY: loading runs the library's constructors: what the caller asked for.
        let library = unsafe { Library::open(Some(path), RTLD_LAZY | global | pinned) }
            .map_err(|e| format!("cannot load: {}", library::cause(&e)))?;
        let symbol = |generation: Generation| {
            // SAFETY: an address, as which every symbol can be read.
            unsafe { library.get::<*mut c_void>(generation.init().to_bytes_with_nul()) }.ok().map(|s| *s)
        };
        if let Some(init) = symbol(*generation) {
            return Ok((library, Init(init)));
        }
        let (other, loader) = generation.other();
        let hint = match symbol(other) {
            Some(_) => format!("; it exports {}: load it by {loader}", other.init().to_string_lossy()),
            None => String::new(),
        };
        let init = generation.init().to_string_lossy();
        Err(format!("library \"{}\" does not export {init}{hint}", path.display()))
    }

    fn adopt(&self, worker: &mut Worker, library: Option<*mut c_void>) -> Arc<Runtime> {
        let runtime = worker.adopt_foreign(
            &Spec {
                name: runtime_name(&self.key.0),
                library: self.key.0.clone(),
                config: Vec::new(),
                settings: self.settings.clone(),
                surroundings: Default::default(),
            },
            || HOST.bulletin(),
        );
        worker.seed.held.push(Held { runtime: Arc::downgrade(&runtime), library });
        runtime
    }

    /// Calls the library's init: on the event loop, or, where the library is to go some day, on a
    /// thread that is waited for. What init leaves in thread-local memory that has a destructor (Rust's
    /// `thread::spawn` does) would keep the library mapped as long as its thread lives.
    fn call_where_it_may(&self, init: Init, runtime: &Arc<Runtime>) -> c_int {
        let call = || registry::acting_for(runtime.handle(), runtime.clone(), || self.call(init, runtime.handle()));
        if !self.unpin {
            return call();
        }
        let thread = thread::Builder::new().stack_size(8 << 20);
        thread::scope(|scope| match thread.spawn_scoped(scope, call) {
            Ok(thread) => thread.join().unwrap_or(libc::EFAULT),
            Err(error) => error.raw_os_error().unwrap_or(libc::EAGAIN),
        })
    }

    /// Calls the library's init. It may write to the configuration, which is a copy.
    fn call(&self, Init(init): Init, queue: u64) -> c_int {
        let (_, config, generation) = &self.key;
        let config = match (config, generation) {
            (Some(config), _) => Buf::copy_of(config),
            (None, Generation::Ffi) => Some(Buf::none()),
            // This one's has a length, and never was without a configuration.
            (None, Generation::Nonblocking) => Buf::copy_of(&[]),
        };
        let Some(config) = config else { return libc::ENOMEM };
        let cfg = config.as_ptr().cast_mut();
        let tq = to_pointer(queue);
        // SAFETY: the symbol's type is the ABI's contract; the configuration outlives the call.
        unsafe {
            match generation {
                Generation::Ffi => std::mem::transmute::<*mut c_void, FfiInit>(init)(cfg, tq),
                Generation::Nonblocking => {
                    std::mem::transmute::<*mut c_void, NonblockingInit>(init)(cfg, config.len() as c_int, tq)
                }
            }
        }
    }
}

fn runtime_name(library: &Path) -> String {
    let stem = library.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    stem.strip_prefix("lib").unwrap_or(&stem).to_owned()
}

/// The file that a path, a file's name, or the short name of lib<name>.so means.
fn find(name: &str, prefix: &Path) -> Result<PathBuf, LibraryError> {
    let mut names = vec![name.to_owned()];
    if !name.contains('/') {
        // LuaJIT's way of reading a name comes first: `python3` is also the name of a folder.
        let so = if name.contains('.') { name.to_owned() } else { format!("{name}.so") };
        names.insert(0, if so.starts_with("lib") { so } else { format!("lib{so}") });
        names.push(format!("lib{name}.so"));
    }
    let mut missing = None;
    for name in &names {
        match library::find(name, prefix) {
            Ok(path) if path.is_file() => return Ok(path),
            Ok(_) => {}
            Err(e) => missing = missing.or(Some(e)),
        }
    }
    Err(missing.unwrap_or_else(|| LibraryError::NotFound { name: name.to_owned(), looked_in: Vec::new() }))
}
