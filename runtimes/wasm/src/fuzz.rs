//! Anything that a function may write, and a configuration say, at random: right answers, wrong ones, mutated and raw
//! bytes. Failures are shrunk, and reported with the input that makes them. PROPTEST_CASES is how many are tried.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use crate::{
    code::judge,
    contract::{Answer, encode_parts},
    function::Function,
    http::Component,
    options::Options,
};

/// Any JSON, with numbers and strings of the kind that answers and options have.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..1000i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        select(vec!["text/plain", "a\r\nb", "aGVsbG8=", "on", "64k", "99999999999g", "5s", "/x", "a:1", "wasi-http"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((".{0,8}", inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// An object with some of these names.
fn object(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    vec((prop_oneof![9 => select(names).prop_map(str::to_owned), 1 => ".{0,8}"], value()), 0..6)
        .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>()))
}

/// The same bytes, with some changed, and an end cut off.
fn mutated(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (bytes, vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), any::<prop::sample::Index>(), any::<bool>())
        .prop_map(|(mut bytes, changes, end, cut)| {
            for (at, to) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = to;
                }
            }
            if cut {
                bytes.truncate(end.index(bytes.len() + 1));
            }
            bytes
        })
}

const ANSWER: &[&str] = &["status", "headers", "body", "body_base64", "Status", "BODY"];
const OPTIONS: &[&str] = &[
    "module",
    "interface",
    "threads",
    "instances",
    "time_limit",
    "memory_limit",
    "max_output",
    "max_stack",
    "fuel",
    "arg",
    "guest_env",
    "dir",
    "allow_outbound",
    "outbound_ca",
    "entry",
    "snapshot",
    "cache",
    "watch",
    "log_level",
];

/// What goes into the error log stays on its line, and is no flood.
fn is_a_message(text: &str) -> bool {
    !text.is_empty() && text.len() < 4096 && !text.contains(['\n', '\r', '\0'])
}

fn check_answer(output: &[u8]) -> Result<(), TestCaseError> {
    match Answer::of(output) {
        Ok(answer) => {
            prop_assert!((200..=999).contains(&answer.status));
            for (name, value) in &answer.headers {
                prop_assert!(!name.is_empty() && name.is_ascii() && !name.contains([' ', ':', '\r', '\n', '\0']));
                prop_assert!(!value.contains(['\r', '\n', '\0']));
            }
        }
        Err(why) => prop_assert!(is_a_message(&why), "{why:?}"),
    }
    Ok(())
}

/// A small module, and a component without anything in it.
fn binary() -> impl Strategy<Value = Vec<u8>> {
    let module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x01\x07\x13\x02\x06_start\0\0\x06memory\x02\0\
        \x0a\x04\x01\x02\0\x0b";
    select(vec![module.to_vec(), b"\0asm\x0d\0\x01\0".to_vec()])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_output_is_an_answer_or_is_none(
        shaped in object(ANSWER),
        raw in vec(any::<u8>(), 0..200),
        changed in mutated(object(ANSWER).prop_map(|value| value.to_string().into_bytes())),
    ) {
        check_answer(shaped.to_string().as_bytes())?;
        check_answer(&raw)?;
        check_answer(&changed)?;
    }

    #[test]
    fn any_request_is_json(
        method in vec(any::<u8>(), 0..8),
        path in vec(any::<u8>(), 0..20),
        query in vec(any::<u8>(), 0..20),
        headers in vec((vec(any::<u8>(), 0..8), vec(any::<u8>(), 0..8)), 0..6),
        body in vec(any::<u8>(), 0..40),
    ) {
        let pairs = headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        let encoded: Value = serde_json::from_slice(&encode_parts(&method, &path, &query, pairs, &body)).unwrap();
        let values = encoded["headers"].as_object().unwrap().values();
        prop_assert_eq!(values.map(|list| list.as_array().unwrap().len()).sum::<usize>(), headers.len());
        // As a function of ours would send it back.
        let echo = json!({ "body": encoded["body"], "body_base64": encoded.get("body_base64") });
        prop_assert_eq!(Answer::of(echo.to_string().as_bytes()).unwrap().body, body);
    }

    #[test]
    fn any_configuration_is_taken_or_refused(
        shaped in object(OPTIONS),
        changed in mutated(object(OPTIONS).prop_map(|value| value.to_string().into_bytes())),
    ) {
        for configuration in [shaped.to_string().into_bytes(), changed] {
            match Options::parse(&configuration) {
                Ok(options) => {
                    prop_assert!(options.module.is_absolute());
                    prop_assert!(options.threads >= 1 && options.threads <= options.instances);
                    prop_assert!((65536..=4 << 30).contains(&options.memory_limit));
                }
                Err(why) => prop_assert!(is_a_message(&why), "{why:?}"),
            }
        }
    }

    #[test]
    fn any_file_is_judged(bytes in mutated(binary()), raw in vec(any::<u8>(), 0..100)) {
        let options = Options::parse(br#"{"module":"/f.wasm"}"#).unwrap();
        for bytes in [bytes, [b"\0asm\x01\0\0\0".as_slice(), &raw].concat(), [b"\0asm\x0d\0\x01\0".as_slice(), &raw].concat()] {
            for judged in [judge::<Function>(&bytes, &options), judge::<Component>(&bytes, &options)] {
                if let Err(why) = judged {
                    prop_assert!(is_a_message(&why), "{why:?}");
                }
            }
        }
    }
}
