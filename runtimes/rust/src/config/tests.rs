use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::*;

fn get<T: DeserializeOwned>(cfg: &str) -> T {
    from_slice(cfg.as_bytes()).unwrap()
}

fn error<T: DeserializeOwned + fmt::Debug>(cfg: &str) -> String {
    from_slice::<T>(cfg.as_bytes()).unwrap_err().to_string()
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Fast,
    Safe,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Everything {
    on: bool,
    byte: u8,
    number: i64,
    share: f64,
    text: String,
    wait: Duration,
    size: Size,
    mode: Mode,
    route: Vec<String>,
    names: List<String>,
    pair: (String, u16),
    pairs: Vec<(String, u16)>,
    header: BTreeMap<String, u16>,
    maybe: Option<u32>,
    address: std::net::IpAddr,
}

#[test]
fn all_kinds() {
    let cfg = r#"{"on":true,"byte":"7","number":"-5","share":"0.5","text":"x","wait":"1500ms","size":"1k",
        "mode":"safe","route":"/a","names":[["a","b"],["c"]],"pair":[["a","1"]],"pairs":[["a","1"],["b","2"]],
        "header":[["x","1"],["y","2"]],"address":"::1"}"#;
    let all: Everything = get(cfg);
    assert!(all.on);
    assert_eq!((all.byte, all.number, all.share, all.text.as_str()), (7, -5, 0.5, "x"));
    assert_eq!((all.wait, all.size), (Duration::from_millis(1500), Size(1024)));
    assert_eq!(
        (all.mode, all.route, &*all.names),
        (Mode::Safe, vec!["/a".to_owned()], &["a", "b", "c"].map(String::from)[..])
    );
    assert_eq!(all.pair, ("a".to_owned(), 1));
    assert_eq!(all.pairs, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    assert_eq!(all.header, BTreeMap::from([("x".to_owned(), 1), ("y".to_owned(), 2)]));
    assert_eq!((all.maybe, all.address), (None, "::1".parse().unwrap()));
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(default)]
struct Some2 {
    n: u8,
    wait: Duration,
    on: bool,
    mode: Mode,
    list: Vec<u16>,
}

impl Default for Some2 {
    fn default() -> Self {
        Self { n: 1, wait: Duration::from_secs(1), on: false, mode: Mode::Fast, list: Vec::new() }
    }
}

#[test]
fn nothing_is_the_default() {
    for cfg in ["", " \n", "{}"] {
        assert_eq!(get::<Some2>(cfg), Some2::default());
    }
}

#[test]
fn json_of_its_own_kind_is_taken_too() {
    let some: Some2 = get(r#"{"n":3,"on":false,"list":[1,2]}"#);
    assert_eq!((some.n, some.on, some.list), (3, false, vec![1, 2]));
}

#[test]
fn what_is_wrong_is_named() {
    for (cfg, message) in [
        (r#"{"m":"1"}"#, "unknown option \"m\", known are: n, wait, on, mode, list"),
        (r#"{"n":"256"}"#, "option \"n\": a whole number from 0 to 255 expected, got \"256\""),
        (r#"{"n":"-1"}"#, "option \"n\": a whole number from 0 to 255 expected, got \"-1\""),
        (r#"{"n":1.5}"#, "option \"n\": a whole number from 0 to 255 expected, got 1.5"),
        (r#"{"n":true}"#, "option \"n\": a whole number from 0 to 255 expected, got none"),
        (r#"{"n":["1","2"]}"#, "option \"n\": a whole number from 0 to 255 expected, got 2 values"),
        (r#"{"wait":"soon"}"#, "option \"wait\": a time such as 500ms, 5s or 1m expected, got \"soon\""),
        (r#"{"on":"perhaps"}"#, "option \"on\": on or off expected, got \"perhaps\""),
        (r#"{"mode":"slow"}"#, "option \"mode\": fast or safe expected, got \"slow\""),
        (r#"{"list":["1","x"]}"#, "option \"list\": a whole number from 0 to 65535 expected, got \"x\""),
    ] {
        assert_eq!(error::<Some2>(cfg), message);
    }
    assert!(error::<Some2>("threads=4").contains("got a text that begins with \"threads=4\""));
    assert_eq!(error::<NoOptions>(r#"{"x":true}"#), "unknown option \"x\": there are none");
    assert!(from_slice::<NoOptions>(b"\xff").unwrap_err().to_string().contains("UTF-8"));

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Needs {
        root: String,
    }
    assert_eq!(error::<Needs>("{}"), "option \"root\" is missing");
    assert_eq!(error::<Needs>(r#"{"root":true}"#), "option \"root\": one value expected, got none");
}

#[test]
fn the_text_itself() {
    for text in ["", "any text", r#"{"json":1}"#] {
        assert_eq!(get::<Raw>(text).0, text);
    }
}

#[test]
fn options_of_the_sdk_are_taken_out() {
    let mut threads = None;
    let mut own = |name: &str, value: &Value| match name {
        "threads" => one(name, value).map(|n: u8| {
            threads = Some(n);
            true
        }),
        _ => Ok(false),
    };
    let some: Some2 = read(br#"{"n":"2","threads":"4"}"#, &mut own, &["threads"]).unwrap();
    assert_eq!((some.n, threads), (2, Some(4)));
    let wrong = read::<Some2>(br#"{"x":"2"}"#, &mut |_, _| Ok(false), &["threads"]).unwrap_err();
    assert!(wrong.to_string().ends_with("list, threads"), "{wrong}");
}
