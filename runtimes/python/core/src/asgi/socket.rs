//! One WebSocket: the app's `receive` and `send`. Its frames are `nffi_websocket`'s.
//!
//! One message at most is kept for the app; while it is, and while the client does not take what is
//! written, no more is read. So pings are answered whether or not the app asks for messages, and
//! memory stays bounded.
//!
//! Pings go out on a schedule. A client is lost that does not answer one in time; but not one whose answer
//! may lie behind what is not read yet.

use std::sync::Arc;

use nffi_abi as abi;
use nffi_websocket::{Accept, Event, Limits, SendError, Session, session::ABNORMAL};
use pyo3::{
    exceptions::{PyMemoryError, PyRuntimeError},
    intern,
    prelude::*,
    types::{PyBytes, PyString},
};

use super::{
    gil::Gil,
    message::{Message, event},
    pings::Pings,
    server::Core,
    waiting::{Target, Waiting, What, wake},
};
use crate::{http::Line, runtime::Shared};

/// How long a client has to answer a Close.
const CLOSE_TIMEOUT: f64 = 5.0;

/// What is said to one that does not answer a ping, with 1011: uvicorn's words.
const PING_TIMEOUT: &str = "keepalive ping timeout";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The app has not been told yet.
    New,
    /// It is to accept or to close.
    Asked,
    /// It denies by an answer of its own, whose head the host has.
    Denying,
    Open,
    /// Our Close is sent; the client's is awaited.
    Closing,
    /// The task has ended.
    Done,
}

/// What the app is to be told.
#[derive(Debug)]
enum News {
    Text(nffi_websocket::Utf8Bytes),
    Binary(nffi_websocket::Bytes),
    Disconnect { code: u16, reason: String },
}

struct State {
    stage: Stage,
    session: Session,
    news: Option<News>,
    /// The client has gone, or closed: a `send` fails.
    gone: bool,
    /// The app has closed, or denied.
    closed: bool,
    full: bool,
    /// The app has returned.
    left: bool,
    /// The loop's handle of what is next: a ping, its end, or that of a Close.
    timer: Option<Py<PyAny>>,
    pings: Pings,
    readers: Vec<Py<PyAny>>,
    writers: Vec<Py<PyAny>>,
}

#[pyclass(frozen, module = "nffi._native")]
pub struct Socket {
    shared: Arc<Shared>,
    core: Arc<Core>,
    pub task: u64,
    accept: Accept,
    state: Gil<State>,
}

impl Socket {
    pub fn new(shared: Arc<Shared>, core: Arc<Core>, task: u64, accept: Accept) -> Self {
        let most = core.ws_max_size;
        let state = State {
            stage: Stage::New,
            session: Session::with_deflate(Limits { max_message: most, max_frame: most }, accept.deflate),
            news: None,
            gone: false,
            closed: false,
            full: false,
            left: false,
            timer: None,
            pings: Pings::default(),
            readers: Vec::new(),
            writers: Vec::new(),
        };
        Self { shared, core, task, accept, state: Gil::new(state) }
    }

    pub fn is_over(&self, py: Python<'_>) -> bool {
        self.state.borrow(py).stage == Stage::Done
    }

    /// READABLE, WRITABLE or CANCEL.
    pub fn event(&self, py: Python<'_>, kind: u32) -> PyResult<()> {
        {
            let mut state = self.state.borrow(py);
            match kind {
                abi::NFFI_WRITABLE => state.full = false,
                abi::NFFI_CANCEL => state.lost(),
                _ => {}
            }
        }
        self.pump(py)
    }

    /// Reads as much as there is use for, and wakes who waits.
    fn pump(&self, py: Python<'_>) -> PyResult<()> {
        let (mut readers, mut writers) = (Vec::new(), Vec::new());
        let (answered, over) = {
            let mut state = self.state.borrow(py);
            if matches!(state.stage, Stage::Open | Stage::Closing) {
                self.read(&mut state);
            }
            if state.news.is_some() {
                readers = std::mem::take(&mut state.readers);
            }
            if !state.full || state.gone {
                writers = std::mem::take(&mut state.writers);
            }
            // Else the app is still to be told, and its end will be the task's.
            let closed = matches!(state.stage, Stage::Open | Stage::Closing) && state.session.is_over();
            let answered = state.pings.take_answer().filter(|_| state.stage == Stage::Open);
            (answered, closed || state.gone && state.left)
        };
        if over {
            self.end(py, 0, b"")?;
        } else if let (Some(took), Some(interval)) = (answered, self.core.ws_ping_interval) {
            self.arm(py, (interval - took).max(0.0))?;
        }
        wake(py, readers)?;
        wake(py, writers)
    }

    /// No Python here: the state is borrowed.
    fn read(&self, state: &mut State) {
        let host = &self.shared.host;
        // After the app's Close its news are the last, and the client's Close is still to come.
        while (state.news.is_none() || state.closed) && !state.full && !state.gone {
            let Some(event) = state.session.next_event() else {
                if state.session.is_over() {
                    break;
                }
                // SAFETY: the host gives len bytes at data.
                let feed = |data, len| state.session.feed(unsafe { abi::bytes(data, len) });
                match host.read(self.task, feed).0 {
                    abi::NFFI_OK => continue,
                    abi::NFFI_AGAIN => break,
                    abi::NFFI_EOF => state.session.feed_end(),
                    _ => state.lost(),
                }
                continue;
            };
            match event {
                // After the app's Close it wants to hear no more.
                Event::Text(text) if !state.closed => state.news = Some(News::Text(text)),
                Event::Binary(bytes) if !state.closed => state.news = Some(News::Binary(bytes)),
                Event::Pong(payload) => state.pings.pong(&payload),
                Event::Text(_) | Event::Binary(_) | Event::Ping(_) => {}
                Event::Close { code, reason } => state.disconnected(code, reason.as_str()),
                Event::Failed(violation) => state.disconnected(violation.code, &violation.reason),
            }
            self.write(state);
        }
        self.write(state);
    }

    /// What the session has to say. False: no memory.
    fn write(&self, state: &mut State) -> bool {
        if state.session.output().is_empty() {
            return true;
        }
        let code = self.shared.host.write(self.task, state.session.output());
        state.session.clear_output();
        match code {
            Some(abi::NFFI_FULL) => state.full = true,
            Some(abi::NFFI_OK) => {}
            Some(_) => state.lost(),
            None => return false,
        }
        true
    }

    /// Ends the task. Nobody does so twice.
    fn end(&self, py: Python<'_>, status: i32, last: &[u8]) -> PyResult<()> {
        let (readers, writers, timer) = {
            let mut state = self.state.borrow(py);
            if std::mem::replace(&mut state.stage, Stage::Done) == Stage::Done {
                return Ok(());
            }
            (std::mem::take(&mut state.readers), std::mem::take(&mut state.writers), state.timer.take())
        };
        cancel(py, timer)?;
        self.core.over(py, self.task);
        let host = &self.shared.host;
        if status == 0 && last.is_empty() {
            host.end(self.task, 0);
        } else {
            host.reply(host.answer(self.task, status, last));
        }
        wake(py, readers)?;
        wake(py, writers)
    }

    // ---- time ---------------------------------------------------------------------------------

    /// `expired` is called then, and not when it was asked for before.
    fn arm(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let timer = self.core.later(py, seconds, self.task)?;
        let before = std::mem::replace(&mut self.state.borrow(py).timer, timer);
        cancel(py, before)
    }

    pub fn expired(&self, py: Python<'_>) -> PyResult<()> {
        let stage = self.state.borrow(py).stage;
        match stage {
            Stage::Open => self.beat(py),
            // The client has had its time to answer our Close.
            Stage::Closing => self.end(py, 0, b""),
            _ => Ok(()),
        }
    }

    /// It is time for a ping, or for the answer to one.
    fn beat(&self, py: Python<'_>) -> PyResult<()> {
        let Core { ws_ping_interval: interval, ws_ping_timeout: timeout, .. } = *self.core;
        let (next, over) = {
            let mut state = self.state.borrow(py);
            // What came while the loop was busy.
            self.read(&mut state);
            if state.gone || state.pings.is_answered() {
                // `pump` sees to that.
                (None, false)
            } else if !state.pings.is_awaited() {
                let payload = state.pings.next(timeout.is_some());
                // It is open.
                let _ = state.session.ping(&payload);
                self.write(&mut state);
                (timeout.or(interval), false)
            } else if state.news.is_some() || state.full {
                // The answer may be there.
                (timeout, false)
            } else {
                let _ = state.session.close(1011, PING_TIMEOUT);
                self.write(&mut state);
                state.disconnected(1011, PING_TIMEOUT);
                (None, true)
            }
        };
        if over {
            self.shared.host.log(
                self.task,
                abi::NFFI_LOG_INFO as i32,
                "the WebSocket's client answers no ping: closed",
            );
            return self.end(py, 0, b"");
        }
        if let Some(seconds) = next {
            self.arm(py, seconds)?;
        }
        self.pump(py)
    }

    // ---- waiting ------------------------------------------------------------------------------

    pub fn future<'py>(&self, py: Python<'py>, what: What) -> PyResult<Bound<'py, PyAny>> {
        let future = self.core.create_future.bind(py).call0()?;
        let mut state = self.state.borrow(py);
        let waiters = if what == What::Message { &mut state.readers } else { &mut state.writers };
        waiters.push(future.clone().unbind());
        drop(state);
        Ok(future)
    }

    pub fn take(&self, py: Python<'_>, what: What) -> PyResult<Option<Py<PyAny>>> {
        if what == What::Room {
            let (full, gone) = {
                let state = self.state.borrow(py);
                (state.full, state.gone)
            };
            // Where there is room the message has gone out, whatever the client has done since: that
            // it has closed is for `receive` to tell.
            return match (full, gone) {
                (false, _) => Ok(Some(py.None())),
                (true, true) => Err(self.core.disconnected(py)),
                (true, false) => Ok(None),
            };
        }
        let (first, news) = {
            let mut state = self.state.borrow(py);
            let first = state.stage == Stage::New;
            if first {
                state.stage = Stage::Asked;
            }
            // The last word is said as often as it is asked for.
            let news = match &state.news {
                _ if first => None,
                Some(News::Disconnect { code, reason }) => {
                    Some(News::Disconnect { code: *code, reason: reason.clone() })
                }
                _ => state.news.take(),
            };
            (first, news)
        };
        if first {
            return event(py, intern!(py, "websocket.connect"), |_| Ok(())).map(Some);
        }
        let Some(news) = news else { return Ok(None) };
        let received = intern!(py, "websocket.receive");
        let message = match &news {
            News::Text(text) => {
                event(py, received, |dict| dict.set_item(intern!(py, "text"), PyString::new(py, text.as_str())))?
            }
            News::Binary(bytes) => {
                event(py, received, |dict| dict.set_item(intern!(py, "bytes"), PyBytes::new(py, bytes)))?
            }
            News::Disconnect { code, reason } => event(py, intern!(py, "websocket.disconnect"), |dict| {
                dict.set_item(intern!(py, "code"), *code)?;
                dict.set_item(intern!(py, "reason"), reason)
            })?,
        };
        if !matches!(news, News::Disconnect { .. }) {
            // There is room for the next.
            self.pump(py)?;
        }
        Ok(Some(message))
    }

    // ---- what the app sends -------------------------------------------------------------------

    fn accept(&self, message: &Message<'_>) -> PyResult<()> {
        let py = message.py();
        let subprotocol: Option<String> = match message.get(intern!(py, "subprotocol"))? {
            Some(name) if !name.is_none() => Some(name.extract()?),
            _ => None,
        };
        let own = self
            .accept
            .headers(subprotocol.as_deref())
            .map_err(|error| PyRuntimeError::new_err(format!("'websocket.accept': {error}")))?;
        let more = message.headers()?;
        let mut lines: Vec<_> = own.iter().map(|(name, value)| Line::new(name.as_bytes(), value.as_bytes())).collect();
        lines.extend(more.lines());
        match self.shared.host.http_head(self.task, 101, &lines) {
            abi::NFFI_OK => {}
            abi::NFFI_GONE => {
                self.state.borrow(py).lost();
                return Err(self.core.disconnected(py));
            }
            _ => return Err(more.refused()),
        }
        self.state.borrow(py).stage = Stage::Open;
        if let Some(interval) = self.core.ws_ping_interval {
            self.arm(py, interval)?;
        }
        self.pump(py)
    }

    fn message(&self, message: &Message<'_>) -> PyResult<()> {
        let py = message.py();
        let text = message.get(intern!(py, "text"))?.filter(|text| !text.is_none());
        let sent = match text {
            Some(text) => {
                let text = text.cast_into::<PyString>()?;
                let text = text.to_str()?;
                let mut state = self.state.borrow(py);
                state.session.send_text(text).map(|()| self.write(&mut state))
            }
            None => {
                let Some(bytes) = message.bytes(intern!(py, "bytes"))? else {
                    return Err(PyRuntimeError::new_err("'websocket.send' has neither 'bytes' nor 'text'."));
                };
                let bytes = bytes.as_bytes();
                let mut state = self.state.borrow(py);
                state.session.send_binary(bytes).map(|()| self.write(&mut state))
            }
        };
        match sent {
            Ok(true) if !self.state.borrow(py).gone => Ok(()),
            Ok(false) => Err(PyMemoryError::new_err("no memory for a WebSocket message")),
            Ok(true) | Err(_) => Err(self.core.disconnected(py)),
        }
    }

    fn close(&self, py: Python<'_>, code: u16, reason: &str) -> PyResult<()> {
        let sent = {
            let mut state = self.state.borrow(py);
            let sent = state.session.close(code, reason);
            if sent.is_ok() {
                state.stage = Stage::Closing;
                state.closed = true;
                // No message that still waits: the app has said that it is done.
                state.news = None;
                self.write(&mut state);
            }
            sent
        };
        match sent {
            Ok(()) => {}
            Err(SendError::Closed) => return Err(self.core.disconnected(py)),
            Err(error) => return Err(PyRuntimeError::new_err(format!("'websocket.close': {error}"))),
        }
        // The client's answer may be there already.
        self.pump(py)?;
        let (readers, over) = {
            let mut state = self.state.borrow(py);
            if state.news.is_none() {
                state.news = Some(News::Disconnect { code, reason: reason.to_owned() });
            }
            (std::mem::take(&mut state.readers), state.stage == Stage::Done)
        };
        wake(py, readers)?;
        if !over {
            self.arm(py, CLOSE_TIMEOUT)?;
        }
        Ok(())
    }

    /// The app wants no WebSocket, or it wants no more.
    fn close_by(&self, message: &Message<'_>) -> PyResult<()> {
        let py = message.py();
        let stage = self.state.borrow(py).stage;
        if stage == Stage::Asked || stage == Stage::New {
            return self.deny(py, 403, b"");
        }
        let code: u16 = match message.get(intern!(py, "code"))? {
            Some(code) if !code.is_none() => code.extract()?,
            _ => 1000,
        };
        let reason: Option<String> = match message.get(intern!(py, "reason"))? {
            Some(reason) if !reason.is_none() => Some(reason.extract()?),
            _ => None,
        };
        self.close(py, code, reason.as_deref().unwrap_or_default())
    }

    /// An answer without a WebSocket.
    fn deny(&self, py: Python<'_>, status: i32, body: &[u8]) -> PyResult<()> {
        {
            let mut state = self.state.borrow(py);
            state.closed = true;
            state.news = Some(News::Disconnect { code: ABNORMAL, reason: String::new() });
        }
        let length = body.len().to_string();
        let all =
            [Line::new(b"content-length", length.as_bytes()), Line::new(b"content-type", b"text/plain; charset=utf-8")];
        let lines = if body.is_empty() { &all[..1] } else { &all[..] };
        let code = self.shared.host.http_head(self.task, status, lines);
        if code == abi::NFFI_OK && !body.is_empty() {
            self.shared.host.write(self.task, body);
        }
        self.end(py, 0, b"")
    }

    fn denial_start(&self, message: &Message<'_>) -> PyResult<()> {
        let py = message.py();
        let status = message.get(intern!(py, "status"))?;
        let status: i32 = status.map_or(Ok(0), |status| status.extract())?;
        if !(200..=999).contains(&status) {
            return Err(PyRuntimeError::new_err(format!("Invalid HTTP status {status}.")));
        }
        let headers = message.headers()?;
        match self.shared.host.http_head(self.task, status, &headers.lines()) {
            abi::NFFI_OK => {
                self.state.borrow(py).stage = Stage::Denying;
                Ok(())
            }
            abi::NFFI_GONE => {
                self.state.borrow(py).lost();
                Err(self.core.disconnected(py))
            }
            _ => Err(headers.refused()),
        }
    }

    fn denial_body(&self, message: &Message<'_>) -> PyResult<()> {
        let py = message.py();
        let body = message.bytes(intern!(py, "body"))?;
        let body = body.as_ref().map_or(&[][..], |body| body.as_bytes());
        let more = message.flag(intern!(py, "more_body"))?;
        if !body.is_empty() || more {
            match self.shared.host.write(self.task, body) {
                Some(abi::NFFI_OK) => {}
                Some(abi::NFFI_FULL) => self.state.borrow(py).full = true,
                None => return Err(PyMemoryError::new_err("no memory for a piece of the answer")),
                Some(_) => {
                    self.state.borrow(py).lost();
                    return Err(self.core.disconnected(py));
                }
            }
        }
        if more {
            return Ok(());
        }
        {
            let mut state = self.state.borrow(py);
            state.closed = true;
            state.news = Some(News::Disconnect { code: ABNORMAL, reason: String::new() });
        }
        self.end(py, 0, b"")
    }

    /// The app has returned.
    pub fn returned(&self, py: Python<'_>) -> PyResult<()> {
        let stage = self.state.borrow(py).stage;
        if matches!(stage, Stage::New | Stage::Asked | Stage::Denying) {
            let why = "ASGI callable returned without completing handshake.";
            self.shared.host.log(self.task, abi::NFFI_LOG_ERR as i32, why);
            return self.left(py, 1000, why);
        }
        self.left(py, 1000, "")
    }

    fn left(&self, py: Python<'_>, code: u16, why: &str) -> PyResult<()> {
        let (stage, gone) = {
            let mut state = self.state.borrow(py);
            state.left = true;
            (state.stage, state.gone)
        };
        match stage {
            Stage::Done => Ok(()),
            _ if gone => self.end(py, 0, b""),
            Stage::New | Stage::Asked => self.deny(py, 500, b"Internal Server Error"),
            Stage::Denying => self.end(py, 1, why.as_bytes()),
            Stage::Open => self.close(py, code, "").or_else(|_| self.end(py, 0, b"")),
            Stage::Closing => Ok(()),
        }
    }
}

fn cancel(py: Python<'_>, timer: Option<Py<PyAny>>) -> PyResult<()> {
    timer.map_or(Ok(()), |timer| timer.call_method0(py, intern!(py, "cancel")).map(drop))
}

impl State {
    fn lost(&mut self) {
        if !self.gone {
            self.disconnected(ABNORMAL, "");
        }
    }

    fn disconnected(&mut self, code: u16, reason: &str) {
        self.gone = true;
        // A close of the app's own has said so already.
        if !self.closed {
            self.news = Some(News::Disconnect { code, reason: reason.to_owned() });
        }
    }
}

#[pymethods]
impl Socket {
    /// Its number, for the log.
    #[getter]
    #[pyo3(name = "task")]
    fn number(&self) -> u64 {
        self.task
    }

    /// Has the client gone?
    fn cancelled(&self, py: Python<'_>) -> bool {
        self.state.borrow(py).gone || self.shared.host.cancelled(self.task)
    }

    fn receive(slf: &Bound<'_, Self>) -> PyResult<Py<Waiting>> {
        Py::new(slf.py(), Waiting::new(Target::WebSocket(slf.clone().unbind()), What::Message))
    }

    fn send<'py>(slf: &Bound<'py, Self>, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let message = Message::of(message)?;
        let kind = message.kind()?;
        let kind = kind.to_str()?;
        let (stage, gone, closed) = {
            let state = this.state.borrow(py);
            (state.stage, state.gone, state.closed)
        };
        if closed {
            return Err(PyRuntimeError::new_err(format!(
                "Unexpected ASGI message '{kind}', after sending 'websocket.close' or response already completed."
            )));
        }
        if gone {
            return Err(this.core.disconnected(py));
        }
        match (stage, kind) {
            (Stage::New | Stage::Asked, "websocket.accept") => this.accept(&message)?,
            (Stage::New | Stage::Asked | Stage::Open, "websocket.close") => this.close_by(&message)?,
            (Stage::New | Stage::Asked, "websocket.http.response.start") => this.denial_start(&message)?,
            (Stage::Denying, "websocket.http.response.body") => this.denial_body(&message)?,
            (Stage::Open, "websocket.send") => this.message(&message)?,
            (stage, kind) => {
                return Err(PyRuntimeError::new_err(match stage {
                    Stage::New | Stage::Asked => format!(
                        "Expected ASGI message 'websocket.accept', 'websocket.close' or \
                         'websocket.http.response.start' but got '{kind}'."
                    ),
                    Stage::Denying => {
                        format!("Expected ASGI message 'websocket.http.response.body' but got '{kind}'.")
                    }
                    _ => format!("Expected ASGI message 'websocket.send' or 'websocket.close', but got '{kind}'."),
                }));
            }
        }
        if this.state.borrow(py).full {
            return Ok(Bound::new(py, Waiting::new(Target::WebSocket(slf.clone().unbind()), What::Room))?.into_any());
        }
        Ok(this.core.done.bind(py).clone().into_any())
    }

    /// The app has raised an exception, which is in the log.
    fn raised(&self, py: Python<'_>, why: &str) -> PyResult<()> {
        self.left(py, 1011, why)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Whatever became of the app, the task ends. Python objects go with the GIL held.
        Python::attach(|py| {
            if !self.is_over(py) {
                let _ = self.end(py, 1, b"the app has ended without an answer");
            }
        });
    }
}
