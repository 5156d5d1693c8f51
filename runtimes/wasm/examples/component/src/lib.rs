//! A function in Rust, for `interface wasi-http`: a component of the world wasi:http/proxy.
//!
//! `cargo build --release --target wasm32-wasip2`

use std::io::Write;

use wasip2::{
    exports::http::incoming_handler::Guest,
    http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam},
};

wasip2::http::proxy::export!(Hello);

struct Hello;

impl Guest for Hello {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let headers = Fields::new();
        headers.set("content-type", &[b"text/plain".to_vec()]).expect("a header");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("its body");
        // From here on the client sees what is written, piece by piece.
        ResponseOutparam::set(out, Ok(response));
        let mut stream = body.write().expect("its stream");
        let target = request.path_with_query().unwrap_or_default();
        // It fails where the client has gone: then nobody needs the rest.
        if writeln!(stream, "hello, this is {target}").is_ok() {
            drop(stream);
            let _ = OutgoingBody::finish(body, None);
        }
    }
}
