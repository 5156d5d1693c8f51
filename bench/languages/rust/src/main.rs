//! The unix-socket peer in Rust: tokio on one thread. echo SOCKET
//!
//! A 4-byte length before each payload, both ways.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

async fn handle(request: &[u8]) -> Vec<u8> {
    request.to_vec()
}

async fn serve(stream: UnixStream) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(128 << 10, stream);
    let (mut request, mut out) = (Vec::new(), Vec::new());
    loop {
        let len = stream.read_u32().await?;
        request.resize(len as usize, 0);
        stream.read_exact(&mut request).await?;
        let answer = handle(&request).await;
        out.clear();
        out.extend_from_slice(&(answer.len() as u32).to_be_bytes());
        out.extend_from_slice(&answer);
        stream.get_mut().write_all(&out).await?;
    }
}

async fn run(path: &str) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream));
    }
}

fn main() -> io::Result<()> {
    let path = std::env::args().nth(1).ok_or_else(|| io::Error::other("usage: echo SOCKET"))?;
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(run(&path))
}
