//! Requests that name themselves in their query, `?mark=N`: each can have its own faults, and is
//! counted separately.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use hyper::http::request::Parts;

use crate::faults::Fault;
use crate::lock;

/// What the inference API saw of a mark.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Marked {
    /// Requests that came.
    pub seen: u32,
    /// Those that were answered with 401.
    pub refused: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Marks(Mutex<HashMap<u64, (VecDeque<Fault>, Marked)>>);

impl Marks {
    pub(crate) fn add(&self, mark: u64, faults: Vec<Fault>) {
        lock(&self.0).insert(mark, (faults.into(), Marked::default()));
    }

    pub(crate) fn remove(&self, mark: u64) -> Marked {
        lock(&self.0).remove(&mark).unwrap_or_default().1
    }

    /// A request with this mark has come: the fault that waits for it.
    pub(crate) fn see(&self, mark: u64) -> Option<Fault> {
        let mut marks = lock(&self.0);
        let (faults, marked) = marks.get_mut(&mark)?;
        marked.seen += 1;
        faults.pop_front()
    }

    pub(crate) fn refuse(&self, mark: u64) {
        if let Some((_, marked)) = lock(&self.0).get_mut(&mark) {
            marked.refused += 1;
        }
    }
}

/// The mark of a request.
pub(crate) fn of(head: &Parts) -> Option<u64> {
    let mut pairs = head.uri.query()?.split('&');
    pairs.find_map(|pair| pair.strip_prefix("mark=")?.parse().ok())
}
