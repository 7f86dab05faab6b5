//! HTTP/1.1: a connection serves one request at a time, and that request's own task drives it. An idle connection is a
//! socket without a task. Its state is checked when needed: whether it is alive when a request takes it, and whether a
//! request was sent or answered when it fails.

mod connection;
mod incoming;
mod sending;

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use hyper::{Method, Response};
use tokio_util::task::TaskTracker;

pub(super) use self::connection::{Http1Connection, Http1Owner};
pub(super) use self::incoming::Incoming;
use self::incoming::{AnswerSource, IncomingReading, SharedConnection};
use self::sending::{SendEnd, Sending};
use super::answer::UpstreamBody;
use super::ask::Ask;
use super::failure::{Http1Error as Error, UpstreamCause, UpstreamFailure};
use super::limits::{HEAD, MOST_INTERIM};
use super::upload_task::UploadTask;
use crate::proxy::framing::{AnswerHead, AnswerReader};
use crate::proxy::upload::UploadBody;

/// The right to use a connection. Dropped unused, it returns to the pool.
#[derive(Debug)]
pub(super) struct Http1Checkout {
    connection: Option<Http1Connection>,
    origin: Weak<dyn Http1Owner>,
}

/// A request in flight, until the head of its answer arrives.
struct Http1Exchange {
    connection: Http1Connection,
    sending: Sending,
    reading: IncomingReading,
    interim: usize,
    was_heard: bool,
}

impl Http1Checkout {
    /// The right to use this connection, which goes back to its owner.
    pub(super) fn new(connection: Http1Connection, origin: Weak<dyn Http1Owner>) -> Self {
        Self {
            connection: Some(connection),
            origin,
        }
    }

    /// Notes that it was idle, perhaps after being dialled for a request that another connection served: it may have
    /// been closed unnoticed.
    pub(super) fn has_idled(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.is_kept = true;
        }
    }

    /// Sends a request and waits for the head of its answer. A kept connection is used only if nothing has arrived on
    /// it since: it may have been closed unnoticed, and bytes that precede a request can't answer it.
    pub(super) async fn send(
        mut self,
        ask: &Ask<'_>,
        body: UploadBody,
        tasks: &TaskTracker,
    ) -> Result<Response<UpstreamBody>, UpstreamFailure> {
        let Some(mut connection) = self.connection.take() else {
            return Err(UpstreamFailure::none_sent(UpstreamCause::Gone));
        };
        let reused = connection.is_kept;
        if reused && !connection.is_quiet_at_once().await {
            let none_sent = UpstreamFailure::none_sent(UpstreamCause::Gone);
            return Err(UpstreamFailure {
                reused,
                ..none_sent
            });
        }
        let before = connection.stream.written();
        let to_head = *ask.method == Method::HEAD;
        let mut exchange = Http1Exchange {
            connection,
            sending: Sending::new(ask, body),
            reading: IncomingReading::new(AnswerReader::new(HEAD, to_head)),
            interim: 0,
            was_heard: false,
        };
        match poll_fn(|cx| exchange.poll(cx)).await {
            Ok(head) => Ok(exchange.answered(head, self.origin.clone(), tasks)),
            Err(cause) => Err(UpstreamFailure {
                cause,
                unsent: exchange.connection.stream.written() == before,
                reused,
                unheard: !exchange.was_heard,
            }),
        }
    }
}

impl Http1Exchange {
    /// Sends the available part of the request and reads the available part of the answer, which may arrive before the
    /// request is complete.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, UpstreamCause>> {
        if !self.sending.is_over() {
            match self.sending.poll(&mut self.connection.stream, cx) {
                Poll::Ready(Err(SendEnd::Upload)) => {
                    return Poll::Ready(Err(UpstreamCause::Upload));
                }
                Poll::Ready(Err(SendEnd::Io(error))) => {
                    return Poll::Ready(Err(UpstreamCause::Http1(Error::Io(error))));
                }
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        self.poll_head(cx)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, UpstreamCause>> {
        let failed = |error| Poll::Ready(Err(UpstreamCause::Http1(error)));
        loop {
            match self.reading.reader.head() {
                Err(violation) => return failed(Error::Malformed(violation)),
                Ok(Some(head)) if head.is_interim() => {
                    self.interim += 1;
                    if self.interim > MOST_INTERIM {
                        return Poll::Ready(Err(UpstreamCause::Interim));
                    }
                    continue;
                }
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
            }
            match self.reading.poll_fill(&mut self.connection.stream, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return failed(Error::Ended),
                Poll::Ready(Ok(_)) => self.was_heard = true,
                Poll::Ready(Err(error)) => return failed(Error::Io(error)),
            }
        }
    }

    /// Handles an answer that arrives before the upload is complete. The rest may still be wanted, even while the
    /// client does not read the answer, so it gets a task.
    fn answered(
        self,
        head: AnswerHead,
        origin: Weak<dyn Http1Owner>,
        tasks: &TaskTracker,
    ) -> Response<UpstreamBody> {
        let Self {
            mut connection,
            mut sending,
            reading,
            ..
        } = self;
        connection.is_kept = true;
        let line = if sending.is_over() {
            AnswerSource::Own(connection)
        } else {
            let shared = Arc::new(SharedConnection::new(connection));
            let theirs = shared.clone();
            let rest = async move {
                let rest = poll_fn(|cx| sending.poll(&mut theirs.connection().stream, cx));
                if rest.await.is_ok() {
                    theirs.is_sent();
                } else {
                    // The provider must not wait for bytes that will never come.
                    theirs.connection().part();
                }
            };
            let task = UploadTask::new(tasks.spawn(rest).abort_handle());
            AnswerSource::Shared(shared, task)
        };
        let body = Incoming::new(line, reading, head.persists, origin);
        head.response.map(|()| UpstreamBody::http1(body))
    }
}

impl Drop for Http1Checkout {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Some(origin) = self.origin.upgrade()
        {
            origin.give_back(connection);
        }
    }
}
