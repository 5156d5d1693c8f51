//! Does a JSON document keep a schema? A function in Rust for `interface wasi-http`. It takes
//! `{"schema": …, "document": …}`, and answers with a list of what is wrong, and where.
//!
//! `cargo build --release --target wasm32-wasip2`

use std::io::{Read, Write};

use serde_json::{Value, json};
use wasip2::{
    exports::http::incoming_handler::Guest,
    http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam},
};

wasip2::http::proxy::export!(Schema);

struct Schema;

impl Guest for Schema {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        match checked(request) {
            Ok(errors) => answer(out, 200, &json!({ "valid": errors.is_empty(), "errors": errors })),
            Err(error) => answer(out, 400, &json!({ "error": error })),
        }
    }
}

fn checked(request: IncomingRequest) -> Result<Vec<Value>, String> {
    let mut text = Vec::new();
    let body = request.consume().map_err(|()| "no body")?;
    let mut stream = body.stream().map_err(|()| "no body")?;
    stream.read_to_end(&mut text).map_err(|error| error.to_string())?;
    let asked: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let [schema, document] = ["schema", "document"].map(|name| asked.get(name).ok_or(format!("no \"{name}\"")));
    let (schema, document) = (schema?, document?);
    let validator = jsonschema::validator_for(schema).map_err(|error| format!("the schema: {error}"))?;
    let errors = validator.iter_errors(document);
    Ok(errors.map(|error| json!({ "at": error.instance_path().to_string(), "error": error.to_string() })).collect())
}

fn answer(out: ResponseOutparam, status: u16, body: &Value) {
    let headers = Fields::new();
    let text = serde_json::to_vec_pretty(body).unwrap_or_default();
    let _ = headers.set("content-type", &[b"application/json".to_vec()]);
    let _ = headers.set("content-length", &[text.len().to_string().into_bytes()]);
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(status);
    let body = response.body().expect("its body");
    ResponseOutparam::set(out, Ok(response));
    let mut stream = body.write().expect("its stream");
    // It fails where the client has gone: then nobody needs the rest.
    if stream.write_all(&text).is_ok() {
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}
