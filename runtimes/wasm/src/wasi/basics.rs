//! Arguments, environment, clocks, chance, and the end.

use rustix::time::{ClockId, clock_getres, clock_gettime};
use wasmtime::{Caller, Linker};

use super::{
    MODULE,
    call::{Call, call},
    errno::{Fail, INVAL, IO, NOTSUP, OVERFLOW},
};
use crate::{failure::Stop, guest::State};

type Guest<'a> = Caller<'a, State>;

pub fn add_to(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "args_sizes_get", |guest: Guest, count: u32, size: u32| {
        call(guest, |call| {
            let (number, bytes) = sizes(&call.state.surroundings.args)?;
            call.put_u32(count, number)?;
            Ok(call.put_u32(size, bytes)?)
        })
    })?;
    linker.func_wrap(MODULE, "args_get", |guest: Guest, pointers: u32, room: u32| {
        call(guest, |call| {
            let surroundings = call.state.surroundings.clone();
            strings(call, &surroundings.args, pointers, room)
        })
    })?;
    linker.func_wrap(MODULE, "environ_sizes_get", |guest: Guest, count: u32, size: u32| {
        call(guest, |call| {
            let (number, bytes) = sizes(&call.state.surroundings.env)?;
            call.put_u32(count, number)?;
            Ok(call.put_u32(size, bytes)?)
        })
    })?;
    linker.func_wrap(MODULE, "environ_get", |guest: Guest, pointers: u32, room: u32| {
        call(guest, |call| {
            let surroundings = call.state.surroundings.clone();
            strings(call, &surroundings.env, pointers, room)
        })
    })?;
    linker.func_wrap(MODULE, "clock_time_get", |guest: Guest, clock: u32, _precision: u64, at: u32| {
        call(guest, |call| Ok(call.put_u64(at, ns(clock_gettime(clock_id(clock)?)))?))
    })?;
    linker.func_wrap(MODULE, "clock_res_get", |guest: Guest, clock: u32, at: u32| {
        call(guest, |call| Ok(call.put_u64(at, ns(clock_getres(clock_id(clock)?)))?))
    })?;
    linker.func_wrap(MODULE, "random_get", |guest: Guest, at: u32, len: u32| {
        call(guest, |call| {
            let (bytes, state) = call.both(at, len)?;
            for piece in bytes.chunks_mut(64 << 10) {
                state.judge().map_err(wasmtime::Error::from)?;
                fill_random(piece).map_err(|_| IO)?;
            }
            Ok(())
        })
    })?;
    linker.func_wrap(MODULE, "proc_exit", |_: Guest, code: u32| -> wasmtime::Result<()> {
        Err(Stop::Exit(code.cast_signed()).into())
    })?;
    linker.func_wrap(MODULE, "proc_raise", |guest: Guest, _signal: u32| call(guest, |_| Err(NOTSUP.into())))?;
    Ok(())
}

/// By the kernel: what a function takes for a secret is one.
pub fn fill_random(mut room: &mut [u8]) -> std::io::Result<()> {
    while !room.is_empty() {
        // SAFETY: so many bytes of our own.
        let got = unsafe { libc::getrandom(room.as_mut_ptr().cast(), room.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => room = &mut room[got..],
            Err(_) => {
                let error = std::io::Error::last_os_error();
                if error.kind() != std::io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// The clocks that a function may read: of this process it learns nothing.
pub fn clock_id(clock: u32) -> Result<ClockId, Fail> {
    match clock {
        0 => Ok(ClockId::Realtime),
        1 => Ok(ClockId::Monotonic),
        2 | 3 => Err(NOTSUP.into()),
        _ => Err(INVAL.into()),
    }
}

pub fn ns(time: rustix::time::Timespec) -> u64 {
    time.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.cast_unsigned())
}

fn sizes(strings: &[Vec<u8>]) -> Result<(u32, u32), Fail> {
    let bytes: usize = strings.iter().map(Vec::len).sum();
    match (u32::try_from(strings.len()), u32::try_from(bytes)) {
        (Ok(count), Ok(bytes)) => Ok((count, bytes)),
        _ => Err(OVERFLOW.into()),
    }
}

fn strings(call: &mut Call, strings: &[Vec<u8>], mut pointers: u32, mut room: u32) -> Result<(), Fail> {
    sizes(strings)?;
    for text in strings {
        call.put_u32(pointers, room)?;
        call.put(room, text)?;
        pointers = pointers.wrapping_add(4);
        room = room.wrapping_add(text.len() as u32);
    }
    Ok(())
}
