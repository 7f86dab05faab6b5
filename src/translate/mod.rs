//! Translation between the two wires of OpenAI's API, Chat Completions and Responses, for an app that speaks one on a
//! provider that serves the other. Pure: bytes in, bytes out, event by event; the caller bounds its memory.
//! `docs/translation.md` lists what is changed, refused and dropped.
//!
//! [`chat_on_responses`] and [`responses_on_chat`] each have a `request`, a whole `answer`, and a stream. Errors
//! have one form on both wires, made by [`error`].

mod body;
pub mod chat_on_responses;
mod events;
mod fields;
mod json;
mod pieces;
pub mod responses_on_chat;
#[cfg(test)]
mod tests;
mod usage;
mod weight;

use serde_json::{Map, Value, json};

pub use self::pieces::Pieces;
pub use self::weight::weight;

/// No answer has more calls: each is kept until the answer ends.
const MOST_CALLS: usize = 1024;
/// No answer has a longer id, and no model a longer name: they are repeated in each event.
const LONGEST_NAME: usize = 1024;

/// Whether the result is still awaited. Long work asks again and again, so that it ends soon after its client has
/// left.
pub type StillWanted<'w> = &'w dyn Fn() -> bool;

/// So many values are read between two looks.
const VALUES_A_LOOK: usize = 256;

/// Why a request is not translated: its client has left.
const LEFT: &str = "the client has left";

/// Continues while the result is still awaited.
fn goes_on(wanted: StillWanted<'_>) -> Result<(), UntranslatableRequest> {
    if wanted() {
        Ok(())
    } else {
        Err(UntranslatableRequest::new("", LEFT))
    }
}

/// A request that can't be carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UntranslatableRequest {
    /// The member, such as `messages[0].content[1].type`; empty for the whole body.
    pub field: String,
    /// What is wrong with it, as the rest of a sentence.
    pub reason: String,
}

impl UntranslatableRequest {
    fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// A member without a counterpart.
    fn lacking(field: impl Into<String>) -> Self {
        Self::new(
            field,
            "has no counterpart in the API that this provider serves",
        )
    }
}

impl std::fmt::Display for UntranslatableRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.reason);
        }
        write!(f, "`{}` {}", self.field, self.reason)
    }
}

/// Why an answer can't be translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UntranslatableAnswer {
    /// It takes more memory than a call may.
    #[error("the answer is too large to be translated")]
    TooLarge,
    /// It is not what its wire says that it is.
    #[error("the provider's answer can't be read")]
    Malformed,
    /// It ended before it was whole.
    #[error("the provider cut off its answer")]
    Cut,
}

impl From<json::Broken> for UntranslatableAnswer {
    fn from(_: json::Broken) -> Self {
        Self::Malformed
    }
}

/// An answer that was made whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WholeTranslation {
    /// A success, as JSON.
    Answer(Vec<u8>),
    /// An error inside of a 200, as JSON in OpenAI's form.
    Failed(Vec<u8>),
}

/// An answer's own fields that the provider's answer lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EchoedFields {
    /// The model that the app asked for.
    pub model: String,
    /// Seconds since 1970.
    pub now: u64,
    /// Whether the app wants to know what a stream has used.
    pub includes_usage: bool,
    /// Where the app's tools are in namespaces, which chats lack: their names.
    pub namespaces: Vec<String>,
}

/// A request in terms of the other wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslatedRequest {
    /// Its body.
    pub body: Vec<u8>,
    /// Whether the app wants a stream.
    pub wants_stream: bool,
    /// Whether the app wants to know what a stream has used.
    pub includes_usage: bool,
    /// The model that the app asked for.
    pub model: String,
    /// The namespaces of its tools.
    pub namespaces: Vec<String>,
}

/// An error's body in OpenAI's form, from any form of the provider.
pub fn error(body: &[u8]) -> Vec<u8> {
    let read = serde_json::from_slice::<Value>(body).unwrap_or_default();
    if read.get("error").is_some_and(Value::is_object) {
        return body.to_vec();
    }
    let text = || String::from_utf8_lossy(body).into_owned();
    let mut texts = ["detail", "message", "error"].into_iter();
    let message = texts.find_map(|name| read.get(name)?.as_str());
    let mut message = message.map_or_else(text, str::to_owned);
    if message.trim().is_empty() {
        "The provider gave no reason.".clone_into(&mut message);
    }
    let error = json!({"message": message, "type": null, "param": null, "code": null});
    json!({"error": error}).to_string().into_bytes()
}

/// An error in an event, or in a failed response, in OpenAI's form: `message`, `type`, `param`, `code`. Only these are
/// read, since a response may be long.
fn error_of(event: &[u8]) -> Map<String, Value> {
    let told = json::member(event, b"error");
    let of_response = json::member(event, b"response");
    let of_response = of_response.and_then(|response| json::member(response, b"error"));
    let places = [of_response, told, Some(event)];
    let error = places
        .into_iter()
        .flatten()
        .find(|place| place.trim_ascii_start().starts_with(b"{"));
    let find = |name: &str| {
        let value = json::value(json::member(error?, name.as_bytes())?)?;
        Some(value).filter(|value| !value.is_null())
    };
    let text = |name: &str| find(name).filter(Value::is_string);
    // The event's own type says nothing.
    let kind = text("type").filter(|kind| *kind != "error" && *kind != "response.failed");
    // Some providers have a number for a code.
    let code = find("code").filter(|code| code.is_string() || code.is_number());
    let code = code.or(kind.clone());
    let message = text("message")
        .or_else(|| text("detail"))
        .or_else(|| json::value(told?).filter(Value::is_string));
    let message = message.unwrap_or("The provider's answer failed without saying why.".into());
    let kind = kind.or_else(|| code.clone().filter(Value::is_string));
    let members = [
        ("message", Some(message)),
        ("type", kind.or(Some("server_error".into()))),
        ("param", find("param")),
        ("code", code),
    ];
    let members = members.into_iter();
    members
        .map(|(name, value)| (name.to_owned(), value.unwrap_or_default()))
        .collect()
}
