//! Messages as lines: one JSON value, one line feed, and a ceiling on the length.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// The longest line that a daemon reads, in bytes without the line feed.
pub const MAX_REQUEST: usize = 64 * 1024;

/// The longest line that a client reads, in bytes without the line feed.
pub const MAX_REPLY: usize = 1024 * 1024;

/// How much is read at once, and so how far the buffer can outgrow the ceiling.
const CHUNK: usize = 4096;

/// A stream of lines in both directions.
///
/// Holds at most the ceiling and one chunk of what the peer sent, whatever the peer sends.
#[derive(Debug)]
pub struct LineStream<S> {
    stream: S,
    buffer: Vec<u8>,
    /// How much of the buffer is known to hold no line feed.
    searched: usize,
    ceiling: usize,
}

/// Why no message could be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The line is longer than allowed; the rest of it is still in the stream.
    #[error("a line of more than {ceiling} bytes")]
    TooLong {
        /// The longest line allowed.
        ceiling: usize,
    },
    /// The stream ended within a line.
    #[error("the stream ended in the middle of a line")]
    Truncated,
    /// The line is not UTF-8; the next line can be read.
    #[error("a line that is not UTF-8")]
    NotUtf8,
    /// The line is not the message that was expected; the next line can be read.
    #[error("a line that is not the expected message")]
    NotTheMessage(#[source] serde_json::Error),
    /// The stream failed.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
}

impl<S> LineStream<S> {
    /// Reads lines of at most `ceiling` bytes.
    pub fn new(stream: S, ceiling: usize) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            searched: 0,
            ceiling,
        }
    }
}

impl<S: AsyncRead + Unpin> LineStream<S> {
    /// Waits until the peer has sent something; `false` when it has closed instead.
    ///
    /// Loses nothing when dropped half-way.
    pub async fn readable(&mut self) -> std::io::Result<bool> {
        Ok(!self.buffer.is_empty() || self.fill().await?)
    }

    /// The next message; `None` when the peer has closed between two lines.
    ///
    /// Loses nothing when dropped half-way.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CodecError> {
        match self.line().await? {
            // It may hold a key.
            Some(line) => parse(&Zeroizing::new(line)).map(Some),
            None => Ok(None),
        }
    }

    async fn line(&mut self) -> Result<Option<Vec<u8>>, CodecError> {
        loop {
            let unseen = self.buffer.iter().skip(self.searched);
            let end = unseen.copied().position(|byte| byte == b'\n');
            let end = end.map(|position| self.searched + position);
            if end.unwrap_or(self.buffer.len()) > self.ceiling {
                return Err(CodecError::TooLong {
                    ceiling: self.ceiling,
                });
            }
            if let Some(end) = end {
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if !self.fill().await? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(CodecError::Truncated)
                };
            }
        }
    }

    async fn fill(&mut self) -> std::io::Result<bool> {
        let mut chunk = [0; CHUNK];
        let count = self.stream.read(&mut chunk).await?;
        self.buffer.extend(chunk.iter().take(count));
        Ok(count > 0)
    }
}

impl<S: AsyncWrite + Unpin> LineStream<S> {
    /// Writes one message. Once dropped half-way, the stream is of no more use.
    pub async fn send<T: Serialize + Sync>(&mut self, message: &T) -> Result<(), CodecError> {
        let line = Zeroizing::new(format(message)?);
        self.stream.write_all(&line).await?;
        self.stream.flush().await?;
        Ok(())
    }
}

/// The message's line with its line feed.
pub fn format<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    let mut line = serde_json::to_vec(message).map_err(CodecError::NotTheMessage)?;
    if line.len() > MAX_REPLY {
        return Err(CodecError::TooLong { ceiling: MAX_REPLY });
    }
    line.push(b'\n');
    Ok(line)
}

/// The message of a line without its line feed.
pub fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, CodecError> {
    let text = std::str::from_utf8(line).map_err(|_| CodecError::NotUtf8)?;
    serde_json::from_str(text).map_err(CodecError::NotTheMessage)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use serde_json::Value;
    use tokio::io::ReadBuf;

    use super::*;

    /// Gives `byte` for ever and counts how much was taken.
    struct Endless {
        taken: usize,
    }

    impl AsyncRead for Endless {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            let count = buf.remaining();
            buf.put_slice(&vec![b'a'; count]);
            self.taken += count;
            Poll::Ready(Ok(()))
        }
    }

    fn lines(bytes: &[u8]) -> LineStream<&[u8]> {
        LineStream::new(bytes, MAX_REQUEST)
    }

    #[tokio::test]
    async fn an_endless_line_is_refused_with_bounded_memory() {
        let mut lines = LineStream::new(Endless { taken: 0 }, MAX_REQUEST);
        let error = lines.receive::<Value>().await.unwrap_err();
        assert!(matches!(error, CodecError::TooLong { .. }));
        assert!(lines.stream.taken <= MAX_REQUEST + CHUNK);
        assert!(lines.buffer.capacity() <= 2 * (MAX_REQUEST + CHUNK));
    }

    #[tokio::test]
    async fn the_ceiling_is_exact() {
        let line = |length: usize| format!("\"{}\"\n", "a".repeat(length - 2)).into_bytes();
        let longest = line(MAX_REQUEST);
        assert!(lines(&longest).receive::<Value>().await.is_ok());
        let longer = line(MAX_REQUEST + 1);
        let error = lines(&longer).receive::<Value>().await.unwrap_err();
        assert!(matches!(error, CodecError::TooLong { .. }));
    }

    #[tokio::test]
    async fn a_broken_line_is_named_and_the_next_one_still_read() {
        let mut lines = lines(b"\xff\xfe\n{]\n1\n2");
        let error = lines.receive::<Value>().await.unwrap_err();
        assert!(matches!(error, CodecError::NotUtf8));
        let error = lines.receive::<Value>().await.unwrap_err();
        assert!(matches!(error, CodecError::NotTheMessage(_)));
        assert_eq!(lines.receive::<Value>().await.unwrap(), Some(1.into()));
        let error = lines.receive::<Value>().await.unwrap_err();
        assert!(matches!(error, CodecError::Truncated));
    }

    #[tokio::test]
    async fn deep_nesting_is_an_error_and_no_overflow() {
        let mut bytes = "[".repeat(MAX_REQUEST - 1).into_bytes();
        bytes.push(b'\n');
        let error = lines(&bytes).receive::<Value>().await.unwrap_err();
        assert!(matches!(error, CodecError::NotTheMessage(_)));
    }

    /// Random values in random pieces come out as they went in.
    #[tokio::test]
    async fn what_is_sent_is_received_however_the_bytes_are_cut() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let sent: Vec<Value> = (0..random.usize(1..8))
                .map(|_| value(&mut random, 3))
                .collect();
            let (near, far) = tokio::io::duplex(random.usize(1..64));
            let (mut near, mut far) = (
                LineStream::new(near, MAX_REPLY),
                LineStream::new(far, MAX_REPLY),
            );
            let write = async {
                for message in &sent {
                    near.send(message).await.unwrap();
                }
                drop(near);
            };
            let read = async {
                let mut received = Vec::new();
                while let Some(message) = far.receive::<Value>().await.unwrap() {
                    received.push(message);
                }
                received
            };
            let ((), received) = tokio::join!(write, read);
            assert_eq!(received, sent, "seed {seed}");
        }
    }

    fn value(random: &mut fastrand::Rng, depth: usize) -> Value {
        match random.u8(0..if depth == 0 { 4 } else { 6 }) {
            0 => Value::Null,
            1 => random.bool().into(),
            2 => random.i64(..).into(),
            3 => text(random).into(),
            4 => (0..random.usize(0..4))
                .map(|_| value(random, depth - 1))
                .collect(),
            _ => (0..random.usize(0..4))
                .map(|_| (text(random), value(random, depth - 1)))
                .collect(),
        }
    }

    fn text(random: &mut fastrand::Rng) -> String {
        let length = random.usize(0..40);
        (0..length).map(|_| random.char(..)).collect()
    }
}
