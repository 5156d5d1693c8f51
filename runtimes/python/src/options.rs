//! The options of a Python runtime. nffi hands them over as JSON whose values are strings, arrays
//! of strings, or `true`; numbers are taken too, for configurations that Lua wrote.

use std::{path::PathBuf, time::Duration};

use serde_json::{Map, Value, json};

/// What the Python code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// A function of messages: `handler`.
    Message,
    /// A web app: `app`.
    Asgi,
    Wsgi,
}

impl Interface {
    fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Asgi => "asgi",
            Self::Wsgi => "wsgi",
        }
    }

    /// Options that some interfaces have and others have not. Where there is no interface they are
    /// the user's own, like any other name.
    fn has(self, option: &str) -> bool {
        match option {
            "app" | "factory" => self != Self::Message,
            "lifespan" | "ws_max_size" | "ws_per_message_deflate" | "ws_ping_interval" | "ws_ping_timeout" => {
                self == Self::Asgi
            }
            _ => true,
        }
    }

    /// Why not, of one of the options that all runtimes but those of this interface have.
    fn refuses(self, option: &str) -> Option<&'static str> {
        match (self, option) {
            (Self::Asgi | Self::Wsgi, "handler") => Some("an app is named by \"app\""),
            (Self::Asgi, "threads") => Some("an ASGI app runs on one loop, and has the threads that it makes"),
            (Self::Wsgi, "uvloop") => Some("a WSGI app runs on threads"),
            (Self::Wsgi, option) if !self.has(option) => Some("it is one of \"interface asgi\""),
            _ => None,
        }
    }
}

#[derive(Debug, PartialEq)]
pub struct Options {
    pub interface: Interface,
    /// Of the handler, or of the app.
    pub module: String,
    pub function: String,
    /// `module?:function`: load the module's code anew.
    pub reload: bool,
    /// The app is what the function returns.
    pub factory: bool,
    pub lifespan: String,
    /// Bytes of a WebSocket message that a client sends.
    pub ws_max_size: u64,
    /// Is compression agreed on with who offers it?
    pub ws_per_message_deflate: bool,
    /// How long after the answer to one ping there is the next; None: there are none.
    pub ws_ping_interval: Option<Duration>,
    /// How long a client has to answer; None: as long as it likes.
    pub ws_ping_timeout: Option<Duration>,
    /// In front of sys.path, the first one first.
    pub path: Vec<PathBuf>,
    pub venv: Option<PathBuf>,
    pub libpython: Option<String>,
    /// For `def` handlers.
    pub threads: u64,
    pub switch_interval: Duration,
    pub uvloop: String,
    pub log_level: String,
    /// How long a stop waits for what runs.
    pub grace: Duration,
    /// Everything else: the user's own.
    pub own: Map<String, Value>,
}

const MAX_THREADS: u64 = 1024;

impl Options {
    pub fn parse(cfg: &[u8]) -> Result<Self, String> {
        let map = match serde_json::from_slice(if cfg.is_empty() { b"{}" } else { cfg }) {
            Ok(Value::Object(map)) => map,
            Ok(_) => return Err("the configuration must be a JSON object".into()),
            Err(e) => return Err(format!("the configuration must be a JSON object: {e}")),
        };
        let interface = match map.get("interface") {
            None => Interface::Message,
            Some(value) => match word("interface", &one("interface", value)?, &["asgi", "wsgi"])?.as_str() {
                "asgi" => Interface::Asgi,
                _ => Interface::Wsgi,
            },
        };
        let mut options = Self {
            interface,
            factory: false,
            lifespan: "auto".into(),
            ws_max_size: 16 << 20,
            ws_per_message_deflate: true,
            ws_ping_interval: Some(Duration::from_secs(20)),
            ws_ping_timeout: Some(Duration::from_secs(20)),
            module: String::new(),
            function: String::new(),
            reload: false,
            path: Vec::new(),
            venv: None,
            libpython: None,
            threads: 8,
            switch_interval: Duration::from_micros(500),
            uvloop: "auto".into(),
            log_level: "info".into(),
            grace: Duration::from_secs(3),
            own: Map::new(),
        };
        for (name, value) in map {
            if let Some(why) = interface.refuses(&name) {
                return Err(format!("option \"{name}\" is not for interface {}: {why}", interface.name()));
            }
            match name.as_str() {
                "interface" => {}
                "handler" => options.set_handler("handler", "FUNCTION", &one(&name, &value)?)?,
                "app" if interface.has("app") => options.set_handler("app", "ATTRIBUTE", &one(&name, &value)?)?,
                "factory" if interface.has("factory") => {
                    options.factory = word(&name, &one(&name, &value)?, &["on", "off"])? == "on";
                }
                "lifespan" if interface.has("lifespan") => {
                    options.lifespan = word(&name, &one(&name, &value)?, &["on", "off", "auto"])?;
                }
                "ws_max_size" if interface.has("ws_max_size") => {
                    options.ws_max_size = size(&name, &one(&name, &value)?, 1, 1 << 30)?;
                }
                "ws_per_message_deflate" if interface.has("ws_per_message_deflate") => {
                    options.ws_per_message_deflate = word(&name, &one(&name, &value)?, &["on", "off"])? == "on";
                }
                "ws_ping_interval" if interface.has("ws_ping_interval") => {
                    options.ws_ping_interval = time_or_off(&name, &one(&name, &value)?)?;
                }
                "ws_ping_timeout" if interface.has("ws_ping_timeout") => {
                    options.ws_ping_timeout = time_or_off(&name, &one(&name, &value)?)?;
                }
                "path" => options.path = each(&name, &value)?.into_iter().map(PathBuf::from).collect(),
                "venv" => options.venv = Some(one(&name, &value)?.into()),
                "libpython" => options.libpython = Some(one(&name, &value)?),
                "threads" => options.threads = number(&name, &one(&name, &value)?, 1, MAX_THREADS)?,
                "switch_interval" => {
                    let (least, most) = (Duration::from_micros(10), Duration::from_secs(1));
                    options.switch_interval = time(&name, &one(&name, &value)?, least, most)?;
                }
                "grace" => {
                    options.grace = time(&name, &one(&name, &value)?, Duration::ZERO, Duration::from_secs(3600))?
                }
                "uvloop" => options.uvloop = word(&name, &one(&name, &value)?, &["on", "off", "auto"])?,
                "log_level" => {
                    options.log_level =
                        word(&name, &one(&name, &value)?, &["debug", "info", "warning", "error", "critical"])?;
                }
                _ => {
                    options.own.insert(name, value);
                }
            }
        }
        match (interface, options.module.is_empty(), options.own.keys().next()) {
            (Interface::Message, true, _) => {
                return Err(
                    "option \"handler\" is missing: handler MODULE:FUNCTION; for a web app: interface asgi or \
                            wsgi, and app MODULE:ATTRIBUTE"
                        .into(),
                );
            }
            (Interface::Message, ..) => {}
            (_, true, _) => return Err("option \"app\" is missing: app MODULE:ATTRIBUTE".into()),
            (_, _, Some(name)) => {
                return Err(format!(
                    "unknown option \"{name}\" of interface {}; apps are told by env",
                    interface.name()
                ));
            }
            _ => {}
        }
        Ok(options)
    }

    fn set_handler(&mut self, option: &str, what: &str, text: &str) -> Result<(), String> {
        let bad = || format!("option \"{option}\": MODULE:{what} expected, got \"{text}\"");
        let (module, function) = text.split_once(':').ok_or_else(bad)?;
        let (module, reload) = module.strip_suffix('?').map_or((module, false), |module| (module, true));
        let is_name = |name: &str| {
            name.split('.').all(|part| {
                !part.is_empty()
                    && !part.starts_with(|c: char| c.is_ascii_digit())
                    && part.chars().all(|c| c == '_' || c.is_alphanumeric())
            })
        };
        if !is_name(module) || !is_name(function) {
            return Err(bad());
        }
        (self.module, self.function, self.reload) = (module.to_owned(), function.to_owned(), reload);
        Ok(())
    }

    /// Are the folders there?
    pub fn check_paths(&self) -> Result<(), String> {
        match self.path.iter().find(|path| !path.exists()) {
            Some(path) => Err(format!("option \"path\": {} does not exist", path.display())),
            None => Ok(()),
        }
    }

    /// For the second library, which reads it with Python's json.
    pub fn to_json(&self) -> String {
        json!({
            "interface": self.interface.name(),
            "factory": self.factory,
            "lifespan": self.lifespan,
            "ws_max_size": self.ws_max_size,
            "ws_per_message_deflate": self.ws_per_message_deflate,
            "ws_ping_interval": self.ws_ping_interval.map(|time| time.as_secs_f64()),
            "ws_ping_timeout": self.ws_ping_timeout.map(|time| time.as_secs_f64()),
            "module": self.module,
            "function": self.function,
            "reload": self.reload,
            "path": self.path,
            "threads": self.threads,
            "switch_interval": self.switch_interval.as_secs_f64(),
            "uvloop": self.uvloop,
            "log_level": self.log_level,
            "grace": self.grace.as_secs_f64(),
            "config": self.own,
        })
        .to_string()
    }
}

fn one(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(format!("option \"{name}\": one value expected, once")),
    }
}

fn each(name: &str, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(values) => {
            let one = |value| one(name, value).map_err(|_| format!("option \"{name}\": one value each time expected"));
            values.iter().map(one).collect()
        }
        value => Ok(vec![one(name, value)?]),
    }
}

fn number(name: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("option \"{name}\": a number from {least} to {most} expected, got \"{text}\"")),
    }
}

/// Bytes, with nginx's units k, m and g.
fn size(name: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "" => Some(1),
        "k" | "K" => Some(1 << 10),
        "m" | "M" => Some(1 << 20),
        "g" | "G" => Some(1 << 30),
        _ => None,
    };
    match digits.parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit)) {
        Some(found) if (least..=most).contains(&found) => Ok(found),
        _ => Err(format!("option \"{name}\": a size from {least} to {most} bytes (k, m, g) expected, got \"{text}\"")),
    }
}

fn word(name: &str, text: &str, known: &[&str]) -> Result<String, String> {
    if known.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("option \"{name}\": one of {} expected, got \"{text}\"", known.join(", ")))
}

fn time(name: &str, text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let microseconds = match unit {
        "us" => Some(1),
        "ms" => Some(1_000),
        "s" => Some(1_000_000),
        _ => None,
    };
    let found = digits.parse::<u64>().ok().zip(microseconds).and_then(|(n, unit)| n.checked_mul(unit));
    match found.map(Duration::from_micros) {
        Some(found) if (least..=most).contains(&found) => Ok(found),
        _ => Err(format!(
            "option \"{name}\": a time from {least:?} to {most:?} with its unit (us, ms, s) expected, got \"{text}\""
        )),
    }
}

fn time_or_off(name: &str, text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    let found = time(name, text, Duration::from_millis(1), Duration::from_secs(86_400));
    found.map(Some).map_err(|message| format!("{message}; or off"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(cfg: &str) -> String {
        Options::parse(cfg.as_bytes()).expect_err("it must be refused")
    }

    #[test]
    fn all_options_and_the_users_own() {
        let cfg = br#"{"handler":"app.web?:Api.call","path":["/a","/b"],"venv":"/v","threads":"3",
            "switch_interval":"2ms","uvloop":"off","log_level":"debug","grace":"1s","greeting":"hi","flag":true}"#;
        let options = Options::parse(cfg).expect("they are right");
        assert_eq!((options.module.as_str(), options.function.as_str(), options.reload), ("app.web", "Api.call", true));
        assert_eq!(options.path, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!((options.threads, options.switch_interval), (3, Duration::from_millis(2)));
        let json: Value = serde_json::from_str(&options.to_json()).expect("JSON");
        assert_eq!(json["config"], json!({"greeting": "hi", "flag": true}));
        assert_eq!(json["switch_interval"], json!(0.002));
    }

    #[test]
    fn defaults() {
        let options = Options::parse(br#"{"handler":"m:f"}"#).expect("enough");
        assert_eq!((options.threads, options.reload, options.uvloop.as_str()), (8, false, "auto"));
        assert_eq!(options.switch_interval, Duration::from_micros(500));
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(refused("").contains("\"handler\" is missing"));
        assert!(refused("[]").contains("JSON object"));
        assert!(refused("{").contains("JSON object"));
        for handler in ["m", "m:", ":f", "m?f", "m..n:f", "m:f g", "1m:f", "?:f"] {
            assert!(refused(&json!({ "handler": handler }).to_string()).contains("MODULE:FUNCTION"), "{handler}");
        }
        for (name, value) in [
            ("threads", json!("0")),
            ("threads", json!("1025")),
            ("threads", json!(["1", "2"])),
            ("threads", json!(true)),
            ("switch_interval", json!("5")),
            ("switch_interval", json!("2s")),
            ("grace", json!("99999999999999999999s")),
            ("uvloop", json!("maybe")),
            ("log_level", json!("loud")),
            ("path", json!([["a", "b"]])),
            ("venv", json!("")),
        ] {
            let said = refused(&json!({ "handler": "m:f", name: value }).to_string());
            assert!(said.contains(&format!("\"{name}\"")), "{said}");
        }
    }

    #[test]
    fn an_app_has_options_of_its_own() {
        let parse = |cfg: &str| Options::parse(cfg.as_bytes());
        let options = parse(r#"{"interface":"asgi","app":"m:app"}"#).expect("enough");
        assert_eq!((options.interface, options.factory, options.lifespan.as_str()), (Interface::Asgi, false, "auto"));
        assert_eq!((options.ws_max_size, options.ws_per_message_deflate), (16 << 20, true));
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!((options.ws_ping_interval, options.ws_ping_timeout), (seconds(20), seconds(20)));
        let cfg = r#"{"interface":"asgi","app":"m:a","ws_ping_interval":"5s","ws_ping_timeout":"off",
            "ws_per_message_deflate":"off"}"#;
        let options = parse(cfg).expect("right");
        assert_eq!((options.ws_ping_interval, options.ws_ping_timeout), (seconds(5), None));
        let json: Value = serde_json::from_str(&options.to_json()).expect("JSON");
        assert_eq!((&json["ws_ping_interval"], &json["ws_ping_timeout"]), (&json!(5.0), &Value::Null));
        assert_eq!(json["ws_per_message_deflate"], json!(false));
        let cfg = r#"{"interface":"asgi","app":"m.n:make","factory":"on","lifespan":"off","ws_max_size":"64k"}"#;
        let options = parse(cfg).expect("right");
        assert_eq!((options.factory, options.lifespan.as_str(), options.ws_max_size), (true, "off", 64 << 10));
        let options = parse(r#"{"interface":"wsgi","app":"m:app","threads":"3"}"#).expect("right");
        assert_eq!((options.interface, options.threads), (Interface::Wsgi, 3));
        // Where there is no interface, such names are the handler's own.
        let options = parse(r#"{"handler":"m:f","app":"mine","lifespan":"x"}"#).expect("right");
        assert_eq!((options.interface, options.own.len()), (Interface::Message, 2));
        for (cfg, says) in [
            (r#"{"app":"m:app"}"#, "interface asgi or wsgi"),
            (r#"{"interface":"asgi"}"#, "\"app\" is missing"),
            (r#"{"interface":"fastcgi","app":"m:app"}"#, "one of asgi, wsgi"),
            (r#"{"interface":"asgi","handler":"m:f"}"#, "\"handler\" is not for interface asgi"),
            (r#"{"interface":"asgi","app":"m"}"#, "MODULE:ATTRIBUTE"),
            (r#"{"interface":"asgi","app":"m:a","threads":"4"}"#, "\"threads\" is not for interface asgi"),
            (r#"{"interface":"wsgi","app":"m:a","uvloop":"on"}"#, "\"uvloop\" is not for interface wsgi"),
            (r#"{"interface":"wsgi","app":"m:a","lifespan":"on"}"#, "\"lifespan\" is not for interface wsgi"),
            (r#"{"interface":"asgi","app":"m:a","greeting":"hi"}"#, "unknown option \"greeting\""),
            (r#"{"interface":"asgi","app":"m:a","factory":"yes"}"#, "\"factory\""),
            (r#"{"interface":"asgi","app":"m:a","lifespan":"maybe"}"#, "\"lifespan\""),
            (r#"{"interface":"asgi","app":"m:a","ws_max_size":"0"}"#, "\"ws_max_size\""),
            (r#"{"interface":"asgi","app":"m:a","ws_max_size":"2t"}"#, "\"ws_max_size\""),
            (r#"{"interface":"asgi","app":"m:a","ws_ping_interval":"0s"}"#, "\"ws_ping_interval\": a time from"),
            (r#"{"interface":"asgi","app":"m:a","ws_ping_timeout":"20"}"#, "or off"),
            (r#"{"interface":"asgi","app":"m:a","ws_per_message_deflate":"yes"}"#, "one of on, off"),
            (r#"{"interface":"wsgi","app":"m:a","ws_ping_timeout":"20s"}"#, "is one of \"interface asgi\""),
        ] {
            let said = refused(cfg);
            assert!(said.contains(says), "{cfg}: {said}");
        }
    }

    #[test]
    fn folders_must_be_there() {
        let options = Options::parse(br#"{"handler":"m:f","path":"/nonexistent/x"}"#).expect("well formed");
        assert!(options.check_paths().expect_err("not there").contains("/nonexistent/x"));
    }
}
