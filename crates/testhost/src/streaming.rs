//! One stream: standard input goes in piece by piece, the answer comes out as it comes.

use std::{
    io::{self, Read},
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use nffi_testhost::{Received, RuntimeId, TestHost};

use crate::report;

const PIECE: usize = 16 * 1024;

/// True where the runtime ended the stream with status 0.
pub fn run(host: &mut TestHost, runtime: RuntimeId, head: &[u8], timeout: Duration, stdin: bool) -> bool {
    let begin = Instant::now();
    let stream = match host.open(runtime, head, stdin, timeout) {
        Ok(stream) => stream,
        Err(refusal) => {
            report::say(&refusal.to_string());
            return false;
        }
    };
    let mut input = stdin.then(|| read_stdin(host.waker()));
    let (mut bytes, mut pieces) = (0, 0);
    let result = loop {
        match host.receive(stream, Duration::ZERO) {
            Ok(Received::Piece(piece)) => {
                bytes += piece.len();
                pieces += 1;
                if report::put(&piece) {
                    continue;
                }
                break Err("given up".to_owned());
            }
            Ok(Received::End) => break Ok(format!("{bytes} bytes in {pieces} pieces")),
            Ok(Received::Nothing) => {}
            Err(error) => break Err(error.to_string()),
        }
        if host.may_send(stream)
            && let Some(waiting) = &input
        {
            match waiting.try_recv() {
                Ok(Ok(piece)) => {
                    host.offer(stream, &piece);
                    continue;
                }
                Ok(Err(error)) => break Err(format!("cannot read standard input: {error}")),
                Err(TryRecvError::Disconnected) => {
                    input = None;
                    host.send_end(stream);
                    continue;
                }
                Err(TryRecvError::Empty) => {}
            }
        }
        host.turn(None);
    };
    host.close(stream);
    let took = report::milliseconds(begin.elapsed());
    let (Ok(said) | Err(said)) = &result;
    report::say(&format!("{said} ({took})"));
    result.is_ok()
}

/// A thread that reads, since a read of a terminal or a pipe may block; it rings for each piece
/// and for the end.
pub fn read_stdin(ring: impl Fn() + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (give, take) = sync_channel(4);
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut piece = vec![0; PIECE];
            let sent = match input.read(&mut piece) {
                Ok(0) => break,
                Ok(len) => {
                    piece.truncate(len);
                    give.send(Ok(piece))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => give.send(Err(error)),
            };
            if sent.is_err() {
                return;
            }
            ring();
        }
        drop(give);
        ring();
    });
    take
}
