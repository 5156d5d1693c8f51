//! The functions for HTTP tasks: the head of an answer, files, trailers. Pieces and the end are as
//! with any task.

use std::{ffi::c_int, fs::File, os::fd::FromRawFd, ptr};

use nffi_abi as abi;

use super::{Entered, HOST, Host, guard};
use crate::{
    http::{self, Head, Stage},
    pipe::Piece,
    word::{CANCELLED, OVERFLOW, UPGRADED},
};

/// What may be done to an HTTP task is known from how far its answer has come.
enum Refused {
    Gone,
    /// With what to say about it.
    Bad(&'static str),
}

impl Host {
    /// Enters an HTTP task whose caller is there. Runs on: runtime thread.
    fn enter_http(&self, function: &'static str, task: u64) -> Result<Entered<'_>, c_int> {
        let Ok(entered) = self.enter(task) else { return Err(self.bad(function, task)) };
        // SAFETY: inside the section.
        if unsafe { entered.slot.http() }.is_none() {
            return Err(self.misused(function, task, "which is no HTTP task"));
        }
        if entered.flags & (CANCELLED | OVERFLOW) != 0 {
            return Err(abi::NFFI_GONE);
        }
        Ok(entered)
    }

    /// Says what was wrong with a call for a live task. Its runtime is known from the task: the thread may
    /// be one that never polled. Runs on: runtime thread.
    pub(super) fn misused(&self, function: &str, task: u64, why: &str) -> c_int {
        let owner = self.table.resolve(task).filter(|(slot, _, generation)| slot.word.generation() == *generation);
        let runtime = owner.map_or_else(|| super::number_of(crate::registry::current()), |(slot, ..)| slot.runtime());
        let message = format!("{function}() for task {task:#x}, {why}");
        self.push_line(runtime, task, abi::NFFI_LOG_ERR, message.as_bytes());
        abi::NFFI_BAD
    }

    fn refuse(&self, function: &'static str, task: u64, refused: Refused) -> c_int {
        match refused {
            Refused::Gone => abi::NFFI_GONE,
            Refused::Bad(why) => self.misused(function, task, why),
        }
    }

    /// The request's block. Runs on: runtime thread.
    fn http(&self, task: u64) -> Option<*const abi::nffi_http_request> {
        let entered = self.enter(task).ok()?;
        // SAFETY: inside the section.
        unsafe {
            entered.slot.http()?;
            Some(entered.slot.request_data().0.cast())
        }
    }

    /// `head` is none where it was malformed. Runs on: runtime thread.
    pub(crate) fn http_head(&self, task: u64, head: Option<Head>) -> c_int {
        let entered = match self.enter_http("http_head", task) {
            Ok(entered) => entered,
            Err(status) => return status,
        };
        match give_head(&entered, head) {
            Ok(false) => abi::NFFI_OK,
            Ok(true) => {
                self.news(entered.slot, entered.number);
                abi::NFFI_OK
            }
            Err(refused) => {
                drop(entered);
                self.refuse("http_head", task, refused)
            }
        }
    }

    /// Runs on: runtime thread.
    pub(crate) fn http_trailers(&self, task: u64, trailers: Option<Head>) -> c_int {
        let entered = match self.enter_http("http_trailers", task) {
            Ok(entered) => entered,
            Err(status) => return status,
        };
        // SAFETY: inside the section.
        let refused = match (unsafe { entered.slot.http() }, trailers) {
            (None, _) => Refused::Gone,
            (_, None) => Refused::Bad("with a malformed header"),
            (Some(http), Some(trailers)) => match http.stage {
                Stage::Head => {
                    http.stage = Stage::Trailers;
                    http.trailers = Some(trailers);
                    return abi::NFFI_OK;
                }
                Stage::Nothing => Refused::Bad("before http_head()"),
                Stage::Upgraded => Refused::Bad("whose connection was upgraded"),
                Stage::Trailers => Refused::Bad("which has its trailers already"),
            },
        };
        drop(entered);
        self.refuse("http_trailers", task, refused)
    }
}

/// Takes the head; true where the event loop is to look at it now.
fn give_head(entered: &Entered<'_>, head: Option<Head>) -> Result<bool, Refused> {
    // SAFETY: inside the section.
    let http = unsafe { entered.slot.http() }.ok_or(Refused::Gone)?;
    if http.stage != Stage::Nothing {
        return Err(Refused::Bad("which has its head already"));
    }
    let head = head.ok_or(Refused::Bad("with a malformed status or header"))?;
    match head.status {
        101 => {
            // SAFETY: inside the section: the block is whole.
            if !http::may_upgrade(unsafe { entered.slot.request_data().0 }) {
                return Err(Refused::Bad("with status 101, whose connection cannot be upgraded"));
            }
            http.stage = Stage::Upgraded;
            entered.slot.word.set(UPGRADED);
        }
        100..200 => {}
        _ => {
            http.stage = Stage::Head;
            http.head = Some(head);
            return Ok(false);
        }
    }
    // SAFETY: inside the section; used up here.
    let pipe = unsafe { &entered.slot.pieces_or_new().answer };
    // Nobody waits for room for a hint, and an answer is whole without it.
    let dropped = head.status != 101 && pipe.bytes() >= pipe.window();
    if !dropped {
        pipe.push(Piece::Head(Box::new(head)));
    }
    Ok(!dropped)
}

/// What a piece of an HTTP answer finds: its head goes before it. `Ok` for any other task, too.
///
/// # Safety
/// The caller is inside the section of the slot's word.
pub(super) unsafe fn before_piece(entered: &Entered<'_>) -> Result<(), &'static str> {
    // SAFETY: the caller's promise.
    let Some(http) = (unsafe { entered.slot.http() }) else { return Ok(()) };
    match http.stage {
        Stage::Nothing => return Err("before http_head()"),
        Stage::Trailers => return Err("after http_trailers()"),
        Stage::Head | Stage::Upgraded => {}
    }
    if let Some(head) = http.head.take() {
        // SAFETY: the caller's promise; used up here.
        unsafe { entered.slot.pieces_or_new() }.answer.push(Piece::Head(Box::new(head)));
    }
    Ok(())
}

// ---- the table's functions --------------------------------------------------------------------

pub(super) unsafe extern "C" fn request(task: u64) -> *const abi::nffi_http_request {
    guard(ptr::null(), || HOST.http(task).unwrap_or(ptr::null()))
}

pub(super) unsafe extern "C" fn head(task: u64, status: c_int, headers: *const abi::nffi_header, n: usize) -> c_int {
    guard(abi::NFFI_BAD, || {
        let status = u16::try_from(status).ok().filter(|status| (100..=999).contains(status));
        // SAFETY: the ABI: n headers, valid for the call.
        let head = status.and_then(|status| Head::new(status, unsafe { http::pairs(headers, n) }));
        HOST.http_head(task, head)
    })
}

pub(super) unsafe extern "C" fn trailers(task: u64, headers: *const abi::nffi_header, n: usize) -> c_int {
    guard(abi::NFFI_BAD, || {
        // SAFETY: the ABI: n headers, valid for the call.
        let head = Head::new(0, unsafe { http::pairs(headers, n) });
        HOST.http_trailers(task, head)
    })
}

pub(super) unsafe extern "C" fn file(task: u64, fd: c_int, offset: i64, length: i64) -> c_int {
    if fd < 0 {
        return abi::NFFI_BAD;
    }
    // SAFETY: the ABI: an open descriptor, ours now.
    let file = unsafe { File::from_raw_fd(fd) };
    guard(abi::NFFI_BAD, || {
        let Some(piece) = part_of(file, offset, length) else {
            return HOST.misused("http_file", task, "with a file that is no regular one, or shorter than that");
        };
        match HOST.enter_http("http_file", task) {
            // SAFETY: inside the section.
            Ok(entered) if unsafe { entered.slot.http() }.is_some_and(|http| http.stage == Stage::Upgraded) => {
                drop(entered);
                HOST.misused("http_file", task, "whose connection was upgraded")
            }
            Ok(entered) => HOST.write_entered("http_file", task, entered, piece),
            Err(status) => status,
        }
    })
}

/// The part of the file, if it is there.
fn part_of(file: File, offset: i64, length: i64) -> Option<Piece> {
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let offset = u64::try_from(offset).ok()?;
    let rest = metadata.len().checked_sub(offset)?;
    let length = if length == -1 { rest } else { u64::try_from(length).ok()? };
    (length <= rest).then_some(Piece::File { file, offset, length })
}
