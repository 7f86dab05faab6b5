//! What a client is connected by: TCP, or a Unix socket; and what the system knows of a stream.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

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

    /// At most about so many bytes wait in the kernel for a client that does not read.
    pub(super) fn set_send_buffer(&self, bytes: usize) {
        match self {
            Self::Tcp(stream) => set_tcp_send_buffer(stream, bytes),
            #[cfg(unix)]
            Self::Unix(_) => {}
        }
    }

    /// Whether the client has closed its side or reset the connection, even behind bytes that
    /// nobody has read.
    pub(super) fn is_hung_up(&self, cx: &mut Context<'_>) -> bool {
        let interest = tokio::io::Interest::READABLE;
        let ready = match self {
            Self::Tcp(stream) => pin!(stream.ready(interest)).poll(cx),
            #[cfg(unix)]
            Self::Unix(stream) => pin!(stream.ready(interest)).poll(cx),
        };
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    /// Closing resets the connection, so that it does not look like an orderly end. A Unix socket
    /// knows no such thing.
    pub(super) fn set_zero_linger(&self) {
        match self {
            Self::Tcp(stream) => drop(stream.set_zero_linger()),
            #[cfg(unix)]
            Self::Unix(_) => {}
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

/// Whether something has come that was not read, be it the end. The system is asked, one `recv(2)` with `MSG_PEEK`: the
/// runtime may tell of it later.
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

/// Calls a method of whichever stream it is.
macro_rules! either {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket {
            Socket::Tcp($stream) => $call,
            #[cfg(unix)]
            Socket::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        either!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
