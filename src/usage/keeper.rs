//! The thread that writes the counts: every few seconds while there are some, on request, and at the end. Counts that
//! it can't write are kept, as far as there is room, and tried again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::counter::{MOST_WAITING, SharedBook, UsageCounter};
use super::key::Quarter;
use super::report::{CountsQuery, CountsReport, Query};
use super::rows::UsageRows;
use super::store::{UsageStore, UsageStoreFault};
use crate::clock::Clock;

/// How long counts wait: a kill loses those of this time.
const PERIOD: Duration = Duration::from_secs(10);
/// A question waits for a disk no longer than this.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long another program may have the file locked, without a query.
const LOCKED: Duration = Duration::from_secs(5);
/// The same at the end.
const LOCKED_AT_THE_END: Duration = Duration::from_millis(1200);
/// A write that takes longer waits for a disk that hangs, or for another program that has the file locked.
const LATE: Duration = Duration::from_secs(6);
/// The end waits less.
const FAREWELL: Duration = Duration::from_secs(2);
/// What is said of a write or a question that takes too long.
const NO_ANSWER: &str = "the disk has not answered, or another program has the file locked";
/// Why there are no reports after the end.
const ENDED: &str = "the thread that keeps them has ended";
/// The file of the counts in our state folder.
pub const FILE: &str = "usage.db";

/// How counts are kept.
#[derive(Debug, Clone)]
pub struct UsageSettings {
    /// The file.
    pub file: PathBuf,
    /// For how many days, today being one.
    pub days: u32,
}

/// Whether requests can be counted and saved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why the last ones are not saved, if they are not.
    pub fault: Option<String>,
    /// Requests since the start that were not counted.
    pub dropped: u64,
}

/// The thread that writes a [`UsageCounter`]'s counts.
#[derive(Debug)]
pub struct UsageWriter {
    shared: Arc<SharedBook>,
    done: oneshot::Receiver<()>,
}

struct Worker {
    book: UsageCounter,
    settings: UsageSettings,
    store: Option<UsageStore>,
    /// What was taken and is not written.
    batch: UsageRows<NaiveDate>,
    /// Whether the log has the present fault.
    told: bool,
}

impl UsageCounter {
    /// Counts from now on, and has a thread keep the counts. The file is made with the first ones.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn start(
        settings: UsageSettings,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<(Self, UsageWriter)> {
        let book = Self::new(clock);
        let (ended, done) = oneshot::channel();
        let worker = Worker {
            book: book.clone(),
            settings,
            store: None,
            batch: UsageRows::default(),
            told: false,
        };
        thread::Builder::new()
            .name("usage".to_owned())
            .spawn(move || {
                worker.run();
                // The daemon may be gone.
                ended.send(()).ok();
            })?;
        let shared = book.shared.clone();
        Ok((book, UsageWriter { shared, done }))
    }

    /// The report, with everything that has been counted so far.
    ///
    /// # Errors
    /// Why they can't be read, as a sentence without its full stop.
    pub async fn ask(&self, query: Query) -> Result<CountsReport, String> {
        let (answer, reply) = oneshot::channel();
        let question = CountsQuery { query, answer };
        if !self.shared.takes(question) {
            return Err(ENDED.to_owned());
        }
        self.shared.wake.notify_one();
        match timeout(PATIENCE, reply).await {
            Ok(Ok(report)) => report,
            Ok(Err(_)) => Err(ENDED.to_owned()),
            Err(_) => Err(NO_ANSWER.to_owned()),
        }
    }

    /// Whether all is well with them.
    pub fn health(&self) -> Health {
        let state = self.shared.lock();
        let hangs = state.writes_since.filter(|since| since.elapsed() > LATE);
        let hangs = hangs.map(|_| NO_ANSWER.to_owned());
        Health {
            fault: hangs.or_else(|| state.fault.clone()),
            dropped: state.dropped,
        }
    }
}

impl UsageWriter {
    /// Writes what is left, and ends. A disk that hangs is not waited for.
    pub async fn end(self) {
        self.shared.lock().ends = true;
        self.shared.wake.notify_one();
        if timeout(FAREWELL, self.done).await.is_err() {
            tracing::warn!(
                error = NO_ANSWER,
                "the usage of the last requests is lost, if it can't be saved at once"
            );
        }
    }
}

/// What the counts in this file say where no daemon runs. May wait for a disk, and for the time zone.
///
/// # Errors
/// Why they can't be read, as a sentence without its full stop.
pub fn look(file: &Path, query: Query, now: DateTime<Utc>) -> Result<CountsReport, String> {
    let today = Quarter::of(now.timestamp()).day();
    let report = look_with(file, query, today, &UsageRows::default());
    report.map_err(|fault| fault.to_string())
}

fn look_with(
    file: &Path,
    query: Query,
    today: NaiveDate,
    unsaved: &UsageRows<NaiveDate>,
) -> Result<CountsReport, UsageStoreFault> {
    match UsageStore::look(file)? {
        Some(store) => store.report(query, today, unsaved),
        None => Ok(CountsReport::empty(query, today).with(query.by, unsaved)),
    }
}

impl Worker {
    fn run(mut self) {
        loop {
            let (rows, questions, ends) = self.wait();
            self.take(rows);
            self.save(!questions.is_empty(), ends);
            self.answer(questions);
            if ends {
                let lost: u64 = self.batch.values().map(|counts| counts.requests).sum();
                if lost > 0 {
                    tracing::warn!(requests = lost, "the usage of the last requests is lost");
                }
                return;
            }
        }
    }

    /// Waits until something is to be done, and gives what has been counted.
    fn wait(&self) -> (UsageRows<Quarter>, Vec<CountsQuery>, bool) {
        let shared = self.book.shared.clone();
        let mut state = shared.lock();
        while self.batch.is_empty()
            && state.rows.is_empty()
            && state.questions.is_empty()
            && !state.ends
        {
            state = shared
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let waited = shared.wake.wait_timeout_while(state, PERIOD, |state| {
            state.questions.is_empty() && !state.ends
        });
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let rows = std::mem::take(&mut state.rows);
        (rows, std::mem::take(&mut state.questions), state.ends)
    }

    /// Adds what was counted to what waits, by its days.
    fn take(&mut self, rows: UsageRows<Quarter>) {
        let today = self.book.today();
        let mut days = BTreeMap::new();
        let mut dropped = 0_u64;
        for (key, counts) in rows {
            let quarter = key.when;
            let day = *days.entry(quarter).or_insert_with(|| quarter.day());
            let key = key.at(day);
            if let Some(row) = self.batch.get_mut(&key) {
                row.add(counts);
            } else if self.batch.len() < MOST_WAITING {
                self.batch.insert(key, counts);
            } else {
                dropped = dropped.saturating_add(counts.requests);
            }
        }
        let mut state = self.book.shared.lock();
        state.today.turns(today);
        state.dropped = state.dropped.saturating_add(dropped);
    }

    /// Writes what was taken. Another program's lock is waited for as long as there is no question.
    fn save(&mut self, is_asked: bool, ends: bool) {
        if self.batch.is_empty() {
            return;
        }
        let begun = Instant::now();
        self.book.shared.lock().writes_since = Some(begun);
        let patience = match (ends, is_asked) {
            (true, _) => LOCKED_AT_THE_END,
            (false, true) => Duration::ZERO,
            (false, false) => LOCKED,
        };
        let saved = loop {
            let mut saved = self.write();
            if saved.as_ref().is_err_and(UsageStoreFault::is_damage) {
                // Opened again, it is set aside.
                self.store = None;
                saved = self.write();
            }
            let is_locked = saved.as_ref().is_err_and(UsageStoreFault::is_locked);
            if !is_locked || begun.elapsed() > patience || self.is_asked() {
                break saved;
            }
        };
        let mut state = self.book.shared.lock();
        state.writes_since = None;
        let dropped = state.dropped;
        match saved {
            Ok(()) => {
                self.batch.clear();
                state.fault = None;
                drop(state);
                if std::mem::take(&mut self.told) {
                    tracing::info!(dropped, "usage is saved again");
                }
            }
            Err(fault) => {
                if !fault.is_locked() {
                    self.store = None;
                }
                let text = fault.to_string();
                state.fault = Some(text.clone());
                drop(state);
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!(
                        error = text,
                        "usage can't be saved; requests go on, and it is tried again"
                    );
                }
            }
        }
    }

    fn is_asked(&self) -> bool {
        !self.book.shared.lock().questions.is_empty()
    }

    fn write(&mut self) -> Result<(), UsageStoreFault> {
        let today = self.book.today();
        let days = self.settings.days;
        if self.store.is_none() {
            let (store, aside) = UsageStore::open(&self.settings.file)?;
            if let Some(aside) = aside {
                tracing::warn!(
                    file = %aside.display(),
                    "the file of the usage was damaged; it was set aside, and a new one was begun"
                );
            }
            let keys = store.keys(today)?;
            let mut state = self.book.shared.lock();
            for key in keys {
                state.today.knows(key);
            }
            drop(state);
            self.store = Some(store);
        }
        match &mut self.store {
            Some(store) => store.write(&self.batch, today, days),
            None => Ok(()),
        }
    }

    /// Answers all who ask; those who ask the same get the same, and a file that is locked is waited for once.
    fn answer(&self, questions: Vec<CountsQuery>) {
        let mut known: Vec<(Query, Result<CountsReport, String>)> = Vec::new();
        let mut locked = None;
        for question in questions {
            let query = question.query;
            let asked = known.iter().find(|(asked, _)| *asked == query);
            let report = match (asked, &locked) {
                (Some((_, report)), _) => report.clone(),
                (None, Some(why)) => Err(String::clone(why)),
                (None, None) => {
                    let report = self.report(query).map_err(|fault| {
                        let why = fault.to_string();
                        locked = fault.is_locked().then(|| why.clone());
                        why
                    });
                    known.push((query, report.clone()));
                    report
                }
            };
            // The asker may have left.
            question.answer.send(report).ok();
        }
    }

    /// With what could not be saved.
    fn report(&self, query: Query) -> Result<CountsReport, UsageStoreFault> {
        let today = self.book.today();
        let report = match &self.store {
            Some(store) => store.report(query, today, &self.batch),
            None => look_with(&self.settings.file, query, today, &self.batch),
        };
        let health = self.book.health();
        report.map(|report| CountsReport {
            fault: health.fault,
            dropped: health.dropped,
            ..report
        })
    }
}

#[cfg(test)]
mod tests;
