//! An HTTP request as the host hands it over, for whatever interface serves it: its head, its body,
//! and the header lines of its answer.
//!
//! A host that is asked by a thread which has the GIL never waits for one that wants it.

use std::{fs::File, io, marker::PhantomData, mem::ManuallyDrop, os::fd::FromRawFd, os::unix::fs::FileExt};

use nffi_abi as abi;

use crate::host::Host;

/// What a runtime of message handlers answers to an HTTP request, and one of an app to a message.
pub const NO_HTTP: &str = "this runtime takes messages (nffi.call), not HTTP requests (nffi_pass)";
pub const NO_MESSAGES: &str = "this runtime takes HTTP requests (nffi_pass), not messages (nffi.call)";

/// Ends a task of the kind that the runtime has no use for.
pub fn refuse(host: &Host, task: u64, why: &str) {
    host.reply(host.answer(task, 1, why.as_bytes()));
}

/// A request: its task, and the head, which the host keeps until the task ends.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub task: u64,
    pub head: Head<'a>,
    /// The body comes in pieces.
    pub more: bool,
}

/// `nffi_http_request`, with its strings as bytes.
#[derive(Clone, Copy)]
pub struct Head<'a>(&'a abi::nffi_http_request);

macro_rules! strings {
    ($($name:ident)*) => {
        $(pub fn $name(&self) -> &'a [u8] { self.string(&self.0.$name) })*
    };
}

#[allow(dead_code)]
impl<'a> Head<'a> {
    pub fn new(request: &'a abi::nffi_http_request) -> Self {
        Self(request)
    }

    strings!(method raw_path path query prefix scheme client_addr server_addr server_name body);

    fn string(&self, string: &abi::nffi_str) -> &'a [u8] {
        // SAFETY: the host's strings live as long as the head, 'a.
        unsafe { abi::bytes(string.data, string.len) }
    }

    fn pairs(
        &self,
        list: *const abi::nffi_header,
        len: usize,
    ) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let list: &'a [abi::nffi_header] = if list.is_null() || len == 0 {
            &[]
        } else {
            // SAFETY: the host's lists live as long as the head, 'a.
            unsafe { std::slice::from_raw_parts(list, len) }
        };
        let head = *self;
        list.iter().map(move |pair| (head.string(&pair.name), head.string(&pair.value)))
    }

    /// In the client's order, duplicates kept, names as the client wrote them.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.pairs(self.0.headers, self.0.headers_len)
    }

    /// What the host's configuration adds by `nffi_param`.
    pub fn params(&self) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.pairs(self.0.params, self.0.params_len)
    }

    /// Major * 1000 + minor.
    pub fn version(&self) -> u32 {
        self.0.version
    }

    /// 0 with a unix socket.
    pub fn client_port(&self) -> u16 {
        self.0.client_port
    }

    pub fn server_port(&self) -> u16 {
        self.0.server_port
    }

    /// Of the body; None: unknown.
    pub fn content_length(&self) -> Option<u64> {
        u64::try_from(self.0.content_length).ok()
    }

    pub fn is_tls(&self) -> bool {
        self.0.flags & abi::NFFI_HTTP_TLS != 0
    }

    /// Does `TE` name them?
    pub fn takes_trailers(&self) -> bool {
        let is_te = |(name, _): &(&[u8], &[u8])| name.eq_ignore_ascii_case(b"te");
        let codings = self.headers().filter(is_te).flat_map(|(_, value)| value.split(|byte| *byte == b','));
        codings.map(<[u8]>::trim_ascii).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
    }

    /// May it be answered with 101?
    pub fn may_upgrade(&self) -> bool {
        self.0.flags & abi::NFFI_HTTP_UPGRADE != 0
    }
}

impl Request<'_> {
    /// The request of an NFFI_HTTP event; None where the host knows less of requests than this
    /// runtime.
    ///
    /// # Safety
    /// event is as `poll` gave it, and the request is not used after its task has ended.
    pub unsafe fn of(event: &abi::nffi_event) -> Option<Self> {
        if event.data.is_null() || event.len < size_of::<abi::nffi_http_request>() {
            return None;
        }
        // SAFETY: nffi.h: data points to one, and the caller's promise.
        let head = Head(unsafe { &*event.data.cast() });
        Some(Self { task: event.task, head, more: event.flags & abi::NFFI_MORE != 0 })
    }

    /// Where the body is to be had.
    pub fn body(&self) -> Body {
        if self.more {
            return Body::Pieces;
        }
        let (body, fd) = (self.head.body(), self.head.0.body_fd);
        if !body.is_empty() {
            Body::Memory(body)
        } else if fd >= 0 {
            Body::File { fd, at: 0, end: None }
        } else {
            Body::None
        }
    }
}

/// What is left of a body.
#[derive(Debug)]
pub enum Body {
    /// Nothing, or no more.
    None,
    /// The host's, until the task ends.
    Memory(*const [u8]),
    /// The host's, open until the task ends.
    File { fd: i32, at: u64, end: Option<u64> },
    /// `Host::read` gives them.
    Pieces,
}

// SAFETY: the host's memory may be read from any thread.
unsafe impl Send for Body {}

/// What `Body::next` has found.
#[derive(Debug)]
pub enum Next<R> {
    /// What was made of a piece; and whether it is known to be the last one.
    Piece(R, bool),
    /// Nothing now: NFFI_READABLE will follow.
    Wait,
    End,
    /// The caller has gone.
    Gone,
}

/// The most that is read of a file at once.
pub const PIECE: usize = 64 << 10;

impl Body {
    /// The next piece, handed to `take`: a file's of at most `PIECE` bytes, any other as it comes.
    ///
    /// # Safety
    /// The task has not ended.
    pub unsafe fn next<R>(&mut self, host: &Host, task: u64, take: impl FnOnce(&[u8]) -> R) -> io::Result<Next<R>> {
        match *self {
            Self::None => Ok(Next::End),
            Self::Memory(bytes) => {
                *self = Self::None;
                // SAFETY: the caller's promise.
                Ok(Next::Piece(take(unsafe { &*bytes }), true))
            }
            Self::File { fd, ref mut at, ref mut end } => {
                // SAFETY: open, by the caller's promise; and never closed here.
                let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
                let end = match *end {
                    Some(end) => end,
                    None => *end.insert(file.metadata()?.len()),
                };
                let mut room = vec![0; PIECE.min(usize::try_from(end.saturating_sub(*at)).unwrap_or(PIECE))];
                let n = file.read_at(&mut room, *at)?;
                *at += n as u64;
                let last = *at >= end || n == 0;
                if last {
                    *self = Self::None;
                }
                if n == 0 {
                    return Ok(Next::End);
                }
                Ok(Next::Piece(take(&room[..n]), last))
            }
            Self::Pieces => {
                // SAFETY: the host gives len bytes at data.
                let (code, piece) = host.read(task, |data, len| take(unsafe { abi::bytes(data, len) }));
                Ok(match (code, piece) {
                    (abi::NFFI_OK, Some(piece)) => Next::Piece(piece, false),
                    (abi::NFFI_AGAIN, _) => Next::Wait,
                    (abi::NFFI_GONE, _) => Next::Gone,
                    _ => {
                        *self = Self::None;
                        Next::End
                    }
                })
            }
        }
    }
}

/// A header line for `Host::http_head`, which borrows both.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Line<'a>(abi::nffi_header, PhantomData<&'a [u8]>);

impl<'a> Line<'a> {
    pub fn new(name: &'a [u8], value: &'a [u8]) -> Self {
        let string = |bytes: &[u8]| abi::nffi_str { data: bytes.as_ptr().cast(), len: bytes.len() };
        Self(abi::nffi_header { name: string(name), value: string(value) }, PhantomData)
    }
}
