//! Requests and answers as JSON, the contract of Gojinn's functions:
//!
//! in: `{"method":"GET","uri":"/a?b","headers":{"Accept":["*/*"]},"body":"","trace_id":"…"}`
//! out: `{"status":200,"headers":{"Content-Type":["text/plain"]},"body":"…"}`
//!
//! Beyond it: a body that is not UTF-8 is `body_base64`, both ways.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::host::Request;

/// The request for stdin.
pub fn encode(request: Request<'_>, body: &[u8]) -> Vec<u8> {
    encode_parts(request.method(), request.raw_path(), request.query(), request.headers(), body)
}

pub fn encode_parts<'a>(
    method: &[u8],
    path: &[u8],
    query: &[u8],
    headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    body: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 + body.len() * 9 / 8);
    out.extend_from_slice(b"{\"method\":");
    text(&mut out, method);
    out.extend_from_slice(b",\"uri\":");
    if query.is_empty() {
        text(&mut out, path);
    } else {
        text(&mut out, &[path, b"?", query].concat());
    }
    out.extend_from_slice(b",\"headers\":{");
    let mut named: Vec<(String, Vec<&[u8]>)> = Vec::new();
    for (name, value) in headers {
        let name = canonical(name);
        match named.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => named.push((name, vec![value])),
        }
    }
    for (n, (name, values)) in named.iter().enumerate() {
        out.extend_from_slice(if n > 0 { b"," } else { b"" });
        text(&mut out, name.as_bytes());
        out.push(b':');
        for (n, value) in values.iter().enumerate() {
            out.push(if n > 0 { b',' } else { b'[' });
            text(&mut out, value);
        }
        out.push(b']');
    }
    out.extend_from_slice(b"},\"body\":");
    if std::str::from_utf8(body).is_ok() {
        text(&mut out, body);
    } else {
        out.extend_from_slice(b"\"\",\"body_base64\":\"");
        out.extend_from_slice(BASE64_STANDARD.encode(body).as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b",\"trace_id\":");
    text(&mut out, &trace_id(&named));
    out.push(b'}');
    out
}

/// What is no UTF-8 becomes U+FFFD.
fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    // Writing into memory does not fail.
    let _ = serde_json::to_writer(out, &String::from_utf8_lossy(bytes));
}

/// As Go writes names, since functions look them up so: `Content-Type`.
fn canonical(name: &[u8]) -> String {
    let mut up = true;
    let letter = |byte: &u8| {
        let letter = if up { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
        up = *byte == b'-';
        char::from(letter)
    };
    name.iter().map(letter).collect()
}

/// The caller's `traceparent`, else its `X-Request-Id`, else a new one. nginx's host makes a `traceparent` where
/// none came.
fn trace_id(headers: &[(String, Vec<&[u8]>)]) -> Vec<u8> {
    let first = |name| headers.iter().find(|(known, _)| known == name).and_then(|(_, values)| values.first());
    match first("Traceparent").or_else(|| first("X-Request-Id")) {
        Some(value) => value.to_vec(),
        None => {
            let mut random = [0u8; 16];
            // Without it the id is a bad one, and no more.
            let _ = crate::wasi::fill_random(&mut random);
            format!("{:032x}", u128::from_ne_bytes(random)).into_bytes()
        }
    }
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Judges what a function has written. The error says what is wrong with it.
    pub fn of(output: &[u8]) -> Result<Self, String> {
        if output.iter().all(u8::is_ascii_whitespace) {
            return Err("there is none".to_owned());
        }
        let said: Said = serde_json::from_slice(output).map_err(|error| describe(&error, output))?;
        let status = match said.status {
            0 => 200,
            status @ 200..=999 => status as u16,
            status => return Err(format!("status {status} is none of an answer, 200 to 999")),
        };
        for (name, value) in &said.headers {
            check_header(name, value)?;
        }
        let (body, kind) = match (said.body, said.body_base64) {
            (body, None) => (body.into_owned().into_bytes(), "text/plain; charset=utf-8"),
            (body, Some(base64)) if body.is_empty() => {
                let bytes =
                    BASE64_STANDARD.decode(base64.as_bytes()).map_err(|error| format!("body_base64: {error}"))?;
                (bytes, "application/octet-stream")
            }
            _ => return Err("it has a body and a body_base64".to_owned()),
        };
        let mut headers = said.headers;
        if !body.is_empty() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            headers.push(("Content-Type".to_owned(), kind.to_owned()));
        }
        Ok(Self { status, headers, body })
    }
}

fn check_header(name: &str, value: &str) -> Result<(), String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("\"{}\" cannot be a header's name", name.escape_debug().take(100).collect::<String>()));
    }
    if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(format!("the value of the header {name} has a line break or a zero in it"));
    }
    Ok(())
}

fn describe(error: &serde_json::Error, output: &[u8]) -> String {
    let begin: String = String::from_utf8_lossy(&output[..output.len().min(60)]).escape_debug().collect();
    // It may quote what it found, however long.
    format!("{}; it begins: {begin}", error.to_string().chars().take(200).collect::<String>())
}

/// What the JSON says.
#[derive(Default)]
struct Said<'a> {
    status: i64,
    headers: Vec<(String, String)>,
    body: Cow<'a, str>,
    body_base64: Option<Cow<'a, str>>,
}

/// A string or null, borrowed where it has no escapes.
struct Text<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(text))))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A header's values: a list, one string, or null.
struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Values;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a header's value: a string, or a list of strings")
            }
            fn visit_str<E>(self, text: &str) -> Result<Values, E> {
                Ok(Values(vec![text.to_owned()]))
            }
            fn visit_unit<E>(self) -> Result<Values, E> {
                Ok(Values(Vec::new()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Values(values))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

struct Headers(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Headers;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of headers")
            }
            fn visit_unit<E>(self) -> Result<Headers, E> {
                Ok(Headers(Vec::new()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Vec::new();
                while let Some((name, Values(values))) = map.next_entry::<String, Values>()? {
                    headers.extend(values.into_iter().map(|value| (name.clone(), value)));
                }
                Ok(Headers(headers))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Said<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Said<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with status, headers and body")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Said<'de>, A::Error> {
                let mut said = Said::default();
                // Names in any case: so does Go, whose functions may not have said how theirs are written.
                while let Some(name) = map.next_key::<Cow<'de, str>>()? {
                    match name.to_ascii_lowercase().as_str() {
                        "status" => said.status = whole(map.next_value()?)?,
                        "headers" => said.headers = map.next_value::<Headers>()?.0,
                        "body" => said.body = map.next_value::<Text<'de>>()?.0.unwrap_or_default(),
                        "body_base64" => said.body_base64 = map.next_value::<Text<'de>>()?.0,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(said)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// JSON has one kind of number, and some languages write 200.0.
fn whole<E: serde::de::Error>(value: serde_json::Value) -> Result<i64, E> {
    let number = match &value {
        serde_json::Value::Null => Some(0),
        serde_json::Value::Number(number) => {
            number.as_i64().or_else(|| number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e6).map(|n| n as i64))
        }
        _ => None,
    };
    number.ok_or_else(|| E::custom(format!("status: a whole number expected, got {value}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(headers: &[(&str, &str)], body: &[u8]) -> Value {
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        serde_json::from_slice(&encode_parts(b"POST", b"/a%20b", b"x=\"1\"", headers, body)).unwrap()
    }

    #[test]
    fn a_request() {
        let headers = [("content-type", "text/plain"), ("X-a", "1"), ("x-A", "2"), ("traceparent", "00-ab-cd-01")];
        assert_eq!(
            request(&headers, "hé\n".as_bytes()),
            json!({"method": "POST", "uri": "/a%20b?x=\"1\"", "body": "hé\n", "trace_id": "00-ab-cd-01", "headers":
                {"Content-Type": ["text/plain"], "X-A": ["1", "2"], "Traceparent": ["00-ab-cd-01"]}})
        );
    }

    #[test]
    fn trace_ids() {
        assert_eq!(request(&[("x-request-id", "r1")], b"")["trace_id"], "r1");
        let made = request(&[], b"")["trace_id"].as_str().unwrap().to_owned();
        assert_eq!(made.len(), 32);
        assert_ne!(Value::from(made), request(&[], b"")["trace_id"]);
    }

    #[test]
    fn a_binary_body() {
        let made = request(&[], b"\xff\x00");
        assert_eq!((&made["body"], &made["body_base64"]), (&json!(""), &json!("/wA=")));
        assert!(request(&[], b"text").get("body_base64").is_none());
    }

    fn answer(text: &str) -> Answer {
        Answer::of(text.as_bytes()).unwrap()
    }

    #[test]
    fn answers() {
        let plain = answer(r#"{"status":201,"headers":{"X-A":["1","2"],"X-B":"3","X-C":null},"body":"hi"} "#);
        assert_eq!((plain.status, plain.body.as_slice()), (201, &b"hi"[..]));
        let headers: Vec<(&str, &str)> = plain.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let kind = ("Content-Type", "text/plain; charset=utf-8");
        assert_eq!(headers, [("X-A", "1"), ("X-A", "2"), ("X-B", "3"), kind]);
        for text in [r#"{"status":0,"body":""}"#, "{}", r#"{"status":null,"headers":null,"body":null,"more":[1]}"#] {
            assert_eq!(answer(text), Answer { status: 200, headers: vec![], body: vec![] }, "{text}");
        }
        assert_eq!(answer(r#"{"Status":404.0,"BODY":"\u0041"}"#).body, b"A");
        let binary = answer(r#"{"body":"","body_base64":"/wA="}"#);
        assert_eq!(
            (binary.body.as_slice(), binary.headers[0].1.as_str()),
            (&b"\xff\x00"[..], "application/octet-stream")
        );
        assert_eq!(answer(r#"{"headers":{"content-type":"a/b"},"body":"x"}"#).headers.len(), 1);
    }

    #[test]
    fn what_is_no_answer() {
        for (text, why) in [
            ("", "there is none"),
            (" \n", "there is none"),
            ("hello", "it begins: hello"),
            ("[1]", "expected an object"),
            ("{} {}", "trailing characters"),
            (r#"{"body":"x""#, "EOF"),
            (r#"{"status":"200"}"#, "status: a whole number"),
            (r#"{"status":20.5}"#, "status: a whole number"),
            (r#"{"status":101}"#, "status 101"),
            (r#"{"status":1000}"#, "status 1000"),
            (r#"{"status":-1}"#, "status -1"),
            (r#"{"body":{}}"#, "a string"),
            (r#"{"headers":{"A":1}}"#, "a header's value"),
            (r#"{"headers":[]}"#, "an object of headers"),
            (r#"{"headers":{"A b":"1"}}"#, "cannot be a header's name"),
            (r#"{"headers":{"A":"1\r\nB: 2"}}"#, "line break"),
            (r#"{"body_base64":"***"}"#, "body_base64"),
            (r#"{"body":"a","body_base64":"YQ=="}"#, "a body and a body_base64"),
        ] {
            let said = Answer::of(text.as_bytes()).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
        assert!(Answer::of(b"{\"body\":\"\xff\"}").is_err());
    }

    /// Whatever is written: an answer that can be sent, or a reason.
    #[test]
    fn garbage() {
        let seeds: [&[u8]; 3] = [
            br#"{"status":201,"headers":{"X-A":["1","2"],"X-B":"3","X-C":null},"body":"h\u00e9\n"}"#,
            br#"{"Status":0,"headers":{},"body":"","body_base64":"/wA=","more":[{"a":1e3}]}"#,
            br#"{"status":null,"headers":null,"body":null}"#,
        ];
        let mut state = 1u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let signs = b"{}[]\",:\\0129-.eEtfnu \r\n\0\xff\x80/=A";
        let (mut good, mut bad) = (0, 0);
        for n in 0..30_000 {
            let mut bytes = seeds[n % seeds.len()].to_vec();
            for _ in 0..1 + random(3) {
                if bytes.is_empty() {
                    break;
                }
                let at = random(bytes.len());
                match random(4) {
                    0 => bytes[at] = signs[random(signs.len())],
                    1 => bytes.insert(at, signs[random(signs.len())]),
                    2 => _ = bytes.remove(at),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            match Answer::of(&bytes) {
                Ok(answer) => {
                    good += 1;
                    assert!((200..=999).contains(&answer.status), "{answer:?}");
                    assert!(answer.headers.iter().all(|(name, value)| check_header(name, value).is_ok()), "{answer:?}");
                }
                Err(why) => {
                    bad += 1;
                    assert!(!why.is_empty() && !why.contains('\n') && why.len() < 1000, "{why}");
                }
            }
        }
        assert!(good > 1000 && bad > 1000, "{good} good, {bad} bad");
    }
}
