//! Paths, which never lead out of a folder: the kernel sees to it (openat2, RESOLVE_BENEATH).

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno as Os,
};

use super::{
    descriptors::Folder,
    errno::{Errno, INVAL, LOOP, NOENT, NOTCAPABLE},
};
use crate::options::Dir;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
const HERE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a folder of the configuration's.
pub fn granted(dir: &Dir) -> Result<Folder, String> {
    let told = |error: Os| format!("dir {}: {error}", dir.host.display());
    let fd =
        openat(CWD, &dir.host, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(told)?;
    match openat2(&fd, ".", HERE, Mode::empty(), BENEATH) {
        Ok(_) => Ok(Folder { fd, name: dir.guest.clone(), read_only: dir.read_only }),
        Err(Os::NOSYS | Os::PERM) => {
            Err("dir: needs openat2, of Linux 5.6 or later, which this system has not".to_owned())
        }
        Err(error) => Err(told(error)),
    }
}

/// Opens what is below a folder. Where `follow` is not given, a last component that is a symbolic link is an error.
pub fn open(folder: &Folder, path: &str, flags: OFlags, mode: Mode, follow: bool) -> Result<OwnedFd, Errno> {
    if path.is_empty() {
        return Err(NOENT);
    }
    if path.starts_with('/') {
        return Err(NOTCAPABLE);
    }
    let flags = if follow { flags } else { flags | OFlags::NOFOLLOW };
    // EAGAIN: a rename at the same time; the kernel asks to try again.
    for _ in 0..16 {
        match openat2(folder.fd.as_fd(), path, flags | OFlags::CLOEXEC, mode, BENEATH) {
            Err(Os::AGAIN | Os::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(fd) => return Ok(fd),
        }
    }
    Err(LOOP)
}

/// The folder that a path's last component is in, and that component: for what must not follow it.
pub fn parent<'a>(folder: &Folder, path: &'a str) -> Result<(OwnedFd, &'a str), Errno> {
    let trimmed = path.trim_end_matches('/');
    let (folders, name) = match trimmed.rsplit_once('/') {
        Some(("", _)) => return Err(NOTCAPABLE),
        Some((folders, name)) => (folders, name),
        None => (".", trimmed),
    };
    match name {
        "" => Err(if path.is_empty() { NOENT } else { NOTCAPABLE }),
        "." | ".." => Err(INVAL),
        _ => Ok((open(folder, folders, HERE, Mode::empty(), true)?, name)),
    }
}
