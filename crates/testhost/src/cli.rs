//! The arguments.

use std::{fs, time::Duration};

use lexopt::prelude::*;

use nffi_testhost::Surroundings;

use crate::{load::Load, report, requests::Requests};

pub const USAGE: &str = "\
usage: nffi-testhost LIBRARY [OPTION...]

Loads a runtime library as a host does, calls it, prints its answers, and stops it. A library without a slash
in its name is looked for where the dynamic linker would look.

  --config TEXT        the runtime's configuration (default: {})
  --config-file FILE   the same from a file
  --env NAME[=VALUE]   an environment variable; may be repeated
  --working-directory DIR  the current directory of the runtime's threads
  --check              only ask the library's own check about the configuration
  --call TEXT          a request; may be repeated. Answers go to standard output, a line each
  --stdin              standard input is a request; its answer goes out as it is
  --stream             answers piece by piece, as they come; with --stdin the request too
  --http 'METHOD /PATH?QUERY'  an HTTP request; may be repeated. Status and headers go to standard error, the
                       body to standard output as it comes
  --header 'NAME: VALUE'  of it; may be repeated
  --body-file FILE     its body; the runtime gets the descriptor. --stdin: its body, in memory; with --stream
                       piece by piece
  --upgrade            asks to upgrade the connection; after a 101 its bytes are standard input and output
  --prefix /PATH       where the app is mounted
  --param NAME=VALUE   a parameter of the host's; may be repeated
  --repeat N           N calls of the first --call or --http, or of --size bytes, and how long they took
  --concurrency C      so many of them at once (default: 1)
  --size BYTES         the size of a request of --repeat (default: 16)
  --timeout MS         of each call (default: 5000)
  --spin US            microseconds that a poller spins before it sleeps (default: 0)
  --log-level LEVEL    log lines up to emerg, alert, crit, error, warn, notice, info (default) or debug

Exit code: 0, 1 where a call failed or the runtime broke its contract, 2 where the arguments are wrong. A whole
HTTP answer is none of these, whatever its status.
";

/// Milliseconds that fit a signed 32-bit number, as in the ABI.
const MAX_TIMEOUT: u64 = i32::MAX as u64;

#[derive(Debug)]
pub struct Arguments {
    pub library: String,
    pub config: Vec<u8>,
    pub surroundings: Surroundings,
    pub check: bool,
    pub calls: Vec<Vec<u8>>,
    pub stdin: bool,
    pub stream: bool,
    pub http: Option<Requests>,
    pub load: Option<Load>,
    pub timeout: Duration,
    pub spin: u64,
    pub log_level: u8,
}

pub enum Parsed {
    Run(Box<Arguments>),
    Help,
}

fn number(parser: &mut lexopt::Parser, name: &str, least: u64, most: u64) -> Result<u64, lexopt::Error> {
    let text = parser.value()?.string()?;
    match text.parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(format!("{name}: a number from {least} to {most} expected, got \"{text}\"").into()),
    }
}

pub fn parse(mut parser: lexopt::Parser) -> Result<Parsed, lexopt::Error> {
    use std::os::unix::ffi::OsStringExt;

    let mut library = None;
    let mut config = None;
    let (mut check, mut stdin, mut stream) = (false, false, false);
    let mut surroundings = Surroundings::default();
    let mut calls = Vec::new();
    let mut http = Requests::default();
    let (mut repeat, mut concurrency, mut size) = (None, None, None);
    let (mut timeout, mut spin, mut log_level) = (5000, 0, nffi_abi::NFFI_LOG_INFO as u8);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Parsed::Help),
            Long("config") if config.is_none() => config = Some(parser.value()?.into_vec()),
            Long("config-file") if config.is_none() => {
                let path = parser.value()?;
                let read = fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
                config = Some(read);
            }
            Long("config" | "config-file") => return Err("one configuration only".into()),
            Long("env") => surroundings.add_env(&[parser.value()?.string()?])?,
            Long("working-directory") => surroundings.working_directory = Some(parser.value()?.into()),
            Long("check") => check = true,
            Long("call") => calls.push(parser.value()?.into_vec()),
            Long("stdin") => stdin = true,
            Long("stream") => stream = true,
            Long("http") => http.add_request(&parser.value()?.string()?)?,
            Long("header") => http.add_header(&parser.value()?.string()?)?,
            Long("body-file") => http.open_body(&parser.value()?)?,
            Long("upgrade") => http.upgrade = true,
            Long("prefix") => http.prefix = parser.value()?.into_vec(),
            Long("param") => http.add_param(&parser.value()?.string()?)?,
            Long("repeat") => repeat = Some(number(&mut parser, "--repeat", 1, u64::MAX)?),
            Long("concurrency") => concurrency = Some(number(&mut parser, "--concurrency", 1, 65_536)?),
            Long("size") => size = Some(number(&mut parser, "--size", 0, 64 << 20)?),
            Long("timeout") => timeout = number(&mut parser, "--timeout", 1, MAX_TIMEOUT)?,
            Long("spin") => spin = number(&mut parser, "--spin", 0, nffi_core::options::MAX_SPIN)?,
            Long("log-level") => {
                let name = parser.value()?.string()?;
                log_level = report::level(&name).ok_or_else(|| format!("--log-level: no such level \"{name}\""))?;
            }
            Value(value) if library.is_none() => library = Some(value.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let Some(library) = library else { return Err("which LIBRARY?".into()) };
    if repeat.is_none() && (concurrency.is_some() || size.is_some()) {
        return Err("--concurrency and --size go with --repeat".into());
    }
    if repeat.is_some() && (stdin || stream || http.upgrade) {
        return Err("--repeat goes with none of --stdin, --stream and --upgrade".into());
    }
    http.check(!calls.is_empty() || size.is_some(), stdin)?;
    surroundings.check()?;
    let load = repeat.map(|repeat| Load {
        request: match (calls.first(), size) {
            (Some(call), None) => call.clone(),
            (_, size) => vec![b'x'; usize::try_from(size.unwrap_or(16)).unwrap_or(usize::MAX)],
        },
        repeat,
        concurrency: usize::try_from(concurrency.unwrap_or(1)).unwrap_or(usize::MAX),
    });
    Ok(Parsed::Run(Box::new(Arguments {
        library,
        config: config.unwrap_or_else(|| b"{}".to_vec()),
        surroundings,
        check,
        calls,
        stdin,
        stream,
        http: http.is_wanted().then_some(http),
        load,
        timeout: Duration::from_millis(timeout),
        spin,
        log_level,
    })))
}
