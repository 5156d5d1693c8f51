//! Starts CPython, once in a process. It is never finalised: threads of a program may still run
//! when the process leaves, and finalising would wait for them.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    ptr,
    sync::{Mutex, OnceLock, PoisonError, mpsc},
    thread,
};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};
use nffi_abi as abi;

use crate::{find::Python, owner};

const CORE: &str = "libnffi_python_core.so";
/// Some C extensions expect a main thread's stack.
const STACK: usize = 8 << 20;

/// What the second library exports.
#[derive(Debug, Clone, Copy)]
pub struct Core {
    pub init: abi::InitFn,
    pub seed: unsafe extern "C" fn(*const c_char, usize, c_int, *mut c_void) -> c_int,
}

/// What runs. Kept for the process's life.
static STARTED: Mutex<Option<(Python, Core)>> = Mutex::new(None);
/// What this library has initialised, whatever came after that.
static OURS: OnceLock<Python> = OnceLock::new();

/// Starts the interpreter, or finds that it runs already; an error where another one does.
/// Runs on: start threads.
pub fn start(python: &Python) -> Result<Core, String> {
    let (running, core) = start_any(|| Ok(python.clone()))?;
    running.same_as(python)?;
    Ok(core)
}

/// The interpreter that runs, whichever it is; or else the one that `find` finds.
/// Runs on: start threads; the event loop, for libraries of the seed's ABI.
pub fn start_any(find: impl FnOnce() -> Result<Python, String>) -> Result<(Python, Core), String> {
    let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = &*started {
        return Ok(running.clone());
    }
    let running = if let Some(python) = OURS.get() {
        // An earlier start has come as far as that.
        (python.clone(), load_core(&core_library()?)?)
    } else {
        let python = find()?;
        owner::claim()?;
        let core = on_its_thread(python.clone()).inspect_err(|_| {
            if OURS.get().is_none() {
                owner::release();
            }
        })?;
        (python, core)
    };
    Ok(started.insert(running).clone())
}

/// CPython takes the thread that initialises it for its main thread. It gets one that never ends
/// and never runs a program's code: only the main thread may change signal handlers, and here
/// they are nginx's.
fn on_its_thread(python: Python) -> Result<Core, String> {
    let (tell, told) = mpsc::channel();
    let main = move || {
        unblock_signals();
        let result = boot(&python);
        // The receiver waits below.
        let _ = tell.send(result);
        while OURS.get().is_some() {
            thread::park();
        }
    };
    thread::Builder::new()
        .name("nffi:python".into())
        .stack_size(STACK)
        .spawn(main)
        .map_err(|e| format!("cannot start a thread: {e}"))?;
    told.recv().map_err(|_| "the interpreter's thread has died".to_owned())?
}

/// A mask is inherited by programs that Python starts, where TERM would then do nothing. The host
/// sends signals that reach a foreign thread on to its own.
fn unblock_signals() {
    // SAFETY: an empty set of this thread's own.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}

/// Runs on: the interpreter's thread.
fn boot(python: &Python) -> Result<Core, String> {
    let shown = python.libpython.display();
    let core = core_library()?;
    // Global, since C extensions link against no libpython and look for its symbols everywhere.
    // SAFETY: loads the library that the configuration names.
    let library = unsafe { Library::open(Some(&python.libpython), RTLD_NOW | RTLD_GLOBAL) }
        .map_err(|e| format!("cannot load {shown}: {}", cause(&e)))?;
    let symbols = Symbols::of(&library).map_err(|e| format!("{shown} is no libpython that fits: {e}"))?;
    if runs_already() {
        return Err(format!(
            "cannot start {shown}: somebody else runs Python in this process already, another module or another copy of \
             this library. Name one file in all Python runtimes, and load no module that brings Python along"
        ));
    }
    std::mem::forget(library);
    symbols.initialize(python).map_err(|e| format!("cannot start {shown}: {e}"))?;
    OURS.get_or_init(|| python.clone());
    let all = symbols.claim_main_thread().map_err(|()| format!("{shown}: its threading and signal cannot be imported"));
    let core = all.and_then(|()| load_core(&core));
    // SAFETY: this thread has just initialised Python, so it holds the GIL.
    unsafe { (symbols.save_thread)() };
    core
}

/// Does somebody else's Python run? Asked of the libpython that all libraries of this process see:
/// ours, which was just loaded so, or one that came before it, whose symbols our second library
/// would find first. Runs on: the interpreter's thread.
fn runs_already() -> bool {
    // SAFETY: the type is that of CPython's headers.
    let found = unsafe { Library::this().get::<unsafe extern "C" fn() -> c_int>(b"Py_IsInitialized") }.map(|is| *is);
    // SAFETY: it may be called at any time, and says nothing but that.
    found.is_ok_and(|is_initialized| unsafe { is_initialized() } != 0)
}

/// The second library lies beside this one.
pub fn core_library() -> Result<PathBuf, String> {
    let here = owner::here()?;
    // Through symbolic links: the names of the seed's loaders are such.
    let here = here.canonicalize().unwrap_or(here);
    let path = here.with_file_name(CORE);
    if path.exists() {
        return Ok(path);
    }
    Err(format!("{} is missing: the two belong together, in one folder", path.display()))
}

fn load_core(path: &Path) -> Result<Core, String> {
    let failed = |e: &libloading::Error| format!("cannot load {}: {}", path.display(), cause(e));
    // SAFETY: our own second library, whose exports have these types.
    unsafe {
        let library = Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE).map_err(|e| failed(&e))?;
        let init = *library.get::<abi::InitFn>(b"nffi_python_core_init").map_err(|e| failed(&e))?;
        let seed = *library.get(b"nffi_python_core_seed").map_err(|e| failed(&e))?;
        std::mem::forget(library);
        Ok(Core { init, seed })
    }
}

fn cause(error: &libloading::Error) -> String {
    use std::error::Error;
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// PyStatus of initconfig.h.
#[repr(C)]
struct Status {
    kind: c_int,
    function: *const c_char,
    message: *const c_char,
    exit_code: c_int,
}

impl Status {
    fn into_result(self) -> Result<(), String> {
        if self.kind == 0 {
            return Ok(());
        }
        if self.message.is_null() {
            return Err(format!("it wants to exit with {}", self.exit_code));
        }
        // SAFETY: a NUL-terminated text of libpython's own.
        Err(unsafe { CStr::from_ptr(self.message) }.to_string_lossy().into_owned())
    }
}

/// PyPreConfig of initconfig.h, the same from 3.11 to 3.14.
#[repr(C)]
struct PreConfig {
    config_init: c_int,
    parse_argv: c_int,
    isolated: c_int,
    use_environment: c_int,
    configure_locale: c_int,
    coerce_c_locale: c_int,
    coerce_c_locale_warn: c_int,
    utf8_mode: c_int,
    dev_mode: c_int,
    allocator: c_int,
    /// In case it grows.
    room: [c_int; 22],
}

/// PyConfig of initconfig.h: its first fields, the same from 3.11 to 3.14, and more room than any
/// version takes.
#[repr(C, align(16))]
struct Config {
    config_init: c_int,
    isolated: c_int,
    use_environment: c_int,
    dev_mode: c_int,
    install_signal_handlers: c_int,
    room: [c_int; 1019],
}

/// Functions that start a libpython. Looked up, since this library is linked against none.
struct Symbols {
    preconfig_init: unsafe extern "C" fn(*mut PreConfig),
    preinitialize: unsafe extern "C" fn(*const PreConfig) -> Status,
    set_program_name: unsafe extern "C" fn(*const libc::wchar_t),
    config_init: unsafe extern "C" fn(*mut Config),
    config_clear: unsafe extern "C" fn(*mut Config),
    initialize: unsafe extern "C" fn(*const Config) -> Status,
    import_module: unsafe extern "C" fn(*const c_char) -> *mut c_void,
    save_thread: unsafe extern "C" fn() -> *mut c_void,
}

impl Symbols {
    fn of(library: &Library) -> Result<Self, String> {
        let failed = |e: libloading::Error| cause(&e);
        // SAFETY: the types are those of CPython's headers.
        unsafe {
            Ok(Self {
                preconfig_init: *library.get(b"PyPreConfig_InitPythonConfig").map_err(failed)?,
                preinitialize: *library.get(b"Py_PreInitialize").map_err(failed)?,
                set_program_name: *library.get(b"Py_SetProgramName").map_err(failed)?,
                config_init: *library.get(b"PyConfig_InitPythonConfig").map_err(failed)?,
                config_clear: *library.get(b"PyConfig_Clear").map_err(failed)?,
                initialize: *library.get(b"Py_InitializeFromConfig").map_err(failed)?,
                import_module: *library.get(b"PyImport_ImportModule").map_err(failed)?,
                save_thread: *library.get(b"PyEval_SaveThread").map_err(failed)?,
            })
        }
    }

    /// Before 3.13 `threading` takes the thread that first imports it for the main thread. Were
    /// that a start thread, which ends, a later thread with its number would pass for the main
    /// thread: uvloop would then want the signals, and fail. And `signal`, when it is first
    /// imported, takes SIGINT where nobody has it; it is given back. Runs on: the interpreter's
    /// thread.
    fn claim_main_thread(&self) -> Result<(), ()> {
        // SAFETY: this thread holds the GIL. The references are kept, as sys.modules keeps them. The
        // handler that is put back is the one that was there.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGINT, ptr::null(), &mut before);
            let names = [c"threading", c"signal"];
            let all = names.iter().all(|name| !(self.import_module)(name.as_ptr()).is_null());
            libc::sigaction(libc::SIGINT, &before, ptr::null_mut());
            if all { Ok(()) } else { Err(()) }
        }
    }

    fn initialize(&self, python: &Python) -> Result<(), String> {
        // SAFETY: zeroes are valid for both, and the functions fill them in. What the names point
        // to is never freed.
        unsafe {
            let mut before: PreConfig = std::mem::zeroed();
            (self.preconfig_init)(&mut before);
            // Text is UTF-8 whatever the environment says, and the process keeps its locale.
            before.utf8_mode = 1;
            before.configure_locale = 0;
            before.coerce_c_locale = 0;
            (self.preinitialize)(&before).into_result()?;
            if let Some(program) = &python.program {
                (self.set_program_name)(wide(program));
            }
            let mut config: Box<Config> = Box::new(std::mem::zeroed());
            (self.config_init)(&mut *config);
            config.install_signal_handlers = 0;
            let result = (self.initialize)(&*config).into_result();
            (self.config_clear)(&mut *config);
            result
        }
    }
}

/// As CPython decodes it in UTF-8 mode: a code point each, and bytes that are none as surrogates.
fn wide(path: &Path) -> *const libc::wchar_t {
    let mut text: Vec<libc::wchar_t> = Vec::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.extend(chunk.valid().chars().map(|c| c as libc::wchar_t));
        text.extend(chunk.invalid().iter().map(|byte| 0xdc00 + libc::wchar_t::from(*byte)));
    }
    text.push(0);
    Vec::leak(text).as_ptr()
}
