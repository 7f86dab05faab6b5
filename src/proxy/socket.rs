//! A client's connection, TCP or a Unix socket, and what the system knows about a stream.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, tcp};
#[cfg(unix)]
use tokio::net::{UnixStream, unix};
use tokio::time::sleep;

/// How often to check whether a client has hung up behind unread bytes, if the system does not
/// tell.
const LOOK: Duration = Duration::from_millis(40);

/// A client's stream of bytes.
#[derive(Debug)]
pub(super) enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Socket {
    /// Both ends of a TCP connection: the client's address and ours. `None` for a Unix socket.
    ///
    /// # Errors
    /// The system's, when the connection is gone already.
    pub(super) fn ends(&self) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
        match self {
            Self::Tcp(stream) => Ok(Some((stream.peer_addr()?, stream.local_addr()?))),
            #[cfg(unix)]
            Self::Unix(_) => Ok(None),
        }
    }

    /// Small pieces go out at once.
    pub(super) fn set_nodelay(&self) {
        match self {
            Self::Tcp(stream) => drop(stream.set_nodelay(true)),
            #[cfg(unix)]
            Self::Unix(_) => {}
        }
    }

    /// At most about this many bytes wait in the kernel for a client that does not read.
    pub(super) fn set_send_buffer(&self, bytes: usize) {
        match self {
            Self::Tcp(stream) => set_tcp_send_buffer(stream, bytes),
            #[cfg(unix)]
            Self::Unix(_) => {}
        }
    }

    /// Its two directions.
    pub(super) fn split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
            #[cfg(unix)]
            Self::Unix(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Unix(read), WriteHalf::Unix(write))
            }
        }
    }
}

#[cfg(unix)]
fn set_tcp_send_buffer(stream: &TcpStream, bytes: usize) {
    rustix::net::sockopt::set_socket_send_buffer_size(stream, bytes).ok();
}

/// Windows grows and shrinks it by itself.
#[cfg(not(unix))]
fn set_tcp_send_buffer(_: &TcpStream, _: usize) {}

/// Whether unread bytes, or the end, have come. The system is asked, one `recv(2)` with `MSG_PEEK`: the runtime may
/// report it later.
#[cfg(unix)]
pub(super) fn has_unread(stream: &TcpStream) -> bool {
    use rustix::io::Errno;
    use rustix::net::{RecvFlags, recv};
    let looked = recv(stream, &mut [0; 1], RecvFlags::PEEK);
    !matches!(looked, Err(Errno::AGAIN | Errno::INTR))
}

/// The runtime will tell.
#[cfg(not(unix))]
pub(super) fn has_unread(_: &TcpStream) -> bool {
    false
}

/// What a client sends.
#[derive(Debug)]
pub(super) enum ReadHalf {
    /// By TCP.
    Tcp(tcp::OwnedReadHalf),
    /// By a Unix socket.
    #[cfg(unix)]
    Unix(unix::OwnedReadHalf),
}

/// What a client gets. Dropped, it ends what the client gets in order.
#[derive(Debug)]
pub(super) enum WriteHalf {
    /// By TCP.
    Tcp(tcp::OwnedWriteHalf),
    /// By a Unix socket.
    #[cfg(unix)]
    Unix(unix::OwnedWriteHalf),
}

/// Calls a method of either kind of stream.
macro_rules! either {
    ($kind:ident, $half:expr, $stream:ident => $call:expr) => {
        match $half {
            $kind::Tcp($stream) => $call,
            #[cfg(unix)]
            $kind::Unix($stream) => $call,
        }
    };
}

impl ReadHalf {
    /// Reads what has come into the buffer's room; 0 at the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        either!(Self, self, stream => pin!(stream.read_buf(buffer)).poll(cx))
    }
}

impl WriteHalf {
    /// Writes as much of the parts as is taken.
    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(Self, self, half => {
            let stream = half.as_ref();
            loop {
                ready!(stream.poll_write_ready(cx))?;
                let written = match parts {
                    [part] => stream.try_write(part),
                    parts => stream.try_write_vectored(parts),
                };
                match written {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    written => return Poll::Ready(written),
                }
            }
        })
    }

    /// Ends what the client gets.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        either!(Self, self, half => half.shutdown().await)
    }

    /// Waits until the client has closed its side or reset the connection, even behind unread
    /// bytes.
    pub(super) async fn hung_up(&self) {
        either!(Self, self, half => {
            let stream = half.as_ref();
            loop {
                // Linux reports the end apart from readable bytes: nothing else makes the other interest ready,
                // since urgent data was not asked for.
                #[cfg(target_os = "linux")]
                let ready = stream.ready(Interest::PRIORITY).await;
                #[cfg(not(target_os = "linux"))]
                let ready = stream.ready(Interest::READABLE).await;
                if !matches!(ready, Ok(ready) if !ready.is_read_closed()) {
                    return;
                }
                // Windows reports nothing more until its last report was read.
                #[cfg(windows)]
                if !matches!(stream.peek(&mut [0; 1]).await, Ok(1..)) {
                    return;
                }
                sleep(LOOK).await;
            }
        });
    }

    /// Closing resets the connection, so that it does not look like an orderly end. A Unix socket
    /// knows no such thing.
    pub(super) fn reset(self) {
        match self {
            Self::Tcp(half) => {
                half.as_ref().set_zero_linger().ok();
                // Its end would be reported before the reset.
                half.forget();
            }
            #[cfg(unix)]
            Self::Unix(_) => {}
        }
    }
}
