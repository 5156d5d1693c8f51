//! The handler that is an async function.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use nffi::{
    Context, Error,
    aio::{Request, Service},
};
use tokio::process::Command as Process;

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

    async fn new(config: Config, _: &Context) -> Result<Self, Error> {
        tokio::time::sleep(config.init_sleep()).await;
        match config.init_fail {
            Some(message) => Err(message.into()),
            None => Ok(Self { greeting: config.greeting, cancelled: AtomicUsize::new(0) }),
        }
    }

    async fn handle(&self, request: &Request) -> Result<Vec<u8>, Error> {
        match Command::read(request.whole().await?)? {
            Command::Answer(answer) => Ok(answer),
            Command::Greeting => Ok(self.greeting.clone().into_bytes()),
            Command::Sleep(time) => Ok(self.sleep(time).await),
            Command::Cancelled => Ok(self.cancelled.load(Ordering::Relaxed).to_string().into_bytes()),
            Command::Run(command) => Ok(ended(&Process::new("sh").args(["-c", &command]).output().await?)),
        }
    }
}

impl Handler {
    async fn sleep(&self, time: Duration) -> Vec<u8> {
        let counted = Unfinished(&self.cancelled);
        tokio::time::sleep(time).await;
        std::mem::forget(counted);
        b"slept".to_vec()
    }
}

/// Counts a future that was dropped half-way, which is what a cancelled call is.
struct Unfinished<'a>(&'a AtomicUsize);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

nffi::export_async!(Handler);
