//! An app made of bytes: it sends as it is told, and reads HTTP/1.1 strictly, so that a cut answer
//! is never taken for a whole one.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::sleep;

/// Where the daemon listens.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The speed of sending or reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) piece: usize,
    pub(crate) pause: Duration,
}

/// As fast as it goes.
pub(crate) const SWIFT: Pace = Pace {
    piece: 64 * 1024,
    pause: Duration::ZERO,
};

/// What came back. `whole`: up to where its framing says that it ends.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) whole: bool,
    pub(crate) has_length: bool,
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to the daemon.
pub(crate) struct Connection {
    pub(crate) sender: Sender,
    pub(crate) reader: Reader,
}

pub(crate) struct Sender(WriteHalf<Box<dyn Stream>>);

pub(crate) struct Reader {
    stream: ReadHalf<Box<dyn Stream>>,
    /// Read and not used yet.
    unread: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1);
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    }

    /// The daemon's own error, if it is one.
    pub(crate) fn code(&self) -> &str {
        self.field("x-hermes-error").unwrap_or_default()
    }

    /// Whether the connection can be used again.
    pub(crate) fn keeps(&self) -> bool {
        self.whole && self.field("connection") != Some("close")
    }
}

impl Connection {
    /// With a receive buffer so small that a slow reader is felt on the other side, if `narrow`.
    pub(crate) async fn open(door: &Door, narrow: bool) -> io::Result<Self> {
        let stream: Box<dyn Stream> = match door {
            Door::Tcp(address) => {
                let socket = TcpSocket::new_v4()?;
                if narrow {
                    socket.set_recv_buffer_size(8 * 1024)?;
                }
                let stream = socket.connect(*address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Door::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        let (reader, sender) = tokio::io::split(stream);
        Ok(Self {
            sender: Sender(sender),
            reader: Reader {
                stream: reader,
                unread: Vec::new(),
            },
        })
    }

    /// Sends a request and reads its answer at the same time.
    pub(crate) async fn ask(
        &mut self,
        request: &[u8],
        sending: Pace,
        reading: Pace,
    ) -> io::Result<Answer> {
        let answer = self.reader.answer(reading);
        tokio::pin!(answer);
        tokio::select! {
            biased;
            // A refusal may come before all was sent.
            answer = &mut answer => answer,
            _ = self.sender.send(request, sending) => answer.await,
        }
    }
}

impl Sender {
    pub(crate) async fn send(&mut self, mut bytes: &[u8], pace: Pace) -> io::Result<()> {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(pace.piece.min(bytes.len()));
            self.0.write_all(piece).await?;
            self.0.flush().await?;
            bytes = rest;
            if !pace.pause.is_zero() && !bytes.is_empty() {
                sleep(pace.pause).await;
            }
        }
        Ok(())
    }
}

impl Reader {
    /// The next answer, as far as it comes. An error means that not even a head came.
    pub(crate) async fn answer(&mut self, pace: Pace) -> io::Result<Answer> {
        let end = loop {
            if let Some(end) = memmem::find(&self.unread, b"\r\n\r\n") {
                break end + 4;
            }
            if !self.more(SWIFT).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let mut answer = Answer {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            head,
            ..Answer::default()
        };
        let length = answer.field("content-length").map(str::parse::<usize>);
        answer.has_length = length.is_some();
        let chunked = answer.field("transfer-encoding") == Some("chunked");
        let read = match length {
            Some(Ok(length)) if !chunked => {
                self.sized(length, &mut answer.body, pace).await.map(Some)
            }
            None if chunked => self.chunked(&mut answer.body, pace).await,
            None if matches!(answer.status, 204 | 304) => Ok(Some(())),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        // A broken connection ends an answer like one that was closed: it is not whole.
        answer.whole = match read {
            Ok(whole) => whole.is_some(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
            Err(_) => false,
        };
        Ok(answer)
    }

    /// Whether something came.
    async fn more(&mut self, pace: Pace) -> io::Result<bool> {
        let before = self.unread.len();
        self.unread.resize(before + pace.piece, 0);
        let read = self.stream.read(&mut self.unread[before..]).await;
        self.unread.truncate(before + *read.as_ref().unwrap_or(&0));
        if !pace.pause.is_zero() {
            sleep(pace.pause).await;
        }
        read.map(|read| read > 0)
    }

    async fn sized(&mut self, length: usize, body: &mut Vec<u8>, pace: Pace) -> io::Result<()> {
        loop {
            let part = self.unread.len().min(length - body.len());
            body.extend(self.unread.drain(..part));
            if body.len() == length {
                return Ok(());
            }
            if !self.more(pace).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// `Ok(None)`: the connection ended before the last chunk. What is no chunk is an error.
    async fn chunked(&mut self, body: &mut Vec<u8>, pace: Pace) -> io::Result<Option<()>> {
        loop {
            let Some(end) = memmem::find(&self.unread, b"\r\n") else {
                if !self.more(pace).await? {
                    return Ok(None);
                }
                continue;
            };
            let line: Vec<u8> = self.unread.drain(..end + 2).collect();
            let digits = std::str::from_utf8(&line[..end]).ok();
            let size = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
            let size = size.ok_or(io::ErrorKind::InvalidData)?;
            let mut left = size;
            while left > 0 {
                let part = self.unread.len().min(left);
                body.extend(self.unread.drain(..part));
                left -= part;
                if left > 0 && !self.more(pace).await? {
                    return Ok(None);
                }
            }
            while self.unread.len() < 2 {
                if !self.more(pace).await? {
                    return Ok(None);
                }
            }
            if self.unread.drain(..2).ne(*b"\r\n") {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if size == 0 {
                return Ok(Some(()));
            }
        }
    }

    /// Reads a piece of whatever comes and forgets it.
    pub(crate) async fn skip(&mut self) -> io::Result<bool> {
        let more = self.more(SWIFT).await;
        self.unread.clear();
        more
    }

    /// Whether the daemon closes the connection, within some seconds.
    pub(crate) async fn closes(&mut self) -> bool {
        let end = async { while self.skip().await.unwrap_or(false) {} };
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, end).await.is_ok()
    }
}
