//! The account's rate limit: `rate_limits/nous.json` in Hermes Agent's home, by which its sessions tell each
//! other to pause requests. Every refused request counts against the hour.
//!
//! As there, only a limit of the account counts: one of its buckets is empty for a minute or longer. Any
//! other 429 is about one model's capacity, and blocks nothing. An entry of the file holds for an hour at
//! most, and never if others may write the file or its contents are implausible: it stops requests, so in
//! doubt the provider is asked.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::files::{self, FileAccess, Temporary};
use crate::provider::{AnswerContext, ProviderReply, rate_limits};

/// How often the file is read, in milliseconds, while requests come.
const LOOK: i64 = 3_000;
/// A limit lasts no longer, in milliseconds: the longest bucket is one of an hour.
const LONGEST: i64 = 3_600_000;
/// Where the provider does not say how long, in seconds.
const UNTOLD: f64 = 300.0;
/// A bucket that is full again sooner blocks nothing, in seconds.
const SHORT: f64 = 60.0;
/// A time this far ahead was written under another clock, in milliseconds.
const AHEAD: i64 = 60_000;
/// A larger file is not Hermes Agent's.
const LARGEST: u64 = 64 * 1024;
/// Where the provider says when requests are of use again, the most useful first; in seconds from now.
const RESETS: [&str; 3] = [
    "x-ratelimit-reset-requests-1h",
    "x-ratelimit-reset-requests",
    "retry-after",
];
/// The account's buckets.
const BUCKETS: [(&str, &str); 4] = [
    (
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ),
    (
        "x-ratelimit-remaining-requests-1h",
        "x-ratelimit-reset-requests-1h",
    ),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    (
        "x-ratelimit-remaining-tokens-1h",
        "x-ratelimit-reset-tokens-1h",
    ),
];

/// What is known of the account's limit.
#[derive(Debug, Clone)]
pub(super) struct Limit(Arc<LimitState>);

/// Times are epoch milliseconds; 0 means none.
#[derive(Debug, Default)]
struct LimitState {
    file: Option<PathBuf>,
    /// Requests are of no use until then.
    until: AtomicI64,
    /// By the last answer, a bucket is empty until then.
    empty_until: AtomicI64,
    looked_at: AtomicI64,
    /// The file could not be written, so its content or absence says nothing.
    unsaved: AtomicBool,
    work: Mutex<LimitFileWork>,
}

/// File work, one piece at a time; a newer one takes the place of one that waits.
#[derive(Debug, Default)]
struct LimitFileWork {
    next: Option<Job>,
    running: bool,
}

#[derive(Debug)]
enum Job {
    /// At this time, and what was known by then.
    Look {
        now: i64,
        known: i64,
    },
    Write(Value),
    Remove,
}

/// How long an account's limit lasts by these fields of a 429; `None` if that is about something
/// else.
pub(super) fn of_account(fields: &HeaderMap) -> Option<Duration> {
    empty_for(fields)?;
    let told = RESETS.into_iter().find_map(|name| number(fields, name));
    let wait = told.filter(|seconds| *seconds > 0.0).unwrap_or(UNTOLD);
    Some(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX))
}

impl Limit {
    /// That of the accounts of this home; without one, only what answers say.
    pub(super) fn new(home: Option<&Path>) -> Self {
        let file = home.map(|home| home.join("rate_limits").join("nous.json"));
        Self(Arc::new(LimitState {
            file,
            ..LimitState::default()
        }))
    }

    /// Until when requests are of no use.
    pub(super) fn until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let now = now.timestamp_millis();
        let looked_at = self.0.looked_at.load(Ordering::Relaxed);
        if now.abs_diff(looked_at) >= LOOK.unsigned_abs() {
            self.0.looked_at.store(now, Ordering::Relaxed);
            let known = self.0.until.load(Ordering::Relaxed);
            self.ask(Job::Look { now, known });
        }
        let until = self.0.until.load(Ordering::Relaxed);
        // A clock that was put back does not prolong a limit.
        let left = until.saturating_sub(now);
        let holds = (1..=LONGEST).contains(&left);
        holds
            .then(|| DateTime::from_timestamp_millis(until))
            .flatten()
    }

    /// An inference request was answered. Nothing is shared about a separate login. A request that was sent
    /// before the limit was known says nothing about its end.
    pub(super) fn hear(
        &self,
        reply: &ProviderReply<'_>,
        heard: AnswerContext,
        shared: &dyn Fn() -> bool,
    ) {
        let (status, fields) = (reply.status, reply.fields);
        let now = heard.at.timestamp_millis();
        if status.is_success() {
            let empty = empty_for(fields).map_or(0, |seconds| now.saturating_add(millis(seconds)));
            self.0.empty_until.store(empty, Ordering::Relaxed);
            if heard.while_limited && shared() {
                self.forget();
            }
            return;
        }
        let was_empty = self.0.empty_until.load(Ordering::Relaxed) > now;
        let is_limit =
            status == StatusCode::TOO_MANY_REQUESTS && (was_empty || empty_for(fields).is_some());
        if !is_limit || !shared() {
            return;
        }
        let told = RESETS.into_iter().find_map(|name| number(fields, name));
        let wait = millis(told.filter(|seconds| *seconds > 0.0).unwrap_or(UNTOLD));
        let until = now.saturating_add(wait);
        if self.0.until.swap(until, Ordering::Relaxed) < now {
            let until = DateTime::from_timestamp_millis(until).map(|until| until.to_rfc3339());
            tracing::warn!(
                until,
                "the account's rate limit is used up; requests are answered here until then"
            );
        }
        let record = json!({
            "reset_at": seconds(until),
            "recorded_at": seconds(now),
            "reset_seconds": seconds(wait),
        });
        self.ask(Job::Write(record));
    }

    /// What was known was of another login, maybe.
    pub(super) fn forget(&self) {
        self.0.empty_until.store(0, Ordering::Relaxed);
        if self.0.until.swap(0, Ordering::Relaxed) != 0 {
            self.ask(Job::Remove);
        }
    }

    /// Does file work on a separate thread, without waiting for it.
    fn ask(&self, job: Job) {
        let (Some(_), Ok(runtime)) = (&self.0.file, tokio::runtime::Handle::try_current()) else {
            return;
        };
        let mut work = self.0.lock();
        // What is to be written is not lost for a look.
        if !matches!(
            (&work.next, &job),
            (Some(Job::Write(_) | Job::Remove), Job::Look { .. })
        ) {
            work.next = Some(job);
        }
        if !std::mem::replace(&mut work.running, true) {
            let state = self.0.clone();
            runtime.spawn_blocking(move || state.do_all());
        }
    }
}

impl LimitState {
    fn lock(&self) -> std::sync::MutexGuard<'_, LimitFileWork> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn do_all(&self) {
        while let Some(job) = self.next() {
            let Some(file) = &self.file else { return };
            match job {
                Job::Look { now, known } => self.look(file, now, known),
                Job::Write(record) => {
                    let written = write(file, &record);
                    self.unsaved.store(written.is_err(), Ordering::Relaxed);
                    if let Err(error) = written {
                        tracing::warn!(file = %file.display(), %error, "the rate limit can't be shared with Hermes Agent");
                    }
                }
                Job::Remove => {
                    self.unsaved.store(false, Ordering::Relaxed);
                    files::remove(file).ok();
                }
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut work = self.lock();
        let job = work.next.take();
        work.running = job.is_some();
        job
    }

    /// An answer since then is newer than the file, which is updated at the next look.
    fn look(&self, file: &Path, now: i64, known: i64) {
        let told = read(file).and_then(|(record, modified)| told(&record, modified, now));
        if told.is_some() || !self.unsaved.load(Ordering::Relaxed) {
            let (told, order) = (told.unwrap_or(0), Ordering::Relaxed);
            self.until.compare_exchange(known, told, order, order).ok();
        }
    }
}

/// The file's record, and when it was written by the file system.
fn read(file: &Path) -> Option<(Value, i64)> {
    let place = FileAccess::of(file).ok()?;
    let handle = place.open().ok()?;
    let metadata = handle.metadata().ok()?;
    if place.flaw(&handle, &metadata).is_some() {
        return None;
    }
    let modified = DateTime::<Utc>::from(metadata.modified().ok()?).timestamp_millis();
    let text = files::read_opened(handle, LARGEST).ok()?;
    Some((serde_json::from_slice(&text).ok()?, modified))
}

fn write(file: &Path, record: &Value) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(file);
    files::make_folder(folder)?;
    let temporary = Temporary::beside(file)?;
    temporary.file().write_all(record.to_string().as_bytes())?;
    temporary.persist().map(drop).map_err(|failed| failed.error)
}

/// Until when a record says that requests are of no use.
fn told(record: &Value, modified: i64, now: i64) -> Option<i64> {
    let time = |key: &str| record.get(key).and_then(Value::as_f64).map(whole);
    let recorded = time("recorded_at").unwrap_or(modified);
    if recorded > now.saturating_add(AHEAD) {
        return None;
    }
    let until = time("reset_at")?.min(recorded.saturating_add(LONGEST));
    (until > now).then_some(until)
}

/// For how many seconds the longest of the empty buckets is.
fn empty_for(fields: &HeaderMap) -> Option<f64> {
    if !rate_limits::are_in(fields) {
        return None;
    }
    let resets = BUCKETS.into_iter().filter_map(|(remaining, reset)| {
        let is_empty = number(fields, remaining)? < 1.0;
        number(fields, reset).filter(|reset| is_empty && *reset >= SHORT)
    });
    resets.reduce(f64::max)
}

fn number(fields: &HeaderMap, name: &str) -> Option<f64> {
    let number: f64 = fields.get(name)?.to_str().ok()?.trim().parse().ok()?;
    number.is_finite().then_some(number)
}

/// Milliseconds, at most the longest limit.
fn millis(seconds: f64) -> i64 {
    whole(seconds).clamp(0, LONGEST)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float casts to the nearest i64"
)]
fn whole(seconds: f64) -> i64 {
    (seconds * 1e3) as i64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of this age fit into a float"
)]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    const NOW: i64 = 1_795_953_600_000;

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let fields = fields.iter();
        fields
            .map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            })
            .collect()
    }

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(millis).unwrap()
    }

    fn hear(limit: &Limit, status: StatusCode, fields: &HeaderMap, shared: bool) {
        let reply = ProviderReply {
            status,
            fields,
            start: None,
            is_whole: false,
        };
        let heard = AnswerContext {
            at: at(NOW),
            while_limited: limit.until(at(NOW)).is_some(),
            login: 0,
        };
        limit.hear(&reply, heard, &|| shared);
    }

    #[test]
    fn only_an_empty_bucket_of_the_account_is_a_limit() {
        let hour = [
            ("x-ratelimit-remaining-requests-1h", "0"),
            ("x-ratelimit-reset-requests-1h", "1800"),
            ("x-ratelimit-reset-requests", "7"),
            ("retry-after", "5"),
        ];
        let minute = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "90.5"),
        ];
        let tokens = [
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "61"),
            ("retry-after", "20"),
        ];
        let untold = [
            ("x-ratelimit-remaining-tokens-1h", "0"),
            ("x-ratelimit-reset-tokens-1h", "1e9"),
            ("retry-after", "soon"),
        ];
        let short = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "59"),
            ("retry-after", "600"),
        ];
        let full = [
            ("x-ratelimit-remaining-requests-1h", "3"),
            ("x-ratelimit-reset-requests-1h", "1800"),
        ];
        for (told, seconds) in [
            (&hour[..], Some(1_800)),
            (&minute, Some(90)),
            (&tokens, Some(20)),
            (&untold, Some(300)),
            (&short, None),
            (&full, None),
            (&[("retry-after", "600")], None),
            (&[], None),
        ] {
            let limit = Limit::new(None);
            hear(&limit, StatusCode::TOO_MANY_REQUESTS, &fields(told), true);
            let left = limit
                .until(at(NOW))
                .map(|until| until.timestamp() - NOW / 1000);
            assert_eq!(left, seconds, "{told:?}");
        }
    }

    #[test]
    fn a_limit_that_was_told_before_counts_and_a_success_ends_it() {
        let limit = Limit::new(None);
        let spent = fields(&[
            ("x-ratelimit-remaining-requests-1h", "0"),
            ("x-ratelimit-reset-requests-1h", "1200"),
        ]);
        let none = HeaderMap::new();
        hear(&limit, StatusCode::OK, &spent, true);
        assert_eq!(limit.until(at(NOW)), None);
        hear(&limit, StatusCode::BAD_GATEWAY, &none, true);
        assert_eq!(limit.until(at(NOW)), None);
        let refused = StatusCode::TOO_MANY_REQUESTS;
        hear(&limit, refused, &none, false);
        assert_eq!(limit.until(at(NOW)), None, "a login of our own");
        hear(&limit, refused, &none, true);
        assert_eq!(limit.until(at(NOW)), Some(at(NOW + 300_000)));
        assert_eq!(limit.until(at(NOW + 300_000)), None, "its time is over");
        assert_eq!(
            limit.until(at(NOW - 7_200_000)),
            None,
            "the clock was put back"
        );
        let reply = ProviderReply {
            status: StatusCode::OK,
            fields: &none,
            start: None,
            is_whole: false,
        };
        let before = AnswerContext {
            at: at(NOW),
            while_limited: false,
            login: 0,
        };
        limit.hear(&reply, before, &|| true);
        assert!(limit.until(at(NOW)).is_some(), "it was sent before");
        hear(&limit, StatusCode::OK, &none, true);
        assert_eq!(limit.until(at(NOW)), None);
    }

    #[test]
    fn a_look_that_was_asked_for_before_an_answer_undoes_nothing_that_the_answer_told() {
        let home = tempfile::tempdir().unwrap();
        let limit = Limit::new(Some(home.path()));
        let state = &limit.0;
        let file = state.file.as_deref().unwrap();
        let spent = fields(&[
            ("x-ratelimit-remaining-requests-1h", "0"),
            ("x-ratelimit-reset-requests-1h", "1200"),
        ]);
        hear(&limit, StatusCode::TOO_MANY_REQUESTS, &spent, true);
        let until = NOW + 1_200_000;
        // Asked for before the answer, it finds no file yet.
        state.look(file, NOW, 0);
        assert_eq!(limit.until(at(NOW)), Some(at(until)));
        let record = json!({"reset_at": seconds(until), "recorded_at": seconds(NOW)});
        write(file, &record).unwrap();
        limit.forget();
        // Asked for before the success, it finds the file still.
        state.look(file, NOW, until);
        assert_eq!(limit.until(at(NOW)), None);
        state.look(file, NOW, 0);
        assert_eq!(limit.until(at(NOW)), Some(at(until)));
    }

    #[test]
    fn no_file_stops_requests_for_longer_than_an_hour() {
        let now = seconds(NOW);
        for (record, until) in [
            (
                json!({"reset_at": now + 60.0, "recorded_at": now - 5.0}),
                Some(NOW + 60_000),
            ),
            (
                json!({"reset_at": 1e300, "recorded_at": now}),
                Some(NOW + LONGEST),
            ),
            (
                json!({"reset_at": now + 9e6, "recorded_at": now - 3_000.0}),
                Some(NOW + 600_000),
            ),
            (
                json!({"reset_at": now + 9e6, "recorded_at": now - 3_601.0}),
                None,
            ),
            (
                json!({"reset_at": now + 9e6, "recorded_at": now + 120.0}),
                None,
            ),
            // Without its time, the file's own counts.
            (json!({"reset_at": now + 60.0}), Some(NOW + 60_000)),
            (
                json!({"reset_at": now - 1.0, "recorded_at": now - 9.0}),
                None,
            ),
            (json!({"reset_at": "soon", "recorded_at": now}), None),
            (json!({"recorded_at": now}), None),
            (json!([1]), None),
            (json!(null), None),
        ] {
            assert_eq!(told(&record, NOW - 1_000, NOW), until, "{record}");
        }
    }
}
