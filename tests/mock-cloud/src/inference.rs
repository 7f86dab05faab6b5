//! The inference API: accepts only a currently valid bearer, and answers as OpenAI would.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::body::{self, AnswerBody, Watch};
use crate::clock::Clock;
use crate::codex;
use crate::faults::{Canned, Fault, Faults};
use crate::lock;
use crate::marks::{self, Marks};
use crate::messages;
use crate::pattern;
use crate::portal::{bearer, render};
use crate::record::Log;
use crate::server::{Connection, Hangup, Service};
use crate::shapes;
use crate::steering::{OneOrMany, Steering};
use crate::tokens::Tokens;

#[derive(Debug)]
pub(crate) struct Inference {
    pub(crate) clock: Arc<Clock>,
    pub(crate) tokens: Arc<Mutex<Tokens>>,
    pub(crate) log: Arc<Log>,
    pub(crate) faults: Faults<Fault>,
    pub(crate) marks: Marks,
}

impl Service for Inference {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Connection,
    ) -> Result<Response<AnswerBody>, Hangup> {
        let (head, body) = request.into_parts();
        let caller = self.caller(&head);
        let number = self
            .log
            .begin(&head, connection.number, caller.is_authorized);
        let mut watch = Watch {
            log: self.log.clone(),
            number,
            finished: false,
        };
        let mark = marks::of(&head);
        let fault = mark.and_then(|mark| self.marks.see(mark));
        // What the daemon asks by itself takes no fault that waits for an app's request.
        let is_by_itself = head.uri.path().ends_with("/wham/usage");
        let fault = fault.or_else(|| (!is_by_itself).then(|| self.faults.next())?);
        let answer = self
            .respond((head, body), &connection, (number, caller), fault)
            .await?;
        if answer.status() == StatusCode::UNAUTHORIZED
            && let Some(mark) = mark
        {
            self.marks.refuse(mark);
        }
        watch.finished = hyper::body::Body::is_end_stream(answer.body());
        Ok(answer.map(|body| body.watched(watch)))
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn connected(&self) {
        self.log.count(|counts| counts.connections += 1);
    }
}

/// What the bearer of a request is good for when its head comes: a token that is rotated while the body still comes does
/// not change it.
struct Caller {
    is_authorized: bool,
    account: Option<codex::Account>,
}

impl Inference {
    fn caller(&self, head: &Parts) -> Caller {
        let now = self.clock.now();
        let mut tokens = lock(&self.tokens);
        let token = bearer(head).filter(|token| tokens.may_infer(token, now));
        Caller {
            is_authorized: token.is_some(),
            account: token.and_then(|token| tokens.account_of(token)),
        }
    }

    async fn respond(
        &self,
        (head, mut incoming): (Parts, Incoming),
        connection: &Connection,
        (number, caller): (u64, Caller),
        fault: Option<Fault>,
    ) -> Result<Response<AnswerBody>, Hangup> {
        match &fault {
            Some(Fault::ResetUnread) => return reset(connection),
            Some(Fault::EarlyUnread(canned)) => return Ok(render(canned.clone())),
            Some(Fault::Early(canned)) => {
                let (log, canned) = (self.log.clone(), canned.clone());
                #[expect(clippy::disallowed_methods, reason = "reads on behind the answer")]
                tokio::spawn(async move { body::read(&mut incoming, &log, number).await.is_ok() });
                return Ok(render(canned));
            }
            _ => {}
        }
        if caller.is_authorized && fault.is_none() && head.uri.path() == "/v1/echo" {
            return Ok(typed(&head, AnswerBody::echo(incoming)));
        }
        let request = body::read(&mut incoming, &self.log, number).await?;
        match fault {
            Some(Fault::Answer(canned)) => return Ok(render(canned)),
            Some(Fault::CloseBeforeHead) => return Err(Hangup),
            Some(Fault::ResetBeforeHead) => return reset(connection),
            Some(Fault::Silent) => std::future::pending().await,
            _ => {}
        }
        if !caller.is_authorized {
            return Ok(render(Canned::unauthorized()));
        }
        let steering = match &fault {
            Some(Fault::Steer(steering)) => Some((**steering).clone()),
            _ => None,
        };
        let of_codex = codex::serve(caller.account.as_ref(), &head, &request);
        let mut answer = match of_codex {
            Some(mut answer) => {
                steer(&mut answer, &steering.unwrap_or_default(), connection).await;
                answer
            }
            None => serve(&head, &request, steering, connection).await,
        };
        match fault {
            Some(Fault::Headers(headers)) => {
                for (name, value) in headers {
                    let name = hyper::header::HeaderName::try_from(name).expect("a name");
                    answer
                        .headers_mut()
                        .append(name, value.parse().expect("a value"));
                }
            }
            Some(Fault::Gzip) => {
                let whole = http_body_util::BodyExt::collect(answer.body_mut()).await;
                let packed = pattern::gzip(&whole.map_err(|_| Hangup)?.to_bytes());
                *answer.body_mut() = AnswerBody::whole(packed);
                let gzip = HeaderValue::from_static("gzip");
                answer.headers_mut().insert("content-encoding", gzip);
            }
            _ => {}
        }
        Ok(answer)
    }
}

fn reset(connection: &Connection) -> Result<Response<AnswerBody>, Hangup> {
    connection.reset.store(true, Ordering::Relaxed);
    Err(Hangup)
}

async fn serve(
    head: &Parts,
    request: &[u8],
    steering: Option<Steering>,
    connection: &Connection,
) -> Response<AnswerBody> {
    let query = query(head);
    let number = |key: &str, default: usize| {
        query
            .get(key)
            .and_then(|value| value.parse().ok())
            .unwrap_or(default)
    };
    match head.uri.path() {
        "/v1/models" => return json_answer(&models()),
        "/v1/bytes" => {
            let seed = number("seed", 0) as u64;
            let body = AnswerBody::noise(seed, number("size", 1024), number("chunk", 16 * 1024));
            return typed(head, body);
        }
        "/v1/sse" => {
            let chunk = number("chunk", usize::MAX);
            let delay = Duration::from_millis(number("delay_ms", 0) as u64);
            let stream = Bytes::from(pattern::sse(number("events", 3)));
            return events(AnswerBody::chunks(cut(&stream, chunk)).paced(delay, true));
        }
        "/v1/echo" => return typed(head, AnswerBody::whole(request.to_vec())),
        _ => {}
    }
    let request: Value = serde_json::from_slice(request).unwrap_or_default();
    let steering = steering
        .unwrap_or_else(|| serde_json::from_value(request["mock"].clone()).unwrap_or_default());
    // Even a sleep of nothing takes a millisecond.
    if steering.delay_head_ms > 0 {
        tokio::time::sleep(Duration::from_millis(steering.delay_head_ms)).await;
    }
    let of_messages = messages::serve(head, &request, &steering);
    if let Some(mut answer) = of_messages {
        steer(&mut answer, &steering, connection).await;
        return answer;
    }
    let mut answer = match head.uri.path() {
        "/v1/chat/completions" if request["stream"] == true => chat_stream(&request, &steering),
        "/v1/chat/completions" => json_answer(&chat(&request, &steering)),
        "/v1/completions" => json_answer(&completion(&request)),
        "/v1/embeddings" => json_answer(&embeddings(&request)),
        "/v1/responses" if request["stream"] == true => {
            let completed = shapes::response(&request);
            let chunks = AnswerBody::chunks(shapes::response_events(&request, &completed));
            events(chunks.paced(Duration::ZERO, true))
        }
        "/v1/responses" => json_answer(&shapes::response(&request)),
        _ => render(Canned::api_error(
            404,
            "invalid_request_error",
            "not_found",
            "No such path.",
        )),
    };
    steer(&mut answer, &steering, connection).await;
    answer
}

async fn steer(answer: &mut Response<AnswerBody>, steering: &Steering, connection: &Connection) {
    if let Some(status) = steering.status {
        *answer.status_mut() = hyper::StatusCode::from_u16(status).expect("a status");
    }
    for (name, values) in &steering.headers {
        let name = hyper::header::HeaderName::try_from(name).expect("a header name");
        // One value takes the place of the answer's own.
        if matches!(values, OneOrMany::One(_)) {
            answer.headers_mut().remove(&name);
        }
        for value in values.values() {
            answer
                .headers_mut()
                .append(&name, value.parse().expect("a header value"));
        }
    }
    if let Some(body) = &steering.body {
        let text = body
            .as_str()
            .map_or_else(|| body.to_string(), str::to_owned);
        *answer.body_mut() = AnswerBody::whole(text);
    }
    let body = std::mem::replace(answer.body_mut(), AnswerBody::whole(""));
    let body = match steering
        .chunk_bytes
        .or(steering.endless.then_some(16 * 1024))
    {
        None => body,
        Some(size) => {
            let whole = http_body_util::BodyExt::collect(body)
                .await
                .expect("a body of ours");
            let whole = whole.to_bytes();
            if steering.endless {
                AnswerBody::endless(whole)
            } else {
                AnswerBody::chunks(cut(&whole, size))
            }
        }
    };
    *answer.body_mut() = body.steered(steering, connection.reset.clone());
}

fn cut(bytes: &Bytes, size: usize) -> VecDeque<Bytes> {
    let size = size.clamp(1, bytes.len().max(1));
    (0..bytes.len())
        .step_by(size)
        .map(|at| bytes.slice(at..(at + size).min(bytes.len())))
        .collect()
}

fn query(head: &Parts) -> HashMap<String, String> {
    let query = head.uri.query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

fn typed(head: &Parts, body: AnswerBody) -> Response<AnswerBody> {
    let kind = head.headers.get(CONTENT_TYPE).cloned();
    let mut response = Response::new(body);
    let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

pub(crate) fn events(body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn json_answer(value: &Value) -> Response<AnswerBody> {
    render(Canned::json(200, value).header("x-request-id", "req_mock"))
}

fn models() -> Value {
    let model = |id: &str| json!({"id": id, "object": "model", "created": 1_763_000_000, "owned_by": "nous"});
    json!({"object": "list", "data": [model("Hermes-4-405B"), model("Hermes-4-70B")]})
}

fn reply(request: &Value, steering: &Steering) -> String {
    let messages = request["messages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let user = messages
        .iter()
        .rev()
        .find(|message| message["role"] == "user");
    let text = user.map(|message| shapes::text_of(&message["content"]));
    let mut reply = pattern::reply_to(&text.unwrap_or_default());
    while reply.len() < steering.pad_bytes {
        reply.push_str(" and so on");
    }
    shapes::formatted(&request["response_format"], reply)
}

fn model(request: &Value) -> Value {
    request
        .get("model")
        .cloned()
        .unwrap_or_else(|| json!("Hermes-4-405B"))
}

fn usage() -> Value {
    json!({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12})
}

fn chat(request: &Value, steering: &Steering) -> Value {
    json!({
        "id": "chatcmpl-mock", "object": "chat.completion", "created": 1_763_000_000,
        "model": model(request),
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": reply(request, steering)}}],
        "usage": usage(),
    })
}

fn chat_stream(request: &Value, steering: &Steering) -> Response<AnswerBody> {
    let reply = reply(request, steering);
    let words: Vec<String> = match steering.events {
        None => reply.split_inclusive(' ').map(str::to_owned).collect(),
        Some(count) => (0..count).map(|index| format!("{index} ")).collect(),
    };
    let made = std::cell::Cell::new(0);
    let chunk = |delta: Value, finish: Value| {
        let mut chunk = json!({
            "id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1_763_000_000,
            "model": model(request),
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        });
        if let Some(each) = steering.usage_each {
            chunk["usage"] = json!({
                "prompt_tokens": 7, "completion_tokens": made.get(), "total_tokens": 7 + made.get(),
            });
            made.set(made.get() + each);
        }
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let first = chunk(json!({"role": "assistant", "content": ""}), Value::Null);
    let mut chunks = VecDeque::from([first]);
    chunks.extend(
        words
            .iter()
            .map(|word| chunk(json!({"content": word}), Value::Null)),
    );
    if !steering.omit_finish {
        chunks.push_back(chunk(json!({}), json!("stop")));
    }
    if request["stream_options"]["include_usage"] == true {
        let usage = json!({
            "id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 1_763_000_000,
            "model": model(request), "choices": [], "usage": usage(),
        });
        chunks.push_back(Bytes::from(format!("data: {usage}\n\n")));
    }
    if !steering.omit_done {
        chunks.push_back(Bytes::from_static(pattern::DONE.as_bytes()));
    }
    events(AnswerBody::chunks(chunks).paced(Duration::ZERO, true))
}

fn completion(request: &Value) -> Value {
    let prompt = request["prompt"].as_str().unwrap_or_default();
    json!({
        "id": "cmpl-mock", "object": "text_completion", "created": 1_763_000_000,
        "model": model(request),
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null,
            "text": pattern::reply_to(prompt)}],
        "usage": usage(),
    })
}

fn embeddings(request: &Value) -> Value {
    // Some apps send tokens: a list of numbers is one input.
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let inputs: Vec<String> = match request["input"].as_array() {
        Some(values) if !values.iter().all(Value::is_number) => values.iter().map(text).collect(),
        _ => vec![text(&request["input"])],
    };
    // A request may ask for more than there is memory.
    let dimensions = request["dimensions"].as_u64().unwrap_or(16).min(8192);
    let base64 = request["encoding_format"] == "base64";
    let data = inputs.iter().enumerate().map(|(index, input)| {
        let vector = pattern::embedding(input, usize::try_from(dimensions).unwrap_or(16));
        let embedding = if base64 {
            let bytes: Vec<u8> = vector
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect();
            json!(STANDARD.encode(bytes))
        } else {
            json!(vector)
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    json!({
        "object": "list", "model": model(request), "data": data.collect::<Vec<_>>(),
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    })
}
