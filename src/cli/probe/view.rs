//! What a request and its answer are told as.

use serde::Serialize;
use serde_json::Value;

/// What was sent, before there is an answer.
#[derive(Debug, Clone, Serialize)]
pub(in crate::cli) struct ProbeRequest {
    /// Where to: a URL up to `/v1`.
    pub(in crate::cli) url: String,
    /// The provider that it is for.
    pub(in crate::cli) provider: String,
    pub(in crate::cli) model: String,
    pub(in crate::cli) stream: bool,
    /// What the model was asked.
    pub(in crate::cli) question: &'static str,
}

/// A piece of a stream.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct StreamPiece {
    pub(in crate::cli) text: String,
    /// Since the request was sent.
    pub(in crate::cli) after_ms: f64,
}

/// How it went. In JSON, this is what `hermesctl proxy test` prints.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct ProbeReport {
    #[serde(flatten)]
    pub(in crate::cli) asked: ProbeRequest,
    pub(in crate::cli) status: u16,
    /// As in the daemon's log.
    pub(in crate::cli) request_id: Option<String>,
    /// From the request to the answer's first byte.
    pub(in crate::cli) first_byte_ms: f64,
    pub(in crate::cli) total_ms: f64,
    /// What the provider counted, where it tells.
    pub(in crate::cli) tokens: Option<CountedTokens>,
    /// Why the model stopped, in the provider's word.
    pub(in crate::cli) finish_reason: Option<String>,
    /// The answer.
    pub(in crate::cli) text: String,
    /// What the model thought aloud before it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::cli) reasoning: String,
}

/// What the provider counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct CountedTokens {
    pub(in crate::cli) prompt: u64,
    pub(in crate::cli) completion: u64,
}

/// How a provider is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeApi {
    Chat,
    Responses,
}

/// An answer's error, as far as it says one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AnswerError {
    pub(super) code: Option<String>,
    pub(super) message: String,
}

impl AnswerError {
    /// Of the `error` in an answer or an event.
    pub(super) fn of(error: &Value) -> Self {
        let text = |value: Option<&Value>| value?.as_str().map(str::to_owned);
        Self {
            code: text(error.get("code")),
            message: text(error.get("message"))
                .or_else(|| text(Some(error)))
                .unwrap_or_else(|| error.to_string()),
        }
    }
}
