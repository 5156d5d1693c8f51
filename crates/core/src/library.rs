//! Finding a runtime's library, reading from its ELF what it is, and loading it.

use std::{
    env,
    ffi::{CStr, c_char},
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use nffi_abi as abi;
use object::{
    Architecture, Object, ObjectKind, ObjectSymbol,
    read::{ReadCache, elf::ElfFile},
};

/// Room for the message of a failed init or check.
pub const ERR_CAP: usize = 1024;

/// Why a library cannot be a runtime.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error("library \"{name}\" not found; looked in {}", list(looked_in))]
    NotFound { name: String, looked_in: Vec<PathBuf> },
    #[error("cannot read library \"{}\": {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("\"{}\" is not a shared library: {why}", path.display())]
    NotShared { path: PathBuf, why: String },
    #[error("library \"{}\" is built for {found}, this machine is {}", path.display(), env::consts::ARCH)]
    Architecture { path: PathBuf, found: String },
    #[error("library \"{}\" does not export {}: it is no runtime of nffi's ABI {}{other}", path.display(), name(abi::NFFI_INIT_SYMBOL), abi::NFFI_ABI)]
    NoSymbol { path: PathBuf, other: String },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn name(symbol: &'static [u8]) -> &'static str {
    CStr::from_bytes_with_nul(symbol).ok().and_then(|s| s.to_str().ok()).unwrap_or_default()
}

/// Where the dynamic linker looks for a name without a slash, in its order. Found out once: nginx's
/// workers have no LD_LIBRARY_PATH any more.
pub static SEARCH_PATH: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
    let arch = format!("{}-linux-gnu", env::consts::ARCH);
    let mut dirs: Vec<PathBuf> = env::var_os("LD_LIBRARY_PATH")
        .map(|paths| env::split_paths(&paths).filter(|p| !p.as_os_str().is_empty()).collect())
        .unwrap_or_default();
    for base in ["/usr/local/lib", "/usr/lib", "/lib"] {
        dirs.push(Path::new(base).join(&arch));
        dirs.push(PathBuf::from(base));
    }
    dirs
});

/// The file that `name` means: with a slash in it, relative to `prefix`; without, wherever the
/// dynamic linker would look.
pub fn find(name: &str, prefix: &Path) -> Result<PathBuf, LibraryError> {
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![prefix.join(name)]
    } else {
        SEARCH_PATH.iter().map(|dir| dir.join(name)).collect()
    };
    match candidates.iter().find(|path| path.exists()) {
        Some(path) => Ok(path.clone()),
        None => Err(LibraryError::NotFound {
            name: name.to_owned(),
            looked_in: if name.contains('/') { candidates } else { SEARCH_PATH.clone() },
        }),
    }
}

/// What a library exports, read from the file, without loading it.
#[derive(Debug, Clone, Copy)]
pub struct Exports {
    /// `nffi_runtime_check_v1`
    pub check: bool,
}

/// Reads from the ELF whether this is a runtime that can be loaded here.
pub fn inspect(path: &Path) -> Result<Exports, LibraryError> {
    let unreadable = |source| LibraryError::Unreadable { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut ident = [0u8; 20];
    let read = file.read(&mut ident).map_err(unreadable)?;
    let not_shared = |why: String| LibraryError::NotShared { path: path.to_owned(), why };
    if read < ident.len() || ident[..4] != *b"\x7fELF" {
        return Err(not_shared("no ELF header".to_owned()));
    }
    // Byte 4 is the class, bytes 18 and 19 the machine.
    if ident[4] != 2 {
        return Err(LibraryError::Architecture { path: path.to_owned(), found: "a 32-bit machine".to_owned() });
    }
    let cache = ReadCache::new(file);
    let elf = ElfFile::<object::elf::FileHeader64<object::Endianness>, _>::parse(&cache)
        .map_err(|e| not_shared(e.to_string()))?;
    let wanted = if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 };
    if elf.architecture() != wanted {
        let found = match elf.architecture() {
            Architecture::Unknown => format!("machine {}", u16::from_le_bytes([ident[18], ident[19]])),
            known => format!("{known:?}").to_lowercase(),
        };
        return Err(LibraryError::Architecture { path: path.to_owned(), found });
    }
    if elf.kind() != ObjectKind::Dynamic {
        return Err(not_shared("it is an ELF file of another type (a program or an object file)".to_owned()));
    }
    let mut exports = None;
    let mut check = false;
    let mut other = String::new();
    for symbol in elf.dynamic_symbols().filter(ObjectSymbol::is_definition) {
        let Ok(symbol) = symbol.name() else { continue };
        if symbol == name(abi::NFFI_INIT_SYMBOL) {
            exports = Some(());
        } else if symbol == name(abi::NFFI_CHECK_SYMBOL) {
            check = true;
        } else if symbol.starts_with("nffi_runtime_init_") {
            other = format!(" (it exports {symbol})");
        }
    }
    match exports {
        Some(()) => Ok(Exports { check }),
        None => Err(LibraryError::NoSymbol { path: path.to_owned(), other }),
    }
}

/// Loads a library, for good: threads of a runtime may run until the process ends, so its code
/// is never unmapped. Runs on: a thread of its own, or a forked child; constructors and language
/// runtimes may take their time.
pub fn load(path: &Path) -> Result<Library, String> {
    // SAFETY: loading runs the library's constructors: what whoever configured it asked for.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE) }
        .map_err(|e| format!("cannot load: {}", cause(&e)))
}

/// Why a library could not be loaded, without the names of libloading's own.
pub fn cause(error: &libloading::Error) -> String {
    use std::error::Error;
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Calls a function of the shape (…, err, err_cap) → int, and makes a Result of it.
fn with_message(function: &str, call: impl FnOnce(*mut c_char, usize) -> i32) -> Result<(), String> {
    let mut err = [0u8; ERR_CAP];
    let rc = call(err.as_mut_ptr().cast(), err.len());
    if rc == 0 {
        return Ok(());
    }
    let message = err.split(|&b| b == 0).next().unwrap_or_default();
    match String::from_utf8_lossy(message).trim() {
        "" => Err(format!("{function} returned {rc} and gave no reason")),
        message => Err(message.to_owned()),
    }
}

/// A configuration with the NUL after it that the ABI promises.
fn terminated(config: &[u8]) -> Vec<u8> {
    let mut bytes = config.to_vec();
    bytes.push(0);
    bytes
}

/// Calls `nffi_runtime_init_v1`. Runs on: the runtime's start thread; never twice at once for one
/// library.
pub fn init(library: &Library, host: &'static abi::nffi_host, queue: u64, config: &[u8]) -> Result<(), String> {
    // SAFETY: the symbol's type is the ABI's contract; its name carries the version.
    let init = unsafe { library.get::<abi::InitFn>(abi::NFFI_INIT_SYMBOL) }.map_err(|e| cause(&e))?;
    let cfg = terminated(config);
    with_message("init", |err, cap| {
        // SAFETY: the pointers are valid for the call, as the ABI asks; host is static.
        unsafe { init(host, queue, cfg.as_ptr().cast(), config.len(), err, cap) }
    })
}

/// Calls `nffi_runtime_check_v1`. Runs on: a forked child.
pub fn check(library: &Library, config: &[u8]) -> Result<(), String> {
    // SAFETY: as in init.
    let check = unsafe { library.get::<abi::CheckFn>(abi::NFFI_CHECK_SYMBOL) }.map_err(|e| cause(&e))?;
    let cfg = terminated(config);
    with_message("check", |err, cap| {
        // SAFETY: as in init.
        unsafe { check(cfg.as_ptr().cast(), config.len(), err, cap) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(path: &Path) -> String {
        inspect(path).expect_err("refused").to_string()
    }

    #[test]
    fn says_where_it_looked() {
        let message = find("libnffi-no-such.so", Path::new("/")).expect_err("missing").to_string();
        assert!(message.contains("\"libnffi-no-such.so\" not found; looked in"), "{message}");
        assert!(message.contains("/usr/lib"), "{message}");
        let message = find("sub/lib.so", Path::new("/pre/fix")).expect_err("missing").to_string();
        assert!(message.ends_with("looked in /pre/fix/sub/lib.so"), "{message}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads whole libraries: minutes")]
    fn tells_what_is_no_library() {
        let text = env::temp_dir().join(format!("nffi-{}.so", std::process::id()));
        std::fs::write(&text, "just a text, long enough to hold a header").expect("write");
        assert!(error(&text).contains("is not a shared library: no ELF header"));
        std::fs::write(&text, "short").expect("write");
        assert!(error(&text).contains("no ELF header"));

        let own = std::fs::read(env::current_exe().expect("self")).expect("read");
        let mut foreign = own.clone();
        foreign[18] = 40; // EM_ARM
        std::fs::write(&text, &foreign).expect("write");
        assert!(error(&text).contains("is built for arm"), "{}", error(&text));
        foreign[4] = 1;
        std::fs::write(&text, &foreign).expect("write");
        assert!(error(&text).contains("32-bit"), "{}", error(&text));
        std::fs::remove_file(&text).expect("remove");
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads whole libraries: minutes")]
    fn a_library_that_is_no_runtime() {
        let libc = find("libc.so.6", Path::new("/")).expect("libc");
        assert!(error(&libc).contains("does not export nffi_runtime_init_v1"), "{}", error(&libc));
    }
}
