//! The options that `nffi_runtime` in nginx.conf hands over, beside the SDK's own (`threads`).

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error as _};

/// `status PATH; slow_threads N;`
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The dpkg status file.
    pub status: PathBuf,
    /// Threads for slow queries only, so that these never hold up the quick ones.
    #[serde(deserialize_with = "threads")]
    pub slow_threads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { status: PathBuf::from("/var/lib/dpkg/status"), slow_threads: 2 }
    }
}

fn threads<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    match usize::deserialize(from)? {
        n @ 1..=64 => Ok(n),
        n => Err(D::Error::custom(format!("a number of threads from 1 to 64 expected, got {n}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(cfg: &str) -> Result<Config, String> {
        nffi::config::from_slice(cfg.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_the_default() {
        for cfg in ["", " \n", "{}"] {
            assert_eq!(parse(cfg), Ok(Config::default()));
        }
    }

    #[test]
    fn strings_and_numbers() {
        let config = Config { status: "/tmp/s".into(), slow_threads: 3 };
        assert_eq!(parse(r#"{"status":"/tmp/s","slow_threads":3}"#), Ok(config));
        assert_eq!(parse(r#"{"slow_threads":"4"}"#).map(|config| config.slow_threads), Ok(4));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for bad in ["0", "65"] {
            let message = format!(r#"option "slow_threads": a number of threads from 1 to 64 expected, got {bad}"#);
            assert_eq!(parse(&format!(r#"{{"slow_threads":"{bad}"}}"#)), Err(message));
        }
        assert!(parse(r#"{"slow_thread":"4"}"#).unwrap_err().starts_with(r#"unknown option "slow_thread""#));
    }
}
