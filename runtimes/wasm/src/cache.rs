//! Compiled modules on disk. What is found there runs as machine code of this process: so only files
//! are taken that root or this user has written, in a folder where nobody else may.

use std::{
    fs::{self, DirBuilder, File, Metadata},
    hash::{Hash, Hasher},
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};
use wasmtime::Engine;

use crate::{compiled::Compiled, options::CacheOption};

/// How often this process has stored.
static STORED: AtomicU64 = AtomicU64::new(0);
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Debug, Clone)]
pub struct Cache {
    /// Where to look, in this order.
    look: Vec<PathBuf>,
    /// Where to write.
    write: Option<PathBuf>,
}

/// A module's name in the cache: of its bytes, and of all that decides what they are compiled to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// `salt`: what else decides it.
    pub fn of(engine: &Engine, wasm: &[u8], salt: &[u8]) -> Self {
        struct Sum(Sha256);
        impl Hasher for Sum {
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
            fn finish(&self) -> u64 {
                0
            }
        }
        let mut sum = Sum(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut sum);
        sum.0.update(Sha256::digest(wasm));
        sum.0.update(salt);
        let hex: String = sum.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Self(hex + ".cwasm")
    }
}

impl Cache {
    pub fn new(option: &CacheOption) -> Self {
        let user = rustix::process::geteuid();
        match option {
            CacheOption::Off => Self { look: Vec::new(), write: None },
            CacheOption::Folder(folder) => Self { look: vec![folder.clone()], write: Some(folder.clone()) },
            CacheOption::Default => {
                let system = PathBuf::from("/var/cache/nffi/wasm");
                let own = PathBuf::from(format!("/var/tmp/nffi-wasm-{}", user.as_raw()));
                if user.is_root() {
                    Self { look: vec![system.clone()], write: Some(system) }
                } else {
                    Self { look: vec![system, own.clone()], write: Some(own) }
                }
            }
        }
    }

    /// The compiled module, if it is there and may be trusted. The error says why one that is there was not taken.
    pub fn load<T: Compiled>(&self, engine: &Engine, key: &Key) -> Result<Option<T>, String> {
        for folder in &self.look {
            let path = folder.join(&key.0);
            let Ok(file) = File::open(&path) else { continue };
            trusted(folder, &fs::symlink_metadata(folder).map_err(|error| told(folder, &error))?)?;
            trusted(&path, &file.metadata().map_err(|error| told(&path, &error))?)?;
            // By whoever may. It says that the file is in use.
            let _ = file.set_modified(SystemTime::now());
            // SAFETY: written by `store`, by nobody whom this process would not obey anyway; never changed
            // afterwards, only replaced.
            let compiled = unsafe { T::deserialize(engine, file) };
            return compiled.map(Some).map_err(|error| format!("{}: {error}", path.display()));
        }
        Ok(None)
    }

    pub fn store(&self, key: &Key, compiled: &impl Compiled) -> Result<(), String> {
        let Some(folder) = &self.write else { return Ok(()) };
        if !folder.exists() {
            DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(|error| told(folder, &error))?;
            // Whatever the umask: workers of another user read it.
            let readable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(folder, readable).map_err(|error| told(folder, &error))?;
        }
        trusted(folder, &fs::symlink_metadata(folder).map_err(|error| told(folder, &error))?)?;
        sweep(folder);
        let code = compiled.serialize().map_err(|error| error.to_string())?;
        let path = folder.join(&key.0);
        // Two threads may store the same.
        let count = STORED.fetch_add(1, Relaxed);
        let new = folder.join(format!("{}.{}.{count}", key.0, std::process::id()));
        let written = write_new(&new, &code).and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written.map_err(|error| told(&path, &error))
    }
}

fn write_new(path: &Path, code: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.write_all(code)
}

fn trusted(path: &Path, meta: &Metadata) -> Result<(), String> {
    let user = rustix::process::geteuid().as_raw();
    if meta.file_type().is_symlink() {
        return Err(format!("{}: is a symbolic link", path.display()));
    }
    if meta.uid() != 0 && meta.uid() != user {
        return Err(format!("{}: belongs to user {}, not to root or user {user}", path.display(), meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(format!("{}: others may write to it (mode {:o})", path.display(), meta.mode() & 0o7777));
    }
    Ok(())
}

/// Takes out what nobody has used for a month, and what was left half written.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.to_string_lossy().contains(".cwasm");
        let age = entry.metadata().ok().and_then(|meta| meta.modified().ok()?.elapsed().ok());
        if ours && age.is_some_and(|age| age > UNUSED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
