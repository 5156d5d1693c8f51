//! What a request asks for, and the answers that take no time.

use std::{env, time::Duration};

use nffi::Error;

/// A request that begins with `!`, or any other.
pub enum Command {
    Answer(Vec<u8>),
    Greeting,
    Sleep(Duration),
    Cancelled,
    Run(String),
}

impl Command {
    /// Reads a request, and does what needs nothing but itself.
    pub fn read(request: &[u8]) -> Result<Self, Error> {
        if request.first() != Some(&b'!') {
            return Ok(Self::Answer(request.to_vec()));
        }
        let text = std::str::from_utf8(request)?;
        let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        Ok(match name {
            "!greeting" => Self::Greeting,
            "!fail" => return Err(Error::new(word.parse()?, after)),
            "!error" => return Err(rest.into()),
            "!throw" => panic!("{rest}"),
            "!sleep" => Self::Sleep(Duration::from_millis(rest.parse()?)),
            "!cancelled" => Self::Cancelled,
            "!log" => Self::Answer(log(word, after)?),
            "!env" => Self::Answer(env::var(rest).map_err(|_| format!("no {rest}"))?.into_bytes()),
            "!cwd" => Self::Answer(env::current_dir()?.display().to_string().into_bytes()),
            "!run" => Self::Run(rest.to_owned()),
            _ => return Err(format!("unknown command {name}").into()),
        })
    }
}

fn log(level: &str, text: &str) -> Result<Vec<u8>, Error> {
    match level {
        "debug" => tracing::debug!("{text}"),
        "info" => tracing::info!("{text}"),
        "warn" => tracing::warn!("{text}"),
        "error" => tracing::error!("{text}"),
        _ => return Err(format!("unknown level {level}").into()),
    }
    Ok(b"logged".to_vec())
}

/// What a program that has ended leaves: its exit code, and what it printed.
pub fn ended(output: &std::process::Output) -> Vec<u8> {
    let code = output.status.code().unwrap_or(-1);
    [format!("{code} ").as_bytes(), &output.stdout].concat()
}
