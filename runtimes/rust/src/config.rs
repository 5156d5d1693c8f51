//! Options: what stands in the `nffi_runtime` block, as a type of yours.
//!
//! The host hands over JSON in which every value is a string, since that is what nginx.conf has. A
//! configuration type derives `serde::Deserialize` and has fields of the types that it means:
//!
//! ```
//! use std::{net::SocketAddr, path::PathBuf, time::Duration};
//!
//! #[derive(Debug, serde::Deserialize)]
//! struct Config {
//!     root: PathBuf,                  // root /srv;           needed
//!     workers: Option<u32>,           // workers 4;
//!     #[serde(default)]
//!     verbose: bool,                  // verbose;  verbose on;
//!     #[serde(default)]
//!     wait: Duration,                 // wait 500ms;  wait 5s;
//!     #[serde(default)]
//!     cache: nffi::config::Size,      // cache 64k;
//!     #[serde(default)]
//!     peer: Vec<SocketAddr>,          // peer 10.0.0.1:80; peer 10.0.0.2:80;
//! }
//!
//! let options = br#"{"root":"/srv","workers":"4","verbose":true,"wait":"500ms","cache":"64k","peer":"10.0.0.1:80"}"#;
//! let config: Config = nffi::config::from_slice(options)?;
//! assert_eq!(config.workers, Some(4));
//! assert_eq!(config.wait, Duration::from_millis(500));
//! assert_eq!(config.cache.0, 65536);
//!
//! let wrong = nffi::config::from_slice::<Config>(br#"{"root":"/srv","workers":"four"}"#).unwrap_err();
//! assert_eq!(wrong.to_string(), r#"option "workers": a whole number from 0 to 4294967295 expected, got "four""#);
//! # Ok::<(), nffi::config::Error>(())
//! ```
//!
//! | in the block | field |
//! |---|---|
//! | `debug;` `debug on;` | `bool` (also `off`, `true`, `false`) |
//! | `greeting hello;` | `String`, `PathBuf`, any type that reads a string |
//! | `workers 4;` | any number |
//! | `wait 500ms;` | `std::time::Duration`: `ms`, `s`, `m`, `h`, `d`, or seconds |
//! | `cache 64k;` | [`Size`]: `k`, `m`, `g`, or bytes |
//! | `mode fast;` | an `enum` of unit variants |
//! | `route /a; route /b;` | `Vec<String>`; one `route /a;` is a list of one |
//! | `names a b c;` | [`List<String>`](List), however often and with however many values each |
//! | `pair a b;` | `(String, String)`; several: `Vec<(String, String)>` |
//! | `header x 1; header y 2;` | also `HashMap<String, String>`, or a `BTreeMap` |
//! | `config 'text';` | [`Raw`] as the whole configuration: the text as it is |
//!
//! An option that the type does not know is refused, by name, and so is one that is missing and
//! has no default. `#[serde(flatten)]` works only for maps that take all the rest: it hides from
//! the reader which type a number is to have.

mod option;
mod units;

use std::{fmt, ops::Deref};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, IntoDeserializer, MapAccess, Visitor},
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

use option::Opt;
pub use units::Size;

/// What is wrong with a configuration, naming the option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn missing_field(name: &'static str) -> Self {
        Self(format!("option \"{name}\" is missing"))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        unknown(name, known)
    }
}

fn unknown(name: &str, known: &[&str]) -> Error {
    match known {
        [] => Error(format!("unknown option \"{name}\": there are none")),
        known => Error(format!("unknown option \"{name}\", known are: {}", known.join(", "))),
    }
}

/// Reads a configuration as the host hands it over. No text at all is a configuration without options.
pub fn from_slice<T: DeserializeOwned>(cfg: &[u8]) -> Result<T, Error> {
    read(cfg, &mut |_, _| Ok(false), &[])
}

/// What a runtime reads of an option that it knows itself; false where it does not know it.
pub(crate) type Own<'a> = &'a mut dyn FnMut(&str, &Value) -> Result<bool, Error>;

/// The same, with options taken out before that are not of `T`; `names` of those are for messages.
pub(crate) fn read<T: DeserializeOwned>(cfg: &[u8], own: Own, names: &[&str]) -> Result<T, Error> {
    let text = std::str::from_utf8(cfg).map_err(|error| Error(format!("the configuration is not UTF-8: {error}")))?;
    let mut options = None;
    if text.trim().is_empty() {
        options = Some(Map::new());
    } else if let Ok(Value::Object(map)) = serde_json::from_str(text) {
        options = Some(map);
    }
    if let Some(map) = &mut options {
        let mut error = None;
        map.retain(|name, value| match own(name, value) {
            Ok(known) => !known,
            Err(wrong) => {
                error.get_or_insert(wrong);
                false
            }
        });
        if let Some(error) = error {
            return Err(error);
        }
    }
    T::deserialize(Top { text, options, names })
}

/// One value of an option, for the options of the SDK itself.
pub(crate) fn one<T: DeserializeOwned>(name: &str, value: &Value) -> Result<T, Error> {
    T::deserialize(Opt(value.clone())).map_err(|error| named(name, error))
}

pub(crate) fn number_of_threads(most: u16, got: u16) -> Error {
    named("threads", Error(format!("a number from 1 to {most} expected, got {got}")))
}

fn named(name: &str, error: Error) -> Error {
    Error(format!("option \"{name}\": {error}"))
}

/// A configuration as one text, from `config`, `config_file` or `nffi.load`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Raw(pub String);

const RAW: &str = "nffi::Raw";

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_newtype_struct(RAW, Newtype(std::marker::PhantomData::<String>)).map(Self)
    }
}

/// A list that takes values one by one and several at a time: `names a b; names c;`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

const LIST: &str = "nffi::List";

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_newtype_struct(LIST, Newtype(std::marker::PhantomData::<Vec<T>>)).map(Self)
    }
}

/// Reads the inner type of a newtype, for those that the deserializer knows by name.
struct Newtype<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Newtype<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an option")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        T::deserialize(from)
    }
}

/// A configuration without options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct NoOptions {}

/// The whole configuration.
struct Top<'a> {
    text: &'a str,
    /// None where the text is no JSON object.
    options: Option<Map<String, Value>>,
    names: &'a [&'a str],
}

impl Top<'_> {
    fn options(&mut self) -> Result<Map<String, Value>, Error> {
        self.options.take().ok_or_else(|| {
            let begin: String = self.text.chars().take(40).collect();
            Error(format!(
                "options are expected, one by one or as a JSON object, got a text that begins with {begin:?}"
            ))
        })
    }
}

impl<'de> Deserializer<'de> for Top<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Options { left: self.options()?.into_iter(), next: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let options = self.options()?;
        if let Some(name) = options.keys().find(|name| !fields.contains(&name.as_str())) {
            let known: Vec<&str> = fields.iter().chain(self.names).copied().collect();
            return Err(unknown(name, &known));
        }
        visitor.visit_map(Options { left: options.into_iter(), next: None })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(mut self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        match self.options()?.keys().next() {
            Some(name) => Err(unknown(name, self.names)),
            None => visitor.visit_unit(),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_unit_struct("", visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name == RAW {
            return visitor.visit_newtype_struct(self.text.into_deserializer());
        }
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

/// The options, one after the other.
struct Options {
    left: serde_json::map::IntoIter,
    next: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Options {
    type Error = Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.next = self.left.next();
        match &self.next {
            Some((name, _)) => seed.deserialize(name.as_str().into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((name, value)) = self.next.take() else { return Err(Error("a value without an option".to_owned())) };
        seed.deserialize(Opt(value)).map_err(|error| named(&name, error))
    }
}

#[cfg(test)]
mod tests;
