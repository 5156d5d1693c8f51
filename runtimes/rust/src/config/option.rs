//! The value of one option, read as whatever type the configuration has there.

use std::{fmt::Display, str::FromStr};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor},
    forward_to_deserialize_any,
};
use serde_json::Value;

use super::{Error, LIST, units};

/// A string, `true`, an array of strings, an array of such arrays; from Lua's `nffi.load` any JSON.
pub(super) struct Opt(pub(super) Value);

fn expected<T>(what: impl Display, got: &Value) -> Result<T, Error> {
    Err(match got {
        Value::Array(values) => Error::custom(format!("{what} expected, got {} values", values.len())),
        Value::Bool(true) => Error::custom(format!("{what} expected, got none")),
        other => Error::custom(format!("{what} expected, got {other}")),
    })
}

impl Opt {
    fn number<T: FromStr>(&self, what: impl Display) -> Result<T, Error> {
        let parsed = match &self.0 {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.to_string().parse().ok(),
            _ => None,
        };
        parsed.map_or_else(|| expected(what, &self.0), Ok)
    }

    fn items(self) -> Vec<Value> {
        match self.0 {
            Value::Array(items) => items,
            one => vec![one],
        }
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $number:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let what = format_args!("a whole number from {} to {}", <$number>::MIN, <$number>::MAX).to_string();
            visitor.$visit(self.number::<$number>(what)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Opt {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Object(map) => visitor.visit_map(Pairs { left: map.into_iter(), value: None }),
            // What is left needs none of the conversions here.
            plain => plain.deserialize_any(visitor).map_err(|error| Error::custom(error.to_string())),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0 {
            Value::Bool(on) => visitor.visit_bool(*on),
            Value::String(text) if text == "on" || text == "true" => visitor.visit_bool(true),
            Value::String(text) if text == "off" || text == "false" => visitor.visit_bool(false),
            other => expected("on or off", other),
        }
    }

    numbers!(
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64, deserialize_i128 visit_i128 i128, deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128
    );

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f32(self.number("a number")?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.number("a number")?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            // From Lua a number may well come as one.
            Value::Number(number) => visitor.visit_string(number.to_string()),
            other => expected("one value", &other),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name != LIST {
            return visitor.visit_newtype_struct(self);
        }
        let flat = self.items().into_iter().flat_map(|item| Self(item).items()).collect();
        visitor.visit_newtype_struct(Self(Value::Array(flat)))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Items(self.items().into_iter()))
    }

    /// One occurrence with several values comes as `[["a","b"]]`.
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        let mut items = self.items();
        if let [Value::Array(_)] = items[..]
            && len != 1
        {
            items = items.pop().map_or_else(Vec::new, |inner| Self(inner).items());
        }
        if items.len() != len {
            return expected(format_args!("{len} values"), &Value::Array(items));
        }
        visitor.visit_seq(Items(items.into_iter()))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    /// `header x 1; header y 2;`: pairs, the first of each its key.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let map = match self.0 {
            Value::Object(map) => map,
            Value::Array(pairs) => {
                let mut map = serde_json::Map::new();
                for pair in pairs {
                    let Value::Array(pair) = pair else { return expected("a name and a value", &pair) };
                    match <[Value; 2]>::try_from(pair) {
                        Ok([Value::String(name), value]) => map.insert(name, value),
                        Ok(other) => return expected("a name and a value", &Value::Array(other.into())),
                        Err(other) => return expected("a name and a value", &Value::Array(other)),
                    };
                }
                map
            }
            other => return expected("a name and a value", &other),
        };
        visitor.visit_map(Pairs { left: map.into_iter(), value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match (self.0, name, fields) {
            // std's own type, which serde knows as a structure of these two.
            (Value::String(text), "Duration", ["secs", "nanos"]) => match units::duration(&text) {
                Some(time) => {
                    let pair = [time.as_secs(), time.subsec_nanos().into()];
                    visitor.visit_seq(Items(pair.map(Value::from).to_vec().into_iter()))
                }
                None => expected("a time such as 500ms, 5s or 1m", &Value::String(text)),
            },
            (Value::Object(map), ..) => match map.keys().find(|key| !fields.contains(&key.as_str())) {
                Some(key) => Err(super::unknown(key, fields)),
                None => visitor.visit_map(Pairs { left: map.into_iter(), value: None }),
            },
            (other, ..) => expected("an object", &other),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(text) if variants.contains(&text.as_str()) => visitor.visit_enum(text.into_deserializer()),
            object @ Value::Object(_) => {
                object.deserialize_enum(name, variants, visitor).map_err(|error| Error::custom(error.to_string()))
            }
            other => expected(variants.join(" or "), &other),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { bytes byte_buf unit unit_struct identifier }
}

/// The values of a list.
struct Items(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|value| seed.deserialize(Opt(value))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The pairs of a map.
struct Pairs {
    left: serde_json::map::IntoIter,
    value: Option<Value>,
}

impl<'de> MapAccess<'de> for Pairs {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.left.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(Opt(Value::String(key))).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Opt(self.value.take().unwrap_or(Value::Null)))
    }
}
