//! Error numbers of preview 1.

use rustix::io::Errno as Os;

/// Why a function of WASI returns something other than 0, or does not return.
pub enum Fail {
    Errno(Errno),
    /// The function is stopped.
    Trap(wasmtime::Error),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub u16);

pub const ACCES: Errno = Errno(2);
pub const BADF: Errno = Errno(8);
pub const EXIST: Errno = Errno(20);
pub const FAULT: Errno = Errno(21);
pub const FBIG: Errno = Errno(22);
pub const ILSEQ: Errno = Errno(25);
pub const INVAL: Errno = Errno(28);
pub const IO: Errno = Errno(29);
pub const ISDIR: Errno = Errno(31);
pub const LOOP: Errno = Errno(32);
pub const MFILE: Errno = Errno(33);
pub const MLINK: Errno = Errno(34);
pub const NAMETOOLONG: Errno = Errno(37);
pub const NFILE: Errno = Errno(41);
pub const NOENT: Errno = Errno(44);
pub const NOMEM: Errno = Errno(48);
pub const NOSPC: Errno = Errno(51);
pub const NOTDIR: Errno = Errno(54);
pub const NOTEMPTY: Errno = Errno(55);
pub const NOTSOCK: Errno = Errno(57);
pub const NOTSUP: Errno = Errno(58);
pub const OVERFLOW: Errno = Errno(61);
pub const PERM: Errno = Errno(63);
pub const ROFS: Errno = Errno(69);
pub const SPIPE: Errno = Errno(70);
pub const NOTCAPABLE: Errno = Errno(76);

impl From<Errno> for Fail {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<wasmtime::Error> for Fail {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

impl From<Os> for Fail {
    fn from(errno: Os) -> Self {
        Self::Errno(errno.into())
    }
}

impl From<Os> for Errno {
    fn from(errno: Os) -> Self {
        match errno {
            Os::ACCESS => ACCES,
            Os::BADF => BADF,
            Os::EXIST => EXIST,
            Os::FBIG => FBIG,
            Os::INVAL => INVAL,
            Os::ISDIR => ISDIR,
            Os::LOOP => LOOP,
            Os::MFILE => MFILE,
            Os::MLINK => MLINK,
            Os::NAMETOOLONG => NAMETOOLONG,
            Os::NFILE => NFILE,
            Os::NOENT => NOENT,
            Os::NOMEM => NOMEM,
            Os::NOSPC => NOSPC,
            Os::NOTDIR => NOTDIR,
            Os::NOTEMPTY => NOTEMPTY,
            Os::NOTSUP => NOTSUP,
            Os::OVERFLOW => OVERFLOW,
            Os::PERM => PERM,
            Os::ROFS => ROFS,
            Os::SPIPE => SPIPE,
            // What is outside of the folder.
            Os::XDEV => NOTCAPABLE,
            _ => IO,
        }
    }
}
