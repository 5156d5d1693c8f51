//! What a module may call: WASI preview 1. No socket, no process; files only below the folders that the
//! configuration names.
//!
//! Written here, and not taken from wasmtime-wasi: requests are answered in microseconds, and these
//! functions do what they do in the memory of the instance, without a runtime of their own.

mod basics;
mod call;
pub mod descriptors;
mod errno;
mod files;
mod folders;
mod paths;
mod poll;
pub mod stderr;
mod stdio;

use std::sync::Arc;

use wasmtime::Linker;

use crate::{
    guest::State,
    options::{Dir, Options},
};
use descriptors::Folder;

pub use basics::{fill_random, ns};

pub const MODULE: &str = "wasi_snapshot_preview1";

/// All functions of preview 1.
pub const NAMES: [&str; 46] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

/// What all instances of a runtime see.
pub struct Surroundings {
    /// Each with its zero byte.
    args: Vec<Vec<u8>>,
    env: Vec<Vec<u8>>,
    folders: Vec<Arc<Folder>>,
}

impl Surroundings {
    pub fn new(options: &Options) -> Result<Self, String> {
        let zero = |text: String| (text + "\0").into_bytes();
        let name = options.module.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(Self {
            args: std::iter::once(name).chain(options.args.iter().cloned()).map(zero).collect(),
            env: options.env.iter().map(|(name, value)| zero(format!("{name}={value}"))).collect(),
            folders: open_dirs(&options.dirs)?,
        })
    }

    pub fn folders(&self) -> &[Arc<Folder>] {
        &self.folders
    }
}

/// Opens the folders of the configuration.
pub fn open_dirs(dirs: &[Dir]) -> Result<Vec<Arc<Folder>>, String> {
    dirs.iter().map(|dir| paths::granted(dir).map(Arc::new)).collect()
}

pub fn add_to(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    basics::add_to(linker)?;
    stdio::add_to(linker)?;
    files::add_to(linker)?;
    folders::add_to(linker)?;
    poll::add_to(linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_there() {
        let engine = wasmtime::Engine::default();
        let mut linker = Linker::new(&engine);
        add_to(&mut linker).unwrap();
        let mut imports = String::new();
        for name in NAMES {
            assert!(linker.get_by_import_name(name), "{name}");
            imports += name;
        }
        assert!(!imports.is_empty());
    }

    trait Has {
        fn get_by_import_name(&self, name: &str) -> bool;
    }

    impl Has for Linker<State> {
        fn get_by_import_name(&self, name: &str) -> bool {
            // A second definition of the same name is refused.
            let mut copy = self.clone();
            copy.func_wrap(MODULE, name, || {}).is_err()
        }
    }
}
