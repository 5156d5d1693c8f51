//! The smallest runtime: it answers each request with itself.

#[nffi::handler]
fn echo(request: &[u8]) -> Vec<u8> {
    request.to_vec()
}
