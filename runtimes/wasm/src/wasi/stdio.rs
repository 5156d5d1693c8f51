//! Reading and writing: of the three streams, and of files.

use rustix::io::{pread, pwrite, read, write};
use wasmtime::{Caller, Linker};

use super::{
    MODULE,
    call::{Call, call},
    descriptors::Descriptor,
    errno::{BADF, Fail, INVAL, ISDIR, SPIPE},
};
use crate::{failure::Stop, guest::State};

type Guest<'a> = Caller<'a, State>;

pub fn add_to(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "fd_read", |guest: Guest, fd: u32, list: u32, count: u32, done: u32| {
        call(guest, |call| {
            let mut total = 0u32;
            for (at, len) in call.buffers(list, count)? {
                let got = read_one(call, fd, at, len)?;
                total += got;
                if got < len {
                    break;
                }
            }
            Ok(call.put_u32(done, total)?)
        })
    })?;
    linker.func_wrap(MODULE, "fd_write", |guest: Guest, fd: u32, list: u32, count: u32, done: u32| {
        call(guest, |call| {
            let mut total = 0u32;
            for (at, len) in call.buffers(list, count)? {
                let put = write_one(call, fd, at, len)?;
                total = total.checked_add(put).ok_or(INVAL)?;
                if put < len {
                    break;
                }
            }
            Ok(call.put_u32(done, total)?)
        })
    })?;
    linker.func_wrap(
        MODULE,
        "fd_pread",
        |guest: Guest, fd: u32, list: u32, count: u32, mut offset: u64, done: u32| {
            call(guest, |call| {
                let mut total = 0u32;
                for (at, len) in call.buffers(list, count)? {
                    let (bytes, state) = call.both(at, len)?;
                    let got = match state.descriptors.get(fd)? {
                        Descriptor::File(file) if file.readable => pread(&file.fd, bytes, offset)?,
                        other => return Err(unseekable(other)),
                    };
                    offset += got as u64;
                    total += got as u32;
                    if got < len as usize {
                        break;
                    }
                }
                Ok(call.put_u32(done, total)?)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "fd_pwrite",
        |guest: Guest, fd: u32, list: u32, count: u32, mut offset: u64, done: u32| {
            call(guest, |call| {
                let mut total = 0u32;
                for (at, len) in call.buffers(list, count)? {
                    let (bytes, state) = call.both(at, len)?;
                    let put = match state.descriptors.get(fd)? {
                        Descriptor::File(file) if file.writable => pwrite(&file.fd, bytes, offset)?,
                        other => return Err(unseekable(other)),
                    };
                    offset += put as u64;
                    total = total.checked_add(put as u32).ok_or(INVAL)?;
                    if put < len as usize {
                        break;
                    }
                }
                Ok(call.put_u32(done, total)?)
            })
        },
    )?;
    Ok(())
}

fn unseekable(descriptor: &Descriptor) -> Fail {
    match descriptor {
        Descriptor::Stdin | Descriptor::Stdout | Descriptor::Stderr => SPIPE.into(),
        Descriptor::Granted(_) | Descriptor::Folder(_) => ISDIR.into(),
        Descriptor::File(_) => BADF.into(),
    }
}

fn read_one(call: &mut Call, fd: u32, at: u32, len: u32) -> Result<u32, Fail> {
    let (bytes, state) = call.both(at, len)?;
    match state.descriptors.get(fd)? {
        Descriptor::Stdin => {
            let input = state.stdin.bytes().get(state.read..).unwrap_or_default();
            let n = input.len().min(bytes.len());
            bytes[..n].copy_from_slice(&input[..n]);
            state.read += n;
            Ok(n as u32)
        }
        Descriptor::File(file) if file.readable => Ok(read(&file.fd, bytes)? as u32),
        Descriptor::Granted(_) | Descriptor::Folder(_) => Err(ISDIR.into()),
        _ => Err(BADF.into()),
    }
}

fn write_one(call: &mut Call, fd: u32, at: u32, len: u32) -> Result<u32, Fail> {
    let (bytes, state) = call.both(at, len)?;
    match state.descriptors.get(fd)? {
        Descriptor::Stdout => {
            if bytes.len() > state.limits.output - state.stdout.len() {
                return Err(Fail::Trap(Stop::Output.into()));
            }
            state.stdout.extend_from_slice(bytes);
            Ok(len)
        }
        Descriptor::Stderr => {
            state.stderr.write(state.host, state.task, bytes);
            Ok(len)
        }
        Descriptor::File(file) if file.writable => Ok(write(&file.fd, bytes)? as u32),
        Descriptor::Granted(_) | Descriptor::Folder(_) => Err(ISDIR.into()),
        _ => Err(BADF.into()),
    }
}
