//! What descriptors are, and where they stand.

use rustix::fs::{
    FallocateFlags, FileType, OFlags, SeekFrom, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fallocate,
    fcntl_setfl, fdatasync, fstat, fsync, ftruncate, futimens, seek,
};
use wasmtime::{Caller, Linker};

use super::{
    MODULE,
    call::{Call, call},
    descriptors::Descriptor,
    errno::{BADF, Errno, Fail, INVAL, NOTSUP, ROFS, SPIPE},
};
use crate::guest::State;

type Guest<'a> = Caller<'a, State>;

const READ: u64 = 1 << 1 | 1 << 14;
const SEEK: u64 = 1 << 2 | 1 << 5;
const WRITE: u64 = 1 | 1 << 4 | 1 << 6 | 1 << 8;
const FILE: u64 = SEEK | 1 << 3 | 1 << 7 | 1 << 21 | 1 << 27;
const FILE_WRITE: u64 = WRITE | 1 << 22 | 1 << 23;
const FOLDER: u64 = 1 << 13 | 1 << 14 | 1 << 15 | 1 << 18 | 1 << 21 | 1 << 3;
const FOLDER_WRITE: u64 = 0x3ff_ffff & !FOLDER | 1 << 26 | 1 << 25;

pub fn add_to(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "fd_advise", |guest: Guest, fd: u32, _offset: u64, _len: u64, _advice: u32| {
        call(guest, |call| call.state.descriptors.file(fd).map(drop).map_err(Fail::from))
    })?;
    linker.func_wrap(MODULE, "fd_allocate", |guest: Guest, fd: u32, offset: u64, len: u64| {
        call(guest, |call| {
            let file = call.state.descriptors.file(fd)?;
            if !file.writable {
                return Err(BADF.into());
            }
            Ok(fallocate(&file.fd, FallocateFlags::empty(), offset, len)?)
        })
    })?;
    linker.func_wrap(MODULE, "fd_close", |guest: Guest, fd: u32| {
        call(guest, |call| Ok(call.state.descriptors.close(fd)?))
    })?;
    linker.func_wrap(MODULE, "fd_datasync", |guest: Guest, fd: u32| {
        call(guest, |call| Ok(fdatasync(&call.state.descriptors.file(fd)?.fd)?))
    })?;
    linker.func_wrap(MODULE, "fd_sync", |guest: Guest, fd: u32| {
        call(guest, |call| Ok(fsync(&call.state.descriptors.file(fd)?.fd)?))
    })?;
    linker.func_wrap(MODULE, "fd_fdstat_get", |guest: Guest, fd: u32, at: u32| {
        call(guest, |call| {
            let (kind, flags, base, inheriting) = status(call.state.descriptors.get(fd)?)?;
            let mut bytes = [0; 24];
            bytes[0] = kind;
            bytes[2..4].copy_from_slice(&flags.to_le_bytes());
            bytes[8..16].copy_from_slice(&base.to_le_bytes());
            bytes[16..24].copy_from_slice(&inheriting.to_le_bytes());
            Ok(call.put(at, &bytes)?)
        })
    })?;
    linker.func_wrap(MODULE, "fd_fdstat_set_flags", |guest: Guest, fd: u32, flags: u32| {
        call(guest, |call| match call.state.descriptors.get_mut(fd)? {
            Descriptor::File(file) => {
                // The rest has no meaning for files.
                let append = flags & 1 != 0;
                fcntl_setfl(&file.fd, if append { OFlags::APPEND } else { OFlags::empty() })?;
                file.append = append;
                Ok(())
            }
            Descriptor::Stdin | Descriptor::Stdout | Descriptor::Stderr => Ok(()),
            _ => Err(BADF.into()),
        })
    })?;
    linker.func_wrap(MODULE, "fd_fdstat_set_rights", |guest: Guest, fd: u32, _base: u64, _inheriting: u64| {
        call(guest, |call| {
            call.state.descriptors.get(fd)?;
            Err(NOTSUP.into())
        })
    })?;
    linker.func_wrap(MODULE, "fd_filestat_get", |guest: Guest, fd: u32, at: u32| {
        call(guest, |call| {
            let bytes = match call.state.descriptors.get(fd)? {
                Descriptor::Stdin | Descriptor::Stdout | Descriptor::Stderr => [0; 64],
                Descriptor::Granted(folder) => encode(&fstat(&folder.fd)?),
                Descriptor::Folder(folder) => encode(&fstat(&folder.fd)?),
                Descriptor::File(file) => encode(&fstat(&file.fd)?),
            };
            Ok(call.put(at, &bytes)?)
        })
    })?;
    linker.func_wrap(MODULE, "fd_filestat_set_size", |guest: Guest, fd: u32, size: u64| {
        call(guest, |call| {
            let file = call.state.descriptors.file(fd)?;
            if !file.writable {
                return Err(BADF.into());
            }
            Ok(ftruncate(&file.fd, size)?)
        })
    })?;
    linker.func_wrap(
        MODULE,
        "fd_filestat_set_times",
        |guest: Guest, fd: u32, access: u64, modified: u64, flags: u32| {
            call(guest, |call| {
                let times = times(access, modified, flags)?;
                match call.state.descriptors.get(fd)? {
                    Descriptor::File(file) if file.writable => Ok(futimens(&file.fd, &times)?),
                    Descriptor::Folder(folder) if !folder.read_only => Ok(futimens(&folder.fd, &times)?),
                    Descriptor::Granted(folder) if !folder.read_only => Ok(futimens(&folder.fd, &times)?),
                    Descriptor::File(_) => Err(BADF.into()),
                    _ => Err(ROFS.into()),
                }
            })
        },
    )?;
    linker.func_wrap(MODULE, "fd_renumber", |guest: Guest, from: u32, to: u32| {
        call(guest, |call| Ok(call.state.descriptors.renumber(from, to)?))
    })?;
    linker.func_wrap(MODULE, "fd_seek", |guest: Guest, fd: u32, offset: u64, whence: u32, at: u32| {
        call(guest, |call| {
            let to = match whence {
                0 => SeekFrom::Start(offset),
                1 => SeekFrom::Current(offset.cast_signed()),
                2 => SeekFrom::End(offset.cast_signed()),
                _ => return Err(INVAL.into()),
            };
            place(call, fd, to, at)
        })
    })?;
    linker.func_wrap(MODULE, "fd_tell", |guest: Guest, fd: u32, at: u32| {
        call(guest, |call| place(call, fd, SeekFrom::Current(0), at))
    })?;
    Ok(())
}

fn place(call: &mut Call, fd: u32, to: SeekFrom, at: u32) -> Result<(), Fail> {
    let place = match call.state.descriptors.get(fd)? {
        Descriptor::File(file) => seek(&file.fd, to)?,
        Descriptor::Stdin | Descriptor::Stdout | Descriptor::Stderr => return Err(SPIPE.into()),
        _ => return Err(BADF.into()),
    };
    Ok(call.put_u64(at, place)?)
}

/// File type, flags, rights, inheriting rights.
fn status(descriptor: &Descriptor) -> Result<(u8, u16, u64, u64), Errno> {
    // The streams are of no type: a character device would be taken for a terminal, and written to line by line.
    let folder = |read_only: bool| {
        if read_only {
            (3, 0, FOLDER, FOLDER | FILE | READ)
        } else {
            (3, 0, FOLDER | FOLDER_WRITE, FOLDER | FOLDER_WRITE | FILE | READ | FILE_WRITE)
        }
    };
    Ok(match descriptor {
        Descriptor::Stdin => (0, 0, READ | 1 << 27, 0),
        Descriptor::Stdout | Descriptor::Stderr => (0, 1, 1 << 6 | 1 << 27, 0),
        Descriptor::Granted(granted) => folder(granted.read_only),
        Descriptor::Folder(opened) => folder(opened.read_only),
        Descriptor::File(file) => {
            let read = if file.readable { READ } else { 0 };
            let write = if file.writable { FILE_WRITE } else { 0 };
            (4, u16::from(file.append), FILE | read | write, 0)
        }
    })
}

pub fn file_type(kind: FileType) -> u8 {
    match kind {
        FileType::BlockDevice => 1,
        FileType::CharacterDevice => 2,
        FileType::Directory => 3,
        FileType::RegularFile => 4,
        FileType::Socket => 6,
        FileType::Symlink => 7,
        _ => 0,
    }
}

// The fields are narrower on other machines.
#[allow(clippy::unnecessary_cast)]
pub fn encode(stat: &Stat) -> [u8; 64] {
    let ns = |seconds: i64, ns: u64| seconds.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(ns);
    let mut bytes = [0; 64];
    let mut put = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(0, stat.st_dev);
    put(8, stat.st_ino);
    put(24, stat.st_nlink as u64);
    put(32, stat.st_size.cast_unsigned());
    put(40, ns(stat.st_atime, stat.st_atime_nsec as u64));
    put(48, ns(stat.st_mtime, stat.st_mtime_nsec as u64));
    put(56, ns(stat.st_ctime, stat.st_ctime_nsec as u64));
    bytes[16] = file_type(FileType::from_raw_mode(stat.st_mode));
    bytes
}

pub fn times(access: u64, modified: u64, flags: u32) -> Result<Timestamps, Errno> {
    let one = |time: u64, set: u32, now: u32| match (flags & set != 0, flags & now != 0) {
        (true, true) => Err(INVAL),
        (true, false) => {
            Ok(Timespec { tv_sec: (time / 1_000_000_000).cast_signed(), tv_nsec: (time % 1_000_000_000).cast_signed() })
        }
        (false, true) => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_NOW }),
        (false, false) => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }),
    };
    Ok(Timestamps { last_access: one(access, 1, 2)?, last_modification: one(modified, 4, 8)? })
}
