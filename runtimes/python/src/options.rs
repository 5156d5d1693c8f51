//! The options of a Python runtime. nffi hands them over as JSON whose values are strings, arrays
//! of strings, or `true`; numbers are taken too, for configurations that Lua wrote.

use std::{path::PathBuf, time::Duration};

use serde_json::{Map, Value, json};

#[derive(Debug, PartialEq)]
pub struct Options {
    pub module: String,
    pub function: String,
    /// `module?:function`: load the module's code anew.
    pub reload: bool,
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
        let mut options = Self {
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
            match name.as_str() {
                "handler" => options.set_handler(&one(&name, &value)?)?,
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
        if options.module.is_empty() {
            return Err("option \"handler\" is missing: handler MODULE:FUNCTION".into());
        }
        Ok(options)
    }

    fn set_handler(&mut self, text: &str) -> Result<(), String> {
        let bad = || format!("option \"handler\": MODULE:FUNCTION expected, got \"{text}\"");
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
    fn folders_must_be_there() {
        let options = Options::parse(br#"{"handler":"m:f","path":"/nonexistent/x"}"#).expect("well formed");
        assert!(options.check_paths().expect_err("not there").contains("/nonexistent/x"));
    }
}
