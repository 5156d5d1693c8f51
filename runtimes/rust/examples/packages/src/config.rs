//! The options that `nffi_runtime` in nginx.conf hands over, as JSON: one value is a string.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error as _};
use thiserror::Error;

/// `status PATH; threads N; slow_threads N;`
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The dpkg status file.
    pub status: PathBuf,
    /// Threads that take requests and answer the quick ones.
    #[serde(deserialize_with = "threads")]
    pub threads: usize,
    /// Threads for slow queries only, so that these never hold up the quick ones.
    #[serde(deserialize_with = "threads")]
    pub slow_threads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { status: PathBuf::from("/var/lib/dpkg/status"), threads: 2, slow_threads: 2 }
    }
}

#[derive(Debug, Error)]
#[error("bad options: {0}")]
pub struct ConfigError(String);

impl Config {
    /// No text at all means no options.
    pub fn parse(cfg: &[u8]) -> Result<Self, ConfigError> {
        if cfg.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(cfg).map_err(|error| ConfigError(reason(&error)))
    }
}

/// What is wrong, without the place in a JSON text that its writer may never have seen.
pub fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) if error.is_data() => text[..end].to_owned(),
        _ => text,
    }
}

/// nginx.conf's values come as strings; a configuration loaded from Lua may well say a number.
fn threads<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    let number = match &value {
        serde_json::Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    match number {
        Some(n @ 1..=64) => Ok(n as usize),
        _ => Err(D::Error::custom(format!("a number of threads from 1 to 64 expected, got {value}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(cfg: &str) -> String {
        Config::parse(cfg.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn nothing_is_the_default() {
        for cfg in ["", " \n", "{}"] {
            assert_eq!(Config::parse(cfg.as_bytes()).unwrap(), Config::default());
        }
    }

    #[test]
    fn strings_and_numbers() {
        let config = Config::parse(br#"{"status":"/tmp/s","threads":"4","slow_threads":3}"#).unwrap();
        assert_eq!(config, Config { status: "/tmp/s".into(), threads: 4, slow_threads: 3 });
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(error(r#"{"thread":"4"}"#).contains("unknown field `thread`"));
        for bad in [r#""0""#, r#""65""#, r#""two""#, "-1", "1.5", "true"] {
            let message = error(&format!(r#"{{"threads":{bad}}}"#));
            assert!(message.ends_with(&format!("from 1 to 64 expected, got {bad}")), "{message}");
        }
        assert!(error("nonsense").starts_with("bad options: "));
    }
}
