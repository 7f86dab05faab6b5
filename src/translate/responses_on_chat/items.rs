//! The texts of a response: its events, its items, and the response itself. What is put in as text is as between the
//! quotes of a JSON string.

use std::io::Write as _;

use serde_json::{Map, Value};

/// A response's own members.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: Vec<u8>,
    pub(super) model: Vec<u8>,
    pub(super) tier: Option<Vec<u8>>,
    pub(super) created: u64,
}

/// How a response stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status<'s> {
    InProgress,
    Completed,
    /// With the reason.
    Incomplete(&'static str),
    Failed(&'s Map<String, Value>),
}

/// What a part of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Text,
    Refusal,
}

/// Writing to memory does not fail.
pub(super) fn put(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).ok();
}

/// Puts pieces together.
pub(super) fn put_all(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}

impl Part {
    /// Its type, and what its text is called.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Text => ("output_text", "text"),
            Self::Refusal => ("refusal", "refusal"),
        }
    }

    /// The part with its text.
    pub(super) fn json(self, said: &[u8], notes: &[String]) -> Vec<u8> {
        match self {
            Self::Refusal => [b"{\"type\":\"refusal\",\"refusal\":\"", said, b"\"}"].concat(),
            Self::Text => {
                let mut made = [b"{\"type\":\"output_text\",\"text\":\"", said].concat();
                let notes = notes.join(",");
                put(
                    &mut made,
                    format_args!("\",\"annotations\":[{notes}],\"logprobs\":[]}}"),
                );
                made
            }
        }
    }
}

/// A message: its state, and its parts.
pub(super) fn message(id: &[u8], status: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut made = [b"{\"id\":\"".as_slice(), id].concat();
    put(
        &mut made,
        format_args!(
            "\",\"type\":\"message\",\"status\":\"{status}\",\"role\":\"assistant\",\"content\":["
        ),
    );
    made.extend_from_slice(&parts.join(&b","[..]));
    made.extend_from_slice(b"]}");
    made
}

/// What the model thought, if anything yet.
pub(super) fn reasoning(id: &[u8], said: Option<&[u8]>) -> Vec<u8> {
    let mut made = [
        b"{\"id\":\"",
        id,
        b"\",\"type\":\"reasoning\",\"summary\":[",
    ]
    .concat();
    if let Some(said) = said {
        made.extend_from_slice(&summary(said));
    }
    made.extend_from_slice(b"],\"encrypted_content\":null}");
    made
}

/// A part of a summary.
pub(super) fn summary(said: &[u8]) -> Vec<u8> {
    [b"{\"type\":\"summary_text\",\"text\":\"", said, b"\"}"].concat()
}

/// A call, and what it says.
pub(super) fn call(
    id: &[u8],
    (kind, text): (&str, &str),
    (call, name): (&[u8], &[u8]),
    (status, said): (&str, &[u8]),
) -> Vec<u8> {
    let mut made = [b"{\"id\":\"".as_slice(), id].concat();
    put(
        &mut made,
        format_args!("\",\"type\":\"{kind}\",\"status\":\"{status}\",\"call_id\":\""),
    );
    put_all(&mut made, &[call, b"\",\"name\":\"", name]);
    put(&mut made, format_args!("\",\"{text}\":\""));
    put_all(&mut made, &[said, b"\"}"]);
    made
}

/// The response. What the request said is not repeated in it.
pub(super) fn response(
    head: &Head,
    status: Status<'_>,
    items: &[Vec<u8>],
    usage: Option<&Value>,
) -> Vec<u8> {
    let (name, error, details) = match status {
        Status::InProgress => ("in_progress", None, None),
        Status::Completed => ("completed", None, None),
        Status::Incomplete(reason) => ("incomplete", None, Some(reason)),
        Status::Failed(error) => ("failed", Some(error), None),
    };
    let mut made = Vec::with_capacity(512 + items.iter().map(Vec::len).sum::<usize>());
    let created = head.created;
    put_all(&mut made, &[b"{\"id\":\"", &head.id]);
    put(
        &mut made,
        format_args!(
            "\",\"object\":\"response\",\"created_at\":{created},\"status\":\"{name}\",\"error\":"
        ),
    );
    match error {
        None => made.extend_from_slice(b"null"),
        Some(error) => {
            let code = error.get("code").filter(|code| code.is_string());
            let code = code.cloned().unwrap_or_else(|| "server_error".into());
            let message = error.get("message").cloned().unwrap_or_default();
            put(
                &mut made,
                format_args!("{{\"code\":{code},\"message\":{message}}}"),
            );
        }
    }
    match details {
        None => made.extend_from_slice(b",\"incomplete_details\":null"),
        Some(reason) => {
            put(
                &mut made,
                format_args!(",\"incomplete_details\":{{\"reason\":\"{reason}\"}}"),
            );
        }
    }
    put_all(
        &mut made,
        &[
            b",\"instructions\":null,\"metadata\":{},\"model\":\"",
            &head.model,
        ],
    );
    made.extend_from_slice(b"\",\"output\":[");
    made.extend_from_slice(&items.join(&b","[..]));
    made.extend_from_slice(b"],\"parallel_tool_calls\":true,\"temperature\":null,\"tool_choice\":\"auto\",\"tools\":[],\"top_p\":null");
    if let Some(tier) = &head.tier {
        put_all(&mut made, &[b",\"service_tier\":\"", tier, b"\""]);
    }
    match usage {
        None => made.extend_from_slice(b",\"usage\":null}"),
        Some(usage) => put(&mut made, format_args!(",\"usage\":{usage}}}")),
    }
    made
}
