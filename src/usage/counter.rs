//! Counts requests when they end: rows in memory, which `keeper` takes and writes every few seconds. Counting waits for
//! nothing: not for a disk, and no longer than the taking of a map.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use chrono::NaiveDate;
use tokio::time::Instant;

use super::key::{About, Names, Quarter, UsageKey};
use super::meter::{NO_KEY, UsageMeter, clean};
use super::report::CountsQuery;
use super::rows::{OTHER, One, RowCounts, UsageRows};
use super::totals::{Total, Totals};
use crate::clock::Clock;

/// So many models have a row of their own on a day; requests for others share one.
const MOST_MODELS: usize = 500;
/// So many apps do that show no key.
const MOST_APPS: usize = 200;
/// So many rows a day tell models and apps apart.
const MOST_ROWS: usize = 5_000;
/// So many rows wait to be taken, and as many to be written. A request beyond them is not counted.
pub(super) const MOST_WAITING: usize = 10_000;
/// hermesctl's own requests are.
const OWN: &str = "(hermesctl)";

/// A request that has ended.
#[derive(Debug)]
pub struct EndedRequest<'r> {
    /// The name of its client key, where it showed one.
    pub client: Option<&'r str>,
    /// It was hermesctl's own.
    pub is_own: bool,
    /// Its provider's name.
    pub provider: &'r Arc<str>,
    /// Its path as the provider lists it.
    pub path: &'r Arc<str>,
    /// The model that its body names.
    pub model: Option<&'r str>,
    /// What kind of failure it was, if it was one.
    pub failure: Option<Cow<'static, str>>,
    /// Bytes of its body.
    pub bytes_in: u64,
    /// Bytes of its answer's body.
    pub bytes_out: u64,
}

/// The counts of this daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UsageCounter {
    pub(super) shared: Arc<SharedBook>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
pub(super) struct SharedBook {
    state: Mutex<BookState>,
    /// Something waits for the keeper.
    pub(super) wake: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct BookState {
    pub(super) rows: UsageRows<Quarter>,
    totals: Totals,
    pub(super) today: Today,
    /// Requests that were not counted.
    pub(super) dropped: u64,
    /// Why the last batch could not be written, if it could not.
    pub(super) fault: Option<String>,
    /// Since when the batch is being written, while it is.
    pub(super) writes_since: Option<Instant>,
    pub(super) questions: Vec<CountsQuery>,
    pub(super) ends: bool,
}

/// What is known of the present day.
#[derive(Debug, Default)]
pub(super) struct Today {
    day: NaiveDate,
    models: HashSet<Box<str>>,
    apps: HashSet<Box<str>>,
    /// Rows that tell models and apps apart.
    rows: HashSet<UsageKey<()>>,
}

impl UsageCounter {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let shared = SharedBook {
            state: Mutex::default(),
            wake: Condvar::new(),
        };
        Self {
            shared: Arc::new(shared),
            clock,
        }
    }

    /// Counts a request that has ended.
    pub fn enter(&self, meter: &UsageMeter, ended: EndedRequest<'_>) {
        let tokens = meter.tokens();
        let one = One {
            is_untold: meter.makes_tokens() && ended.failure.is_none() && tokens.is_none(),
            failure: ended.failure,
            bytes_in: ended.bytes_in,
            bytes_out: ended.bytes_out,
            tokens: tokens.unwrap_or_default(),
        };
        let client = match ended.client {
            _ if ended.is_own => OWN,
            Some(name) => name,
            None => meter.app(),
        };
        let model = match (meter.model(), ended.model) {
            (Some(model), _) => Cow::Borrowed(model),
            (None, model) => clean(model.unwrap_or_default()),
        };
        let about = About {
            when: Quarter::of(self.clock.seconds()),
            client,
            provider: ended.provider,
            login: meter.login(),
            model: &model,
            path: ended.path,
        };
        let mut state = self.shared.lock();
        if let Some(tokens) = tokens {
            state.totals.add(ended.provider, &model, tokens);
        }
        if let Some(row) = state.rows.get_mut(&about as &dyn Names<Quarter>) {
            row.count(one);
            return;
        }
        let key = UsageKey {
            when: about.when,
            client: client.into(),
            provider: ended.provider.clone(),
            login: about.login.into(),
            model: model.into(),
            path: ended.path.clone(),
        };
        let has_key = ended.client.is_some() || ended.is_own;
        let was_empty = state.rows.is_empty();
        let key = state.today.bounded(key, has_key);
        state.count(key, one);
        drop(state);
        if was_empty {
            self.shared.wake.notify_one();
        }
    }

    /// Tokens since the daemon's start by provider and model, in no order; of many models, the later ones together.
    pub fn totals(&self) -> Vec<Total> {
        self.shared.lock().totals.all()
    }

    /// The day in this machine's time zone. May wait for a disk.
    pub(super) fn today(&self) -> NaiveDate {
        Quarter::of(self.clock.seconds()).day()
    }
}

impl SharedBook {
    /// Whether a question will be answered.
    pub(super) fn takes(&self, question: CountsQuery) -> bool {
        let mut state = self.lock();
        if !state.ends {
            // Those who asked before may have left.
            state
                .questions
                .retain(|question| !question.answer.is_closed());
            state.questions.push(question);
        }
        !state.ends
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BookState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BookState {
    /// Counts in a row, or drops what there is no room for.
    fn count(&mut self, key: UsageKey<Quarter>, one: One) {
        if let Some(row) = self.rows.get_mut(&key) {
            row.count(one);
        } else if self.rows.len() < MOST_WAITING {
            self.rows.insert(key, RowCounts::of(one));
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }
}

impl Today {
    /// It is this day; everything about another one is forgotten.
    pub(super) fn turns(&mut self, day: NaiveDate) {
        if self.day != day {
            *self = Self {
                day,
                ..Self::default()
            };
        }
    }

    /// A row of today that an earlier run has written counts, too.
    pub(super) fn knows(&mut self, key: UsageKey<NaiveDate>) {
        if self.day == key.when {
            let has_key = !key.client.ends_with(NO_KEY);
            self.bounded(key, has_key);
        }
    }

    /// The key, with names of which there are too many replaced.
    fn bounded<When: Copy>(&mut self, key: UsageKey<When>, has_key: bool) -> UsageKey<When> {
        let when = key.when;
        let mut key = key.at(());
        if self.rows.contains(&key) {
            return key.at(when);
        }
        if !has_room(&mut self.models, &key.model, MOST_MODELS) {
            key.model = OTHER.into();
        }
        if !has_key && !has_room(&mut self.apps, &key.client, MOST_APPS) {
            key.client = OTHER.into();
        }
        if self.rows.contains(&key) {
            return key.at(when);
        }
        if self.rows.len() < MOST_ROWS {
            self.rows.insert(key.clone());
        } else {
            key.model = OTHER.into();
            if !has_key {
                key.client = OTHER.into();
            }
        }
        key.at(when)
    }
}

/// Whether a name has its own row.
fn has_room(names: &mut HashSet<Box<str>>, name: &str, most: usize) -> bool {
    if names.contains(name) {
        return true;
    }
    let has_room = names.len() < most;
    if has_room {
        names.insert(name.into());
    }
    has_room
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::Local;

    use super::*;
    use crate::clock::fake::JumpingClock;

    fn book() -> (UsageCounter, Arc<JumpingClock>) {
        let clock = Arc::new(JumpingClock::at("2026-11-30T12:00:00Z"));
        (UsageCounter::new(clock.clone()), clock)
    }

    fn ended<'r>(provider: &'r Arc<str>, path: &'r Arc<str>, model: &'r str) -> EndedRequest<'r> {
        EndedRequest {
            client: None,
            is_own: false,
            provider,
            path,
            model: Some(model),
            failure: None,
            bytes_in: 10,
            bytes_out: 20,
        }
    }

    #[test]
    fn hostile_names_have_a_bounded_number_of_rows() {
        let (book, _) = book();
        let (provider, path): (Arc<str>, Arc<str>) = ("nous".into(), "/chat/completions".into());
        for number in 0..20_000 {
            let name = format!("\x1bmodel-{number}");
            let agent = format!("app-{number}/1");
            let meter = UsageMeter::new(true, Some(agent.as_bytes()));
            book.enter(&meter, ended(&provider, &path, &name));
        }
        let state = book.shared.lock();
        assert!(state.rows.len() <= MOST_ROWS + 4, "{}", state.rows.len());
        let of = |name: fn(&UsageKey<Quarter>) -> &str| {
            let names: HashSet<_> = state.rows.keys().map(name).collect();
            names.len()
        };
        assert_eq!(of(|key| &key.model), MOST_MODELS + 1);
        assert_eq!(of(|key| &key.client), MOST_APPS + 1);
        let requests: u64 = state.rows.values().map(|counts| counts.requests).sum();
        assert_eq!((requests, state.dropped), (20_000, 0));
        assert!(state.rows.keys().all(|key| !key.model.contains('\x1b')));
    }

    #[test]
    fn names_that_are_few_make_no_more_rows_together() {
        let (book, _) = book();
        let (provider, path): (Arc<str>, Arc<str>) = ("nous".into(), "/chat/completions".into());
        for app in 0..100 {
            for model in 0..100 {
                let (name, agent) = (format!("model-{model}"), format!("app-{app}/1"));
                let meter = UsageMeter::new(true, Some(agent.as_bytes()));
                book.enter(&meter, ended(&provider, &path, &name));
            }
        }
        let state = book.shared.lock();
        assert_eq!(state.rows.len(), MOST_ROWS + 1);
        let requests: u64 = state.rows.values().map(|counts| counts.requests).sum();
        assert_eq!(requests, 10_000);
    }

    #[test]
    fn an_app_with_a_key_keeps_its_name_and_what_has_no_room_is_counted_as_dropped() {
        let (book, clock) = book();
        let (provider, path): (Arc<str>, Arc<str>) = ("nous".into(), "/embeddings".into());
        for day in 0..3 {
            for number in 0..5_000 {
                let name = format!("key-{number}");
                let one = EndedRequest {
                    client: Some(&name),
                    ..ended(&provider, &path, "m")
                };
                book.enter(&UsageMeter::new(false, None), one);
            }
            let state = book.shared.lock();
            let dropped = 5_000 * u64::from(day == 2);
            assert_eq!(state.dropped, dropped, "day {day}");
            drop(state);
            clock.jump(Duration::from_hours(24));
        }
    }

    #[test]
    fn a_day_ends_at_midnight_of_this_machine() {
        let (book, clock) = book();
        let noon = book.today();
        assert_eq!(noon, clock.now().with_timezone(&Local).date_naive());
        clock.jump(Duration::from_hours(24));
        assert_eq!(book.today(), noon.succ_opt().unwrap());
    }
}
