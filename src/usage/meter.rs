//! What is gathered of one request while it is under way. Nothing of a prompt or an answer is kept but the numbers of its
//! tokens.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use super::decode::{AnswerDecoder, Encoding};
use super::estimate::{Estimate, EstimatedBody};
use super::scan::AnswerFormat;
use super::tokens::TokenCounts;

/// The longest name of a model, an app or a login that is kept, in characters.
const LONGEST_NAME: usize = 100;

/// What names of our own begin with, such as `(other)`.
const OURS: char = '(';

/// The suffix of an app's name without a key, or its replacement.
pub const NO_KEY: &str = "(no key)";

/// One request's usage.
#[derive(Debug)]
pub struct UsageMeter {
    /// Whether its answer may tell of tokens.
    makes_tokens: bool,
    look: AnswerDecoder,
    /// Where its app's tokens are limited.
    estimate: Option<Box<Estimate>>,
    /// What its app is called without a key.
    app: Option<Arc<str>>,
    login: Option<Box<str>>,
    model: Option<Box<str>>,
}

impl UsageMeter {
    /// Of a request that has just been routed. `makes_tokens`: whether its answer may tell of tokens that it took, and
    /// not of those of an earlier one. `agent`: its `User-Agent`, where that is to name it.
    pub fn new(makes_tokens: bool, agent: Option<&[u8]>) -> Self {
        Self {
            makes_tokens,
            look: AnswerDecoder::Blind,
            estimate: None,
            app: agent.and_then(app),
            login: None,
            model: None,
        }
    }

    /// Its tokens are estimated where its answer does not tell them.
    pub fn estimates(&mut self, body: EstimatedBody) {
        if self.makes_tokens {
            self.estimate = Some(Box::new(Estimate::new(body)));
        }
    }

    /// Its provider is asked for this model, whatever [`EndedRequest`](super::EndedRequest) says.
    pub fn asks_for(&mut self, model: &str) {
        self.model = Some(clean(model).into());
    }

    /// It goes with this login of several.
    pub fn goes_with(&mut self, login: &str) {
        self.login = Some(clean(login).into());
    }

    /// The answer is a success; `kind` is its `Content-Type`, and `encodings` are its values of `Content-Encoding`.
    pub fn answered<'v>(&mut self, kind: &[u8], encodings: impl Iterator<Item = &'v [u8]>) {
        if let Some(form) = AnswerFormat::of(kind).filter(|_| self.makes_tokens) {
            let encoding = Encoding::of(encodings);
            self.look = AnswerDecoder::new(form, encoding);
            if let Some(estimate) = &mut self.estimate {
                estimate.answered(form, encoding);
            }
        }
    }

    /// The answer is not a success, which takes no tokens.
    pub fn failed(&mut self) {
        self.estimate = None;
    }

    /// A piece of the provider's answer passes.
    pub fn pass(&mut self, piece: &[u8]) {
        self.look.pass(piece);
        if let Some(estimate) = &mut self.estimate {
            estimate.pass(piece);
        }
    }

    /// Completion tokens, as far as the answer has told them; most streams do at their end.
    pub fn completion(&self) -> Option<u64> {
        self.tokens().map(|tokens| tokens.completion)
    }

    /// All of it has passed.
    pub fn ends(&mut self) {
        self.look.ends();
    }

    /// The tokens that it has taken, in and out, and how many of them its answer has not told: an answer that was cut may
    /// not have come to that, and others never do. `sent` are the bytes of its body.
    pub fn spent(&self, sent: u64, is_whole: bool) -> (u64, u64) {
        let told = self.tokens();
        let known = told.unwrap_or_default();
        let Some(estimate) = &self.estimate else {
            return (known.total, 0);
        };
        let is_whole = is_whole || estimate.is_over();
        if is_whole && told.is_some() {
            return (known.total, 0);
        }
        let prompt = match known.prompt {
            0 => estimate.prompt(sent),
            told => told,
        };
        let completion = known.completion.max(estimate.completion(is_whole));
        let total = known.total.max(prompt.saturating_add(completion));
        (total, total - known.total)
    }

    /// What its app calls itself.
    pub fn named(&self) -> Option<&Arc<str>> {
        self.app.as_ref()
    }

    pub(super) fn tokens(&self) -> Option<TokenCounts> {
        self.look.tokens()
    }

    pub(super) fn makes_tokens(&self) -> bool {
        self.makes_tokens
    }

    /// What its app is called without a key.
    pub(super) fn app(&self) -> &str {
        self.app.as_deref().unwrap_or(NO_KEY)
    }

    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    pub(super) fn login(&self) -> &str {
        self.login.as_deref().unwrap_or_default()
    }
}

thread_local! {
    /// The last `User-Agent` with what it is called. One app asks many times.
    static LAST: RefCell<(Vec<u8>, Option<Arc<str>>)> = const { RefCell::new((Vec::new(), None)) };
}

/// What an app is called that shows this `User-Agent` and no key.
fn app(agent: &[u8]) -> Option<Arc<str>> {
    LAST.with_borrow_mut(|(last, app)| {
        if last.as_slice() != agent {
            *app = product(agent);
            last.clear();
            last.extend_from_slice(agent);
            last.shrink_to(4 * LONGEST_NAME);
        }
        app.clone()
    })
}

/// The first product that a `User-Agent` names, without its version, as the name of an app without a key.
fn product(agent: &[u8]) -> Option<Arc<str>> {
    let agent = agent.trim_ascii_start();
    // `OpenAI/Python 2.8.1` has two words for one product.
    let (mut end, mut slash) = (0, None);
    for byte in agent.iter().take(2 * LONGEST_NAME) {
        match byte {
            b' ' | b'\t' => break,
            b'/' => slash = Some(end),
            _ => {}
        }
        end += 1;
    }
    let is_version = |slash: &usize| agent.get(slash + 1).is_some_and(u8::is_ascii_digit);
    let end = slash.filter(is_version).unwrap_or(end);
    let name = std::str::from_utf8(agent.get(..end)?).ok()?;
    if name.is_empty() {
        return None;
    }
    Some([&clean(name), " ", NO_KEY].concat().into())
}

/// A name as it is kept and shown: not too long, and spelled out where it could change a terminal or the order of
/// letters, or look like a row of ours.
pub fn clean(name: &str) -> Cow<'_, str> {
    if is_plain(name) {
        return Cow::Borrowed(name);
    }
    let mut kept = String::new();
    for (index, letter) in name.chars().enumerate() {
        if index == LONGEST_NAME {
            kept.push('…');
            break;
        }
        if is_odd(letter) || (index == 0 && letter == OURS) {
            kept.extend(letter.escape_unicode());
        } else {
            kept.push(letter);
        }
    }
    kept.into()
}

/// Whether a name can stay as it is.
fn is_plain(name: &str) -> bool {
    // From a blank to a tilde; eight bytes at once.
    const LOW: u64 = 0x2020_2020_2020_2020;
    const ONE: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = 0x8080_8080_8080_8080;
    if name.len() > LONGEST_NAME || name.starts_with(OURS) {
        return false;
    }
    let (words, rest) = name.as_bytes().as_chunks::<8>();
    let odd = words.iter().fold(0, |odd, word| {
        let word = u64::from_le_bytes(*word);
        odd | word | word.wrapping_sub(LOW) | word.wrapping_add(ONE)
    });
    let is_plain = |byte: &u8| byte.wrapping_sub(b' ') <= b'~' - b' ';
    odd & TOP == 0 && rest.iter().all(is_plain)
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
    fn a_name_is_plain_whatever_its_length() {
        for length in 1..40 {
            for at in 0..length {
                for (byte, is_plain) in [
                    (b' ', true),
                    (b'~', true),
                    (0x1f, false),
                    (0x7f, false),
                    (0, false),
                ] {
                    let mut name = vec![b'x'; length];
                    name[at] = byte;
                    let name = String::from_utf8(name).unwrap();
                    assert_eq!(super::is_plain(&name), is_plain, "{name:?}");
                }
            }
            assert!(!super::is_plain(&("x".repeat(length) + "ä")));
        }
    }

    #[test]
    fn names_are_short_and_harmless() {
        assert_eq!(&*clean("Hermes-4-405B"), "Hermes-4-405B");
        assert_eq!(&*clean("größe"), "größe");
        assert_eq!(&*clean("(other)"), r"\u{28}other)");
        assert_eq!(&*clean("m (no key)"), "m (no key)");
        assert_eq!(
            &*clean("a\x1b[31m\u{202e}b\n"),
            r"a\u{1b}[31m\u{202e}b\u{a}"
        );
        let long = "ä".repeat(5000);
        let long = clean(&long);
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
            ("(other)", Some(r"\u{28}other) (no key)")),
            (
                &"x".repeat(60),
                Some(&*format!("{} (no key)", "x".repeat(60))),
            ),
            ("  ", None),
            ("", None),
        ] {
            let product = product(agent.as_bytes());
            assert_eq!(product.as_deref(), name, "{agent}");
        }
        assert_eq!(UsageMeter::new(true, None).app(), "(no key)");
    }
}
