//! What is to be asked of which server.

use std::collections::BTreeMap;

use nffi::Error;
use reqwest::{Client, Method, RequestBuilder, Url};

const BAD_REQUEST: i32 = 400;
const FORBIDDEN: i32 = 403;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

#[derive(Debug)]
pub struct Question {
    url: Url,
    method: Method,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Question {
    pub fn read(request: &[u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(request).map_err(|error| bad(&error.to_string()))?;
        let parsed = if text.starts_with('{') {
            serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?
        } else {
            Text { url: text.to_owned(), method: None, headers: BTreeMap::new(), body: String::new() }
        };
        let method = parsed.method.as_deref().unwrap_or("GET");
        Ok(Self {
            url: http(&parsed.url).map_err(|message| bad(&message))?,
            method: method.parse().map_err(|_| bad(&format!("no method: {method:?}")))?,
            headers: parsed.headers,
            body: parsed.body,
        })
    }

    /// Is the server one of those that may be asked? None means all.
    pub fn refuse_unless(&self, allow: &[Url]) -> Result<(), Error> {
        if allow.is_empty() || allow.iter().any(|origin| origin.origin() == self.url.origin()) {
            return Ok(());
        }
        let origin = self.url.origin().ascii_serialization();
        Err(Error::new(FORBIDDEN, format!("{origin} is not allowed: name it with the option \"allow\"")))
    }

    pub fn ask(self, client: &Client) -> RequestBuilder {
        let mut ask = client.request(self.method, self.url);
        for (name, value) in self.headers {
            ask = ask.header(name, value);
        }
        if self.body.is_empty() { ask } else { ask.body(self.body) }
    }
}

/// The option `allow`.
pub fn origins(allow: &[String]) -> Result<Vec<Url>, Error> {
    allow
        .iter()
        .map(|origin| http(origin))
        .collect::<Result<_, _>>()
        .map_err(|message| Error::from(format!("option \"allow\": {message}")))
}

fn http(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if url.scheme() == "http" => Ok(url),
        Ok(url) => Err(format!("http:// expected, got {}: {text:?}", url.scheme())),
        Err(error) => Err(format!("no URL: {text:?}: {error}")),
    }
}

fn bad(message: &str) -> Error {
    Error::new(BAD_REQUEST, format!("bad request: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(request: &str) -> (i32, String) {
        let error = Question::read(request.as_bytes()).unwrap_err();
        (error.status(), error.message().to_owned())
    }

    #[test]
    fn questions() {
        let plain = Question::read(b"http://127.0.0.1:8080/x?y").unwrap();
        assert_eq!((plain.url.as_str(), plain.method), ("http://127.0.0.1:8080/x?y", Method::GET));
        let json = Question::read(br#"{"url":"http://a/","method":"PUT","headers":{"x":"1"},"body":"b"}"#).unwrap();
        assert_eq!((json.method, json.headers["x"].as_str(), json.body.as_str()), (Method::PUT, "1", "b"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (request, message) in [
            ("", "no URL"),
            ("ftp://a/", "http:// expected, got ftp"),
            (r#"{"url":"http://a/","method":"A B"}"#, "no method"),
            (r#"{"uri":"http://a/"}"#, "unknown field `uri`"),
        ] {
            let (status, text) = error(request);
            assert!(status == 400 && text.contains(message), "{text}");
        }
    }

    #[test]
    fn only_what_is_allowed() {
        let allow = origins(&["http://127.0.0.1:8080".to_owned()]).unwrap();
        let ask = |url: &str| Question::read(url.as_bytes()).unwrap().refuse_unless(&allow).map_err(|e| e.status());
        assert_eq!(ask("http://127.0.0.1:8080/any"), Ok(()));
        assert_eq!(ask("http://127.0.0.1:8081/any"), Err(403));
        assert_eq!(ask("http://127.0.0.1:8080@other/"), Err(403));
        assert!(origins(&["nonsense".to_owned()]).unwrap_err().message().starts_with("option \"allow\": no URL"));
    }
}
