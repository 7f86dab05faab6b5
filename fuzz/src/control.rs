//! The control protocol's lines: the same messages however they are cut, none beyond the ceiling,
//! and each one that is understood is written so that it is understood again.

use hermes_proxy::control::codec::{self, CodecError, LineStream};
use hermes_proxy::control::protocol::{
    ClientHello, ControlRequest, DaemonHello, LoginProgress, Operation, Providers, Reply, Status,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;

const CEILING: usize = 512;

fn again<T: Serialize + DeserializeOwned>(line: &[u8]) {
    let Ok(message) = codec::parse::<T>(line) else {
        return;
    };
    let written = codec::format(&message).expect("a line");
    let (end, text) = written.split_last().expect("a line");
    assert!(*end == b'\n' && !text.contains(&b'\n'));
    let read = codec::parse::<T>(text).expect("what was written");
    assert_eq!(codec::format(&read).expect("a line"), written);
}

fn receive(bytes: &[u8], pieces: usize) -> Vec<Option<serde_json::Value>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (mut ours, theirs) = tokio::io::duplex(16);
        let writing = async move {
            for piece in bytes.chunks(pieces) {
                if ours.write_all(piece).await.is_err() {
                    return;
                }
            }
        };
        let reading = async move {
            let mut lines = LineStream::new(theirs, CEILING);
            let mut messages = Vec::new();
            loop {
                match lines.receive::<serde_json::Value>().await {
                    Ok(Some(message)) => messages.push(Some(message)),
                    Ok(None) => break,
                    Err(CodecError::NotUtf8 | CodecError::NotTheMessage(_)) => messages.push(None),
                    Err(CodecError::TooLong { .. } | CodecError::Truncated) => {
                        messages.push(None);
                        break;
                    }
                    Err(CodecError::Io(error)) => panic!("{error}"),
                }
            }
            messages
        };
        tokio::join!(writing, reading).1
    })
}

/// One input.
pub fn run(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        again::<ControlRequest>(line);
        again::<Operation>(line);
        again::<ClientHello>(line);
        again::<DaemonHello>(line);
        again::<Reply<Status>>(line);
        again::<Reply<Providers>>(line);
        again::<Reply<LoginProgress>>(line);
    }
    assert_eq!(receive(bytes, 1), receive(bytes, 4096));
}
