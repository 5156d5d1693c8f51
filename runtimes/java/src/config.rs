//! The options of a Java runtime. Those that are not known here are the handler's own, and judged by it.

mod json;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    jvm::Settings,
    libjvm::{self, VIRTUAL},
};

pub use json::Occurrence;

const MOST_THREADS: u32 = 4096;
const LEVELS: [&str; 5] = ["debug", "info", "notice", "warn", "error"];

#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// As it was given: the identity of a runtime, by which a class loader is kept for it.
    pub text: Vec<u8>,
    /// The class's name, without the question mark.
    pub handler: String,
    /// `?`: a fresh class loader at each load.
    pub fresh: bool,
    pub class_path: Vec<PathBuf>,
    /// 0: the default of the handler's kind. -1: a virtual thread for each call.
    pub threads: i32,
    pub log_level: String,
    pub own: Vec<Occurrence>,
    java_home: Option<PathBuf>,
    jvm_options: Vec<String>,
    nffi_jar: Option<PathBuf>,
}

impl Config {
    pub fn parse(cfg: &[u8]) -> Result<Self, String> {
        let mut config = Self {
            text: cfg.to_vec(),
            handler: String::new(),
            fresh: false,
            class_path: Vec::new(),
            threads: 0,
            log_level: "info".to_owned(),
            own: Vec::new(),
            java_home: None,
            jvm_options: Vec::new(),
            nffi_jar: None,
        };
        let mut seen = Vec::new();
        for (name, values) in json::occurrences(cfg)? {
            let repeatable = matches!(name.as_str(), "class_path" | "jvm_option");
            if is_ours(&name) && !repeatable {
                if seen.contains(&name) {
                    return Err(format!("{name}: may be given once only"));
                }
                seen.push(name.clone());
            }
            config.take(name, values)?;
        }
        if config.handler.is_empty() {
            return Err("handler: missing. Name the class: handler com.example.Hello;".to_owned());
        }
        Ok(config)
    }

    fn take(&mut self, name: String, values: Vec<String>) -> Result<(), String> {
        if !is_ours(&name) {
            self.own.push((name, values));
            return Ok(());
        }
        let one: Result<[String; 1], _> = values.try_into();
        let [value] = one.map_err(|values| format!("{name}: takes one value, got {}", values.len()))?;
        match name.as_str() {
            "handler" => {
                self.fresh = value.ends_with('?');
                value.strip_suffix('?').unwrap_or(&value).clone_into(&mut self.handler);
                if !is_class(&self.handler) {
                    return Err(format!("handler: \"{value}\" is not the name of a class, as com.example.Hello is"));
                }
            }
            "class_path" => {
                for part in value.split(':').filter(|part| !part.is_empty()) {
                    add_to_path(&mut self.class_path, part)?;
                }
            }
            "threads" if value == "virtual" => self.threads = -1,
            "threads" => match value.parse() {
                Ok(n @ 1..=MOST_THREADS) => self.threads = n as i32,
                _ => {
                    return Err(format!(
                        "threads: a number from 1 to {MOST_THREADS}, or virtual, expected, got \"{value}\""
                    ));
                }
            },
            "log_level" if LEVELS.contains(&value.as_str()) => self.log_level = value,
            "log_level" => return Err(format!("log_level: one of {} expected, got \"{value}\"", LEVELS.join(", "))),
            "java_home" => self.java_home = Some(value.into()),
            "nffi_jar" => self.nffi_jar = Some(value.into()),
            _ => self.jvm_options.push(jvm_option(value)?),
        }
        Ok(())
    }

    /// What of the options the JVM is started with.
    pub fn jvm_settings(&self) -> Result<Settings, String> {
        let jvm = libjvm::find(self.java_home.as_deref())?;
        if self.threads < 0 && jvm.version.is_some_and(|version| version < VIRTUAL) {
            let version = jvm.version.unwrap_or_default();
            return Err(format!(
                "threads virtual: needs Java {VIRTUAL} or later, {} is Java {version}",
                jvm.library.display()
            ));
        }
        Settings::new(jvm, self.nffi_jar.as_deref(), &self.jvm_options)
    }

    /// What can be said against it without a JVM. A class in a jar is not looked for.
    pub fn check(&self) -> Result<(), String> {
        let file = format!("{}.class", self.handler.replace('.', "/"));
        let folders_only = self.class_path.iter().all(|part| part.is_dir());
        if folders_only && !self.class_path.is_empty() && !self.class_path.iter().any(|part| part.join(&file).exists())
        {
            return Err(format!("handler: no {file} on the class_path"));
        }
        Ok(())
    }

    /// For Java: length-prefixed strings and counts, in DataInputStream's byte order.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder(Vec::new());
        out.bytes(&self.text);
        out.bytes(self.handler.as_bytes());
        out.number(i32::from(self.fresh));
        out.number(self.threads);
        out.bytes(self.log_level.as_bytes());
        out.number(self.class_path.len() as i32);
        for part in &self.class_path {
            out.bytes(part.as_os_str().as_encoded_bytes());
        }
        out.number(self.own.len() as i32);
        for (name, values) in &self.own {
            out.bytes(name.as_bytes());
            out.number(values.len() as i32);
            values.iter().for_each(|value| out.bytes(value.as_bytes()));
        }
        out.0
    }
}

fn is_ours(name: &str) -> bool {
    matches!(name, "handler" | "class_path" | "threads" | "log_level" | "java_home" | "nffi_jar" | "jvm_option")
}

fn is_class(name: &str) -> bool {
    let part = |part: &str| {
        part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$') && part.starts_with(|c: char| !c.is_numeric())
    };
    name.split('.').all(part)
}

fn jvm_option(value: String) -> Result<String, String> {
    if !value.starts_with('-') {
        return Err(format!("jvm_option: \"{value}\" does not begin with a dash"));
    }
    if value.contains('\0') {
        return Err("jvm_option: has a zero byte in it".to_owned());
    }
    for class_path in ["-cp", "-classpath", "--class-path", "-Djava.class.path"] {
        if value.split('=').next() == Some(class_path) {
            return Err(format!("jvm_option {value}: say class_path instead, each Java runtime has its own"));
        }
    }
    Ok(value)
}

/// `dir/*` is every jar in it, as java(1) has it. What is not there is refused: a misspelt path is found
/// much later otherwise.
fn add_to_path(class_path: &mut Vec<PathBuf>, part: &str) -> Result<(), String> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| format!("class_path {part}: {error}"));
    if let Some(folder) = part.strip_suffix("/*") {
        let entries = fs::read_dir(folder).map_err(|error| format!("class_path {part}: {error}"))?;
        let mut jars = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("jar")) {
                jars.push(absolute(&path)?);
            }
        }
        jars.sort();
        class_path.append(&mut jars);
        return Ok(());
    }
    fs::metadata(part).map_err(|error| format!("class_path {part}: {error}"))?;
    class_path.push(absolute(Path::new(part))?);
    Ok(())
}

struct Encoder(Vec<u8>);

impl Encoder {
    fn number(&mut self, number: i32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as i32);
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(cfg: &str) -> String {
        Config::parse(cfg.as_bytes()).unwrap_err()
    }

    #[test]
    fn all_options() {
        let cfg = r#"{"handler":"com.example.Hello?","class_path":["/usr:/tmp","/etc"],"threads":"8","log_level":"debug",
            "jvm_option":"-Xmx64m","greeting":"hi","debug":true,"header":[["x","1"],["y"]],"n":5}"#;
        let config = Config::parse(cfg.as_bytes()).unwrap();
        assert_eq!((config.handler.as_str(), config.fresh, config.threads), ("com.example.Hello", true, 8));
        assert_eq!(config.class_path, ["/usr", "/tmp", "/etc"].map(PathBuf::from));
        assert_eq!((config.log_level.as_str(), &config.jvm_options[..]), ("debug", &["-Xmx64m".to_owned()][..]));
        let own: Vec<(&str, usize)> = config.own.iter().map(|(name, values)| (name.as_str(), values.len())).collect();
        assert_eq!(own, [("greeting", 1), ("debug", 0), ("header", 2), ("header", 1), ("n", 1)]);
    }

    #[test]
    fn a_handler_is_needed() {
        for cfg in ["", "{}", r#"{"threads":"1"}"#] {
            assert!(refused(cfg).starts_with("handler: missing"), "{cfg}");
        }
        for name in ["", "a b", "1a", "a..b", "a/b", "?"] {
            assert!(refused(&format!(r#"{{"handler":"{name}"}}"#)).starts_with("handler: "), "{name}");
        }
    }

    #[test]
    fn bad_options_are_named() {
        let with = |option: &str| refused(&format!(r#"{{"handler":"a.B",{option}}}"#));
        for (option, error) in [
            (r#""threads":"0""#, "threads: a number from 1"),
            (r#""threads":"x""#, "threads: a number from 1"),
            (r#""threads":["1","2"]"#, "threads: may be given once only"),
            (r#""threads":[["1","2"]]"#, "threads: takes one value, got 2"),
            (r#""threads":true"#, "threads: takes one value, got 0"),
            (r#""log_level":"loud""#, "log_level: one of debug"),
            (r#""class_path":"/no/such/folder""#, "class_path /no/such/folder: No such file"),
            (r#""class_path":"/no/such/folder/*""#, "class_path /no/such/folder/*: No such file"),
            (r#""jvm_option":"Xmx1g""#, "jvm_option: \"Xmx1g\" does not begin"),
            (r#""jvm_option":"-Djava.class.path=/x""#, "jvm_option -Djava.class.path=/x: say class_path"),
            (r#""mine":{"a":1}"#, "mine: strings, numbers"),
        ] {
            assert!(with(option).starts_with(error), "{option}: {}", with(option));
        }
        assert!(refused("port=80").starts_with("the configuration must be a JSON object"));
    }

    #[test]
    fn a_class_that_no_folder_has_is_refused() {
        let config = Config::parse(br#"{"handler":"a.B","class_path":"/tmp:/etc"}"#).unwrap();
        assert_eq!(config.check().unwrap_err(), "handler: no a/B.class on the class_path");
    }
}
