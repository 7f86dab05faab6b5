//! What happened, counted.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is not as it must be.
#[derive(Debug, Clone)]
pub(crate) enum Wrong {
    /// Bytes were lost, doubled or exchanged, or a cut answer looked whole.
    Bytes(String),
    /// Something failed that nothing was done to.
    Failed(String),
    /// The provider got a request more often than it may.
    Repeated(String),
}

/// How many bytes were compared, or what was wrong.
pub(crate) type Outcome = Result<usize, Wrong>;

#[derive(Debug, Default)]
pub(crate) struct Figures {
    rows: Mutex<BTreeMap<&'static str, Row>>,
    problems: Mutex<Vec<String>>,
    pub(crate) bytes: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    /// Not begun, since too many were under way.
    pub(crate) skipped: AtomicU64,
}

/// One kind of request.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) done: u64,
    /// Failed in the middle of a trouble that excuses it.
    pub(crate) excused: u64,
    pub(crate) bytes: u64,
    pub(crate) wrong_bytes: u64,
    pub(crate) failed: u64,
    pub(crate) repeated: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Row {
    pub(crate) fn wrong(&self) -> u64 {
        self.wrong_bytes + self.failed + self.repeated
    }

    fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.excused += other.excused;
        self.bytes += other.bytes;
        self.wrong_bytes += other.wrong_bytes;
        self.failed += other.failed;
        self.repeated += other.repeated;
    }
}

impl Figures {
    /// Counts what became of a request; the first problems are shown at once.
    pub(crate) fn note(&self, kind: &'static str, outcome: Outcome) {
        let mut rows = lock(&self.rows);
        let row = rows.entry(kind).or_default();
        let (counter, problem) = match outcome {
            Ok(bytes) => {
                row.done += 1;
                row.bytes += bytes as u64;
                self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                return;
            }
            Err(Wrong::Bytes(problem)) => (&mut row.wrong_bytes, problem),
            Err(Wrong::Failed(problem)) => (&mut row.failed, problem),
            Err(Wrong::Repeated(problem)) => (&mut row.repeated, problem),
        };
        *counter += 1;
        drop(rows);
        let mut problems = lock(&self.problems);
        if problems.len() < 100 {
            println!("  UNEXPECTED {kind}: {problem}");
            problems.push(problem);
        }
    }

    pub(crate) fn excuse(&self, kind: &'static str) {
        lock(&self.rows).entry(kind).or_default().excused += 1;
    }

    pub(crate) fn total(&self) -> Row {
        let mut total = Row::default();
        lock(&self.rows).values().for_each(|row| total.add(row));
        total
    }

    pub(crate) fn line(&self) -> String {
        let rows = lock(&self.rows);
        let kinds = rows
            .iter()
            .map(|(kind, row)| format!("{kind} {}", row.done));
        kinds.collect::<Vec<_>>().join(" · ")
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{:<34}{:>9}{:>12}{:>10}{:>12}{:>9}{:>10}",
            "kind", "as wanted", "MB checked", "excused", "wrong bytes", "failed", "repeated"
        );
        let rows = lock(&self.rows).clone();
        let total = ("all", self.total());
        for (kind, row) in rows.into_iter().chain([total]) {
            let megabytes = row.bytes / 1_000_000;
            write!(
                text,
                "\n{kind:<34}{:>9}{megabytes:>12}{:>10}{:>12}{:>9}{:>10}{}",
                row.done,
                row.excused,
                row.wrong_bytes,
                row.failed,
                row.repeated,
                if row.wrong() > 0 { "  <--" } else { "" }
            )
            .ok();
        }
        text
    }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}
