//! Removes what others must not see from a text: secrets first, then names of people and places;
//! pure.

use url::Url;

/// What takes a secret's place.
pub(crate) const GONE: &str = "[redacted]";

/// Names of values that are secrets, as the names end.
const SECRET_NAMES: [&str; 14] = [
    "token",
    "secret",
    "password",
    "passwd",
    "authorization",
    "cookie",
    "bearer",
    "api_key",
    "api-key",
    "apikey",
    "access_key",
    "agent_key",
    "private_key",
    "user_code",
];

/// How secrets begin that their makers mark.
const SECRET_STARTS: [&str; 9] = [
    "eyJ", "hpx-", "sk-", "rt-", "rt_", "ghp_", "hf_", "nous-", "xox",
];

/// Words that are too much ours to be taken out because a user or a machine is called so.
const OUR_WORDS: [&str; 9] = [
    "hermes",
    "hermes-proxyd",
    "nous",
    "proxy",
    "root",
    "user",
    "localhost",
    "linux",
    "service",
];

/// What is known to be taken out, and what it is called then.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    secrets: Vec<String>,
    names: Vec<(String, String)>,
}

impl Redactor {
    /// This text is a secret wherever it occurs.
    pub(crate) fn secret(&mut self, text: &str) {
        let text = text.trim();
        if text.len() >= 6 && !self.secrets.iter().any(|known| known == text) {
            self.secrets.push(text.to_owned());
            // One may be within another.
            self.secrets
                .sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    /// This word is a name; here it has another one.
    pub(crate) fn name(&mut self, word: &str, instead: &str) {
        let ours = OUR_WORDS.contains(&word.to_ascii_lowercase().as_str());
        if word.len() >= 2 && !ours {
            self.names.push((word.to_owned(), instead.to_owned()));
            self.names
                .sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        }
    }

    /// The text without secrets; names and addresses stay.
    pub(crate) fn without_secrets(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), GONE);
        }
        let lines: Vec<_> = text.lines().map(marked).collect();
        lines.join("\n")
    }

    /// The text without them.
    pub(crate) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), GONE);
        }
        let lines = text.lines().map(|line| {
            let line = marked(&named(&urls(line)));
            let line = mail(&line);
            let replaced = self.names.iter();
            replaced.fold(line, |line, (word, instead)| {
                replace_word(&line, word, instead)
            }) + "\n"
        });
        lines.collect()
    }
}

/// A URL without what could be a password or a token: no user, password, query and fragment.
pub(crate) fn url(url: &Url) -> String {
    let mut url = url.clone();
    // A URL that can't have them has none.
    url.set_username("").ok();
    url.set_password(None).ok();
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// URLs without user, password, query and fragment.
fn urls(line: &str) -> String {
    let mut done = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        done.extend([before, "://"]);
        let end = |c: char| c.is_whitespace() || "\"'<>`,)}]".contains(c);
        let (url, next) = split_at_char(after, end);
        let (authority, path) = split_at_char(url, |c| "/?#".contains(c));
        match authority.rsplit_once('@') {
            Some((_, host)) => done.extend([GONE, "@", host]),
            None => done.push_str(authority),
        }
        let (path, query) = split_at_char(path, |c| "?#".contains(c));
        done.push_str(path);
        if !query.is_empty() {
            done.extend(["?", GONE]);
        }
        rest = next;
    }
    done + rest
}

/// The values of names that say that they are secrets: `token=…`, `"api_key": "…"`, `Bearer …`.
fn named(line: &str) -> String {
    let mut done = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (between, word) = split_at_char(rest, is_name);
        done.push_str(between);
        let (name, after) = split_at_char(word, |c| !is_name(c));
        done.push_str(name);
        rest = after;
        let lower = name.to_ascii_lowercase();
        if !SECRET_NAMES.iter().any(|secret| lower.ends_with(secret)) {
            continue;
        }
        let bearer = lower == "bearer" || lower == "basic";
        if let Some((sign, next)) = assigned(after, bearer) {
            done.push_str(sign);
            rest = without_value(&mut done, next);
        }
    }
    done
}

/// The sign between a name and its value, and what follows it.
fn assigned(after: &str, bearer: bool) -> Option<(&str, &str)> {
    let inner = after.trim_start_matches(['"', '\'', ' ', '\\']);
    let value = inner.strip_prefix(['=', ':']);
    let value = match value {
        Some(value) => value.trim_start_matches([' ', '=']),
        None if bearer && inner.len() < after.len() => inner,
        None => return None,
    };
    after.split_at_checked(after.len() - value.len())
}

/// Skips a value; returns the rest of the text.
fn without_value<'t>(done: &mut String, text: &'t str) -> &'t str {
    // Within a text of JSON in JSON, a quote has a backslash at both ends.
    let open = text.trim_start_matches('\\');
    let escaped = open.len() < text.len();
    let quote = open.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (value, rest) = match quote {
        Some(quote) => {
            done.push(quote);
            let inner = open.strip_prefix(quote).unwrap_or(open);
            quoted(inner, quote, escaped)
        }
        None => split_at_char(text, |c| c.is_whitespace() || ",;}])\"".contains(c)),
    };
    if matches!(value, "" | "null" | "true" | "false" | "[redacted]") {
        done.push_str(value);
        return rest;
    }
    done.push_str(GONE);
    let scheme = value.eq_ignore_ascii_case("bearer") || value.eq_ignore_ascii_case("basic");
    if !scheme {
        return rest;
    }
    let next = rest.trim_start();
    split_at_char(next, |c| c.is_whitespace() || ",;}])\"".contains(c)).1
}

/// The text within quotes, and from the closing one on.
fn quoted(text: &str, quote: char, escaped: bool) -> (&str, &str) {
    let mut slashes = 0;
    for (at, letter) in text.char_indices() {
        if letter == quote && (escaped || slashes % 2 == 0) {
            return text.split_at_checked(at).unwrap_or((text, ""));
        }
        slashes = if letter == '\\' { slashes + 1 } else { 0 };
    }
    (text, "")
}

/// Words that look like secrets, after any text.
fn marked(line: &str) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || "_-.~+=".contains(c);
    let mut done = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (between, word) = split_at_char(rest, part);
        done.push_str(between);
        let (word, after) = split_at_char(word, |c| !part(c));
        done.push_str(if is_marked(word) { GONE } else { word });
        rest = after;
    }
    done
}

fn is_marked(word: &str) -> bool {
    let starts = SECRET_STARTS.iter().any(|start| word.starts_with(start));
    if starts && word.len() >= 12 {
        return true;
    }
    // Random text changes between letters and digits all the time; names and versions don't.
    let kinds = word.chars().filter(char::is_ascii_alphanumeric);
    let kinds: Vec<_> = kinds.map(|c| c.is_ascii_digit()).collect();
    let changes = kinds.windows(2).filter(|pair| pair.first() != pair.last());
    word.len() >= 20 && changes.count() >= 4
}

/// E-mail addresses.
fn mail(line: &str) -> String {
    let local = |c: char| c.is_alphanumeric() || "._%+-".contains(c);
    let mut done = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('@') {
        let start = before.trim_end_matches(local);
        let (domain, next) = split_at_char(after, |c| !(c.is_alphanumeric() || ".-".contains(c)));
        let is_mail = start.len() < before.len() && domain.contains('.');
        if is_mail {
            done.extend([start, "[e-mail]"]);
        } else {
            done.extend([before, "@", domain]);
        }
        rest = next;
    }
    done + rest
}

/// Replaces a word that is separate. A path is one too.
fn replace_word(line: &str, word: &str, instead: &str) -> String {
    let mut done = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(word) {
        let alone = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let left = before
            .chars()
            .next_back()
            .or(done.chars().next_back().filter(|_| before.is_empty()));
        let replaced = alone(left) && alone(after.chars().next());
        done.extend([before, if replaced { instead } else { word }]);
        rest = after;
    }
    done + rest
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// The text before the first such character, and from there on.
fn split_at_char(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    let at = text.find(wanted).unwrap_or(text.len());
    text.split_at_checked(at).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        let mut redactor = Redactor::default();
        redactor.secret("corr3ct horse");
        redactor.name("/home/anna", "~");
        redactor.name("anna", "[user]");
        redactor.name("annas-box", "[host]");
        redactor.name("user", "[user]");
        redactor.redact(text).trim_end().to_owned()
    }

    #[test]
    fn secrets_go_whatever_they_stand_in() {
        for (text, left) in [
            ("a corr3ct horse b", "a [redacted] b"),
            ("Authorization: Bearer abc.def", "Authorization: [redacted]"),
            ("authorization=Bearer x y", "authorization=[redacted] y"),
            ("sent Bearer abcdef", "sent Bearer [redacted]"),
            (
                "\"refresh_token\": \"ab\\\", x",
                "\"refresh_token\": \"[redacted]",
            ),
            (
                "{\\\"refresh_token\\\":\\\"ab\\\",1}",
                "{\\\"refresh_token\\\":\"[redacted]\",1}",
            ),
            (
                "{\"refresh_token\":\"ab\",\"n\":1}",
                "{\"refresh_token\":\"[redacted]\",\"n\":1}",
            ),
            ("api_key = 'x y' z", "api_key = '[redacted]' z"),
            ("access_token: null", "access_token: null"),
            ("password=hunter2;x", "password=[redacted];x"),
            ("got eyJhbGciOi.eyJzdWIi.c2ln", "got [redacted]"),
            ("key hpx-abcdefghijkl!", "key [redacted]!"),
            ("sk-proj-abcdefghijk", "[redacted]"),
            ("id 9f86d081884c7d659a2feaa0c55ad015", "id [redacted]"),
            (
                "https://u:p@h.example/v1?k=v#f x",
                "https://[redacted]@h.example/v1?[redacted] x",
            ),
            (
                "(http://a.example/x?y) z",
                "(http://a.example/x?[redacted]) z",
            ),
            ("write to a.b+c@mail.example.com!", "write to [e-mail]!"),
        ] {
            assert_eq!(clean(text), left, "{text}");
        }
    }

    #[test]
    fn who_and_where_are_taken_out() {
        for (text, left) in [
            ("/home/anna/.hermes", "~/.hermes"),
            ("/home/annabel", "/home/annabel"),
            ("anna on annas-box", "[user] on [host]"),
            ("anna's, hanna", "[user]'s, hanna"),
            ("the user", "the user"),
        ] {
            assert_eq!(clean(text), left, "{text}");
        }
    }

    #[test]
    fn what_helps_stays() {
        for text in [
            "hermes-proxyd 0.1.0 (x86_64-unknown-linux-gnu)",
            "2026-11-23T19:44:00Z INFO hermes_proxy::credentials: refreshed in_seconds=3600",
            "token_timeout = \"15s\"",
            "api_key_file = \"~/.config/example.key\"",
            "http://127.0.0.1:8645/v1 listening",
            "user@1000",
            "POST /v1/chat/completions 200 12ms",
        ] {
            assert_eq!(clean(text), text);
        }
    }
}
