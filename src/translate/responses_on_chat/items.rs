//! The texts of a response: its events, its items, and the response itself. Inserted texts have the form between the
//! quotes of a JSON string.

use std::io::Write as _;

use serde_json::{Map, Value};

use super::super::Pieces;

/// A response's own members.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct ResponseHead {
    pub(super) id: Vec<u8>,
    pub(super) model: Vec<u8>,
    pub(super) tier: Option<Vec<u8>>,
    pub(super) created: u64,
}

/// The state of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseStatus<'s> {
    InProgress,
    Completed,
    /// With the reason.
    Incomplete(&'static str),
    Failed(&'s Map<String, Value>),
}

/// What a part of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessagePart {
    Text,
    Refusal,
}

/// Writing to memory does not fail.
pub(super) fn put(out: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).ok();
}

/// Writes a number, as each event has one.
pub(super) fn put_number(out: &mut Vec<u8>, number: u64) {
    let start = out.len();
    let mut rest = number;
    loop {
        // A digit is less than 256.
        out.push(b'0' + u8::try_from(rest % 10).unwrap_or_default());
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

impl MessagePart {
    /// Its type, and what its text is called.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Text => ("output_text", "text"),
            Self::Refusal => ("refusal", "refusal"),
        }
    }

    /// The part with its text.
    pub(super) fn json(self, said: &Pieces, notes: &[String]) -> Pieces {
        let mut made = Pieces::default();
        let (kind, name) = self.names();
        put(
            made.text(),
            format_args!("{{\"type\":\"{kind}\",\"{name}\":\""),
        );
        made.add(said);
        match self {
            Self::Refusal => made.put(&[b"\"}"]),
            Self::Text => {
                let notes = notes.join(",");
                put(
                    made.text(),
                    format_args!("\",\"annotations\":[{notes}],\"logprobs\":[]}}"),
                );
            }
        }
        made.shared()
    }
}

/// Puts items behind each other, with commas between.
fn put_list(made: &mut Pieces, items: &[Pieces]) {
    for (number, item) in items.iter().enumerate() {
        if number > 0 {
            made.put(&[b","]);
        }
        made.add(item);
    }
}

/// A message: its state, and its parts.
pub(super) fn message(id: &[u8], status: &str, parts: &[Pieces]) -> Pieces {
    let mut made = Pieces::default();
    made.put(&[b"{\"id\":\"", id]);
    put(
        made.text(),
        format_args!(
            "\",\"type\":\"message\",\"status\":\"{status}\",\"role\":\"assistant\",\"content\":["
        ),
    );
    put_list(&mut made, parts);
    made.put(&[b"]}"]);
    made.shared()
}

/// What the model thought, if anything yet.
pub(super) fn reasoning(id: &[u8], said: Option<&Pieces>) -> Pieces {
    let mut made = Pieces::default();
    made.put(&[
        b"{\"id\":\"",
        id,
        b"\",\"type\":\"reasoning\",\"summary\":[",
    ]);
    if let Some(said) = said {
        made.add(&summary(said));
    }
    made.put(&[b"],\"encrypted_content\":null}"]);
    made.shared()
}

/// A part of a summary.
pub(super) fn summary(said: &Pieces) -> Pieces {
    let mut made = Pieces::default();
    made.put(&[b"{\"type\":\"summary_text\",\"text\":\""]);
    made.add(said);
    made.put(&[b"\"}"]);
    made
}

/// A call with its arguments.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallItem<'c> {
    /// That of the item; the call has its own.
    pub(super) id: &'c [u8],
    pub(super) kind: &'c str,
    pub(super) call_id: &'c [u8],
    pub(super) name: &'c [u8],
    pub(super) status: &'c str,
    /// What its text is called.
    pub(super) member: &'c str,
    pub(super) said: &'c Pieces,
}

impl CallItem<'_> {
    pub(super) fn json(self) -> Pieces {
        let Self {
            kind,
            status,
            member,
            ..
        } = self;
        let mut made = Pieces::default();
        made.put(&[b"{\"id\":\"", self.id]);
        put(
            made.text(),
            format_args!("\",\"type\":\"{kind}\",\"status\":\"{status}\",\"call_id\":\""),
        );
        made.put(&[self.call_id, b"\",\"name\":\"", self.name]);
        put(made.text(), format_args!("\",\"{member}\":\""));
        made.add(self.said);
        made.put(&[b"\"}"]);
        made.shared()
    }
}

/// The response. What the request said is not repeated in it.
pub(super) fn response(
    head: &ResponseHead,
    status: ResponseStatus<'_>,
    items: &[Pieces],
    usage: Option<&Value>,
) -> Pieces {
    let (name, error, details) = match status {
        ResponseStatus::InProgress => ("in_progress", None, None),
        ResponseStatus::Completed => ("completed", None, None),
        ResponseStatus::Incomplete(reason) => ("incomplete", None, Some(reason)),
        ResponseStatus::Failed(error) => ("failed", Some(error), None),
    };
    let mut made = Pieces::default();
    let created = head.created;
    made.put(&[b"{\"id\":\"", &head.id]);
    put(
        made.text(),
        format_args!(
            "\",\"object\":\"response\",\"created_at\":{created},\"status\":\"{name}\",\"error\":"
        ),
    );
    match error {
        None => made.put(&[b"null"]),
        Some(error) => {
            let code = error.get("code").filter(|code| code.is_string());
            let code = code.cloned().unwrap_or_else(|| "server_error".into());
            let message = error.get("message").cloned().unwrap_or_default();
            put(
                made.text(),
                format_args!("{{\"code\":{code},\"message\":{message}}}"),
            );
        }
    }
    match details {
        None => made.put(&[b",\"incomplete_details\":null"]),
        Some(reason) => {
            put(
                made.text(),
                format_args!(",\"incomplete_details\":{{\"reason\":\"{reason}\"}}"),
            );
        }
    }
    made.put(&[
        b",\"instructions\":null,\"metadata\":{},\"model\":\"",
        &head.model,
        b"\",\"output\":[",
    ]);
    put_list(&mut made, items);
    made.put(&[b"],\"parallel_tool_calls\":true,\"temperature\":null,\"tool_choice\":\"auto\",\"tools\":[],\"top_p\":null"]);
    if let Some(tier) = &head.tier {
        made.put(&[b",\"service_tier\":\"", tier, b"\""]);
    }
    match usage {
        None => made.put(&[b",\"usage\":null}"]),
        Some(usage) => put(made.text(), format_args!(",\"usage\":{usage}}}")),
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_it_is() {
        for number in [0, 7, 10, 1_234_567_890, u64::MAX] {
            let mut out = b"x".to_vec();
            put_number(&mut out, number);
            assert_eq!(out, format!("x{number}").as_bytes());
        }
    }
}
