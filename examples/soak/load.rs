//! The apps: who asks what, and what has to come back.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mock_cloud::{Fault, MockCloud};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::figures::{Figures, Outcome, Wrong};
use super::wire::{Answer, Connection, Door, Pace, SWIFT};
use super::world::{PATIENCE, PRIVATE, World};

/// No connection is kept longer by an app, so that none is closed just when it is used.
const KEPT: Duration = Duration::from_secs(8);
/// By then every request has reached the provider that ever will.
const SETTLED: Duration = Duration::from_secs(8);

/// All apps.
pub(crate) struct Load {
    pub(crate) world: Arc<World>,
    pub(crate) figures: Figures,
    pub(crate) keys: Keys,
    /// What `GET /models` has to say.
    pub(crate) models: Vec<u8>,
    pub(crate) second_away: Trouble,
    pub(crate) revoked: Trouble,
    marks: AtomicU64,
    audits: Mutex<VecDeque<(Instant, Audit)>>,
    pools: [Mutex<Vec<(Instant, Connection)>>; 3],
}

/// The client keys.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) free: String,
    pub(crate) two_at_once: String,
    pub(crate) models_only: String,
}

/// Something that was done to a provider, and excuses what fails meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<Option<(Instant, Option<Instant>)>>);

/// Where a request goes: on whose address, to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) door: usize,
    pub(crate) provider: &'static str,
}

pub(crate) const MAIN: Place = Place {
    door: 0,
    provider: "",
};

/// A request with a mark of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Audit {
    pub(crate) kind: &'static str,
    pub(crate) mark: u64,
    provider: &'static str,
    /// Whether it may reach the provider once, or never, or if it changes nothing, again.
    may: May,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum May {
    Once,
    Repeatedly,
    Never,
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    None,
    Sized(Vec<u8>),
    /// In chunks of about this size.
    Chunked(Vec<u8>, usize),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn failed<T>(text: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong::Failed(text.into()))
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::InvalidData {
            Self::Bytes("the answer is no HTTP".to_owned())
        } else {
            Self::Failed(format!("no answer: {error}"))
        }
    }
}

impl Trouble {
    pub(crate) fn begin(&self) {
        *lock(&self.0) = Some((Instant::now(), None));
    }

    pub(crate) fn end(&self) {
        if let Some((_, end)) = &mut *lock(&self.0) {
            *end = Some(Instant::now());
        }
    }

    /// Whether it touches what has been going on since then.
    pub(crate) fn excuses(&self, since: Instant) -> bool {
        /// What was sent into it may fail a little later.
        const AFTER: Duration = Duration::from_secs(3);
        let trouble = *lock(&self.0);
        trouble.is_some_and(|(_, end)| end.is_none_or(|end| since < end + AFTER))
    }
}

impl Place {
    /// A place like those of real apps.
    pub(crate) fn any() -> Self {
        let door = match fastrand::u32(..100) {
            0..70 => 0,
            70..85 => 1,
            _ => 2,
        };
        let provider = match fastrand::u32(..100) {
            0..20 => "/h2",
            20..25 => "/nous",
            _ => "",
        };
        Self { door, provider }
    }
}

impl Load {
    pub(crate) fn new(world: Arc<World>, keys: Keys, models: Vec<u8>) -> Self {
        Self {
            world,
            keys,
            models,
            figures: Figures::default(),
            second_away: Trouble::default(),
            revoked: Trouble::default(),
            marks: AtomicU64::new(1),
            audits: Mutex::default(),
            pools: Default::default(),
        }
    }

    pub(crate) fn door(&self, place: Place) -> &Door {
        match place.door {
            0 => &self.world.main,
            1 => &self.world.keyed,
            _ => &self.world.unix,
        }
    }

    fn cloud(&self, provider: &str) -> &MockCloud {
        match provider {
            "/h2" => &self.world.second,
            _ => &self.world.nous,
        }
    }

    /// A mark for a request, which the provider counts, with what is to go wrong there.
    pub(crate) fn mark(
        &self,
        kind: &'static str,
        provider: &'static str,
        may: May,
        faults: Vec<Fault>,
    ) -> u64 {
        let mark = self.marks.fetch_add(1, Ordering::Relaxed);
        if provider != "/broken" {
            self.cloud(provider).mark(mark, faults);
        }
        let audit = Audit {
            kind,
            mark,
            provider,
            may,
        };
        lock(&self.audits).push_back((Instant::now(), audit));
        mark
    }

    /// Looks how often the requests reached their providers that are old enough; `all`: that there
    /// are. The longest ones are not looked at before they ended.
    pub(crate) fn audit(&self, all: bool) {
        loop {
            let audit = {
                let mut audits = lock(&self.audits);
                let old = |begun: Instant| all || begun.elapsed() > PATIENCE + SETTLED;
                match audits.front() {
                    Some((begun, _)) if old(*begun) => audits.pop_front(),
                    _ => None,
                }
            };
            let Some((
                _,
                Audit {
                    kind,
                    mark,
                    provider,
                    may,
                },
            )) = audit
            else {
                return;
            };
            let (seen, refused) = if provider == "/broken" {
                (self.world.broken.unmark(mark), 0)
            } else {
                let marked = self.cloud(provider).unmark(mark);
                (marked.seen, marked.refused)
            };
            let good = match may {
                // With the same token once more where renewals are paced, and with the next one.
                May::Once => seen - refused <= 1 && seen <= 3,
                May::Repeatedly => seen <= 4,
                May::Never => seen == 0,
            };
            if !good {
                let problem = format!("mark {mark} came {seen} times, {refused} of them refused");
                self.figures.note(kind, Err(Wrong::Repeated(problem)));
            }
        }
    }

    /// A request's bytes; `path` has its query.
    pub(crate) fn request(&self, place: Place, start: &str, fields: &str, body: &Body) -> Vec<u8> {
        let (method, path) = start.split_once(' ').unwrap_or(("GET", start));
        let key = if place.door == 1 {
            &self.keys.free
        } else {
            PRIVATE
        };
        let mut bytes = format!(
            "{method} {}/v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n{fields}",
            place.provider
        )
        .into_bytes();
        match body {
            Body::None => bytes.extend_from_slice(b"\r\n"),
            Body::Sized(data) => {
                let length = data.len();
                let kind = "Content-Type: application/json";
                let head = format!("{kind}\r\nContent-Length: {length}\r\n\r\n");
                bytes.extend_from_slice(head.as_bytes());
                bytes.extend_from_slice(data);
            }
            Body::Chunked(data, most) => {
                let kind = "Content-Type: application/json; charset=utf-8";
                let head = format!("{kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
                bytes.extend_from_slice(head.as_bytes());
                let mut rest = &**data;
                while !rest.is_empty() {
                    let size = fastrand::usize(1..=*most).min(rest.len());
                    let (piece, after) = rest.split_at(size);
                    bytes.extend_from_slice(format!("{size:x}\r\n").as_bytes());
                    bytes.extend_from_slice(piece);
                    bytes.extend_from_slice(b"\r\n");
                    rest = after;
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
        }
        bytes
    }

    /// Sends it on a kept connection or a new one, at full speed.
    pub(crate) async fn ask(&self, place: Place, start: &str, body: &Body) -> io::Result<Answer> {
        let close = fastrand::u32(..10) == 0;
        let fields = if close { "Connection: close\r\n" } else { "" };
        let request = self.request(place, start, fields, body);
        self.exchange(place, &request, SWIFT, SWIFT).await
    }

    pub(crate) async fn exchange(
        &self,
        place: Place,
        request: &[u8],
        sending: Pace,
        reading: Pace,
    ) -> io::Result<Answer> {
        let pool = &self.pools[place.door];
        let kept = loop {
            match lock(pool).pop() {
                Some((since, kept)) if since.elapsed() < KEPT => break Some(kept),
                Some(_) => {}
                None => break None,
            }
        };
        let mut connection = match kept {
            Some(connection) if reading.pause.is_zero() => connection,
            _ => Connection::open(self.door(place), !reading.pause.is_zero()).await?,
        };
        let answer = connection.ask(request, sending, reading).await?;
        if answer.keeps() && reading.pause.is_zero() {
            lock(pool).push((Instant::now(), connection));
        }
        Ok(answer)
    }

    /// Closes all connections that are kept.
    pub(crate) fn hang_up(&self) {
        self.pools.iter().for_each(|pool| lock(pool).clear());
    }

    /// A POST of a chat with this steering of the answer.
    pub(crate) async fn chat(
        &self,
        place: Place,
        mark: u64,
        (stream, steering): (bool, Value),
    ) -> io::Result<Answer> {
        let body = chat(mark, stream, steering);
        let start = format!("POST /chat/completions?mark={mark}");
        self.ask(place, &start, &Body::Sized(body)).await
    }
}

/// A chat's body.
pub(crate) fn chat(mark: u64, stream: bool, steering: Value) -> Vec<u8> {
    let mut body = json!({
        "model": "Hermes-4-405B",
        "stream": stream,
        "messages": [
            {"role": "system", "content": PRIVATE},
            {"role": "user", "content": question(mark)},
        ],
    });
    if !steering.is_null() {
        body["mock"] = steering;
    }
    body.to_string().into_bytes()
}

pub(crate) fn question(mark: u64) -> String {
    format!("request {mark}: größe?")
}

/// An event that belongs to no other request and occurs only once.
pub(crate) fn event(mark: u64, index: usize) -> String {
    format!("data: {{\"mark\":{mark},\"index\":{index},\"text\":\"größe ✓\"}}\n\n")
}

/// So many events that belong to no other request.
pub(crate) fn stream(mark: u64, events: usize) -> String {
    let mut text = String::new();
    for index in 0..events {
        text.push_str(&event(mark, index));
    }
    text + "data: [DONE]\n\n"
}

/// The whole answer, to the byte.
pub(crate) fn whole(answer: &Answer, status: u16, expected: &[u8]) -> Outcome {
    if answer.status != status {
        return failed(unlike(answer, status));
    }
    if !answer.whole {
        // Also an answer that fails must be truthful.
        if answer.head.contains("\ncontent-type: text/event-stream") {
            cut_stream(answer, expected)?;
        } else {
            same_start(&answer.body, expected)?;
        }
        let (got, all) = (answer.body.len(), expected.len());
        return failed(format!("cut after {got} of {all} bytes"));
    }
    same_start(&answer.body, expected)?;
    if answer.body.len() != expected.len() {
        let (got, all) = (answer.body.len(), expected.len());
        return Err(Wrong::Bytes(format!("{got} of {all} bytes look whole")));
    }
    Ok(expected.len())
}

pub(crate) fn unlike(answer: &Answer, status: u16) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let text: String = text.chars().take(300).collect();
    let (got, code) = (answer.status, answer.code());
    format!("{got} {code} in place of {status}: {text}")
}

/// That what came is the start of what was sent.
fn same_start(got: &[u8], sent: &[u8]) -> Outcome {
    let differs = got.iter().zip(sent).position(|(got, sent)| got != sent);
    let at = differs.or((got.len() > sent.len()).then_some(sent.len()));
    match at {
        None => Ok(got.len()),
        Some(at) => {
            let around = &got[at.saturating_sub(20)..(at + 60).min(got.len())];
            let text = String::from_utf8_lossy(around);
            Err(Wrong::Bytes(format!(
                "byte {at} of {}: {text:?}",
                sent.len()
            )))
        }
    }
}

/// An answer that the provider did not finish.
pub(crate) fn cut(answer: &Answer, sent: &[u8]) -> Outcome {
    if answer.status != 200 {
        return failed(unlike(answer, 200));
    }
    if answer.whole {
        return Err(Wrong::Bytes("a cut answer looks whole".to_owned()));
    }
    same_start(&answer.body, sent)
}

/// An event stream that the provider did not finish: between two events its end is told.
pub(crate) fn cut_stream(answer: &Answer, sent: &[u8]) -> Outcome {
    const ERROR: &[u8] = b"data: {\"type\":\"error\",\"error\":";
    if answer.status != 200 {
        return failed(unlike(answer, 200));
    }
    if answer.whole {
        return Err(Wrong::Bytes("a cut stream looks whole".to_owned()));
    }
    let body = &answer.body;
    let Some(at) = memchr::memmem::rfind(body, ERROR) else {
        if body.ends_with(b"\n\n") && !answer.has_length {
            return failed("cut between two events, without an error event");
        }
        return same_start(body, sent);
    };
    let (events, error) = body.split_at(at);
    let event = error.strip_prefix(b"data: ").unwrap_or_default();
    let event: Option<Value> = serde_json::from_slice(event).ok();
    if event.is_none_or(|event| !event["error"]["code"].is_string()) || !error.ends_with(b"\n\n") {
        return Err(Wrong::Bytes("an error event is broken".to_owned()));
    }
    if !events.is_empty() && !events.ends_with(b"\n\n") {
        return Err(Wrong::Bytes("an error event within another".to_owned()));
    }
    same_start(events, sent)
}

/// The daemon's own error.
pub(crate) fn error(answer: &Answer, code: &str) -> Outcome {
    if answer.code() != code || !answer.whole {
        return failed(format!("not {code}: {}", unlike(answer, 0)));
    }
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    if body.is_none_or(|body| body["error"]["code"] != code) {
        return Err(Wrong::Bytes("an error without its code".to_owned()));
    }
    Ok(answer.body.len())
}
