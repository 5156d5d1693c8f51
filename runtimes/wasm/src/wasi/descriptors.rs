//! The descriptors of an instance.

use std::sync::Arc;

use rustix::fd::OwnedFd;

use super::errno::{BADF, Errno, MFILE};

const MOST: usize = 128;

pub enum Descriptor {
    Stdin,
    Stdout,
    Stderr,
    /// A folder of the configuration's.
    Granted(Arc<Folder>),
    Folder(Folder),
    File(OpenFile),
}

/// Below it a function may open things; never above it.
pub struct Folder {
    pub fd: OwnedFd,
    /// What it is called by the function; empty where it was opened by it.
    pub name: String,
    pub read_only: bool,
}

pub struct OpenFile {
    pub fd: OwnedFd,
    pub readable: bool,
    pub writable: bool,
    pub append: bool,
}

pub struct Descriptors(Vec<Option<Descriptor>>);

impl Descriptors {
    /// The three streams, and the folders of the configuration.
    pub fn new(folders: &[Arc<Folder>]) -> Self {
        let streams = [Descriptor::Stdin, Descriptor::Stdout, Descriptor::Stderr];
        Self(streams.into_iter().chain(folders.iter().cloned().map(Descriptor::Granted)).map(Some).collect())
    }

    pub fn get(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.0.get(fd as usize).and_then(Option::as_ref).ok_or(BADF)
    }

    pub fn get_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.0.get_mut(fd as usize).and_then(Option::as_mut).ok_or(BADF)
    }

    pub fn folder(&self, fd: u32) -> Result<&Folder, Errno> {
        match self.get(fd)? {
            Descriptor::Granted(folder) => Ok(folder),
            Descriptor::Folder(folder) => Ok(folder),
            _ => Err(super::errno::NOTDIR),
        }
    }

    pub fn file(&self, fd: u32) -> Result<&OpenFile, Errno> {
        match self.get(fd)? {
            Descriptor::File(file) => Ok(file),
            _ => Err(BADF),
        }
    }

    /// The lowest number that is free.
    pub fn add(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        let at = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        if at >= MOST {
            return Err(MFILE);
        }
        if at == self.0.len() {
            self.0.push(None);
        }
        self.0[at] = Some(descriptor);
        Ok(at as u32)
    }

    pub fn close(&mut self, fd: u32) -> Result<(), Errno> {
        self.0.get_mut(fd as usize).and_then(Option::take).map(drop).ok_or(BADF)
    }

    /// `from` becomes `to`, which is closed.
    pub fn renumber(&mut self, from: u32, to: u32) -> Result<(), Errno> {
        self.get(from)?;
        self.get(to)?;
        if from != to {
            self.0[to as usize] = self.0[from as usize].take();
        }
        Ok(())
    }
}
