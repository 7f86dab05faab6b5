//! How a request controls its answer of the inference API.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The `"mock"` object of a request body, or a [`crate::Fault::Steer`].
///
/// Everything is optional; sizes are bytes of the answer's body, times are milliseconds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Steering {
    /// The answer's status.
    pub status: Option<u16>,
    /// The answer's body: a string as it is, anything else as JSON.
    pub body: Option<Value>,
    /// Headers that are added; a list of values sends the header repeatedly.
    pub headers: BTreeMap<String, OneOrMany>,
    /// The wait before the head.
    pub delay_head_ms: u64,
    /// The wait before each chunk of the body.
    pub delay_chunk_ms: u64,
    /// How many events with content an SSE answer has (else one for each word).
    pub events: Option<usize>,
    /// Cuts the body into chunks of this size, each flushed.
    pub chunk_bytes: Option<usize>,
    /// Ends the connection after this many bytes, without a terminating chunk.
    pub cut_after_bytes: Option<u64>,
    /// How `cut_after_bytes` ends it.
    pub cut: Cut,
    /// Sends nothing more after this many bytes, and keeps the connection.
    pub hang_after_bytes: Option<u64>,
    /// Repeats the body for ever.
    pub endless: bool,
    /// Makes the reply's content at least this long.
    pub pad_bytes: usize,
    /// Leaves out `data: [DONE]`.
    pub omit_done: bool,
    /// Leaves out the chunk with `finish_reason`.
    pub omit_finish: bool,
    /// Tells the usage in each chunk of a chat, with so many tokens for each.
    pub usage_each: Option<u64>,
}

/// How a body is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// The connection is closed in order.
    #[default]
    Fin,
    /// The connection is aborted.
    Rst,
}

/// A header's value, or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// Sent once.
    One(String),
    /// Sent once for each.
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn values(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}
