//! Memory that crosses the ABI: `malloc`ed by one side, `free`d by the other.

use std::{ffi::c_char, fmt, ptr, slice};

/// An owned block from libc's `malloc`, or nothing. Freed on drop.
pub struct Buf {
    data: *mut c_char,
    len: usize,
}

// SAFETY: a Buf is the only owner of its block, and malloc's blocks may be freed on any thread.
unsafe impl Send for Buf {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buf {}

impl Buf {
    /// No block at all: what a NULL answer is.
    pub const fn none() -> Self {
        Self { data: ptr::null_mut(), len: 0 }
    }

    /// A copy of `bytes`, with one NUL after them that `len` does not count (the seed's libraries
    /// read requests as C strings). `None` where no memory is left.
    pub fn copy_of(bytes: &[u8]) -> Option<Self> {
        Self::gather(bytes.len(), [bytes].into_iter())
    }

    /// All of `pieces` in one block.
    pub fn concat(pieces: &[Buf]) -> Option<Self> {
        Self::gather(pieces.iter().map(Buf::len).sum(), pieces.iter().map(Buf::as_slice))
    }

    /// A copy of all `parts` in one block.
    pub fn copy_of_all(parts: &[&[u8]]) -> Option<Self> {
        Self::gather(parts.iter().map(|part| part.len()).sum(), parts.iter().copied())
    }

    /// A block of `len` bytes whose contents are to be written before they are looked at.
    pub(crate) fn uninit(len: usize) -> Option<Self> {
        // SAFETY: malloc has no preconditions.
        let data = unsafe { libc::malloc(len.max(1)) }.cast::<c_char>();
        (!data.is_null()).then_some(Self { data, len })
    }

    /// `len` is the sum of the lengths of `pieces`.
    fn gather<'a>(len: usize, pieces: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        // SAFETY: malloc has no preconditions; the size is at least 1.
        let data = unsafe { libc::malloc(len.checked_add(1)?) }.cast::<c_char>();
        if data.is_null() {
            return None;
        }
        let mut at = 0;
        for piece in pieces {
            assert!(piece.len() <= len - at, "pieces longer than announced");
            // SAFETY: the block has len + 1 bytes and the assertion keeps at + piece.len() <= len.
            unsafe { ptr::copy_nonoverlapping(piece.as_ptr(), data.add(at).cast(), piece.len()) };
            at += piece.len();
        }
        // SAFETY: at <= len, so the byte is inside the block; all before it are initialised.
        unsafe { data.add(at).write(0) };
        Some(Self { data, len: at })
    }

    /// Takes over a block that a runtime handed in.
    ///
    /// # Safety
    /// `data` is NULL, or from `malloc` with at least `len` bytes, and the caller gives it up.
    pub unsafe fn from_raw(data: *mut c_char, len: usize) -> Self {
        Self { data, len: if data.is_null() { 0 } else { len } }
    }

    /// Gives the block up; the caller frees it.
    pub fn into_raw(self) -> (*mut c_char, usize) {
        let raw = (self.data, self.len);
        std::mem::forget(self);
        raw
    }

    pub fn is_none(&self) -> bool {
        self.data.is_null()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn as_ptr(&self) -> *const c_char {
        self.data
    }

    pub fn as_slice(&self) -> &[u8] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: the block is ours and has len bytes (from_raw's contract, or our own malloc).
        unsafe { slice::from_raw_parts(self.data.cast(), self.len) }
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        // SAFETY: the block came from malloc and this was its only owner; free takes NULL too.
        unsafe { libc::free(self.data.cast()) };
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_binary_and_keeps_a_nul_behind() {
        let buf = Buf::copy_of(b"a\0b").expect("memory");
        assert_eq!(buf.as_slice(), b"a\0b");
        // SAFETY: copy_of allocates one byte more than len.
        assert_eq!(unsafe { *buf.as_ptr().add(3) }, 0);
    }

    #[test]
    fn the_empty_request_is_not_null() {
        let buf = Buf::copy_of(b"").expect("memory");
        assert!(!buf.is_none());
        assert!(buf.is_empty());
    }

    #[test]
    fn null_has_no_length() {
        // SAFETY: NULL is allowed.
        let buf = unsafe { Buf::from_raw(ptr::null_mut(), 7) };
        assert_eq!(buf.len(), 0);
        assert_eq!(buf.as_slice(), b"");
    }

    #[test]
    fn concatenates_in_order() {
        let pieces: Vec<Buf> = [&b"one"[..], b"", b"two"].iter().filter_map(|p| Buf::copy_of(p)).collect();
        assert_eq!(Buf::concat(&pieces).expect("memory").as_slice(), b"onetwo");
    }

    #[test]
    fn copies_parts_in_order() {
        assert_eq!(Buf::copy_of_all(&[b"one", b"", b"two"]).expect("memory").as_slice(), b"onetwo");
    }

    #[test]
    fn a_size_that_cannot_be_is_none() {
        assert!(Buf::gather(usize::MAX, std::iter::empty()).is_none());
        assert!(Buf::gather(usize::MAX - 8, std::iter::empty()).is_none());
    }
}
