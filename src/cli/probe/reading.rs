//! The content of an answer: its words, or the error. Pure.

use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

use super::super::models;
use super::view::{AnswerError, CountedTokens, ProbeApi};

/// This many characters of an answer that is not JSON are shown.
const EXCERPT: usize = 200;
/// No event that we understand is longer, in bytes.
const LONGEST: usize = 1024 * 1024;

/// The first model of a list that looks as if it chats.
pub(super) fn first_chat_model(body: &[u8]) -> Option<String> {
    let mut models = models::read(body)?.into_iter();
    models
        .find(models::ListedModel::chats)
        .map(|model| model.id)
}

/// What an error's body says.
pub(super) fn error_of(body: &[u8]) -> AnswerError {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    if let Some(error) = json.as_ref().and_then(|json| json.get("error")) {
        return AnswerError::of(error);
    }
    let text = String::from_utf8_lossy(body);
    let text: String = text.trim().chars().take(EXCERPT).collect();
    let message = if text.is_empty() {
        "the answer is empty".to_owned()
    } else {
        text
    };
    AnswerError {
        code: None,
        message,
    }
}

/// Whether only a login helps.
pub(super) fn needs_login(code: &str, status: u16) -> bool {
    code == "upstream_auth_failed" || (code == "provider_error" && status == 401)
}

/// How to fix it, unless the message itself names a command.
pub(super) fn hint(code: &str, status: u16, message: &str, keyed: bool) -> Option<&'static str> {
    if code == "invalid_client_key" {
        return Some(
            "Give it to this command, too: `hermesctl proxy test --key FILE`, or the variable HERMES_CLIENT_KEY.",
        );
    }
    if message.contains("hermesctl ") {
        return None;
    }
    match (code, status) {
        ("provider_error", 401 | 403) => Some(if keyed {
            "The provider refused the API key: replace it where the configuration says, then \
                 run `hermesctl proxy reload`."
        } else {
            "`hermesctl auth status` shows the login that the provider refused."
        }),
        ("provider_error", 402 | 429) => Some(
            "hermes-proxyd and the login work; this is the provider's answer about your \
             subscription.",
        ),
        ("provider_error", 400 | 404 | 422) => {
            Some("To ask another model, run `hermesctl proxy test --model MODEL`.")
        }
        ("provider_error", _) => Some("hermes-proxyd and the login work; try again later."),
        ("unknown_provider" | "path_not_allowed", _) => {
            Some("`hermesctl proxy providers` lists what is forwarded.")
        }
        _ => Some("`hermesctl doctor` checks the connection to the provider."),
    }
}

/// An answer as it comes.
#[derive(Debug)]
pub(super) struct ProbeReading {
    api: ProbeApi,
    streams: bool,
    buffer: Vec<u8>,
    answered: Answered,
    done: bool,
    error: Option<AnswerError>,
}

/// What an answer said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) text: String,
    pub(super) reasoning: String,
    pub(super) finish_reason: Option<String>,
    pub(super) tokens: Option<CountedTokens>,
}

impl ProbeReading {
    /// Of the answer with this head.
    pub(super) fn of(api: ProbeApi, headers: &HeaderMap) -> Self {
        let kind = headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        Self {
            api,
            streams: kind.trim_start().starts_with("text/event-stream"),
            buffer: Vec::new(),
            answered: Answered::default(),
            done: false,
            error: None,
        }
    }

    /// Takes bytes; the words that a stream said with them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> String {
        self.buffer.extend_from_slice(bytes);
        let mut said = String::new();
        while let Some(end) = self.line_end() {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            said += &self.event(&line);
        }
        if self.buffer.len() > LONGEST {
            self.buffer.clear();
            self.error = Some(broken("the answer is far too long"));
        }
        said
    }

    /// The whole answer, or what is wrong with it.
    pub(super) fn end(mut self) -> Result<Answered, AnswerError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.streams {
            if !self.done {
                return Err(broken("the stream ended without its last event"));
            }
            return Ok(self.answered);
        }
        let Ok(answer) = serde_json::from_slice::<Value>(&self.buffer) else {
            return Err(broken("the answer is not JSON"));
        };
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            return Err(AnswerError::of(error));
        }
        match self.api {
            ProbeApi::Chat if answer.pointer("/choices/0").is_none() => {
                return Err(broken("the answer has no `choices`"));
            }
            ProbeApi::Responses if !answer.get("output").is_some_and(Value::is_array) => {
                return Err(broken("the answer has no `output`"));
            }
            ProbeApi::Chat => {
                self.answered.add(&answer, "message");
            }
            ProbeApi::Responses => {
                self.answered.respond(&answer);
                self.answered.end(&answer);
            }
        }
        Ok(self.answered)
    }

    /// Where a line ends; a whole answer has no lines.
    fn line_end(&self) -> Option<usize> {
        let mut bytes = self.buffer.iter();
        self.streams
            .then(|| bytes.position(|byte| *byte == b'\n'))
            .flatten()
    }

    fn event(&mut self, line: &[u8]) -> String {
        let line = String::from_utf8_lossy(line);
        let Some(data) = line.trim_end().strip_prefix("data:").map(str::trim_start) else {
            return String::new();
        };
        if data == "[DONE]" {
            self.done = true;
            return String::new();
        }
        let Ok(event) = serde_json::from_str::<Value>(data) else {
            self.error = Some(broken("an event of the stream is not JSON"));
            return String::new();
        };
        if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
            self.error = Some(AnswerError::of(error));
            return String::new();
        }
        match self.api {
            ProbeApi::Chat => self.answered.add(&event, "delta"),
            ProbeApi::Responses => self.responding(&event),
        }
    }

    /// An event of the Responses API.
    fn responding(&mut self, event: &Value) -> String {
        let text = |path: &str| event.pointer(path).and_then(Value::as_str);
        let delta = text("/delta").unwrap_or_default();
        match text("/type") {
            Some("response.output_text.delta") => {
                self.answered.text += delta;
                return delta.to_owned();
            }
            Some("response.reasoning_summary_text.delta" | "response.reasoning_text.delta") => {
                self.answered.reasoning += delta;
            }
            Some("response.completed" | "response.incomplete") => {
                self.done = true;
                self.answered.end(event.get("response").unwrap_or(event));
            }
            Some("response.failed") => {
                let error = event.pointer("/response/error");
                self.error = Some(AnswerError::of(error.unwrap_or(event)));
            }
            Some("error") => self.error = Some(AnswerError::of(event)),
            Some(_) | None => {}
        }
        String::new()
    }
}

impl Answered {
    /// Adds the words of a whole answer of the Responses API.
    fn respond(&mut self, answer: &Value) {
        let texts = |item: &Value, place: &str, kind: &str| -> String {
            let parts = item.get(place).and_then(Value::as_array);
            let parts = parts.into_iter().flatten();
            let parts = parts.filter(|part| part.get("type").and_then(Value::as_str) == Some(kind));
            parts
                .filter_map(|part| part.get("text")?.as_str())
                .collect()
        };
        let items = answer.get("output").and_then(Value::as_array);
        for item in items.into_iter().flatten() {
            self.text += &texts(item, "content", "output_text");
            self.reasoning += &texts(item, "summary", "summary_text");
        }
    }

    /// Adds how a response ended, and what it cost.
    fn end(&mut self, response: &Value) {
        let text = |path: &str| response.pointer(path).and_then(Value::as_str);
        let reason = text("/incomplete_details/reason").or(text("/status"));
        self.finish_reason = reason.map(str::to_owned);
        let number = |name: &str| response.pointer(&format!("/usage/{name}"))?.as_u64();
        if let (Some(prompt), Some(completion)) = (number("input_tokens"), number("output_tokens"))
        {
            self.tokens = Some(CountedTokens { prompt, completion });
        }
    }

    /// Adds what is in the first choice; its words.
    fn add(&mut self, answer: &Value, place: &str) -> String {
        let choice = |path: &str| answer.pointer(&format!("/choices/0/{path}"));
        let text = |path: &str| choice(path).and_then(Value::as_str).unwrap_or_default();
        let said = text(&format!("{place}/content")).to_owned();
        self.text += &said;
        for name in ["reasoning_content", "reasoning"] {
            self.reasoning += text(&format!("{place}/{name}"));
        }
        if let Some(reason) = choice("finish_reason").and_then(Value::as_str) {
            self.finish_reason = Some(reason.to_owned());
        }
        let number = |name: &str| answer.pointer(&format!("/usage/{name}"))?.as_u64();
        if let (Some(prompt), Some(completion)) =
            (number("prompt_tokens"), number("completion_tokens"))
        {
            self.tokens = Some(CountedTokens { prompt, completion });
        }
        said
    }
}

fn broken(message: &str) -> AnswerError {
    AnswerError {
        code: None,
        message: message.to_owned(),
    }
}
