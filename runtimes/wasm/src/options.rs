//! The options of the `nffi_runtime` block.

use std::{path::PathBuf, time::Duration};

use serde_json::{Map, Value};

use crate::{failure::one_line, host::Level};

const KNOWN: &str = "module, interface, threads, instances, time_limit, memory_limit, max_output, max_stack, fuel, \
                     arg, guest_env, dir, allow_outbound, outbound_ca, entry, snapshot, \
                     cache, watch, log_level";
const MOST_THREADS: u64 = 256;
/// Past it there is no address space for the memories.
const MOST_INSTANCES: u64 = 4096;
const PAGE: u64 = 65536;

/// How a request reaches the function, and its answer comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// HTTP requests as JSON on stdin, answers as JSON on stdout.
    Wasi,
    /// A component of the world wasi:http/proxy.
    WasiHttp,
    /// Messages on stdin, answers on stdout, as they are.
    Message,
}

/// A folder of the machine's that the function sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dir {
    pub host: PathBuf,
    pub guest: String,
    pub read_only: bool,
}

/// Where compiled modules are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheOption {
    Default,
    Off,
    Folder(PathBuf),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub module: PathBuf,
    pub interface: Interface,
    pub threads: usize,
    pub instances: usize,
    /// From the function's start. None: as long as somebody waits for it.
    pub time_limit: Option<Duration>,
    /// Bytes of an instance's memory.
    pub memory_limit: usize,
    /// Bytes on stdout; of a component's answer.
    pub max_output: usize,
    /// Bytes of the function's stack.
    pub max_stack: usize,
    pub fuel: Option<u64>,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub dirs: Vec<Dir>,
    /// Where a component may connect to: HOST:PORT in small letters.
    pub outbound: Vec<String>,
    /// Certificate authorities that it trusts there, besides Mozilla's.
    pub outbound_ca: Vec<PathBuf>,
    /// The exported function that answers.
    pub entry: Option<String>,
    /// Of the module once it is initialised.
    pub snapshot: bool,
    pub cache: CacheOption,
    pub watch: bool,
    /// Of the lines that the function writes to stderr.
    pub log_level: Level,
}

impl Options {
    /// The error is one line: it quotes what somebody has written.
    pub fn parse(cfg: &[u8]) -> Result<Self, String> {
        Self::parsed(cfg).map_err(|error| one_line(&error))
    }

    fn parsed(cfg: &[u8]) -> Result<Self, String> {
        let cfg = if cfg.is_empty() { b"{}" } else { cfg };
        let given: Map<String, Value> = serde_json::from_slice(cfg)
            .map_err(|error| format!("the configuration must be a JSON object with at least \"module\": {error}"))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Self {
            module: PathBuf::new(),
            interface: Interface::Wasi,
            threads: cores.min(16),
            instances: 64,
            time_limit: Some(Duration::from_secs(60)),
            memory_limit: 128 << 20,
            max_output: 16 << 20,
            max_stack: 512 << 10,
            fuel: None,
            args: Vec::new(),
            env: Vec::new(),
            dirs: Vec::new(),
            outbound: Vec::new(),
            outbound_ca: Vec::new(),
            entry: None,
            snapshot: false,
            cache: CacheOption::Default,
            watch: false,
            log_level: Level::Error,
        };
        let (mut threads_given, mut output_given) = (false, false);
        for (name, value) in &given {
            threads_given |= name == "threads";
            output_given |= name == "max_output";
            options.take(name, &occurrences(name, value)?)?;
        }
        if options.module.as_os_str().is_empty() {
            return Err("module: missing. Name the file: module /srv/functions/hello.wasm;".to_owned());
        }
        match options.interface {
            Interface::WasiHttp if options.snapshot || options.entry.is_some() => {
                return Err("snapshot and entry: are for modules, not for interface wasi-http".to_owned());
            }
            // It is not kept in memory.
            Interface::WasiHttp if !output_given => options.max_output = usize::MAX,
            Interface::Wasi | Interface::Message if !options.outbound.is_empty() => {
                return Err("allow_outbound: is for interface wasi-http only".to_owned());
            }
            _ if options.outbound.is_empty() && !options.outbound_ca.is_empty() => {
                return Err("outbound_ca: there is no allow_outbound that it could be for".to_owned());
            }
            _ => {}
        }
        if options.threads > options.instances {
            if threads_given {
                return Err(format!(
                    "instances: {} are fewer than the {} threads; each thread needs one",
                    options.instances, options.threads
                ));
            }
            options.threads = options.instances;
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, all: &[Vec<String>]) -> Result<(), String> {
        match name {
            "arg" => {
                for values in all {
                    self.args.push(no_zero(name, &one(name, values)?)?);
                }
            }
            "guest_env" => {
                for values in all {
                    self.env.push(env(values)?);
                }
            }
            "dir" => {
                for values in all {
                    self.dirs.push(dir(values)?);
                }
            }
            "allow_outbound" => {
                for values in all {
                    self.outbound.push(authority(&one(name, values)?)?);
                }
            }
            "outbound_ca" => {
                for values in all {
                    self.outbound_ca.push(absolute(name, &one(name, values)?)?);
                }
            }
            _ => {
                let [values] = all else { return Err(format!("{name}: may be given once only")) };
                self.take_one(name, &one(name, values)?)?;
            }
        }
        Ok(())
    }

    fn take_one(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "module" => self.module = absolute(name, value)?,
            "interface" => {
                self.interface = match value {
                    "wasi" => Interface::Wasi,
                    "wasi-http" => Interface::WasiHttp,
                    "message" => Interface::Message,
                    _ => return Err(format!("interface: wasi, wasi-http or message expected, got \"{value}\"")),
                }
            }
            "threads" => self.threads = number(name, value, 1, MOST_THREADS)? as usize,
            "instances" => self.instances = number(name, value, 1, MOST_INSTANCES)? as usize,
            "time_limit" => self.time_limit = time(name, value)?,
            "memory_limit" => self.memory_limit = size(name, value, PAGE, 4 << 30)? as usize,
            "max_output" => self.max_output = size(name, value, 1, 1 << 40)? as usize,
            "max_stack" => self.max_stack = size(name, value, 16 << 10, 64 << 20)? as usize,
            "fuel" => self.fuel = Some(number(name, value, 1, u64::MAX)?),
            "cache" => {
                self.cache = match value {
                    "off" => CacheOption::Off,
                    folder => CacheOption::Folder(absolute(name, folder)?),
                }
            }
            "entry" => self.entry = Some(no_zero(name, value)?),
            "snapshot" => self.snapshot = switch(name, value)?,
            "watch" => self.watch = switch(name, value)?,
            "log_level" => {
                self.log_level = match value {
                    "error" => Level::Error,
                    "warn" => Level::Warn,
                    "notice" => Level::Notice,
                    "info" => Level::Info,
                    "debug" => Level::Debug,
                    _ => {
                        return Err(format!(
                            "log_level: one of debug, info, notice, warn, error expected, got \"{value}\""
                        ));
                    }
                }
            }
            _ => return Err(format!("unknown option \"{name}\"; the known ones are {KNOWN}")),
        }
        Ok(())
    }
}

/// Each occurrence's values.
fn occurrences(name: &str, value: &Value) -> Result<Vec<Vec<String>>, String> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        _ => Err(format!("{name}: strings, numbers and lists of them only, got {value}")),
    };
    match value {
        Value::Bool(true) => Ok(vec![Vec::new()]),
        Value::Array(all) => all
            .iter()
            .map(|value| match value {
                Value::Array(values) => values.iter().map(scalar).collect(),
                value => Ok(vec![scalar(value)?]),
            })
            .collect(),
        value => Ok(vec![vec![scalar(value)?]]),
    }
}

fn one(name: &str, values: &[String]) -> Result<String, String> {
    match values {
        [value] => Ok(value.clone()),
        _ => Err(format!("{name}: takes one value, got {}", values.len())),
    }
}

fn no_zero(name: &str, value: &str) -> Result<String, String> {
    if value.contains('\0') {
        return Err(format!("{name}: has a zero byte in it"));
    }
    Ok(value.to_owned())
}

/// `NAME VALUE`, or `NAME=VALUE`.
fn env(values: &[String]) -> Result<(String, String), String> {
    let (name, value) = match values {
        [name, value] => (name.as_str(), value.as_str()),
        [both] => both.split_once('=').ok_or(format!("guest_env {both}: has no value: guest_env NAME VALUE;"))?,
        _ => return Err(format!("guest_env: takes a name and a value, got {} values", values.len())),
    };
    if name.is_empty() || name.contains('=') {
        return Err(format!("guest_env: \"{name}\" cannot be a variable's name"));
    }
    Ok((no_zero("guest_env", name)?, no_zero("guest_env", value)?))
}

fn dir(values: &[String]) -> Result<Dir, String> {
    let (host, guest, read_only) = match values {
        [host, guest] => (host, guest, false),
        [host, guest, ro] if ro == "ro" => (host, guest, true),
        [_, _, other] => return Err(format!("dir: \"{other}\" after the two folders: only ro may be there")),
        _ => return Err("dir: takes the folder here, its name in the function, and perhaps ro".to_owned()),
    };
    if guest.is_empty() {
        return Err("dir: the folder's name in the function is empty".to_owned());
    }
    Ok(Dir { host: absolute("dir", host)?, guest: no_zero("dir", guest)?, read_only })
}

/// `HOST:PORT`; an IPv6 address in brackets.
fn authority(value: &str) -> Result<String, String> {
    let parsed = value.parse::<http::uri::Authority>().ok();
    let port = parsed.as_ref().and_then(http::uri::Authority::port_u16).filter(|port| *port > 0);
    match (&parsed, port) {
        (Some(authority), Some(port)) if !authority.host().is_empty() && !value.contains('@') => {
            Ok(format!("{}:{port}", authority.host().to_ascii_lowercase()))
        }
        _ => Err(format!("allow_outbound: HOST:PORT expected, got \"{value}\"")),
    }
}

fn absolute(name: &str, path: &str) -> Result<PathBuf, String> {
    if path.is_empty() || path.contains('\0') {
        return Err(format!("{name}: \"{}\" is not a path", path.escape_debug()));
    }
    std::path::absolute(path).map_err(|error| format!("{name} {path}: {error}"))
}

fn number(name: &str, value: &str, least: u64, most: u64) -> Result<u64, String> {
    value.parse().ok().filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        let range = if most == u64::MAX { format!("{least} or more") } else { format!("from {least} to {most}") };
        format!("{name}: a number {range} expected, got \"{value}\"")
    })
}

/// As nginx writes them: `1024`, `64k`, `1m`, `1g`.
fn size(name: &str, value: &str, least: u64, most: u64) -> Result<u64, String> {
    let shift = match value.bytes().last().map(|unit| unit.to_ascii_lowercase()) {
        Some(b'k') => 10,
        Some(b'm') => 20,
        Some(b'g') => 30,
        _ => 0,
    };
    let digits = if shift > 0 { &value[..value.len() - 1] } else { value };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes
        .filter(|bytes| (least..=most).contains(bytes))
        .ok_or_else(|| format!("{name}: a size from {least} to {most} bytes expected, as 64k, 1m, 1g; got \"{value}\""))
}

/// As nginx writes them: `500ms`, `5s`, `1m`, `1h`; without a unit seconds. `off` is none.
fn time(name: &str, value: &str) -> Result<Option<Duration>, String> {
    if value == "off" {
        return Ok(None);
    }
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let unit = match &value[end..] {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let ms = value[..end].parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    match ms {
        Some(ms @ 1..=0x7fff_ffff) => Ok(Some(Duration::from_millis(ms))),
        _ => Err(format!("{name}: a time as 500ms, 5s, 1m expected, or off; got \"{value}\"")),
    }
}

fn switch(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{name}: on or off expected, got \"{value}\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(cfg: &str) -> String {
        Options::parse(cfg.as_bytes()).unwrap_err()
    }

    #[test]
    fn all_options() {
        let cfg = r#"{"module":"/f.wasm","interface":"message","threads":"3","instances":"100","time_limit":"500ms",
            "memory_limit":"16m","max_output":"1k","max_stack":"1m","fuel":"1000","arg":["-v","x"],
            "guest_env":[["A","1"],["B=2"]],"dir":[["/srv","/data","ro"],["/tmp","/tmp"]],"cache":"/c","watch":"on",
            "log_level":"info"}"#;
        let options = Options::parse(cfg.as_bytes()).unwrap();
        assert_eq!(options.interface, Interface::Message);
        assert_eq!((options.threads, options.instances), (3, 100));
        assert_eq!(options.time_limit, Some(Duration::from_millis(500)));
        assert_eq!((options.memory_limit, options.max_output, options.max_stack), (16 << 20, 1024, 1 << 20));
        assert_eq!((options.fuel, options.args.len()), (Some(1000), 2));
        assert_eq!(options.env, [("A".into(), "1".into()), ("B".into(), "2".into())]);
        assert!(options.dirs[0].read_only && !options.dirs[1].read_only);
        assert_eq!(options.cache, CacheOption::Folder("/c".into()));
        assert!(options.watch);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for cfg in ["", "{}", r#"{"threads":"1"}"#] {
            assert!(refused(cfg).starts_with("module: missing"), "{cfg}");
        }
        for (option, error) in [
            (r#""threads":"0""#, "threads: a number from 1"),
            (r#""threads":["1","2"]"#, "threads: may be given once"),
            (r#""threads":[["1","2"]]"#, "threads: takes one value, got 2"),
            (r#""threads":true"#, "threads: takes one value, got 0"),
            (r#""threads":"8","instances":"4""#, "instances: 4 are fewer than the 8 threads"),
            (r#""interface":"cgi""#, "interface: wasi, wasi-http or message"),
            (r#""allow_outbound":"example.com:80""#, "allow_outbound: is for interface wasi-http"),
            (r#""interface":"wasi-http","allow_outbound":"example.com""#, "allow_outbound: HOST:PORT expected"),
            (r#""interface":"wasi-http","allow_outbound":"a@b:80""#, "allow_outbound: HOST:PORT expected"),
            (r#""interface":"wasi-http","allow_outbound":"a:80","outbound_ca":"""#, "outbound_ca: \"\" is not a path"),
            (r#""outbound_ca":"/ca.crt""#, "outbound_ca: there is no allow_outbound"),
            (r#""memory_limit":"1k""#, "memory_limit: a size from 65536"),
            (r#""memory_limit":"99999999999999g""#, "memory_limit: a size"),
            (r#""time_limit":"0""#, "time_limit: a time as"),
            (r#""time_limit":"5 parsecs""#, "time_limit: a time as"),
            (r#""fuel":"-1""#, "fuel: a number 1 or more"),
            (r#""guest_env":"A""#, "guest_env A: has no value"),
            (r#""guest_env":[["","x"]]"#, "guest_env: \"\" cannot be"),
            (r#""dir":"/srv""#, "dir: takes the folder"),
            (r#""dir":[["/srv","/x","rw"]]"#, "dir: \"rw\" after"),
            (r#""interface":"wasi-http","snapshot":"on""#, "snapshot and entry: are for modules"),
            (r#""watch":"yes""#, "watch: on or off"),
            (r#""log_level":"loud""#, "log_level: one of"),
            (r#""timeouts":"1""#, "unknown option \"timeouts\"; the known ones are module"),
            (r#""arg":{"a":1}"#, "arg: strings, numbers"),
        ] {
            let said = refused(&format!(r#"{{"module":"/f.wasm",{option}}}"#));
            assert!(said.starts_with(error), "{option}: {said}");
        }
        assert!(refused("port=80").starts_with("the configuration must be a JSON object"));
    }

    #[test]
    fn where_components_may_connect_to() {
        let cfg = br#"{"module":"/f.wasm","interface":"wasi-http","allow_outbound":["Example.COM:443","[::1]:80"]}"#;
        let options = Options::parse(cfg).unwrap();
        assert_eq!(options.outbound, ["example.com:443", "[::1]:80"]);
        assert_eq!(options.max_output, usize::MAX);
    }

    #[test]
    fn few_instances_are_few_threads() {
        let options = Options::parse(br#"{"module":"/f.wasm","instances":"1"}"#).unwrap();
        assert_eq!(options.threads, 1);
    }
}
