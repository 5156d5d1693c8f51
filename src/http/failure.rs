//! What goes wrong between a request and its task, in the client's eyes and in the log's.

use std::{borrow::Cow, ptr};

use nffi_core::{
    dispatch::{Outcome, Refusal},
    meter::End,
};
use nginx_sys::{
    NGX_ERROR, NGX_HTTP_BAD_GATEWAY, NGX_HTTP_GATEWAY_TIME_OUT, NGX_HTTP_INTERNAL_SERVER_ERROR,
    NGX_HTTP_REQUEST_ENTITY_TOO_LARGE, NGX_HTTP_SERVICE_UNAVAILABLE, NGX_LOG_ERR, NGX_LOG_INFO, NGX_OK,
    ngx_http_clean_header, ngx_http_finalize_request, ngx_int_t,
};

use super::exchange::{Discard, Exchange, Stage};
use crate::{errlog, nginx};

/// Seconds after which a client may try again where the queue was full.
const RETRY_AFTER: &[u8] = b"1";

#[derive(Debug)]
pub enum Failure {
    /// nffi_timeout is over.
    Timeout,
    Refused(Refusal),
    /// The runtime ended the task with a status of its own, and a message.
    Runtime(i32, Vec<u8>),
    /// It did what no answer is made of.
    Protocol(Cow<'static, str>),
    NoMemory,
    /// What a request is made of was not to be had: which.
    Lacking(&'static str),
    /// nginx has said why.
    Nginx(ngx_int_t),
}

impl Failure {
    /// How a task ended that has no answer.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Http(end) if end.status == 0 => None,
            Outcome::Http(end) => Some(Self::Runtime(end.status, end.data.as_slice().to_vec())),
            Outcome::Answer(_) => Some(Self::Protocol("it answered something else than HTTP".into())),
            Outcome::TooLarge => Some(Self::Protocol("it wrote on and on while the client's window was shut".into())),
            Outcome::Failed(why) => Some(Self::Refused(Refusal::Failed(why.clone()))),
            Outcome::NoMemory => Some(Self::NoMemory),
        }
    }

    /// How the task ended for the client; `None` where that is as for any client that goes.
    fn end(&self, stage: Stage) -> Option<End> {
        match self {
            // It was no fault of anyone's that nobody said anything.
            Self::Timeout if stage == Stage::Upgraded => Some(End::Ok),
            Self::Timeout => Some(End::Timeout),
            Self::Runtime(..) | Self::Protocol(_) | Self::NoMemory | Self::Lacking(_) => Some(End::Error),
            Self::Refused(_) | Self::Nginx(_) => None,
        }
    }

    pub fn status(&self) -> u32 {
        match self {
            Self::Timeout => NGX_HTTP_GATEWAY_TIME_OUT,
            Self::Refused(Refusal::RequestTooLarge) => NGX_HTTP_REQUEST_ENTITY_TOO_LARGE,
            Self::Refused(_) => NGX_HTTP_SERVICE_UNAVAILABLE,
            Self::Runtime(..) | Self::Protocol(_) => NGX_HTTP_BAD_GATEWAY,
            Self::NoMemory | Self::Lacking(_) => NGX_HTTP_INTERNAL_SERVER_ERROR,
            Self::Nginx(rc) => u32::try_from(*rc).unwrap_or(0),
        }
    }

    fn words(&self, timeout: u64) -> Option<String> {
        Some(match self {
            Self::Timeout => format!("timed out: nothing came from it for {timeout} ms (nffi_timeout)"),
            Self::Refused(refusal) => refusal.to_string(),
            Self::Runtime(status, message) if message.is_empty() => format!("failed with status {status}"),
            Self::Runtime(status, message) => {
                format!("failed with status {status}: {}", String::from_utf8_lossy(message))
            }
            Self::Protocol(what) => format!("broke the protocol: {what}"),
            Self::NoMemory => "no memory".to_owned(),
            Self::Lacking(what) => format!("gets nothing of a request: {what}"),
            Self::Nginx(_) => return None,
        })
    }
}

/// Says it in the log, and ends the request: by a status where the client has got nothing, otherwise by
/// cutting its connection, so that it does not take the answer for a whole one.
///
/// # Safety
/// `exchange` is one of a live request; both may be gone afterwards.
pub unsafe fn fail(exchange: *mut Exchange, failure: Failure) {
    // SAFETY: the caller's promise.
    unsafe {
        let this = &mut *exchange;
        let r = this.r;
        let stage = this.stage;
        this.end = failure.end(stage);
        if stage == Stage::Upgraded && matches!(failure, Failure::Timeout) {
            // No fault of anyone's.
            let words = format!("let its connection idle for {} ms (nffi_timeout), which is closed", this.timeout);
            log(this, NGX_LOG_INFO, &words);
        } else if let Some(words) = failure.words(this.timeout) {
            let words = if stage == Stage::Sending { words + "; the connection is cut" } else { words };
            log(this, NGX_LOG_ERR, &words);
        } else {
            parted(this, failure.status() as usize);
        }
        if !matches!(stage, Stage::Sending | Stage::Upgraded | Stage::Discarding(Discard::Nothing)) {
            // What the client gets instead.
            this.status = failure.status() as u16;
        }
        this.part();
        match stage {
            Stage::Sending | Stage::Upgraded => {
                (*r).set_keepalive(0);
                // Whoever made a subrequest decides whether that is the end of it all.
                if ptr::eq(r, (*r).main) {
                    (*(*r).connection).set_error(1);
                }
                ngx_http_finalize_request(r, NGX_ERROR as ngx_int_t);
            }
            // The head was all that was wanted, and that was sent.
            Stage::Discarding(Discard::Nothing) => ngx_http_finalize_request(r, NGX_OK as ngx_int_t),
            _ => {
                if (*r).reading_body() != 0 {
                    // nginx will close it: better said than found out.
                    (*r).set_keepalive(0);
                }
                if !this.heads.is_empty() {
                    // What the runtime wanted to send is not what is sent.
                    ngx_http_clean_header(r);
                }
                if matches!(failure, Failure::Refused(Refusal::QueueFull)) {
                    nginx::add_header(r, b"Retry-After", RETRY_AFTER);
                }
                let rc = match failure {
                    Failure::Nginx(rc) => rc,
                    failure => failure.status() as ngx_int_t,
                };
                ngx_http_finalize_request(r, rc);
            }
        }
    }
}

/// Says that the request goes before its answer is whole, with the status that nginx gave it: nginx has said why, but
/// knows no runtime. Says nothing where the answer is whole.
///
/// # Safety
/// The exchange's request is live.
pub unsafe fn parted(exchange: &Exchange, status: usize) {
    let words = match exchange.stage {
        Stage::Over => return,
        Stage::Reading => format!("gets nothing of a request that ended with {status} while its body was read"),
        _ if exchange.ended.is_some() => return,
        _ => format!("is cancelled: the request ended with {status} before its answer did"),
    };
    let level = if status == NGX_HTTP_REQUEST_ENTITY_TOO_LARGE as usize { NGX_LOG_ERR } else { NGX_LOG_INFO };
    // SAFETY: the caller's promise.
    unsafe { log(exchange, level, &words) };
}

/// A line in the error log that names the runtime and the trace.
///
/// # Safety
/// The exchange's request is live.
pub unsafe fn log(exchange: &Exchange, level: u32, words: &str) {
    // SAFETY: the caller's promise.
    let log = unsafe { (*(*exchange.r).connection).log };
    let (name, trace) = (&exchange.runtime.name, exchange.trace);
    if trace == 0 {
        errlog::write(log, level as _, format_args!("nffi runtime \"{name}\" {words}"));
    } else {
        errlog::write(log, level as _, format_args!("nffi runtime \"{name}\" {words}, trace: {trace:032x}"));
    }
}
