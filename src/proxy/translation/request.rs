//! A request's body in the provider's dialect. Pure: the members that the rules name are changed,
//! and every other byte stays.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::super::json::{self, MemberRange};
use crate::provider::dialect::BodyRules;

/// The texts before and after one that becomes a user's message.
const MESSAGE: (&str, &str) = (
    "[{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":",
    "}]}]",
);

/// A body after the rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RewrittenBody {
    /// The new one; `None` where the old one is right as it is.
    pub(super) body: Option<Vec<u8>>,
    /// A client key is needed, and this one is not valid.
    pub(super) wants_stream: bool,
    /// A member for which the request is refused, and why.
    pub(super) refused: Option<(&'static str, &'static str)>,
}

/// A rewritten body, from its beginning to its end.
#[derive(Debug)]
struct Rewrite<'b> {
    body: &'b [u8],
    /// How far it is written.
    at: usize,
    written: Vec<u8>,
}

/// What a first look at the object tells, before anything of it is changed.
#[derive(Debug)]
struct RequestOutline {
    /// The last member that stays, by its place in the order, and where it ends.
    kept: Option<(usize, usize)>,
    /// Where the last member ends.
    end: Option<usize>,
    /// Whether each of [`BodyRules::set`] is present.
    set: Vec<bool>,
    /// The last member for each of [`BodyRules::default`], by its place in the order.
    default: Vec<Option<usize>>,
    /// The last one with items.
    items: Option<usize>,
    wants_stream: bool,
    refused: Option<(&'static str, &'static str)>,
}

/// The body by these rules; `None` if it is not a JSON object, which the provider may judge. It takes no memory besides
/// the new body.
pub(super) fn turn(body: &[u8], rules: &BodyRules) -> Option<RewrittenBody> {
    // Checked as text first: what is skipped as JSON may hold any byte.
    serde_json::from_str::<IgnoredAny>(std::str::from_utf8(body).ok()?).ok()?;
    let start = json::start(body);
    let look = RequestOutline::at(body, start, rules)?;
    let mut rewrite = Rewrite::of(body);
    let mut members = json::members(body, start)?.enumerate().peekable();
    while let Some((place, member)) = members.next() {
        // A member removed at the end takes the comma before it along; any other one the comma
        // after it.
        if look.kept.is_none_or(|(kept, _)| place > kept) {
            break;
        }
        if is_removed(body, &member, rules) {
            let next = members.peek().map(|(_, next)| next.name.start);
            rewrite.replace(member.name.start..next.unwrap_or(member.value.end), &[]);
        } else {
            let wanted = look.wanted(place, body, &member, rules);
            if let Some(wanted) = wanted {
                rewrite.replace(member.value, &[wanted.as_bytes()]);
            } else if look.items == Some(place) {
                items(&mut rewrite, &member, rules);
            }
        }
    }
    let from = look.kept.map_or(start + 1, |(_, end)| end);
    let to = look.end.unwrap_or(from);
    let added = look.lacking(rules);
    let comma: &[u8] = if look.kept.is_some() { b"," } else { b"" };
    if !added.is_empty() {
        rewrite.replace(from..to, &[comma, added.as_bytes()]);
    } else if from != to {
        rewrite.replace(from..to, &[]);
    }
    Some(RewrittenBody {
        body: rewrite.end(),
        wants_stream: look.wants_stream,
        refused: look.refused,
    })
}

fn is_removed(body: &[u8], member: &MemberRange, rules: &BodyRules) -> bool {
    let is = |name: &&str| json::is_named(body, member, name);
    let only = rules.only.iter().find(|(name, _)| is(name));
    let value = || body.get(member.value.clone());
    rules.removed.iter().copied().flatten().any(is)
        || only.is_some_and(|(_, only)| !json::is(value(), only))
}

impl RequestOutline {
    fn at(body: &[u8], start: usize, rules: &BodyRules) -> Option<Self> {
        let mut look = Self {
            kept: None,
            end: None,
            set: vec![false; rules.set.len()],
            default: vec![None; rules.default.len()],
            items: None,
            wants_stream: false,
            refused: None,
        };
        for (place, member) in json::members(body, start)?.enumerate() {
            let is = |name: &str| json::is_named(body, &member, name);
            look.end = Some(member.value.end);
            if !is_removed(body, &member, rules) {
                look.kept = Some((place, member.value.end));
            }
            for (there, (name, _)) in look.set.iter_mut().zip(rules.set) {
                *there |= is(name);
            }
            for (last, (name, _)) in look.default.iter_mut().zip(rules.default) {
                if is(name) {
                    *last = Some(place);
                }
            }
            if is(rules.items) {
                look.items = Some(place);
            }
            if let Some(refused) = rules.refused.iter().find(|(name, _)| is(name)) {
                let value = body.get(member.value.clone());
                look.refused = (value != Some(b"null")).then_some(*refused);
            }
            if is("stream") {
                look.wants_stream = body.get(member.value.clone()) == Some(b"true");
            }
        }
        Some(look)
    }

    /// The value that a member gets in the place of its own.
    fn wanted(
        &self,
        place: usize,
        body: &[u8],
        member: &MemberRange,
        rules: &BodyRules,
    ) -> Option<&'static str> {
        let value = body.get(member.value.clone());
        let mut set = rules.set.iter();
        let set = set.find(|(name, _)| json::is_named(body, member, name));
        if let Some((_, wanted)) = set {
            return (value != Some(wanted.as_bytes())).then_some(*wanted);
        }
        let mut default = self.default.iter().zip(rules.default);
        let default = default.find(|(last, _)| **last == Some(place));
        default
            .filter(|_| value == Some(b"null"))
            .map(|(_, (_, wanted))| *wanted)
    }

    /// The members that are missing.
    fn lacking(&self, rules: &BodyRules) -> String {
        let set = self.set.iter().zip(rules.set);
        let set = set.filter(|(there, _)| !**there).map(|(_, rule)| rule);
        let default = self.default.iter().zip(rules.default);
        let default = default
            .filter(|(last, _)| last.is_none())
            .map(|(_, rule)| rule);
        let lacking: Vec<_> = set
            .chain(default)
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        lacking.join(",")
    }
}

/// Makes a list of items of the member: of a text a message, and of items those with the roles that there are.
fn items(rewrite: &mut Rewrite<'_>, member: &MemberRange, rules: &BodyRules) {
    let body = rewrite.body;
    let value = body.get(member.value.clone()).unwrap_or_default();
    if value.starts_with(b"\"") {
        let (before, behind) = MESSAGE;
        let text = [before.as_bytes(), value, behind.as_bytes()];
        rewrite.replace(member.value.clone(), &text);
        return;
    }
    let (from, to) = rules.role;
    let items = json::items(body, member.value.start).into_iter().flatten();
    let members = items.filter_map(|item| json::members(body, item.start));
    for member in members.flatten() {
        if json::is_named(body, &member, "role") && json::is(body.get(member.value.clone()), from) {
            rewrite.replace(member.value, &[to.as_bytes()]);
        }
    }
}

impl<'b> Rewrite<'b> {
    fn of(body: &'b [u8]) -> Self {
        Self {
            body,
            at: 0,
            written: Vec::new(),
        }
    }

    /// Replaces these bytes, which come after all replaced ones, with a text.
    fn replace(&mut self, place: Range<usize>, text: &[&[u8]]) {
        if self.written.capacity() == 0 {
            // Most bodies grow by a few members.
            self.written.reserve(self.body.len() + 256);
        }
        let before = self.body.get(self.at..place.start);
        self.written.extend_from_slice(before.unwrap_or_default());
        for piece in text {
            self.written.extend_from_slice(piece);
        }
        self.at = place.end;
    }

    /// The new body; `None` where nothing was replaced.
    fn end(mut self) -> Option<Vec<u8>> {
        if self.written.capacity() == 0 {
            return None;
        }
        let rest = self.body.get(self.at..).unwrap_or_default();
        self.written.extend_from_slice(rest);
        Some(self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static RULES: BodyRules = BodyRules {
        set: &[("stream", "true"), ("store", "false")],
        default: &[("instructions", "\"\"")],
        refused: &[("former", "is not kept")],
        removed: &[&["top_p", "user", "former"], &["metadata"]],
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
    fn what_an_answer_depends_on_is_refused_unless_it_is_null() {
        for (body, is_refused) in [
            ("{\"former\":\"r\"}", true),
            ("{\"a\":1,\"f\\u006frmer\":{}}", true),
            ("{\"former\":null}", false),
            ("{\"former\":\"r\",\"former\":null}", false),
            ("{\"a\":{\"former\":\"r\"}}", false),
        ] {
            let turned = turn(body.as_bytes(), &RULES).unwrap();
            let refused = is_refused.then_some(("former", "is not kept"));
            assert_eq!(turned.refused, refused, "{body}");
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
