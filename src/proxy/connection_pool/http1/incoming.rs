//! The body of an answer over HTTP/1.1, read from the connection on demand.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use super::super::broke_off::BrokeOff;
use super::super::limits::TURN;
use super::super::upload_task::UploadTask;
use super::connection::{Http1Connection, Http1Owner};
use crate::proxy::buffers;
use crate::proxy::connector::Transport;
use crate::proxy::framing::{AnswerReader, BodyPiece};

/// The body being received. Dropping it early closes the connection.
#[derive(Debug)]
pub(in crate::proxy::connection_pool) struct Incoming {
    /// `None` once the body has ended or failed.
    line: Option<AnswerSource>,
    reading: IncomingReading,
    /// Whether the connection may serve another request.
    persists: bool,
    origin: Weak<dyn Http1Owner>,
}

/// The source of an answer.
#[derive(Debug)]
pub(super) enum AnswerSource {
    Own(Http1Connection),
    /// The request's body is still being sent.
    Shared(
        Arc<SharedConnection>,
        #[expect(dead_code, reason = "it ends with this")] UploadTask,
    ),
}

/// A connection with two users: the sender of the request's body and the reader of the answer.
#[derive(Debug)]
pub(super) struct SharedConnection {
    connection: Mutex<Http1Connection>,
    is_sent: AtomicBool,
}

/// The read buffer and its parser.
#[derive(Debug)]
pub(super) struct IncomingReading {
    pub(super) reader: AnswerReader,
    /// Bytes read since the socket was last empty.
    at_one_go: usize,
}

impl SharedConnection {
    pub(super) fn new(connection: Http1Connection) -> Self {
        Self {
            connection: Mutex::new(connection),
            is_sent: AtomicBool::new(false),
        }
    }

    pub(super) fn connection(&self) -> MutexGuard<'_, Http1Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the complete request has been sent.
    pub(super) fn is_sent(&self) {
        self.is_sent.store(true, Ordering::Relaxed);
    }
}

impl AnswerSource {
    /// The connection, if the request has been sent and nothing else uses it.
    fn free(self) -> Option<Http1Connection> {
        match self {
            Self::Own(connection) => Some(connection),
            Self::Shared(shared, _) => {
                let shared = Arc::into_inner(shared)?;
                let is_sent = shared.is_sent.into_inner();
                let connection = shared.connection.into_inner();
                let connection = connection.unwrap_or_else(PoisonError::into_inner);
                is_sent.then_some(connection)
            }
        }
    }
}

impl IncomingReading {
    pub(super) fn new(reader: AnswerReader) -> Self {
        Self {
            reader,
            at_one_go: 0,
        }
    }

    /// Reads what has arrived; 0 at the end. Holds no buffer while nothing has arrived. After a fixed amount it yields
    /// to other tasks.
    pub(super) fn poll_fill(
        &mut self,
        stream: &mut Transport,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.at_one_go >= TURN {
            self.at_one_go = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.reader.has_no_buffer() {
            self.reader.lend(buffers::to_read());
        }
        let result = pin!(stream.read_buf(self.reader.room())).poll(cx);
        match &result {
            Poll::Pending => {
                self.at_one_go = 0;
                self.give_back_buffer();
            }
            Poll::Ready(read) => self.at_one_go += *read.as_ref().unwrap_or(&0),
        }
        result
    }

    fn give_back_buffer(&mut self) {
        if let Some(buffer) = self.reader.give_back() {
            buffers::has_read(buffer);
        }
    }
}

impl Incoming {
    pub(super) fn new(
        line: AnswerSource,
        reading: IncomingReading,
        persists: bool,
        origin: Weak<dyn Http1Owner>,
    ) -> Self {
        let mut incoming = Self {
            line: Some(line),
            reading,
            persists,
            origin,
        };
        incoming.let_go_at_end();
        incoming
    }

    /// The next piece of the body; `None` at its end.
    pub(in crate::proxy::connection_pool) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BrokeOff>>> {
        loop {
            match self.reading.reader.body() {
                Ok(BodyPiece::Data(data)) => {
                    self.let_go_at_end();
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(BodyPiece::End) => {
                    self.let_go_at_end();
                    return Poll::Ready(None);
                }
                Err(violation) => {
                    tracing::debug!(?violation, "a provider's answer is malformed");
                    return Poll::Ready(Some(Err(self.break_off())));
                }
                Ok(BodyPiece::Lacking) => {}
            }
            let filled = match &mut self.line {
                Some(AnswerSource::Own(connection)) => {
                    self.reading.poll_fill(&mut connection.stream, cx)
                }
                Some(AnswerSource::Shared(shared, _)) => {
                    let mut connection = shared.connection();
                    self.reading.poll_fill(&mut connection.stream, cx)
                }
                None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            };
            match ready!(filled) {
                Ok(1..) => {}
                Ok(0) if self.reading.reader.ends() => {}
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(self.break_off()))),
            }
        }
    }

    pub(in crate::proxy::connection_pool) fn is_over(&self) -> bool {
        self.reading.reader.is_over()
    }

    /// How many bytes remain, if known.
    pub(in crate::proxy::connection_pool) fn left(&self) -> Option<u64> {
        self.reading.reader.left()
    }

    fn break_off(&mut self) -> BrokeOff {
        self.line = None;
        BrokeOff
    }

    /// After the last byte, frees the connection for others, unless more bytes followed it.
    fn let_go_at_end(&mut self) {
        if !self.reading.reader.is_over() {
            return;
        }
        let Some(line) = self.line.take() else {
            return;
        };
        // The buffer goes back when this is dropped: until then the last piece shares it.
        let has_more = self.reading.reader.waiting() > 0;
        if self.persists
            && !has_more
            && let Some(connection) = line.free()
            && let Some(origin) = self.origin.upgrade()
        {
            origin.give_back(connection);
        }
    }
}

impl Drop for IncomingReading {
    fn drop(&mut self) {
        self.give_back_buffer();
    }
}
