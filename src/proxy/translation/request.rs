//! A request's body as the provider takes it. Pure: what the rules name is changed, and every other byte stays.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::json::{self, Member};
use crate::provider::dialect::Rules;

/// What goes before and behind a text that becomes a user's message.
const MESSAGE: (&str, &str) = (
    "[{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":",
    "}]}]",
);

/// A body after the rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turned {
    /// The new one; `None` where the old one is right as it is.
    pub(super) body: Option<Vec<u8>>,
    /// Whether the client asked for a stream.
    pub(super) wants_stream: bool,
}

/// Bytes that take the place of others.
#[derive(Debug)]
struct Edit {
    at: Range<usize>,
    text: Vec<u8>,
}

/// The body by these rules; `None` where it is no JSON object, about which the provider may say what it likes.
pub(super) fn turn(body: &[u8], rules: &Rules) -> Option<Turned> {
    // Checked as text first: what is skipped as JSON may hold any byte.
    serde_json::from_str::<IgnoredAny>(std::str::from_utf8(body).ok()?).ok()?;
    let start = json::start(body);
    let members = json::members(body, start)?;
    let value = |member: &Member| body.get(member.value.clone());
    let stream = json::last(body, &members, "stream");
    let wants_stream = stream.and_then(value) == Some(b"true");

    let is_removed = |member: &Member| {
        let is = |name: &&str| json::is_named(body, member, name);
        let only = rules.only.iter().find(|(name, _)| is(name));
        rules.removed.iter().copied().flatten().any(is)
            || only.is_some_and(|(_, only)| !json::is(value(member), only))
    };
    let mut edits = Vec::new();
    // What is taken out at the end takes the comma before it along; everything else the one behind it.
    let kept = members.iter().rposition(|member| !is_removed(member));
    let tail = kept.map_or(0, |kept| kept + 1);
    let neighbours = members.iter().zip(members.iter().skip(1)).take(tail);
    for (member, next) in neighbours {
        if is_removed(member) {
            let at = member.name.start..next.name.start;
            edits.push(Edit { at, text: vec![] });
        }
    }
    let mut added = Vec::new();
    let mut add = |name: &str, value: &str| {
        let comma = if kept.is_some() || !added.is_empty() {
            ","
        } else {
            ""
        };
        added.extend_from_slice(format!("{comma}\"{name}\":{value}").as_bytes());
    };
    for (name, wanted) in rules.set {
        let mut found = members
            .iter()
            .filter(|one| json::is_named(body, one, name))
            .peekable();
        if found.peek().is_none() {
            add(name, wanted);
        }
        edits.extend(
            found
                .filter(|member| value(member) != Some(wanted.as_bytes()))
                .map(|member| Edit::new(&member.value, wanted)),
        );
    }
    for (name, wanted) in rules.default {
        match json::last(body, &members, name) {
            None => add(name, wanted),
            Some(member) if value(member) == Some(b"null") => {
                edits.push(Edit::new(&member.value, wanted));
            }
            Some(_) => {}
        }
    }
    if let Some(member) = json::last(body, &members, rules.items) {
        edits.extend(items(body, member, rules.role));
    }
    let from = kept.and_then(|kept| members.get(kept));
    let from = from.map_or(start + 1, |member| member.value.end);
    let to = members.last().filter(|_| tail < members.len());
    let to = to.map_or(from, |member| member.value.end);
    if from != to || !added.is_empty() {
        let at = from..to;
        edits.push(Edit { at, text: added });
    }
    let body = (!edits.is_empty()).then(|| spliced(body, edits));
    Some(Turned { body, wants_stream })
}

/// What makes a list of items of the member: of a text a message, and of items those with the roles that there are.
fn items(body: &[u8], member: &Member, (from, to): (&str, &str)) -> Vec<Edit> {
    let value = body.get(member.value.clone()).unwrap_or_default();
    if value.starts_with(b"\"") {
        let (before, behind) = MESSAGE;
        let text = [before.as_bytes(), value, behind.as_bytes()].concat();
        let at = member.value.clone();
        return vec![Edit { at, text }];
    }
    let items = json::items(body, member.value.start).unwrap_or_default();
    let members = items
        .into_iter()
        .filter_map(|item| json::members(body, item.start));
    let roles = members.flatten().filter(|member| {
        json::is_named(body, member, "role") && json::is(body.get(member.value.clone()), from)
    });
    roles.map(|role| Edit::new(&role.value, to)).collect()
}

impl Edit {
    fn new(at: &Range<usize>, text: &str) -> Self {
        Self {
            at: at.clone(),
            text: text.as_bytes().to_vec(),
        }
    }
}

/// The body with these edits, none of which overlaps another.
fn spliced(body: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    edits.sort_by_key(|edit| (edit.at.start, edit.at.end));
    let more: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut turned = Vec::with_capacity(body.len() + more);
    let mut at = 0;
    for edit in edits {
        turned.extend_from_slice(body.get(at..edit.at.start).unwrap_or_default());
        turned.extend_from_slice(&edit.text);
        at = edit.at.end;
    }
    turned.extend_from_slice(body.get(at..).unwrap_or_default());
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    static RULES: Rules = Rules {
        set: &[("stream", "true"), ("store", "false")],
        default: &[("instructions", "\"\"")],
        removed: &[&["top_p", "user"], &["metadata"]],
        only: &[("service_tier", "\"priority\"")],
        items: "input",
        role: ("\"system\"", "\"developer\""),
    };

    fn turned(body: &str) -> (String, bool) {
        let turned = turn(body.as_bytes(), &RULES).unwrap();
        let text = turned.body.map(|body| String::from_utf8(body).unwrap());
        if let Some(text) = &text {
            serde_json::from_str::<serde_json::Value>(text).unwrap();
        }
        (
            text.unwrap_or_else(|| "as it came".to_owned()),
            turned.wants_stream,
        )
    }

    #[test]
    fn a_body_that_is_right_stays_as_it_came() {
        let right = "{ \"stream\" : true, \"x\": 1.50, \"store\":false,\"instructions\":\"\",\
                     \"input\":[{\"role\":\"developer\"}], \"service_tier\": \"priority\" }";
        assert_eq!(turned(right), ("as it came".to_owned(), true));
    }

    #[test]
    fn what_the_rules_name_is_changed_and_every_other_byte_stays() {
        let right = "\"stream\":true,\"store\":false,\"instructions\":\"\"";
        for (body, expected) in [
            ("{}", format!("{{{right}}}")),
            (" { } ", format!(" {{{right} }} ")),
            ("{\"top_p\":1}", format!("{{{right}}}")),
            ("{ \"top_p\":1, \"user\":\"x\" }", format!("{{{right} }}")),
            (
                "{\"a\": 1.0 , \"top_p\":1 ,  \"b\":1.50e2}",
                format!("{{\"a\": 1.0 , \"b\":1.50e2,{right}}}"),
            ),
            (
                "{\"top_p\":1,\"a\":2,\"user\":[{}],\"metadata\":{\"top_p\":1}}",
                format!("{{\"a\":2,{right}}}"),
            ),
            (
                "{\"str\\u0065am\":false,\"a\":1,\"stream\":null,\"store\":true}",
                "{\"str\\u0065am\":true,\"a\":1,\"stream\":true,\"store\":false,\"instructions\":\"\"}"
                    .to_owned(),
            ),
            (
                "{\"instructions\":null,\"stream\":true,\"store\":false}",
                "{\"instructions\":\"\",\"stream\":true,\"store\":false}".to_owned(),
            ),
            (
                "{\"instructions\":\"Be brief.\",\"stream\":true,\"service_tier\":\"auto\",\"store\":false}",
                "{\"instructions\":\"Be brief.\",\"stream\":true,\"store\":false}".to_owned(),
            ),
            (
                "{\"stream\":true,\"store\":false,\"instructions\":\"\",\"service_tier\":\"priority\",\
                 \"user\":1}",
                "{\"stream\":true,\"store\":false,\"instructions\":\"\",\"service_tier\":\"priority\"}"
                    .to_owned(),
            ),
        ] {
            assert_eq!(turned(body).0, expected, "{body}");
        }
    }

    #[test]
    fn a_text_becomes_a_message_and_a_system_message_a_developers() {
        let behind = ",\"stream\":true,\"store\":false,\"instructions\":\"\"}";
        let text = "\"say \\\"x\\\" \\ud83d\\ude00\"";
        assert_eq!(
            turned(&format!("{{\"input\": {text}}}")).0,
            format!(
                "{{\"input\": [{{\"type\":\"message\",\"role\":\"user\",\"content\":[{{\"type\":\
                 \"input_text\",\"text\":{text}}}]}}]{behind}"
            )
        );
        let items = |role: &str| {
            format!(
                "{{\"input\":[{{\"role\":{role}, \"content\":\"role: system\"}}, 7,\
                 {{\"content\":[{{\"role\":\"system\"}}],\"role\" : \"user\"}}]"
            )
        };
        assert_eq!(
            turned(&(items("\"syst\\u0065m\"") + "}")).0,
            items("\"developer\"") + behind
        );
    }

    #[test]
    fn what_the_client_wants_is_told_by_the_last_member_of_the_name() {
        for (body, wants) in [
            ("{}", false),
            ("{\"stream\":false}", false),
            ("{\"stream\":true}", true),
            ("{\"stream\":\"true\"}", false),
            ("{\"stream\":true,\"stream\":false}", false),
            ("{\"x\":{\"stream\":true}}", false),
        ] {
            assert_eq!(turned(body).1, wants, "{body}");
        }
    }

    #[test]
    fn what_is_no_object_is_left_to_the_provider() {
        let deep = "[".repeat(200);
        for body in [
            "",
            "[]",
            "{",
            "{\"a\":}",
            "null",
            "{\"a\":1}x",
            &deep,
            "\u{0}",
        ] {
            assert_eq!(turn(body.as_bytes(), &RULES), None, "{body}");
        }
        assert_eq!(turn(b"{\"a\":\"\xff\"}", &RULES), None);
    }
}
