//! The memory that bodies take while they are held whole, which all requests share with what is kept for replays.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::super::error::{ErrorKind, ProxyError};

/// When it may be worth another try.
const PAUSE: Duration = Duration::from_secs(1);

/// What bodies that are held whole may take.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct Memory {
    /// Bytes of all requests.
    pub(in crate::proxy) total: usize,
    pub(in crate::proxy) used: Arc<AtomicUsize>,
}

/// A body and its count.
#[derive(Debug)]
struct Kept {
    body: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// What one of them takes, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    memory: Memory,
    bytes: usize,
}

impl Held {
    pub(super) fn new(memory: &Memory) -> Self {
        Self {
            memory: memory.clone(),
            bytes: 0,
        }
    }

    /// What all of them may take.
    pub(super) fn most(&self) -> usize {
        self.memory.total
    }

    /// It takes so many bytes from now on; what all requests take then, if that has become more.
    fn counts(&mut self, bytes: usize) -> usize {
        let used = &self.memory.used;
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes >= before {
            let more = bytes - before;
            used.fetch_add(more, Ordering::Relaxed).saturating_add(more)
        } else {
            used.fetch_sub(before - bytes, Ordering::Relaxed);
            0
        }
    }

    /// A body that was made of what it held, and is counted until its last byte has gone.
    pub(super) fn keep(mut self, body: Vec<u8>) -> Bytes {
        self.counts(body.len());
        Bytes::from_owner(Kept { body, _held: self })
    }

    /// It takes so many bytes from now on.
    ///
    /// # Errors
    /// 503 when all requests together would take too many, and 502 when it alone takes more than all may.
    pub(super) fn takes(&mut self, bytes: usize) -> Result<(), ProxyError> {
        let total = self.counts(bytes);
        if total <= self.memory.total {
            return Ok(());
        }
        if bytes > self.memory.total {
            // It would be refused again, however much the others give back.
            let message = format!(
                "hermes-proxyd: an answer that is translated takes more than the {} bytes that all together may \
                 (`limits.replay_total`)",
                self.memory.total
            );
            return Err(ProxyError::new(ErrorKind::AnswerTooLarge, message));
        }
        let message = "hermes-proxyd: too many bodies are being translated at once \
                       (`limits.replay_total`); try again in a moment";
        Err(ProxyError::new(ErrorKind::Overloaded, message).retry_after(PAUSE))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_until_it_is_dropped_and_too_much_is_refused() {
        let memory = Memory {
            total: 10,
            used: Arc::default(),
        };
        let used = || memory.used.load(Ordering::Relaxed);
        let (mut one, mut other) = (Held::new(&memory), Held::new(&memory));
        assert!(one.takes(6).is_ok() && other.takes(4).is_ok());
        let alone = Held::new(&memory).takes(11).unwrap_err();
        assert_eq!(
            (alone.kind, alone.retry_after),
            (ErrorKind::AnswerTooLarge, None)
        );
        assert_eq!(used(), 10);
        assert_eq!(other.takes(5).unwrap_err().kind, ErrorKind::Overloaded);
        drop(one);
        assert!(other.takes(2).is_ok());
        assert_eq!(used(), 2);
        let body = other.keep(vec![7; 3]);
        let rest = body.slice(1..);
        drop(body);
        assert_eq!((used(), &*rest), (3, &[7, 7][..]));
        drop(rest);
        assert_eq!(used(), 0);
    }
}
