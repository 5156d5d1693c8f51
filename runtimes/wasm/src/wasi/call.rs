//! One call of a function of WASI: the instance's memory, and what belongs to it.

use wasmtime::Caller;

use super::errno::{Errno, FAULT, Fail, ILSEQ};
use crate::guest::State;

pub struct Call<'a> {
    memory: &'a mut [u8],
    pub state: &'a mut State,
}

/// Does a function's work. What it returns is the error number, or the end of the function.
pub fn call(mut caller: Caller<'_, State>, work: impl FnOnce(&mut Call) -> Result<(), Fail>) -> wasmtime::Result<i32> {
    call_by(&mut caller, work)
}

/// The same, for who needs the caller afterwards.
pub fn call_by(
    caller: &mut Caller<'_, State>,
    work: impl FnOnce(&mut Call) -> Result<(), Fail>,
) -> wasmtime::Result<i32> {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        // In a start function, which runs before there is an instance.
        None => {
            let export = caller.get_export("memory").and_then(|export| export.into_memory());
            export.ok_or_else(|| wasmtime::Error::msg("the module does not export its memory"))?
        }
    };
    let (memory, state) = memory.data_and_store_mut(&mut *caller);
    match work(&mut Call { memory, state }) {
        Ok(()) => Ok(0),
        Err(Fail::Errno(Errno(number))) => Ok(i32::from(number)),
        Err(Fail::Trap(error)) => Err(error),
    }
}

/// The bytes at `at`.
fn slice(memory: &[u8], at: u32, len: u32) -> Result<&[u8], Errno> {
    let at = at as usize;
    memory.get(at..at + len as usize).ok_or(FAULT)
}

impl Call<'_> {
    pub fn bytes(&self, at: u32, len: u32) -> Result<&[u8], Errno> {
        slice(self.memory, at, len)
    }

    pub fn bytes_mut(&mut self, at: u32, len: u32) -> Result<&mut [u8], Errno> {
        let at = at as usize;
        self.memory.get_mut(at..at + len as usize).ok_or(FAULT)
    }

    /// The memory beside the state.
    pub fn both(&mut self, at: u32, len: u32) -> Result<(&mut [u8], &mut State), Errno> {
        let at = at as usize;
        Ok((self.memory.get_mut(at..at + len as usize).ok_or(FAULT)?, self.state))
    }

    pub fn path(&self, at: u32, len: u32) -> Result<String, Errno> {
        let path = std::str::from_utf8(self.bytes(at, len)?).map_err(|_| ILSEQ)?;
        if path.contains('\0') {
            return Err(ILSEQ);
        }
        Ok(path.to_owned())
    }

    pub fn u16_at(&self, at: u32) -> Result<u16, Errno> {
        let bytes = slice(self.memory, at, 2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    pub fn u32_at(&self, at: u32) -> Result<u32, Errno> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(slice(self.memory, at, 4)?);
        Ok(u32::from_le_bytes(bytes))
    }

    pub fn u64_at(&self, at: u32) -> Result<u64, Errno> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(slice(self.memory, at, 8)?);
        Ok(u64::from_le_bytes(bytes))
    }

    pub fn put(&mut self, at: u32, bytes: &[u8]) -> Result<(), Errno> {
        let len = u32::try_from(bytes.len()).map_err(|_| FAULT)?;
        self.bytes_mut(at, len)?.copy_from_slice(bytes);
        Ok(())
    }

    pub fn put_u32(&mut self, at: u32, value: u32) -> Result<(), Errno> {
        self.put(at, &value.to_le_bytes())
    }

    pub fn put_u64(&mut self, at: u32, value: u64) -> Result<(), Errno> {
        self.put(at, &value.to_le_bytes())
    }

    /// The buffers of a scatter or gather list: where each is, and how long.
    pub fn buffers(&self, list: u32, count: u32) -> Result<impl Iterator<Item = (u32, u32)> + use<>, Errno> {
        // As IOV_MAX: more are left to the next call.
        let count = count.min(1024);
        let bytes = slice(self.memory, list, count * 8)?.to_vec();
        Ok((0..count as usize).map(move |n| {
            let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            (word(n * 8), word(n * 8 + 4))
        }))
    }
}
