//! HTTP: requests, and what comes of them, as nginx would see it.

mod answer;
mod request;

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, Instant},
};

use nffi_core::{
    buf::Buf,
    dispatch::{Outcome, Refusal, Submission},
    http::{Http, HttpEnd},
    pipe::{Piece, Pieces, Weight},
};

pub use answer::{HttpAnswer, HttpError, HttpHead, HttpReceived};
pub use request::{HttpBody, HttpRequest};

use crate::event_loop::{Over, RuntimeId, TestHost, Waiting};
use answer::{body_length, pairs_of};

/// Of a file at once.
const READ: usize = 64 * 1024;

/// An HTTP request under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HttpId(u32);

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    /// So many bytes are still to come, where that is known.
    Body(Option<u64>),
    /// The client wants none: HEAD, 204, 304.
    Discarding,
    Upgraded,
}

/// A part of a file that is being handed out.
struct Part {
    file: File,
    at: u64,
    end: u64,
    weight: usize,
}

/// The host's side of one.
pub(crate) struct Exchange {
    pieces: Arc<Pieces>,
    /// The last piece that was sent has shut the window.
    shut: bool,
    is_head: bool,
    stage: Stage,
    part: Option<Part>,
    /// The task has ended, and this is what is left of its answer.
    rest: Option<VecDeque<HttpReceived>>,
    timeout: Duration,
}

pub(crate) type Exchanges = HashMap<u32, Exchange>;

impl TestHost {
    /// Sends a request and takes its answer, whole. `Err`: the client gets none of the runtime's, but an
    /// error of the host's, [`HttpError::status`]. `timeout`: to the head, then between two pieces.
    pub fn http(
        &mut self,
        runtime: RuntimeId,
        request: HttpRequest,
        timeout: Duration,
    ) -> Result<HttpAnswer, HttpError> {
        let exchange = self.http_open(runtime, request, timeout)?;
        let mut answer = HttpAnswer::default();
        let mut has_head = false;
        loop {
            match self.http_receive(exchange, Duration::MAX) {
                Ok(HttpReceived::Informational(head)) => answer.informational.push(head),
                Ok(HttpReceived::Head(head)) => {
                    has_head = true;
                    answer.head = head;
                }
                Ok(HttpReceived::Piece(piece)) => {
                    answer.pieces += 1;
                    answer.body.extend(piece);
                }
                Ok(HttpReceived::Trailers(trailers)) => answer.trailers = trailers,
                Ok(HttpReceived::End) => return Ok(answer),
                Ok(HttpReceived::Nothing) => {}
                Err(error) if has_head => {
                    answer.cut = Some(error);
                    return Ok(answer);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a request and does not wait. With [`HttpBody::Streamed`] its body follows by
    /// [`http_send`](Self::http_send).
    pub fn http_open(
        &mut self,
        runtime: RuntimeId,
        request: HttpRequest,
        timeout: Duration,
    ) -> Result<HttpId, HttpError> {
        let (is_head, window, more) = (request.method == b"HEAD", request.window, request.is_streamed());
        let (block, file) = request.into_block()?;
        self.dispatch.admit(runtime.0, block.len())?;
        self.owners += 1;
        let owner = self.owners;
        let pieces = Arc::new(Pieces::new(window));
        let submission = Submission {
            request_id: owner.into(),
            pieces: Some(pieces.clone()),
            more,
            http: Some(Box::new(Http::new(file))),
            ..Submission::new(block, owner)
        };
        let task = self.dispatch.submit(runtime.0, submission);
        let until = Instant::now().checked_add(timeout);
        self.remember(owner, Waiting { task, until, over: None });
        self.exchanges.insert(
            owner,
            Exchange { pieces, shut: false, is_head, stage: Stage::Waiting, part: None, rest: None, timeout },
        );
        self.dispatch.flush();
        Ok(HttpId(owner))
    }

    // ---- to the runtime ------------------------------------------------------------------------

    /// Sends a piece of the body, or after a 101 bytes of the connection, and waits until more may
    /// follow. False where the answer is over: [`http_receive`](Self::http_receive) tells how.
    pub fn http_send(&mut self, exchange: HttpId, piece: &[u8]) -> bool {
        self.http_offer(exchange, piece);
        self.turn_until(None, |host| host.http_may_send(exchange) || host.http_is_over(exchange));
        !self.http_is_over(exchange)
    }

    /// The same without waiting: the window may be shut afterwards. Who does not look whether it
    /// [`http_may_send`](Self::http_may_send) fills the memory.
    pub fn http_offer(&mut self, exchange: HttpId, piece: &[u8]) -> bool {
        Buf::copy_of(piece).is_some_and(|piece| self.http_push(exchange, Some(piece)))
    }

    /// Is the request's window open?
    pub fn http_may_send(&self, exchange: HttpId) -> bool {
        self.exchanges.get(&exchange.0).is_some_and(|known| !known.shut || known.pieces.request.is_open())
    }

    /// The end of the body, or of what the client sends over an upgraded connection.
    pub fn http_send_end(&mut self, exchange: HttpId) -> bool {
        self.http_push(exchange, None)
    }

    fn http_push(&mut self, exchange: HttpId, piece: Option<Buf>) -> bool {
        let task = match self.waiting.get(&exchange.0) {
            Some(waiting) if waiting.over.is_none() => waiting.task,
            _ => return false,
        };
        let Some(known) = self.exchanges.get_mut(&exchange.0) else { return false };
        let sent = self.dispatch.send(task, &known.pieces, piece);
        known.shut = matches!(sent, Ok(true));
        self.dispatch.flush();
        self.http_stirred(exchange.0);
        sent.is_ok()
    }

    // ---- from the runtime ----------------------------------------------------------------------

    /// The next of the answer, waiting for it at most `most`. What is not received stays in the window,
    /// which shuts. After [`HttpReceived::End`] or an error the exchange is forgotten.
    pub fn http_receive(&mut self, exchange: HttpId, most: Duration) -> Result<HttpReceived, HttpError> {
        let until = Instant::now().checked_add(most);
        loop {
            match self.http_take(exchange)? {
                Some(received) => return Ok(received),
                None if until.is_some_and(|until| Instant::now() >= until) => return Ok(HttpReceived::Nothing),
                None => {}
            }
            self.turn_until(until, |host| {
                host.http_is_over(exchange)
                    || host.exchanges.get(&exchange.0).is_none_or(|known| !known.pieces.answer.is_empty())
            });
        }
    }

    /// The next of the answer that is there already. For loops of one's own around
    /// [`turn`](Self::turn).
    pub fn http_take(&mut self, exchange: HttpId) -> Result<Option<HttpReceived>, HttpError> {
        let taken = self.take(exchange.0);
        if matches!(taken, Ok(Some(HttpReceived::End)) | Err(_)) {
            self.http_close(exchange);
        }
        self.dispatch.flush();
        taken
    }

    /// Gives an exchange up, as a client does that goes away: the runtime gets CANCEL, or never hears
    /// of it.
    pub fn http_close(&mut self, exchange: HttpId) {
        self.exchanges.remove(&exchange.0);
        self.forget(exchange.0);
        self.dispatch.flush();
    }

    fn http_is_over(&self, exchange: HttpId) -> bool {
        self.waiting.get(&exchange.0).is_none_or(|waiting| waiting.over.is_some())
    }

    /// Something came, either way: the runtime has its time again.
    pub(crate) fn http_stirred(&mut self, owner: u32) {
        if let Some(known) = self.exchanges.get(&owner) {
            self.rearm(owner, Instant::now().checked_add(known.timeout));
        }
    }

    /// Is it the test that keeps the runtime waiting, so that its time does not run?
    pub(crate) fn http_is_paused(&self, owner: u32) -> bool {
        self.exchanges.get(&owner).is_some_and(|known| known.part.is_some() || !known.pieces.answer.is_empty())
    }

    fn take(&mut self, owner: u32) -> Result<Option<HttpReceived>, HttpError> {
        let known = self.exchanges.get_mut(&owner).ok_or(HttpError::NoSuchExchange)?;
        loop {
            if let Some(rest) = &mut known.rest {
                return Ok(rest.pop_front());
            }
            if known.part.is_some() {
                let (piece, gone) = known.read()?;
                let task = self.waiting.get(&owner).map_or(0, |waiting| waiting.task);
                self.dispatch.consumed(task, &known.pieces, gone);
                return Ok(Some(HttpReceived::Piece(piece)));
            }
            let Some(piece) = known.pieces.answer.take() else { break };
            let weight = piece.weight();
            let received = known.receive(piece, weight);
            if known.part.is_none() {
                let task = self.waiting.get(&owner).map_or(0, |waiting| waiting.task);
                self.dispatch.consumed(task, &known.pieces, weight);
            }
            if let Some(received) = received? {
                return Ok(Some(received));
            }
        }
        if self.waiting.get(&owner).is_none_or(|waiting| waiting.over.is_none()) {
            return Ok(None);
        }
        // Over, and all pieces are taken.
        let over = self.forget(owner).and_then(|waiting| waiting.over).ok_or(HttpError::NoSuchExchange)?;
        let end = answer::end_of(over)?;
        let Some(known) = self.exchanges.get_mut(&owner) else { return Err(HttpError::NoSuchExchange) };
        let mut rest = known.finish(end)?;
        let first = rest.pop_front();
        known.rest = Some(rest);
        Ok(first)
    }
}

impl Exchange {
    /// What the client sees of a piece of that weight.
    fn receive(&mut self, piece: Piece, weight: usize) -> Result<Option<HttpReceived>, HttpError> {
        match piece {
            Piece::Head(head) => {
                let head = HttpHead { status: head.status, headers: pairs_of(&head) };
                match head.status {
                    101 => self.stage = Stage::Upgraded,
                    100..200 => return Ok(Some(HttpReceived::Informational(head))),
                    _ => self.begin(&head)?,
                }
                Ok(Some(HttpReceived::Head(head)))
            }
            Piece::Data(data) => {
                self.count(data.len() as u64)?;
                let wanted = self.stage != Stage::Discarding && !data.is_empty();
                Ok(wanted.then(|| HttpReceived::Piece(data.as_slice().to_vec())))
            }
            Piece::File { file, offset, length } => {
                self.count(length)?;
                if self.stage != Stage::Discarding && length > 0 {
                    self.part = Some(Part { file, at: offset, end: offset + length, weight });
                }
                Ok(None)
            }
        }
    }

    fn begin(&mut self, head: &HttpHead) -> Result<(), HttpError> {
        let length = body_length(head)?;
        self.stage =
            if self.is_head || matches!(head.status, 204 | 304) { Stage::Discarding } else { Stage::Body(length) };
        Ok(())
    }

    /// So many bytes of the body.
    fn count(&mut self, bytes: u64) -> Result<(), HttpError> {
        if let Stage::Body(Some(rest)) = &mut self.stage {
            let left = rest.checked_sub(bytes);
            *rest = left.ok_or_else(|| HttpError::Protocol("more bytes than its Content-Length says".into()))?;
        }
        Ok(())
    }

    /// The next of a file, and what room in the window that gives back.
    fn read(&mut self) -> Result<(Vec<u8>, usize), HttpError> {
        let Some(part) = &mut self.part else { return Ok((Vec::new(), 0)) };
        let mut bytes = vec![0; READ.min(usize::try_from(part.end - part.at).unwrap_or(READ))];
        let shrunk = |e: std::io::Error| HttpError::Protocol(format!("a file that cannot be read: {e}"));
        part.file.read_exact_at(&mut bytes, part.at).map_err(shrunk)?;
        part.at += bytes.len() as u64;
        let mut gone = 0;
        if part.at == part.end {
            gone = part.weight;
            self.part = None;
        }
        Ok((bytes, gone))
    }

    /// What is left after the task's end.
    fn finish(&mut self, end: HttpEnd) -> Result<VecDeque<HttpReceived>, HttpError> {
        let mut rest = VecDeque::new();
        if let Some(head) = &end.head {
            let head = HttpHead { status: head.status, headers: pairs_of(head) };
            self.begin(&head)?;
            rest.push_back(HttpReceived::Head(head));
        }
        if self.stage == Stage::Waiting {
            return Err(HttpError::Protocol("an answer without a head".into()));
        }
        self.count(end.data.len() as u64)?;
        if let Stage::Body(Some(left @ 1..)) = self.stage {
            return Err(HttpError::Protocol(format!("{left} bytes less than its Content-Length says")));
        }
        if !end.data.is_empty() && self.stage != Stage::Discarding {
            rest.push_back(HttpReceived::Piece(end.data.as_slice().to_vec()));
        }
        if let Some(trailers) = &end.trailers {
            rest.push_back(HttpReceived::Trailers(pairs_of(trailers)));
        }
        rest.push_back(HttpReceived::End);
        Ok(rest)
    }
}
