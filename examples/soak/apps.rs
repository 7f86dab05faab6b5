//! What the apps do, each in its own way. Every answer is compared with what was sent.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use mock_cloud::{Canned, Fault, pattern};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::broken::{self, Fate};
use super::figures::{Outcome, Wrong};
use super::load::{
    Body, Load, May, Place, chat, cut, cut_stream, error, failed, question, stream, unlike, whole,
};
use super::wire::{Connection, Door, Pace, SWIFT};

/// Nothing takes longer, however busy the machine is.
const LONGEST: Duration = Duration::from_mins(3);
const MIB: usize = 1024 * 1024;
const LARGE: usize = 10 * MIB;
const BROKEN: Place = Place {
    door: 0,
    provider: "/broken",
};

/// What an app does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Chat,
    Embeddings,
    Models,
    Health,
    Stream,
    SlowStream,
    OneByteStream,
    PatternStream,
    Download,
    Echo,
    ChunkedEcho,
    Pipeline,
    LateHead,
    Leave,
    Hang,
    Keys,
    TooMany,
    Hostile,
    RateLimited,
    ServerError,
    ResetBeforeHead,
    CutStream,
    CutAnswer,
    Broken,
    Silent,
    LargeDownload,
    LargeEcho,
    LargeChunkedEcho,
    SlowReader,
    SlowSender,
}

/// Every act with its name and its share of 10,000.
pub(crate) const ACTS: [(Act, &str, u32); 30] = [
    (Act::Chat, "chat", 2400),
    (Act::Embeddings, "embeddings", 700),
    (Act::Models, "models", 900),
    (Act::Health, "health", 250),
    (Act::Stream, "stream", 1400),
    (Act::SlowStream, "stream, slow", 200),
    (Act::OneByteStream, "stream in 1-byte pieces", 120),
    (Act::PatternStream, "stream of up to 4,000 events", 100),
    (Act::Download, "download", 600),
    (Act::Echo, "echo", 700),
    (Act::ChunkedEcho, "echo, chunked upload", 500),
    (Act::Pipeline, "pipelined, five at once", 120),
    (Act::LateHead, "late head", 150),
    (Act::Leave, "client leaves", 500),
    (Act::Hang, "client leaves a hanging answer", 60),
    (Act::Keys, "client key: wrong or not for it", 120),
    (Act::TooMany, "client key: too many at once", 60),
    (Act::Hostile, "hostile", 250),
    (Act::RateLimited, "injected: 429", 120),
    (Act::ServerError, "injected: 500", 120),
    (Act::ResetBeforeHead, "injected: no head", 120),
    (Act::CutStream, "injected: stream cut", 150),
    (Act::CutAnswer, "injected: answer cut", 120),
    (Act::Broken, "injected: broken HTTP", 300),
    (Act::Silent, "injected: silence", 15),
    (Act::LargeDownload, "10 MB download", 15),
    (Act::LargeEcho, "10 MB echo", 15),
    (Act::LargeChunkedEcho, "10 MB echo, chunked upload", 10),
    (Act::SlowReader, "slow reader", 30),
    (Act::SlowSender, "slow sender", 40),
];

/// Requests that must not reach a provider, with `|` for a line's end, and their answer's status.
const HOSTILE: [(&str, u16); 14] = [
    (
        "POST /v1/echo?mark={mark} HTTP/1.1|Host: localhost|Content-Length: 4|\
         Transfer-Encoding: chunked||0||",
        400,
    ),
    (
        "POST /v1/echo?mark={mark} HTTP/1.1|Host: localhost|Content-Length: 2|\
         Content-Length: 3||{}",
        400,
    ),
    (
        "POST /v1/echo?mark={mark} HTTP/1.1|Host: localhost|Transfer-Encoding: gzip, chunked||0||",
        400,
    ),
    (
        "POST /v1/echo?mark={mark} HTTP/1.1|Host: localhost|Content-Length: +2||{}",
        400,
    ),
    (
        "POST /v1/echo?mark={mark} HTTP/1.1|Host: localhost\nContent-Length: 2||{}",
        400,
    ),
    (
        "GET http://localhost/v1/models?mark={mark} HTTP/1.1|Host: localhost||",
        400,
    ),
    (
        "GET /v1/models?mark={mark} HTTP/1.1|Host: localhost|Content_Length: 5||",
        400,
    ),
    ("GET /v1/models?mark={mark} HTTP/1.1||", 403),
    (
        "GET /v1/models?mark={mark} HTTP/1.1|Host: localhost|Host: localhost||",
        403,
    ),
    (
        "GET /v1/models?mark={mark} HTTP/1.1|Host: evil.example||",
        403,
    ),
    (
        "GET /v1/models?mark={mark} HTTP/1.1|Host: localhost|Origin: https://evil.example||",
        403,
    ),
    (
        "GET /v1/models?mark={mark} HTTP/1.1|Host: localhost|Sec-Fetch-Site: cross-site||",
        403,
    ),
    (
        "DELETE /v1/models?mark={mark} HTTP/1.1|Host: localhost||",
        405,
    ),
    ("GET /v1/admin?mark={mark} HTTP/1.1|Host: localhost||", 404),
];

/// One of them, by its share.
pub(crate) fn any() -> (Act, &'static str) {
    let all: u32 = ACTS.iter().map(|(_, _, share)| share).sum();
    let mut dice = fastrand::u32(..all);
    for (act, name, share) in ACTS {
        if dice < share {
            return (act, name);
        }
        dice -= share;
    }
    (Act::Chat, "chat")
}

/// Does it, and counts what became of it.
pub(crate) async fn perform(load: &Load, act: Act, name: &'static str) {
    load.figures.in_flight.fetch_add(1, Ordering::Relaxed);
    let begun = Instant::now();
    let place = Place::any();
    let outcome = timeout(LONGEST, Box::pin(load.play(act, name, place))).await;
    let outcome = outcome.unwrap_or_else(|_| failed("no end"));
    load.figures.in_flight.fetch_sub(1, Ordering::Relaxed);
    let elsewhere = matches!(
        act,
        Act::Broken | Act::Health | Act::Hostile | Act::Keys | Act::TooMany
    );
    let on_second = place.provider == "/h2" && !elsewhere;
    // Larger than what is kept for a replay.
    let large = matches!(act, Act::LargeEcho | Act::LargeChunkedEcho);
    let excused =
        (on_second && load.second_away.excuses(begun)) || (large && load.revoked.excuses(begun));
    match outcome {
        Err(Wrong::Failed(_)) if excused => load.figures.excuse(name),
        outcome => load
            .figures
            .note(name, outcome.map_err(|wrong| told(wrong, place))),
    }
}

fn told(wrong: Wrong, place: Place) -> Wrong {
    let Place { door, provider } = place;
    let told = |text: String| format!("[address {door}, {provider}/v1] {text}");
    match wrong {
        Wrong::Bytes(text) => Wrong::Bytes(told(text)),
        Wrong::Failed(text) => Wrong::Failed(told(text)),
        Wrong::Repeated(text) => Wrong::Repeated(told(text)),
    }
}

impl Load {
    async fn play(&self, act: Act, name: &'static str, place: Place) -> Outcome {
        match act {
            Act::Chat => self.plain_chat(name, place).await,
            Act::Embeddings => self.embeddings(name, place).await,
            Act::Models => {
                let mark = self.mark(name, place.provider, May::Repeatedly, Vec::new());
                let start = format!("GET /models?mark={mark}");
                whole(
                    &self.ask(place, &start, &Body::None).await?,
                    200,
                    &self.models,
                )
            }
            Act::Health => self.health(place).await,
            Act::Stream => {
                let events = fastrand::usize(1..200);
                let pieces = fastrand::usize(7..4000);
                self.stream(name, place, (events, pieces, 0)).await
            }
            Act::SlowStream => {
                let pieces = fastrand::usize(30..120);
                let delay = fastrand::u64(5..60);
                self.stream(name, place, (40, pieces, delay)).await
            }
            Act::OneByteStream => self.stream(name, place, (6, 1, 0)).await,
            Act::PatternStream => self.pattern_stream(name, place).await,
            Act::Download => self.download(name, place, (MIB, SWIFT)).await,
            Act::LargeDownload => self.download(name, place, (LARGE, SWIFT)).await,
            Act::SlowReader => {
                let pace = Pace {
                    piece: 32 * 1024,
                    pause: Duration::from_millis(60),
                };
                self.download(name, place, (3 * MIB, pace)).await
            }
            Act::Echo => self.echo(name, place, (200_000, None, SWIFT)).await,
            Act::ChunkedEcho => {
                let most = fastrand::usize(1..20_000);
                self.echo(name, place, (200_000.min(most * 200), Some(most), SWIFT))
                    .await
            }
            Act::LargeEcho => self.echo(name, place, (LARGE, None, SWIFT)).await,
            Act::LargeChunkedEcho => self.echo(name, place, (LARGE, Some(100_000), SWIFT)).await,
            Act::SlowSender => {
                let pace = Pace {
                    piece: 700,
                    pause: Duration::from_millis(80),
                };
                let chunked = fastrand::bool().then_some(1500);
                self.echo(name, place, (60_000, chunked, pace)).await
            }
            Act::Pipeline => self.pipeline(name, place).await,
            Act::LateHead => {
                let mark = self.mark(name, place.provider, May::Once, Vec::new());
                let text = stream(mark, 3);
                let delay = fastrand::u64(300..3000);
                let steering = json!({"delay_head_ms": delay, "body": text});
                whole(
                    &self.chat(place, mark, (false, steering)).await?,
                    200,
                    text.as_bytes(),
                )
            }
            Act::Leave => self.leave(name, place).await,
            Act::Hang => self.leave_hanging(name, place).await,
            Act::Keys => self.wrong_key(name).await,
            Act::TooMany => self.too_many(name).await,
            Act::Hostile => self.hostile(name).await,
            Act::RateLimited | Act::ServerError => self.status(act, name, place).await,
            Act::ResetBeforeHead => self.no_head(name, place).await,
            Act::CutStream => self.cut_stream(name, place).await,
            Act::CutAnswer => self.cut_answer(name, place).await,
            Act::Broken => self.broken(name).await,
            Act::Silent => self.silent(name, place).await,
        }
    }

    async fn plain_chat(&self, name: &'static str, place: Place) -> Outcome {
        let mark = self.mark(name, place.provider, May::Once, Vec::new());
        let answer = self.chat(place, mark, (false, Value::Null)).await?;
        if answer.status != 200 || !answer.whole {
            return failed(unlike(&answer, 200));
        }
        let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if json["choices"][0]["message"]["content"] != pattern::reply_to(&question(mark)) {
            return Err(Wrong::Bytes(unlike(&answer, 200)));
        }
        Ok(answer.body.len())
    }

    async fn embeddings(&self, name: &'static str, place: Place) -> Outcome {
        let mark = self.mark(name, place.provider, May::Once, Vec::new());
        let (input, dimensions) = (question(mark), fastrand::usize(1..600));
        let body = json!({"model": "x", "input": input, "dimensions": dimensions}).to_string();
        let start = format!("POST /embeddings?mark={mark}");
        let answer = self
            .ask(place, &start, &Body::Sized(body.into_bytes()))
            .await?;
        if answer.status != 200 || !answer.whole {
            return failed(unlike(&answer, 200));
        }
        let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if json["data"][0]["embedding"] != json!(pattern::embedding(&input, dimensions)) {
            return Err(Wrong::Bytes(unlike(&answer, 200)));
        }
        Ok(answer.body.len())
    }

    async fn health(&self, place: Place) -> Outcome {
        let path = ["/health", "/livez", "/readyz", "/"][fastrand::usize(..4)];
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n\r\n",
            self.keys.free
        );
        let answer = self
            .exchange(place, request.as_bytes(), SWIFT, SWIFT)
            .await?;
        if answer.status == 200 && answer.whole {
            Ok(answer.body.len())
        } else {
            failed(format!("{path}: {}", unlike(&answer, 200)))
        }
    }

    async fn stream(
        &self,
        name: &'static str,
        place: Place,
        (events, pieces, delay): (usize, usize, u64),
    ) -> Outcome {
        let mark = self.mark(name, place.provider, May::Once, Vec::new());
        let text = stream(mark, events);
        let steering = json!({"body": text, "chunk_bytes": pieces, "delay_chunk_ms": delay});
        whole(
            &self.chat(place, mark, (true, steering)).await?,
            200,
            text.as_bytes(),
        )
    }

    async fn pattern_stream(&self, name: &'static str, place: Place) -> Outcome {
        let mark = self.mark(name, place.provider, May::Repeatedly, Vec::new());
        let events = fastrand::usize(1..4000);
        let chunk = fastrand::usize(500..20_000);
        let start = format!("GET /sse?events={events}&chunk={chunk}&mark={mark}");
        let answer = self.ask(place, &start, &Body::None).await?;
        whole(&answer, 200, &pattern::sse(events))
    }

    async fn download(
        &self,
        name: &'static str,
        place: Place,
        (most, pace): (usize, Pace),
    ) -> Outcome {
        let mark = self.mark(name, place.provider, May::Repeatedly, Vec::new());
        let size = if most > MIB {
            most
        } else {
            fastrand::usize(1..most)
        };
        let chunk = fastrand::usize(100..60_000);
        let start = format!("GET /bytes?size={size}&seed={mark}&chunk={chunk}&mark={mark}");
        let request = self.request(place, &start, "", &Body::None);
        let answer = self.exchange(place, &request, SWIFT, pace).await?;
        whole(&answer, 200, &pattern::noise(mark, size))
    }

    async fn echo(
        &self,
        name: &'static str,
        place: Place,
        (most, chunked, pace): (usize, Option<usize>, Pace),
    ) -> Outcome {
        let mark = self.mark(name, place.provider, May::Once, Vec::new());
        let size = if most > MIB {
            most
        } else {
            fastrand::usize(1..=most)
        };
        let data = pattern::noise(mark, size);
        let body = match chunked {
            None => Body::Sized(data.clone()),
            Some(most) => Body::Chunked(data.clone(), most),
        };
        let request = self.request(place, &format!("POST /echo?mark={mark}"), "", &body);
        let answer = self.exchange(place, &request, pace, SWIFT).await?;
        // There and back.
        Ok(2 * whole(&answer, 200, &data)?)
    }

    async fn pipeline(&self, name: &'static str, place: Place) -> Outcome {
        let mut requests = Vec::new();
        let mut expected = Vec::new();
        for number in 0..5 {
            let may = if number == 2 {
                May::Once
            } else {
                May::Repeatedly
            };
            let mark = self.mark(name, place.provider, may, Vec::new());
            let data = pattern::noise(mark, fastrand::usize(1..50_000));
            let size = data.len();
            let (start, body) = if number == 2 {
                (format!("POST /echo?mark={mark}"), Body::Sized(data.clone()))
            } else {
                let start = format!("GET /bytes?size={size}&seed={mark}&mark={mark}");
                (start, Body::None)
            };
            requests.extend(self.request(place, &start, "", &body));
            expected.push(data);
        }
        let mut connection = Connection::open(self.door(place), false).await?;
        let Connection { sender, reader } = &mut connection;
        let reading = async {
            let mut bytes = 0;
            for expected in &expected {
                bytes += whole(&reader.answer(SWIFT).await?, 200, expected)?;
            }
            Ok(bytes)
        };
        let (_, read) = tokio::join!(sender.send(&requests, SWIFT), reading);
        read
    }

    /// Leaves in one of the phases of a request; in order or not.
    async fn leave(&self, name: &'static str, place: Place) -> Outcome {
        let mark = self.mark(name, place.provider, May::Once, Vec::new());
        let text = stream(mark, 100);
        let steering = json!({
            "body": text, "chunk_bytes": 100, "delay_chunk_ms": 5,
            "delay_head_ms": fastrand::u64(..60),
        });
        let body = chat(mark, true, steering);
        let start = format!("POST /chat/completions?mark={mark}");
        let request = self.request(place, &start, "", &Body::Sized(body));
        let mut connection = Connection::open(self.door(place), false).await?;
        let sent = match fastrand::u32(..5) {
            0 => 0,
            1 => fastrand::usize(1..100),
            2 => fastrand::usize(100..request.len()),
            _ => request.len(),
        };
        connection.sender.send(&request[..sent], SWIFT).await?;
        let stay = Duration::from_millis(fastrand::u64(..150));
        let pieces = async { while connection.reader.skip().await.unwrap_or(false) {} };
        // Often in the middle of the answer.
        timeout(stay, pieces).await.ok();
        Ok(0)
    }

    async fn leave_hanging(&self, name: &'static str, place: Place) -> Outcome {
        let mark = self.mark(name, place.provider, May::Once, Vec::new());
        let text = stream(mark, 10);
        let steering = json!({"body": text, "chunk_bytes": 50, "hang_after_bytes": 200});
        let body = Body::Sized(chat(mark, true, steering));
        let start = format!("POST /chat/completions?mark={mark}");
        let request = self.request(place, &start, "", &body);
        let mut connection = Connection::open(self.door(place), false).await?;
        let asking = connection.ask(&request, SWIFT, SWIFT);
        match timeout(Duration::from_secs(2), asking).await {
            Err(_) => Ok(0),
            Ok(answer) => {
                let answer = answer?;
                failed(format!("it did not hang: {}", unlike(&answer, 200)))
            }
        }
    }

    async fn wrong_key(&self, name: &'static str) -> Outcome {
        let place = Place {
            door: 1,
            provider: "",
        };
        let mark = self.mark(name, "", May::Never, Vec::new());
        let (key, code) = match fastrand::u32(..3) {
            0 => ("nobodys-key-of-some-length", "invalid_client_key"),
            1 => ("", "invalid_client_key"),
            _ => (&*self.keys.models_only, "path_not_allowed"),
        };
        let body = chat(mark, false, Value::Null);
        let start = format!("POST /chat/completions?mark={mark}");
        let request = self.request(place, &start, "", &Body::Sized(body));
        let request = String::from_utf8_lossy(&request).replacen(&self.keys.free, key, 1);
        error(
            &self
                .exchange(place, request.as_bytes(), SWIFT, SWIFT)
                .await?,
            code,
        )
    }

    /// Four at once with a key for two.
    async fn too_many(&self, name: &'static str) -> Outcome {
        let place = Place {
            door: 1,
            provider: "",
        };
        let four = (0..4).map(|_| async {
            let mark = self.mark(name, "", May::Once, Vec::new());
            let text = stream(mark, 2);
            let body = chat(mark, false, json!({"delay_head_ms": 300, "body": text}));
            let start = format!("POST /chat/completions?mark={mark}");
            let request = self.request(place, &start, "", &Body::Sized(body));
            let request = String::from_utf8_lossy(&request);
            let request = request.replacen(&self.keys.free, &self.keys.two_at_once, 1);
            let mut connection = Connection::open(self.door(place), false).await?;
            let answer = connection.ask(request.as_bytes(), SWIFT, SWIFT).await?;
            if answer.status == 429 {
                let refused = error(&answer, "too_many_requests");
                self.figures.note("client key: 429", refused);
                return Ok(0);
            }
            whole(&answer, 200, text.as_bytes())
        });
        join_all(four).await.into_iter().sum()
    }

    async fn hostile(&self, name: &'static str) -> Outcome {
        let mark = self.mark(name, "", May::Never, Vec::new());
        let next = self.mark(name, "", May::Never, Vec::new());
        let (row, status) = HOSTILE[fastrand::usize(..HOSTILE.len())];
        let mut request = row
            .replace('|', "\r\n")
            .replace("{mark}", &mark.to_string());
        if status == 400 {
            // Must not become a request.
            let next = format!("GET /v1/models?mark={next} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            request.push_str(&next);
        }
        let mut connection = Connection::open(&self.world.main, false).await?;
        let answer = connection.ask(request.as_bytes(), SWIFT, SWIFT).await?;
        if answer.status != status || answer.code().is_empty() || !answer.whole {
            return failed(format!("{row}: {}", unlike(&answer, status)));
        }
        if status == 400 && !connection.reader.closes().await {
            return failed(format!("{row}: the connection stays open"));
        }
        Ok(answer.body.len())
    }

    async fn status(&self, act: Act, name: &'static str, place: Place) -> Outcome {
        let status = if act == Act::RateLimited { 429 } else { 500 };
        let text = format!("{{\"error\":{{\"message\":\"no {}\"}}}}", fastrand::u64(..));
        let answer = Canned::status(status)
            .header("content-type", "application/json")
            .header("retry-after", "1")
            .body(text.clone());
        let mark = self.mark(name, place.provider, May::Once, vec![Fault::Answer(answer)]);
        let answer = self.chat(place, mark, (false, Value::Null)).await?;
        if !answer.code().is_empty() {
            return failed(unlike(&answer, status));
        }
        whole(&answer, status, text.as_bytes())
    }

    async fn no_head(&self, name: &'static str, place: Place) -> Outcome {
        let fault = [
            Fault::CloseBeforeHead,
            Fault::ResetBeforeHead,
            Fault::ResetUnread,
        ];
        let fault = fault[fastrand::usize(..3)].clone();
        let mark = self.mark(name, place.provider, May::Once, vec![fault]);
        let answer = self.chat(place, mark, (false, Value::Null)).await?;
        error(&answer, "upstream_unreachable")
    }

    async fn cut_stream(&self, name: &'static str, place: Place) -> Outcome {
        let mark = self.mark(name, place.provider, May::Once, Vec::new());
        let text = stream(mark, 40);
        let steering = json!({
            "body": text,
            "chunk_bytes": fastrand::usize(5..500),
            "delay_chunk_ms": fastrand::u64(..3),
            "cut_after_bytes": fastrand::usize(1..text.len() - 20),
            "cut": if fastrand::bool() { "fin" } else { "rst" },
        });
        let answer = self.chat(place, mark, (true, steering)).await?;
        // A reset can overtake the head.
        if answer.code() == "upstream_unreachable" {
            return error(&answer, "upstream_unreachable");
        }
        cut_stream(&answer, text.as_bytes())
    }

    async fn cut_answer(&self, name: &'static str, place: Place) -> Outcome {
        let mark = self.mark(name, place.provider, May::Once, Vec::new());
        let text = stream(mark, 200);
        let mut steering = json!({
            "body": text,
            "cut_after_bytes": fastrand::usize(1..text.len() - 1),
            "cut": if fastrand::bool() { "fin" } else { "rst" },
        });
        if fastrand::bool() {
            steering["chunk_bytes"] = fastrand::usize(100..9000).into();
        }
        let answer = self.chat(place, mark, (false, steering)).await?;
        // A reset can overtake the head.
        if answer.code() == "upstream_unreachable" {
            return error(&answer, "upstream_unreachable");
        }
        cut(&answer, text.as_bytes())
    }

    async fn broken(&self, name: &'static str) -> Outcome {
        let mark = self.mark(name, "/broken", May::Once, Vec::new());
        let (how, fate) = broken::WAYS[fastrand::usize(..broken::WAYS.len())];
        let start = format!("POST /chat/completions?how={how}&mark={mark}");
        let answer = self
            .ask(BROKEN, &start, &Body::Sized(b"{}".to_vec()))
            .await?;
        let sent = broken::events(mark);
        // A reset can overtake the head.
        let overtaken = how.ends_with("rst") && answer.code() == "upstream_unreachable";
        let outcome = match fate {
            Fate::Error(code) => error(&answer, code),
            _ if overtaken => error(&answer, "upstream_unreachable"),
            Fate::Whole => whole(&answer, 200, &sent),
            Fate::Done => whole(&answer, 200, &[&*sent, b"data: [DONE]\n\n"].concat()),
            Fate::Cut => cut(&answer, &sent),
            Fate::CutStream => cut_stream(&answer, &sent),
        };
        outcome.map_err(|wrong| match wrong {
            Wrong::Failed(text) => Wrong::Failed(format!("{how}: {text}")),
            Wrong::Bytes(text) => Wrong::Bytes(format!("{how}: {text}")),
            Wrong::Repeated(text) => Wrong::Repeated(text),
        })
    }

    /// No head, or no more of a stream: told after `timeouts`.
    async fn silent(&self, name: &'static str, place: Place) -> Outcome {
        if fastrand::bool() {
            let mark = self.mark(name, "/broken", May::Once, Vec::new());
            let start = format!("POST /chat/completions?how=mute&mark={mark}");
            let answer = self
                .ask(BROKEN, &start, &Body::Sized(b"{}".to_vec()))
                .await?;
            return error(&answer, "upstream_timeout");
        }
        let mark = self.mark(name, place.provider, May::Once, Vec::new());
        let text = stream(mark, 10);
        let steering = json!({
            "body": text, "chunk_bytes": 30, "hang_after_bytes": fastrand::usize(1..200),
        });
        cut_stream(
            &self.chat(place, mark, (true, steering)).await?,
            text.as_bytes(),
        )
    }

    /// A request that waits for its head for so long.
    pub(crate) async fn long_head(&self, name: &'static str, time: Duration) -> Outcome {
        let place = super::load::MAIN;
        let mark = self.mark(name, "", May::Once, Vec::new());
        let text = stream(mark, 5);
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let steering = json!({"delay_head_ms": ms, "body": text});
        whole(
            &self.chat(place, mark, (true, steering)).await?,
            200,
            text.as_bytes(),
        )
    }

    /// A stream that is silent for so long in its middle.
    pub(crate) async fn long_silence(&self, name: &'static str, time: Duration) -> Outcome {
        let mark = self.mark(name, "/broken", May::Once, Vec::new());
        let ms = time.as_millis();
        let start = format!("POST /chat/completions?how=silence&ms={ms}&mark={mark}");
        let answer = self
            .ask(BROKEN, &start, &Body::Sized(b"{}".to_vec()))
            .await?;
        let sent = [&*broken::events(mark), b"data: [DONE]\n\n"].concat();
        whole(&answer, 200, &sent)
    }

    /// What the cloud itself says to `GET /models`.
    pub(crate) async fn models_at(cloud: &str, token: &str) -> Result<Vec<u8>, Wrong> {
        let Ok(address) = cloud
            .trim_start_matches("http://")
            .replace("/v1", "")
            .parse()
        else {
            return failed("no address");
        };
        let mut connection = Connection::open(&Door::Tcp(address), false).await?;
        let request = format!(
            "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        let answer = connection.ask(request.as_bytes(), SWIFT, SWIFT).await?;
        Ok(answer.body)
    }
}
