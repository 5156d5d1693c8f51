//! The app in hyper's own server, by axum, behind a unix socket: `nffi-bench-http PATH`.

use std::{error::Error, os::unix::fs::PermissionsExt};

use tokio::net::UnixListener;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: nffi-bench-http PATH")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = UnixListener::bind(&path)?;
        // nginx's worker is another user's.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
        axum::serve(listener, nffi_bench_http::app()).await?;
        Ok(())
    })
}
