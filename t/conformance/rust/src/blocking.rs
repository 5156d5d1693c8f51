//! The handler that blocks.

use std::{
    process::Command as Process,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use nffi::{Context, Error, Request, Service};

use crate::{
    Config,
    command::{Command, ended},
};

struct Handler {
    greeting: String,
    cancelled: AtomicUsize,
}

impl Service for Handler {
    type Config = Config;
    type Error = Error;

    fn new(config: Config, _: &Context) -> Result<Self, Error> {
        thread::sleep(config.init_sleep());
        match config.init_fail {
            Some(message) => Err(message.into()),
            None => Ok(Self { greeting: config.greeting, cancelled: AtomicUsize::new(0) }),
        }
    }

    fn handle(&self, request: &Request) -> Result<Vec<u8>, Error> {
        match Command::read(request.whole()?)? {
            Command::Answer(answer) => Ok(answer),
            Command::Greeting => Ok(self.greeting.clone().into_bytes()),
            Command::Sleep(time) => self.sleep(request, time),
            Command::Cancelled => Ok(self.cancelled.load(Ordering::Relaxed).to_string().into_bytes()),
            Command::Run(command) => Ok(ended(&Process::new("sh").args(["-c", &command]).output()?)),
        }
    }
}

impl Handler {
    fn sleep(&self, request: &Request, time: Duration) -> Result<Vec<u8>, Error> {
        let begin = Instant::now();
        while let Some(left) = time.checked_sub(begin.elapsed()) {
            if request.cancelled() {
                self.cancelled.fetch_add(1, Ordering::Relaxed);
                return Err("nobody waits".into());
            }
            thread::sleep(left.min(Duration::from_millis(5)));
        }
        Ok(b"slept".to_vec())
    }
}

nffi::export!(Handler);
