//! The latest failures, for the status. A request that goes well costs one look at a counter.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::record::RequestId;

/// A request that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mishap {
    /// When.
    pub at: Instant,
    /// The code of our error, `answer_cut` for a provider's answer that broke off, or `http_` and
    /// the provider's status.
    pub code: Cow<'static, str>,
    /// As the log and `x-hermes-request-id` have it.
    pub request_id: String,
    /// The app's name or its address; empty where that does not matter.
    pub from: Box<str>,
    /// The host or web page that was refused.
    pub about: Option<Box<str>>,
}

/// Requests that went wrong, and the last of them.
#[derive(Debug, Default)]
pub struct FailureTally {
    count: AtomicU64,
    last: Mutex<Option<Mishap>>,
}

impl FailureTally {
    /// One more.
    pub(super) fn add(
        &self,
        code: impl Into<Cow<'static, str>>,
        id: RequestId,
        from: &str,
        about: Option<&str>,
    ) {
        let mishap = Mishap {
            at: Instant::now(),
            code: code.into(),
            request_id: id.to_string(),
            from: from.into(),
            about: about.map(Into::into),
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(mishap);
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// It goes well again.
    pub(super) fn clear(&self) {
        if self.count.load(Ordering::Relaxed) != 0 {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = None;
            self.count.store(0, Ordering::Relaxed);
        }
    }

    /// Whether there was one, at the cost of one look.
    pub(super) fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// How many, and the last one; `None` if there was none.
    pub fn look(&self) -> Option<(u64, Mishap)> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mishap = last.clone()?;
        Some((self.count.load(Ordering::Relaxed), mishap))
    }
}

/// So many failures are kept.
const KEPT: usize = 20;

/// A request that failed, whatever came after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentFailure {
    /// When it ended.
    pub at: Instant,
    /// The code of our error, `http_` and the provider's status, or `answer_cut`.
    pub code: Cow<'static, str>,
    /// The provider that it was for; empty where none was asked.
    pub provider: Box<str>,
    /// The app's name, or the address of one that was refused; empty where neither is known.
    pub from: Box<str>,
    /// The host or web page that was refused.
    pub about: Option<Box<str>>,
}

/// The last requests that failed. A request that goes well does not come here.
#[derive(Debug, Default)]
pub struct Failures(Mutex<VecDeque<RecentFailure>>);

impl Failures {
    /// One more.
    pub(super) fn add(&self, failure: RecentFailure) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(KEPT - 1);
        kept.push_front(failure);
    }

    /// All that are kept, the latest first.
    pub fn look(&self) -> Vec<RecentFailure> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }
}
