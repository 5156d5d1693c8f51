//! What is done by path, and the lists of folders.

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, fstat, linkat, mkdirat, readlinkat, renameat, statat, symlinkat,
        unlinkat, utimensat,
    },
    io::Errno as Os,
};
use wasmtime::{Caller, Linker};

use super::{
    MODULE,
    call::{Call, call},
    descriptors::{Descriptor, Folder, OpenFile},
    errno::{ACCES, BADF, Errno, Fail, INVAL, NAMETOOLONG, NOTCAPABLE, NOTDIR, NOTSOCK, NOTSUP, OVERFLOW, ROFS},
    files::{encode, file_type, times},
    paths::{open, parent},
};
use crate::guest::State;

type Guest<'a> = Caller<'a, State>;

const WRITES: u64 = 1 << 6 | 1 << 8 | 1 << 22;

pub fn add_to(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    add_granted(linker)?;
    add_paths(linker)?;
    linker.func_wrap(
        MODULE,
        "path_open",
        |guest: Guest,
         fd: u32,
         look: u32,
         at: u32,
         len: u32,
         how: u32,
         rights: u64,
         _: u64,
         flags: u32,
         opened: u32| {
            call(guest, |call| {
                let path = call.path(at, len)?;
                let new = open_one(call.state.descriptors.folder(fd)?, &path, look & 1 != 0, how, rights, flags)?;
                let number = call.state.descriptors.add(new)?;
                Ok(call.put_u32(opened, number)?)
            })
        },
    )?;
    linker.func_wrap(MODULE, "fd_readdir", |guest: Guest, fd: u32, at: u32, len: u32, cookie: u64, used: u32| {
        call(guest, |call| list(call, fd, at, len, cookie, used))
    })?;
    linker.func_wrap(MODULE, "sock_shutdown", |guest: Guest, _: u32, _: u32| call(guest, |_| Err(NOTSOCK.into())))?;
    linker.func_wrap(MODULE, "sock_accept", |guest: Guest, _: u32, _: u32, _: u32| {
        call(guest, |_| Err(NOTSOCK.into()))
    })?;
    linker.func_wrap(MODULE, "sock_recv", |guest: Guest, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32| {
        call(guest, |_| Err(NOTSOCK.into()))
    })?;
    linker.func_wrap(MODULE, "sock_send", |guest: Guest, _: u32, _: u32, _: u32, _: u32, _: u32| {
        call(guest, |_| Err(NOTSOCK.into()))
    })?;
    Ok(())
}

/// How a function finds the folders of the configuration.
fn add_granted(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "fd_prestat_get", |guest: Guest, fd: u32, at: u32| {
        call(guest, |call| {
            let Descriptor::Granted(folder) = call.state.descriptors.get(fd)? else { return Err(BADF.into()) };
            let len = folder.name.len() as u32;
            call.put_u32(at, 0)?;
            Ok(call.put_u32(at.wrapping_add(4), len)?)
        })
    })?;
    linker.func_wrap(MODULE, "fd_prestat_dir_name", |guest: Guest, fd: u32, at: u32, len: u32| {
        call(guest, |call| {
            let (room, state) = call.both(at, len)?;
            let Descriptor::Granted(folder) = state.descriptors.get(fd)? else { return Err(BADF.into()) };
            let name = folder.name.as_bytes();
            room.get_mut(..name.len()).ok_or(NAMETOOLONG)?.copy_from_slice(name);
            Ok(())
        })
    })?;
    Ok(())
}

fn add_paths(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "path_create_directory", |guest: Guest, fd: u32, at: u32, len: u32| {
        call(guest, |call| {
            let path = call.path(at, len)?;
            let (folder, name) = parent(writable(call, fd)?, &path)?;
            Ok(mkdirat(folder, name, Mode::from_raw_mode(0o777))?)
        })
    })?;
    linker.func_wrap(
        MODULE,
        "path_filestat_get",
        |guest: Guest, fd: u32, look: u32, at: u32, len: u32, stat: u32| {
            call(guest, |call| {
                let path = call.path(at, len)?;
                let folder = call.state.descriptors.folder(fd)?;
                let bytes = if look & 1 != 0 || matches!(path.rsplit('/').next(), Some("." | ".." | "")) {
                    encode(&fstat(open(folder, &path, OFlags::PATH, Mode::empty(), true)?)?)
                } else {
                    let (folder, name) = parent(folder, &path)?;
                    encode(&statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?)
                };
                Ok(call.put(stat, &bytes)?)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_filestat_set_times",
        |guest: Guest, fd: u32, look: u32, at: u32, len: u32, access: u64, modified: u64, flags: u32| {
            call(guest, |call| {
                let path = call.path(at, len)?;
                let times = times(access, modified, flags)?;
                if look & 1 != 0 {
                    // Of a file that a link leads to: it is opened, so that it is one below the folder.
                    let file =
                        open(writable(call, fd)?, &path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty(), true)?;
                    return Ok(rustix::fs::futimens(file, &times)?);
                }
                let (folder, name) = parent(writable(call, fd)?, &path)?;
                Ok(utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_link",
        |guest: Guest, old: u32, look: u32, at: u32, len: u32, new: u32, new_at: u32, new_len: u32| {
            call(guest, |call| {
                if look & 1 != 0 {
                    return Err(NOTSUP.into());
                }
                let (path, new_path) = (call.path(at, len)?, call.path(new_at, new_len)?);
                let (from, name) = parent(writable(call, old)?, &path)?;
                let (to, new_name) = parent(writable(call, new)?, &new_path)?;
                Ok(linkat(from, name, to, new_name, AtFlags::empty())?)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "path_readlink",
        |guest: Guest, fd: u32, at: u32, len: u32, room: u32, room_len: u32, used: u32| {
            call(guest, |call| {
                let path = call.path(at, len)?;
                let (folder, name) = parent(call.state.descriptors.folder(fd)?, &path)?;
                let target = readlinkat(folder, name, Vec::new())?.into_bytes();
                let n = target.len().min(room_len as usize);
                call.put(room, &target[..n])?;
                Ok(call.put_u32(used, n as u32)?)
            })
        },
    )?;
    linker.func_wrap(MODULE, "path_remove_directory", |guest: Guest, fd: u32, at: u32, len: u32| {
        call(guest, |call| {
            let path = call.path(at, len)?;
            let (folder, name) = parent(writable(call, fd)?, &path)?;
            Ok(unlinkat(folder, name, AtFlags::REMOVEDIR)?)
        })
    })?;
    linker.func_wrap(
        MODULE,
        "path_rename",
        |guest: Guest, old: u32, at: u32, len: u32, new: u32, new_at: u32, new_len: u32| {
            call(guest, |call| {
                let (path, new_path) = (call.path(at, len)?, call.path(new_at, new_len)?);
                let (from, name) = parent(writable(call, old)?, &path)?;
                let (to, new_name) = parent(writable(call, new)?, &new_path)?;
                Ok(renameat(from, name, to, new_name)?)
            })
        },
    )?;
    linker.func_wrap(MODULE, "path_symlink", |guest: Guest, to: u32, to_len: u32, fd: u32, at: u32, len: u32| {
        call(guest, |call| {
            let (target, path) = (call.path(to, to_len)?, call.path(at, len)?);
            // This one's own way is the kernel's to guard; others who read the folder follow links.
            if target.starts_with('/') || target.split('/').any(|part| part == "..") {
                return Err(NOTCAPABLE.into());
            }
            let (folder, name) = parent(writable(call, fd)?, &path)?;
            Ok(symlinkat(target, folder, name)?)
        })
    })?;
    linker.func_wrap(MODULE, "path_unlink_file", |guest: Guest, fd: u32, at: u32, len: u32| {
        call(guest, |call| {
            let path = call.path(at, len)?;
            let folder = writable(call, fd)?;
            if path.ends_with('/') {
                return Err(NOTDIR.into());
            }
            let (folder, name) = parent(folder, &path)?;
            match unlinkat(folder, name, AtFlags::empty()) {
                Err(Os::ISDIR) => Err(super::errno::ISDIR.into()),
                result => Ok(result?),
            }
        })
    })?;
    Ok(())
}

fn writable<'a>(call: &'a Call, fd: u32) -> Result<&'a Folder, Errno> {
    let folder = call.state.descriptors.folder(fd)?;
    if folder.read_only { Err(ROFS) } else { Ok(folder) }
}

fn open_one(folder: &Folder, path: &str, follow: bool, how: u32, rights: u64, flags: u32) -> Result<Descriptor, Fail> {
    let (create, directory, exclusive, truncate) = (how & 1 != 0, how & 2 != 0, how & 4 != 0, how & 8 != 0);
    let append = flags & 1 != 0;
    let write = rights & WRITES != 0 || append || truncate;
    let read = rights & (1 << 1 | 1 << 14) != 0 || !write;
    if directory && (create || truncate) {
        return Err(INVAL.into());
    }
    if folder.read_only && (create || truncate || append) {
        return Err(ROFS.into());
    }
    // Older wasi-libc asks for every right; a folder that may be read only then gives what it has.
    let write = write && !directory && !folder.read_only;
    let mut with = match (read || !write, write) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        _ => OFlags::RDONLY,
    };
    // A pipe or a device must not hold up the thread; neither is kept.
    with |= OFlags::NONBLOCK | OFlags::NOCTTY;
    for (is, flag) in [
        (create, OFlags::CREATE),
        (directory, OFlags::DIRECTORY),
        (exclusive, OFlags::EXCL),
        (truncate, OFlags::TRUNC),
        (append, OFlags::APPEND),
        (flags & 2 != 0, OFlags::DSYNC),
        (flags & 0x18 != 0, OFlags::SYNC),
    ] {
        if is {
            with |= flag;
        }
    }
    let mode = if create { Mode::from_raw_mode(0o666) } else { Mode::empty() };
    let fd = match open(folder, path, with, mode, follow) {
        // Asked for with all rights, as wasi-libc's opendir() once did.
        Err(super::errno::ISDIR) if write && !create && !truncate => {
            open(folder, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty(), follow)?
        }
        result => result?,
    };
    match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
        FileType::RegularFile => {
            Ok(Descriptor::File(OpenFile { fd, readable: read || !write, writable: write, append }))
        }
        FileType::Directory => Ok(Descriptor::Folder(Folder { fd, name: String::new(), read_only: folder.read_only })),
        _ => Err(ACCES.into()),
    }
}

/// A cookie is a place in the list as the kernel gives it; what changes meanwhile may be missed or come twice.
fn list(call: &mut Call, fd: u32, at: u32, len: u32, cookie: u64, used: u32) -> Result<(), Fail> {
    let mut filled = Vec::new();
    let mut dir = Dir::read_from(&call.state.descriptors.folder(fd)?.fd)?;
    let mut place = 0u64;
    while let Some(entry) = dir.read() {
        let entry = entry?;
        place += 1;
        if place <= cookie {
            continue;
        }
        let name = entry.file_name().to_bytes();
        let name_len = u32::try_from(name.len()).map_err(|_| OVERFLOW)?;
        filled.extend_from_slice(&place.to_le_bytes());
        filled.extend_from_slice(&entry.ino().to_le_bytes());
        filled.extend_from_slice(&name_len.to_le_bytes());
        filled.extend_from_slice(&u32::from(file_type(entry.file_type())).to_le_bytes());
        filled.extend_from_slice(name);
        // A last entry that does not fit is cut: so the function knows that there is more.
        if filled.len() >= len as usize {
            filled.truncate(len as usize);
            break;
        }
    }
    call.put(at, &filled)?;
    Ok(call.put_u32(used, filled.len() as u32)?)
}
