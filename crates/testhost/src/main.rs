//! Drives a runtime library from the command line.

mod cli;
mod load;
mod report;
mod requests;
mod streaming;

use std::{
    io::{self, Read},
    process::ExitCode,
    time::{Duration, Instant},
};

use nffi_core::{host::HOST, library};
use nffi_testhost::{RuntimeId, Settings, TestHost, UnloadError};

use cli::{Arguments, Parsed};

/// How long a check may take, and a runtime to stop.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments = match cli::parse(lexopt::Parser::from_env()) {
        Ok(Parsed::Run(arguments)) => arguments,
        Ok(Parsed::Help) => {
            print!("{}", cli::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("nffi-testhost: {error}\n\n{}", cli::USAGE);
            return ExitCode::from(2);
        }
    };
    let result = if arguments.check { check(&arguments) } else { run(&arguments) };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::say(&error);
            ExitCode::FAILURE
        }
    }
}

/// Asks the library's own check what it thinks of the configuration.
fn check(arguments: &Arguments) -> Result<bool, String> {
    let path = library::find(&arguments.library, ".".as_ref()).map_err(|e| e.to_string())?;
    let path = std::path::absolute(&path).unwrap_or(path);
    if !library::inspect(&path).map_err(|e| e.to_string())?.check {
        report::say("the library exports no check; any configuration is taken");
        return Ok(true);
    }
    // It is to run in a process of its own, which this is, under a time limit, which is this:
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        report::say(&format!("the check took longer than {PATIENCE:?}"));
        std::process::exit(1);
    });
    // SAFETY: the thread above does not look at the environment, and there is no other.
    unsafe { arguments.surroundings.set_env() };
    arguments.surroundings.move_process()?;
    library::check(&library::load(&path)?, &arguments.config)?;
    report::say("the configuration is sound");
    Ok(true)
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let mut host = TestHost::lock();
    report::lines_of(&mut host, arguments.log_level);
    let begin = Instant::now();
    let settings = Settings { spin: arguments.spin, ..Settings::default() };
    let runtime = host
        .load_in(&arguments.library, &arguments.config, settings, arguments.surroundings.clone())
        .map_err(|e| e.to_string())?;
    report::say(&format!("ready after {}", report::milliseconds(begin.elapsed())));

    let mut sound = true;
    if let Some(load) = &arguments.load {
        sound = load::run(&mut host, runtime, load, arguments.http.as_ref(), arguments.timeout);
    } else if let Some(http) = &arguments.http {
        sound = requests::run(&mut host, runtime, http, arguments)?;
    } else if arguments.stream {
        for request in &arguments.calls {
            sound &= streaming::run(&mut host, runtime, request, arguments.timeout, false);
        }
        if arguments.stdin {
            sound &= streaming::run(&mut host, runtime, b"", arguments.timeout, true);
        }
    } else {
        for request in &arguments.calls {
            sound &= call(&mut host, runtime, request, arguments.timeout, b"\n");
        }
        if arguments.stdin {
            let mut request = Vec::new();
            io::stdin().read_to_end(&mut request).map_err(|e| format!("cannot read standard input: {e}"))?;
            sound &= call(&mut host, runtime, &request, arguments.timeout, b"");
        }
    }
    Ok(stop(&mut host, runtime) && sound)
}

fn call(host: &mut TestHost, runtime: RuntimeId, request: &[u8], timeout: Duration, after: &[u8]) -> bool {
    let begin = Instant::now();
    let result = host.call(runtime, request, timeout);
    let took = report::milliseconds(begin.elapsed());
    match result {
        Ok(answer) => {
            report::say(&format!("{} bytes in {took}", answer.len()));
            report::put(&answer) && report::put(after)
        }
        Err(error) => {
            report::say(&format!("{error} ({took})"));
            false
        }
    }
}

/// STOP, and the last report; false where the runtime has broken its contract.
fn stop(host: &mut TestHost, runtime: RuntimeId) -> bool {
    let begin = Instant::now();
    let result = host.unload(runtime, PATIENCE);
    let ending = match &result {
        Ok(()) => format!("stopped after {}", report::milliseconds(begin.elapsed())),
        Err(error) => format!("not stopped: {error}"),
    };
    let bad = host.bad_answers(runtime);
    report::say(&format!("{}; {ending}", report::counters(host, runtime, bad)));
    if matches!(result, Err(UnloadError::Unended(_))) {
        report::say("every task must be ended exactly once, also after CANCEL");
    }
    HOST.close();
    result.is_ok() && bad == 0
}
