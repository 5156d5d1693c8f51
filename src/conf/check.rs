//! The runtime's own check of its configuration, in a process of its own: loading a library may
//! start threads, hang or crash, and none of that may reach the master.

use std::{
    io::Read,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

use nffi_core::{library, runtime::Spec};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pipe::{PipeFlags, pipe_with},
};

/// How long a check of one runtime may take. Some compile what their workers load.
const LIMIT: Duration = Duration::from_secs(30);
/// So much is written to a pipe at once.
const MOST: usize = 4096;

/// Runs `nffi_runtime_check_v1` of the library for each of its runtimes, one after the other; all but
/// the last are known to be sound by themselves. Runs on: the process that reads the configuration,
/// which has one thread.
pub fn run(library: &Path, runtimes: &[&Spec]) -> Result<(), String> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| format!("cannot check the configuration: {e}"))?;
    // SAFETY: one thread, so the child may do as it likes; it leaves by _exit.
    match unsafe { libc::fork() } {
        -1 => Err(format!("cannot check the configuration: fork: {}", std::io::Error::last_os_error())),
        0 => {
            drop(reader);
            child(library, runtimes, &writer)
        }
        pid => {
            drop(writer);
            verdict(pid, reader, LIMIT.saturating_mul(runtimes.len() as u32))
        }
    }
}

/// The child: 'k' for sound, or the message.
fn child(library: &Path, runtimes: &[&Spec], writer: &OwnedFd) -> ! {
    // SAFETY: no memory is involved.
    unsafe { libc::setpgid(0, 0) };
    let check_all = || {
        // As in a worker: the environment first, and each in its directory.
        // SAFETY: one thread.
        runtimes.iter().for_each(|spec| unsafe { spec.surroundings.set_env() });
        runtimes.first().map_or(Ok(()), |spec| spec.surroundings.move_process())?;
        let library = library::load(library)?;
        runtimes.iter().try_for_each(|spec| {
            spec.surroundings.move_process()?;
            library::check(&library, &spec.config)
        })
    };
    let result = check_all();
    let text = match result {
        Ok(()) => "k".to_owned(),
        Err(message) => format!("e{message}"),
    };
    // A parent that has given up is gone for good.
    let _ = rustix::io::write(writer, &text.as_bytes()[..text.len().min(MOST)]);
    // SAFETY: ends the child; nothing of nginx may be cleaned up here.
    unsafe { libc::_exit(0) }
}

fn verdict(pid: i32, reader: OwnedFd, limit: Duration) -> Result<(), String> {
    let end = Instant::now() + limit;
    let mut text = Vec::new();
    let mut source = std::fs::File::from(reader);
    let timely = loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(&source, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(0) | Err(_) => break false,
            Ok(_) => {}
        }
        let mut piece = [0; MOST];
        match source.read(&mut piece) {
            Ok(0) => break true,
            Ok(n) => text.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break true,
        }
        // Complete in one write; threads or children of the runtime may hold the pipe open.
        if !text.is_empty() {
            break true;
        }
    };
    let mut status = 0;
    // SAFETY: our own child, which is reaped by no one else: nginx reaps in its signal handler
    // only, and the signal is blocked while it reads a configuration, or not yet handled.
    unsafe {
        if !timely || !text.is_empty() {
            // With all that it has forked, but for what went into a session of its own.
            libc::kill(-pid, libc::SIGKILL);
            libc::kill(pid, libc::SIGKILL);
        }
        while libc::waitpid(pid, &mut status, 0) == -1 && *libc::__errno_location() == libc::EINTR {}
    }
    match text.split_first() {
        Some((b'k', _)) => Ok(()),
        Some((_, message)) => {
            Err(format!("the runtime refuses its configuration: {}", String::from_utf8_lossy(message)))
        }
        None if !timely => Err(format!("the runtime's check took longer than {} s", limit.as_secs())),
        None if libc::WIFSIGNALED(status) => {
            Err(format!("the runtime's check was ended by signal {}", libc::WTERMSIG(status)))
        }
        None => Err(format!("the runtime's check ended its process with code {}", libc::WEXITSTATUS(status))),
    }
}
