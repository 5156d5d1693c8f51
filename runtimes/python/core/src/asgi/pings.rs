//! Pings on a schedule: the one that was sent last, and whether its answer is awaited.

use std::time::Instant;

#[derive(Default)]
pub struct Pings {
    /// Of the last one; it is its payload.
    number: u32,
    /// While its answer is awaited.
    sent: Option<Instant>,
    /// How long the answer took that has come, in seconds.
    answered: Option<f64>,
}

impl Pings {
    /// The payload of the next.
    pub fn next(&mut self, awaited: bool) -> [u8; 4] {
        self.number = self.number.wrapping_add(1);
        self.sent = awaited.then(Instant::now);
        self.number.to_be_bytes()
    }

    /// The client has sent a pong: perhaps one of its own, or a late one.
    pub fn pong(&mut self, payload: &[u8]) {
        if payload == self.number.to_be_bytes() {
            self.answered = self.sent.take().map(|sent| sent.elapsed().as_secs_f64());
        }
    }

    pub fn is_awaited(&self) -> bool {
        self.sent.is_some()
    }

    /// Has it been answered since this was asked? Then the next is to be scheduled.
    pub fn take_answer(&mut self) -> Option<f64> {
        self.answered.take()
    }

    pub fn is_answered(&self) -> bool {
        self.answered.is_some()
    }
}
