//! The head of a request, from the host's structures to the types of the crate `http`.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Uri, header::HOST, uri::PathAndQuery};

use crate::host::Request;

/// What is wrong with a request that no component gets to see: the client is to blame.
#[derive(Debug)]
pub struct Malformed(pub &'static str);

pub fn request<B>(request: Request<'_>, body: B) -> Result<http::Request<B>, Malformed> {
    let mut built = http::Request::new(body);
    *built.method_mut() = Method::from_bytes(request.method()).map_err(|_| Malformed("the method"))?;
    *built.uri_mut() = uri(request.raw_path(), request.query())?;
    let headers = built.headers_mut();
    for (name, value) in request.headers() {
        let name = HeaderName::from_bytes(name).map_err(|_| Malformed("a header's name"))?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Malformed("a header's value"))?;
        headers.append(name, value);
    }
    // A component asks for it as the authority.
    match headers.get(HOST) {
        Some(host) if host.to_str().is_err() => return Err(Malformed("the header Host")),
        Some(_) => {}
        // Of HTTP/1.0.
        None => {
            let name = HeaderValue::from_bytes(request.server_name()).ok().filter(|name| name.to_str().is_ok());
            headers.insert(HOST, name.unwrap_or(HeaderValue::from_static("localhost")));
        }
    }
    Ok(built)
}

fn uri(raw_path: &[u8], query: &[u8]) -> Result<Uri, Malformed> {
    let path = if raw_path.is_empty() { b"/" } else { raw_path };
    let target: Bytes = if query.is_empty() { path.to_vec() } else { [path, b"?", query].concat() }.into();
    PathAndQuery::from_maybe_shared(target).map(Uri::from).map_err(|_| Malformed("the path or the query"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stay_as_they_were_sent() {
        let parsed = |path: &str, query: &str| uri(path.as_bytes(), query.as_bytes()).map(|uri| uri.to_string());
        assert_eq!(parsed("/a%20b/../c//d", "x=1&y=%2F?").unwrap(), "/a%20b/../c//d?x=1&y=%2F?");
        assert_eq!(parsed("", "x").unwrap(), "/?x");
        assert_eq!(parsed("/a", "").unwrap(), "/a");
        assert_eq!(parsed("/a<b", "").unwrap_err().0, "the path or the query");
    }
}
