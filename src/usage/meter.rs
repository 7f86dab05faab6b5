//! What is gathered of one request while it is under way. Nothing of a prompt or an answer is kept but the numbers of its
//! tokens.

use super::decode::{Encoding, Look};
use super::scan::Form;
use super::tokens::Tokens;

/// The longest name of a model, an app or a login that is kept, in characters.
const LONGEST_NAME: usize = 100;

/// What stands behind the name of an app without a key, or in its place.
pub(super) const NO_KEY: &str = "(no key)";

/// One request's usage.
#[derive(Debug)]
pub struct Meter {
    /// Whether its answer may tell of tokens.
    makes_tokens: bool,
    look: Look,
    /// What its app is called without a key.
    app: Option<Box<str>>,
    login: Option<Box<str>>,
    model: Option<Box<str>>,
}

impl Meter {
    /// Of a request that has just been routed. `makes_tokens`: whether its answer may tell of tokens that it took, and
    /// not of those of an earlier one. `agent`: its `User-Agent`, where that is to name it.
    pub fn new(makes_tokens: bool, agent: Option<&[u8]>) -> Self {
        Self {
            makes_tokens,
            look: Look::Blind,
            app: agent.and_then(product),
            login: None,
            model: None,
        }
    }

    /// Its provider is asked for this model, whatever [`Ended`](super::Ended) says.
    pub fn asks_for(&mut self, model: &str) {
        self.model = Some(clean(model));
    }

    /// It goes with this login of several.
    pub fn goes_with(&mut self, login: &str) {
        self.login = Some(clean(login));
    }

    /// The answer is a success; `kind` is its `Content-Type`, and `encodings` are its values of `Content-Encoding`.
    pub fn answered<'v>(&mut self, kind: &[u8], encodings: impl Iterator<Item = &'v [u8]>) {
        if let Some(form) = Form::of(kind).filter(|_| self.makes_tokens) {
            self.look = Look::new(form, Encoding::of(encodings));
        }
    }

    /// A piece of the provider's answer passes.
    pub fn pass(&mut self, piece: &[u8]) {
        self.look.pass(piece);
    }

    pub(super) fn tokens(&mut self) -> Option<Tokens> {
        self.look.tokens()
    }

    pub(super) fn makes_tokens(&self) -> bool {
        self.makes_tokens
    }

    /// What its app is called without a key.
    pub(super) fn app(&mut self) -> Box<str> {
        self.app.take().unwrap_or_else(|| NO_KEY.into())
    }

    pub(super) fn model(&mut self) -> Option<Box<str>> {
        self.model.take()
    }

    pub(super) fn login(&mut self) -> Box<str> {
        self.login.take().unwrap_or_default()
    }
}

/// The first product that a `User-Agent` names, without its version, as the name of an app without a key.
fn product(agent: &[u8]) -> Option<Box<str>> {
    let agent = agent.trim_ascii_start();
    let end = agent.iter().position(u8::is_ascii_whitespace);
    let first = agent.get(..end.unwrap_or(agent.len()).min(2 * LONGEST_NAME))?;
    let first = std::str::from_utf8(first).ok()?;
    // `OpenAI/Python 2.8.1` has two words for one product.
    let slash = first.bytes().rposition(|byte| byte == b'/');
    let split = slash.and_then(|slash| first.split_at_checked(slash));
    let name = match split {
        Some((name, version)) if version.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => name,
        _ => first,
    };
    if name.is_empty() {
        return None;
    }
    let mut app = String::with_capacity(name.len() + 1 + NO_KEY.len());
    if is_plain(name) {
        app.push_str(name);
    } else {
        app.push_str(&clean(name));
    }
    app.extend([" ", NO_KEY]);
    Some(app.into())
}

/// A name as it is kept and shown: not too long, and what could change a terminal or the order of letters is spelled out.
pub(super) fn clean(name: &str) -> Box<str> {
    if is_plain(name) {
        return name.into();
    }
    let mut kept = String::new();
    for (index, letter) in name.chars().enumerate() {
        if index == LONGEST_NAME {
            kept.push('…');
            break;
        }
        if is_odd(letter) {
            kept.extend(letter.escape_unicode());
        } else {
            kept.push(letter);
        }
    }
    kept.into()
}

/// Whether a name can stay as it is.
fn is_plain(name: &str) -> bool {
    let is_plain = |byte: u8| byte.wrapping_sub(b' ') <= b'~' - b' ';
    name.len() <= LONGEST_NAME && name.bytes().all(is_plain)
}

/// Control characters, and those that are not seen or turn the direction of writing.
fn is_odd(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_harmless() {
        assert_eq!(&*clean("Hermes-4-405B"), "Hermes-4-405B");
        assert_eq!(&*clean("größe"), "größe");
        assert_eq!(
            &*clean("a\x1b[31m\u{202e}b\n"),
            r"a\u{1b}[31m\u{202e}b\u{a}"
        );
        let long = clean(&"ä".repeat(5000));
        assert_eq!(long.chars().count(), LONGEST_NAME + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn an_app_without_a_key_is_called_by_its_product() {
        for (agent, name) in [
            ("OpenAI/Python 2.8.1", Some("OpenAI/Python (no key)")),
            ("curl/8.5.0", Some("curl (no key)")),
            ("Mozilla/5.0 (X11; Linux)", Some("Mozilla (no key)")),
            (" my-app ", Some("my-app (no key)")),
            ("  ", None),
            ("", None),
        ] {
            let product = product(agent.as_bytes());
            assert_eq!(product.as_deref(), name, "{agent}");
        }
        assert_eq!(&*Meter::new(true, None).app(), "(no key)");
    }
}
