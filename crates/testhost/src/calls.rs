//! Calls and casts.

use std::time::{Duration, Instant};

use nffi_core::{
    buf::Buf,
    dispatch::{NOBODY, Outcome, Refusal, Submission},
};

use crate::event_loop::{Over, RuntimeId, TestHost, Waiting};

/// A call under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId(u32);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("timeout")]
    Timeout,
    /// The runtime's own error.
    #[error("status {status}: {}", String::from_utf8_lossy(message))]
    Status { status: i32, message: Vec<u8> },
    #[error("answer too large")]
    TooLarge,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("no memory")]
    NoMemory,
    #[error("no such call")]
    NoSuchCall,
}

impl Over {
    pub(crate) fn into_result(self) -> Result<Buf, CallError> {
        match self {
            Over::Timeout => Err(CallError::Timeout),
            Over::Outcome(Outcome::Answer(answer)) if answer.status == 0 => Ok(answer.data),
            Over::Outcome(Outcome::Answer(answer)) => {
                Err(CallError::Status { status: answer.status, message: answer.data.as_slice().to_vec() })
            }
            Over::Outcome(Outcome::TooLarge | Outcome::Http(_)) => Err(CallError::TooLarge),
            Over::Outcome(Outcome::Failed(why)) => Err(CallError::Refused(Refusal::Failed(why))),
            Over::Outcome(Outcome::NoMemory) => Err(CallError::NoMemory),
        }
    }
}

/// The instant, and the same on CLOCK_MONOTONIC in ns, as the ABI wants it.
fn deadline(timeout: Duration) -> (Option<Instant>, u64) {
    let Some(until) = Instant::now().checked_add(timeout) else { return (None, 0) };
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let now = Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0));
    (Some(until), u64::try_from((now + timeout).as_nanos()).unwrap_or(0))
}

impl TestHost {
    /// Calls and waits. A `timeout` of `Duration::MAX` is none.
    pub fn call(&mut self, runtime: RuntimeId, request: &[u8], timeout: Duration) -> Result<Vec<u8>, CallError> {
        let call = self.submit(runtime, request, timeout)?;
        self.wait(call)
    }

    /// Calls and does not wait. The answer is to be had from [`wait`](Self::wait) or
    /// [`wait_any`](Self::wait_any).
    pub fn submit(&mut self, runtime: RuntimeId, request: &[u8], timeout: Duration) -> Result<CallId, CallError> {
        self.put(runtime, request, timeout, None, false).map(CallId)
    }

    /// A request whose answer nobody waits for.
    pub fn cast(&mut self, runtime: RuntimeId, request: &[u8]) -> Result<(), CallError> {
        self.dispatch.admit(runtime.0, request.len())?;
        let data = Buf::copy_of(request).ok_or(CallError::NoMemory)?;
        let submission = Submission::new(data, NOBODY);
        self.dispatch.submit(runtime.0, submission);
        self.dispatch.flush();
        Ok(())
    }

    pub(crate) fn put(
        &mut self,
        runtime: RuntimeId,
        request: &[u8],
        timeout: Duration,
        pieces: Option<std::sync::Arc<nffi_core::pipe::Pieces>>,
        more: bool,
    ) -> Result<u32, CallError> {
        self.dispatch.admit(runtime.0, request.len())?;
        let data = Buf::copy_of(request).ok_or(CallError::NoMemory)?;
        self.owners += 1;
        let owner = self.owners;
        let (until, deadline) = deadline(timeout);
        let submission =
            Submission { deadline, request_id: owner.into(), pieces, more, ..Submission::new(data, owner) };
        let task = self.dispatch.submit(runtime.0, submission);
        self.remember(owner, Waiting { task, until, over: None });
        Ok(owner)
    }

    /// Waits for one call.
    pub fn wait(&mut self, call: CallId) -> Result<Vec<u8>, CallError> {
        self.turn_until(None, |host| host.waiting.get(&call.0).is_none_or(|waiting| waiting.over.is_some()));
        let over = self.forget(call.0).and_then(|waiting| waiting.over).ok_or(CallError::NoSuchCall)?;
        over.into_result().map(|data| data.as_slice().to_vec())
    }

    /// Waits until at least one of the `calls` is over; those that are leave `calls`.
    pub fn wait_any(&mut self, calls: &mut Vec<CallId>) -> Vec<(CallId, Result<Vec<u8>, CallError>)> {
        if calls.is_empty() {
            return Vec::new();
        }
        let is_over =
            |host: &Self, call: &CallId| host.waiting.get(&call.0).is_none_or(|waiting| waiting.over.is_some());
        self.turn_until(None, |host| calls.iter().any(|call| is_over(host, call)));
        let over: Vec<CallId> = calls.extract_if(.., |call| is_over(self, call)).collect();
        over.into_iter().map(|call| (call, self.wait(call))).collect()
    }

    /// Gives a call up: the runtime gets CANCEL, or never hears of it.
    pub fn cancel(&mut self, call: CallId) {
        self.forget(call.0);
        self.dispatch.flush();
    }
}
