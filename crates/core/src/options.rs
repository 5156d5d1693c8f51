//! A runtime's settings, and the configuration string that its library is handed.

use serde_json::{Map, Value};

/// What nffi itself wants to know about a runtime. Times in milliseconds unless named otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Tasks not yet polled.
    pub queue: usize,
    /// Tasks not yet ended, abandoned ones and casts included.
    pub tasks: usize,
    /// How long a call waits that does not say so itself.
    pub timeout: u64,
    /// How long a leaving process waits for the runtime to say that it has stopped.
    pub stop_timeout: u64,
    /// Bytes.
    pub max_request: usize,
    /// Bytes.
    pub max_response: usize,
    /// Microseconds that a poller looks at its empty queue before it sleeps.
    pub spin: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue: 65_536,
            tasks: 1_048_576,
            timeout: 60_000,
            stop_timeout: 5_000,
            max_request: 64 << 20,
            max_response: 64 << 20,
            spin: 0,
        }
    }
}

/// The largest `queue` and `tasks`: a handle has 24 bits for the slot.
pub const MAX_TASKS: usize = crate::slot::MAX_SLOTS - 1;
/// The largest timeout: what fits nginx's and ngx_lua's signed 32-bit milliseconds.
pub const MAX_TIMEOUT: u64 = i32::MAX as u64;
/// The largest `spin`: a tenth of a second is already no spinning but burning.
pub const MAX_SPIN: u64 = 100_000;

/// The runtime's own options, as they occurred in the configuration file.
#[derive(Debug, Default)]
pub struct OwnOptions(Vec<(String, Vec<Vec<String>>)>);

impl OwnOptions {
    pub fn add(&mut self, name: &str, values: Vec<String>) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, occurrences)) => occurrences.push(values),
            None => self.0.push((name.to_owned(), vec![values])),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The options as a JSON object, in the order of their first occurrence. What a value looks
    /// like depends on how often the option occurred and with how many values:
    ///
    /// | occurrences            | JSON                                       |
    /// |------------------------|--------------------------------------------|
    /// | once, no value         | `true`                                     |
    /// | once, one value        | a string                                   |
    /// | several, one value each| an array of strings                        |
    /// | anything else          | an array of arrays, one for each occurrence|
    pub fn to_json(&self) -> String {
        let mut object = Map::new();
        for (name, occurrences) in &self.0 {
            object.insert(name.clone(), value_of(occurrences));
        }
        Value::Object(object).to_string()
    }
}

fn value_of(occurrences: &[Vec<String>]) -> Value {
    match occurrences {
        [once] if once.is_empty() => Value::Bool(true),
        [once] if once.len() == 1 => Value::from(once[0].as_str()),
        several if several.iter().all(|values| values.len() == 1) => {
            several.iter().map(|values| Value::from(values[0].as_str())).collect()
        }
        others => others.iter().map(|values| Value::from(values.as_slice())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(options: &[(&str, &[&str])]) -> String {
        let mut own = OwnOptions::default();
        for (name, values) in options {
            own.add(name, values.iter().map(ToString::to_string).collect());
        }
        own.to_json()
    }

    #[test]
    fn shapes() {
        assert_eq!(json(&[]), "{}");
        assert_eq!(json(&[("debug", &[])]), r#"{"debug":true}"#);
        assert_eq!(json(&[("greeting", &["hello"])]), r#"{"greeting":"hello"}"#);
        assert_eq!(json(&[("env", &["A"]), ("env", &["B"])]), r#"{"env":["A","B"]}"#);
        assert_eq!(json(&[("env", &["A", "B"])]), r#"{"env":[["A","B"]]}"#);
        assert_eq!(json(&[("env", &["A"]), ("env", &["B", "2"])]), r#"{"env":[["A"],["B","2"]]}"#);
    }

    #[test]
    fn order_and_escapes_survive() {
        assert_eq!(json(&[("z", &["\"\\\n"]), ("a", &["1"])]), r#"{"z":"\"\\\n","a":"1"}"#);
    }
}
