//! The memory of bodies that are held whole, which all requests share with what is kept for
//! replays.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::super::error::{ErrorKind, ProxyError};

/// When it may be worth another try.
const PAUSE: Duration = Duration::from_secs(1);

/// This many bytes are always available for one body, whatever the others take: an ordinary question is answered, and
/// an event of an answer under way continues.
pub(in crate::proxy) const RESERVE: usize = 64 * 1024;

/// What bodies that are held whole may take.
#[derive(Debug, Clone)]
pub(in crate::proxy) struct BodyMemory {
    /// Bytes of all requests and answers.
    pub(in crate::proxy) total: usize,
    pub(in crate::proxy) used: Arc<AtomicUsize>,
}

/// What is held. An upload may take its time, and an answer that is under way must not end for one that has not come yet:
/// a quarter is for answers alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Answer,
}

/// The share of requests in this many bytes for all bodies.
pub(in crate::proxy) fn of_requests(total: usize) -> usize {
    total - total / 4
}

/// A body and its count.
#[derive(Debug)]
struct KeptBody {
    body: Vec<u8>,
    _held: MemoryReservation,
}

impl AsRef<[u8]> for KeptBody {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// What one of them takes, given back when it is dropped.
#[derive(Debug)]
pub(super) struct MemoryReservation {
    memory: BodyMemory,
    side: Side,
    bytes: usize,
}

impl MemoryReservation {
    pub(super) fn new(memory: &BodyMemory, side: Side) -> Self {
        Self {
            memory: memory.clone(),
            side,
            bytes: 0,
        }
    }

    /// What all of its side may take.
    pub(super) fn most(&self) -> usize {
        match self.side {
            Side::Request => of_requests(self.memory.total),
            Side::Answer => self.memory.total,
        }
    }

    /// It takes this many bytes from now on; returns the sum of all requests, if that has grown.
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

    /// It takes this many bytes from now on, which is not more than before.
    pub(super) fn gives_back(&mut self, bytes: usize) {
        if bytes < self.bytes {
            self.counts(bytes);
        }
    }

    /// A body that was made of what it held, and is counted until its last byte has gone.
    pub(super) fn keep(mut self, body: Vec<u8>) -> Bytes {
        self.counts(body.len());
        Bytes::from_owner(KeptBody { body, _held: self })
    }

    /// It takes this many bytes from now on.
    ///
    /// # Errors
    /// 503 when all together would take too many; when it alone takes more than all may, 413 for a request, and 502 for
    /// an answer.
    pub(super) fn takes(&mut self, bytes: usize) -> Result<(), ProxyError> {
        let total = self.counts(bytes);
        let most = self.most();
        if total <= most || bytes <= RESERVE {
            return Ok(());
        }
        if bytes > most {
            // It would be refused again, however much the others give back.
            return Err(match self.side {
                Side::Request => too_large_to_turn(most),
                Side::Answer => too_large_to_hold(most),
            });
        }
        let message = match self.side {
            Side::Request => {
                "hermes-proxyd: too many requests are being translated at once \
                 (`limits.replay_total`); try again in a moment"
            }
            Side::Answer => {
                "hermes-proxyd: too many answers are being translated at once \
                 (`limits.replay_total`); try again in a moment"
            }
        };
        Err(ProxyError::new(ErrorKind::Overloaded, message).retry_after(PAUSE))
    }
}

/// A body that takes more alone than all together may: asking again comes to the same.
pub(super) fn too_large_to_turn(most: usize) -> ProxyError {
    let message = format!(
        "hermes-proxyd: the request body has to be read whole for this provider, and is larger than {most} bytes \
         (`limits.replay_total`)"
    );
    ProxyError::new(ErrorKind::RequestTooLarge, message)
}

fn too_large_to_hold(most: usize) -> ProxyError {
    let message = format!(
        "hermes-proxyd: an answer that is translated takes more than the {most} bytes that all together may \
         (`limits.replay_total`)"
    );
    ProxyError::new(ErrorKind::AnswerTooLarge, message)
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn memory() -> BodyMemory {
        BodyMemory {
            total: 1024 * KIB,
            used: Arc::default(),
        }
    }

    #[test]
    fn what_is_held_is_counted_until_it_is_dropped_and_too_much_is_refused() {
        let memory = memory();
        let used = || memory.used.load(Ordering::Relaxed) / KIB;
        let (mut one, mut other) = (
            MemoryReservation::new(&memory, Side::Answer),
            MemoryReservation::new(&memory, Side::Answer),
        );
        assert!(one.takes(600 * KIB).is_ok() && other.takes(400 * KIB).is_ok());
        let alone = MemoryReservation::new(&memory, Side::Answer)
            .takes(1025 * KIB)
            .unwrap_err();
        assert_eq!(
            (alone.kind, alone.retry_after),
            (ErrorKind::AnswerTooLarge, None)
        );
        assert_eq!(used(), 1000);
        assert_eq!(
            other.takes(500 * KIB).unwrap_err().kind,
            ErrorKind::Overloaded
        );
        drop(one);
        assert!(other.takes(200 * KIB).is_ok());
        assert_eq!(used(), 200);
        let body = other.keep(vec![7; 3 * KIB]);
        let rest = body.slice(1..);
        drop(body);
        assert_eq!((used(), rest.len()), (3, 3 * KIB - 1));
        drop(rest);
        assert_eq!(used(), 0);
    }

    #[test]
    fn requests_leave_room_for_answers_and_a_little_is_always_there() {
        let memory = memory();
        let mut uploads = MemoryReservation::new(&memory, Side::Request);
        let alone = uploads.takes(769 * KIB).unwrap_err();
        assert_eq!(alone.kind, ErrorKind::RequestTooLarge);
        assert!(uploads.takes(768 * KIB).is_ok());
        let mut more = MemoryReservation::new(&memory, Side::Request);
        assert_eq!(
            more.takes(RESERVE + 1).unwrap_err().kind,
            ErrorKind::Overloaded
        );
        assert!(more.takes(RESERVE).is_ok());
        let mut answer = MemoryReservation::new(&memory, Side::Answer);
        assert!(answer.takes(192 * KIB).is_ok());
        assert!(answer.takes(193 * KIB).is_err());
        let mut event = MemoryReservation::new(&memory, Side::Answer);
        assert!(event.takes(RESERVE).is_ok());
    }
}
