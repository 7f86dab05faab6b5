//! Comments in a silent event stream, so that a reverse proxy in front doesn't cut it. Off unless
//! `keep_alive_comment` is set.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A comment and the empty line that ends an event: clients skip both (WHATWG HTML, 9.2.6).
pub(super) const COMMENT: &[u8] = b": keep-alive\n\n";

/// When a stream's next comment is due.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// The silence before a comment.
    after: Duration,
    /// When something was sent last, or a comment was due.
    last: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl KeepAlive {
    /// For a stream that begins now. `None` for no silence: comments are off.
    pub(super) fn new(after: Duration) -> Option<Box<Self>> {
        let last = Instant::now();
        (!after.is_zero()).then(|| {
            let sleep = Box::pin(sleep_until(last + after));
            Box::new(Self { after, last, sleep })
        })
    }

    /// Something went out.
    pub(super) fn sent(&mut self, now: Instant) {
        self.last = now;
    }

    /// Ready once after each such silence. The timer is set once and looks, when it fires, whether something went out
    /// since.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let is_due = self.last + self.after <= now;
            if is_due {
                self.last = now;
            }
            self.sleep.as_mut().reset(self.last + self.after);
            if is_due {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}
