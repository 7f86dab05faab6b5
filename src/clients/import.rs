//! Imports tokens from Hermes Agent's proxy: `hermes proxy start --client-keys-file` reads an object of labels and
//! tokens. Pure.

use std::collections::{HashMap, HashSet};

use super::document::is_name;
use super::error::shortened;
use super::key::Hash;
use crate::secret::Secret;

/// The shortest token accepted, in bytes. The port answers thousands of attempts a second, so a shorter one could be
/// guessed.
const SHORTEST: usize = 16;
/// The longest token accepted, in bytes. A longer one does not fit into a request's head.
pub const LONGEST_KEY: usize = 4096;
/// The longest client name.
const LONGEST_NAME: usize = 64;

/// A token that an app already uses.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token's label in Hermes Agent's file.
    pub label: String,
    /// The token, which the app continues to present.
    pub key: Secret,
}

/// The result of importing one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The token's label in Hermes Agent's file.
    pub label: String,
    /// The client's name, if the token has a client.
    pub name: Option<String>,
    /// What happened to the token.
    pub outcome: TokenOutcome,
    /// The reason, as a phrase for people.
    pub detail: Option<String>,
}

/// What happened to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenOutcome {
    /// It is now a client's key.
    Imported,
    /// The token or its name exists already; nothing changed.
    Skipped,
    /// It can't serve as a key.
    Refused,
}

/// The existing clients, and the new ones.
#[derive(Default)]
pub(super) struct KnownClients {
    /// Client names by the digest of their key.
    keys: HashMap<[u8; 32], String>,
    names: HashSet<String>,
    /// Digests of revoked tokens.
    revoked: HashSet<[u8; 32]>,
    /// The new clients, in order.
    new: Vec<(String, Hash)>,
}

impl KnownClients {
    /// Starts with the existing clients and the revoked tokens.
    pub(super) fn new<'k>(
        clients: impl Iterator<Item = (&'k str, Hash)>,
        revoked: impl Iterator<Item = Hash>,
    ) -> Self {
        let mut known = Self {
            revoked: revoked.map(Hash::digest).collect(),
            ..Self::default()
        };
        for (name, hash) in clients {
            known.enter(name, hash);
        }
        known
    }

    fn enter(&mut self, name: &str, hash: Hash) {
        self.keys.insert(hash.digest(), name.to_owned());
        self.names.insert(name.to_owned());
    }
}

/// Decides on each token and lists the new clients. A revoked token stays revoked.
pub(super) fn plan(
    tokens: &[Token],
    mut known: KnownClients,
) -> (Vec<Imported>, Vec<(String, Hash)>) {
    let decided = tokens.iter().map(|token| decide(token, &mut known));
    (decided.collect(), known.new)
}

fn decide(token: &Token, known: &mut KnownClients) -> Imported {
    let label = token.label.trim();
    let told = |name: Option<&str>, outcome: TokenOutcome, detail: Option<String>| Imported {
        label: shortened(label),
        name: name.map(str::to_owned),
        outcome,
        detail,
    };
    let refused = |why: &str| told(None, TokenOutcome::Refused, Some(why.to_owned()));
    if let Err(why) = usable(&token.key) {
        return refused(&why);
    }
    let Some(name) = name_of(label) else {
        return refused("the label has no letter or digit to make a name of");
    };
    let hash = Hash::of_secret(&token.key);
    if known.revoked.contains(&hash.digest()) {
        let detail = "the token was revoked; `hermesctl clients add NAME` makes a new key";
        return told(None, TokenOutcome::Skipped, Some(detail.to_owned()));
    }
    if let Some(other) = known.keys.get(&hash.digest()) {
        let detail = if *other == name {
            "it already exists".to_owned()
        } else {
            format!("the client key {other} has the same token")
        };
        return told(Some(other), TokenOutcome::Skipped, Some(detail));
    }
    if known.names.contains(&name) {
        let detail = "another key already has this name";
        return told(Some(&name), TokenOutcome::Skipped, Some(detail.to_owned()));
    }
    let detail = (name != label).then(|| "the label can't be a name as it is".to_owned());
    let imported = told(Some(&name), TokenOutcome::Imported, detail);
    known.enter(&name, hash);
    known.new.push((name, hash));
    imported
}

/// Checks that a header can carry the token and that it is too long to guess.
fn usable(key: &Secret) -> Result<(), String> {
    let text = key.expose();
    let length = text.chars().count();
    if length < SHORTEST {
        return Err(format!(
            "the token has only {length} of at least {SHORTEST} characters and could be guessed"
        ));
    }
    if text.len() > LONGEST_KEY {
        return Err(format!("the token is longer than {LONGEST_KEY} bytes"));
    }
    if text.trim() != text || text.chars().any(char::is_control) {
        return Err(
            "the token has spaces around it or control characters, which no app can send"
                .to_owned(),
        );
    }
    Ok(())
}

/// The client name for a label: lower case, with `-` in place of characters that a name can't have. `None` if nothing
/// is left.
fn name_of(label: &str) -> Option<String> {
    let mut name = String::new();
    for c in label.chars().flat_map(char::to_lowercase) {
        let allowed = c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if allowed {
            name.push(c);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let name: String = name
        .trim_start_matches(['-', '_', '.'])
        .chars()
        .take(LONGEST_NAME)
        .collect();
    let name = name.trim_end_matches('-');
    is_name(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(label: &str, key: &str) -> Token {
        Token {
            label: label.to_owned(),
            key: Secret::new(key.to_owned()),
        }
    }

    fn imported(tokens: &[Token], known: KnownClients) -> Vec<(Option<String>, TokenOutcome)> {
        let results = plan(tokens, known).0.into_iter();
        results.map(|one| (one.name, one.outcome)).collect()
    }

    #[test]
    fn labels_become_names() {
        for (label, name) in [
            ("agent-a", Some("agent-a")),
            ("Open WebUI", Some("open-webui")),
            ("  Karakeep (home) ", Some("karakeep-home")),
            ("_x.Y_1", Some("x.y_1")),
            ("Küche", Some("k-che")),
            ("ÄÖ", None),
            ("  ", None),
        ] {
            assert_eq!(name_of(label).as_deref(), name, "{label}");
        }
        let long = name_of(&"a".repeat(100)).unwrap();
        assert_eq!(long.len(), 64);
    }

    #[test]
    fn tokens_that_no_app_can_send_or_anybody_can_guess_are_refused() {
        let long = "x".repeat(LONGEST_KEY + 1);
        for wrong in [
            "",
            "fifteen-letters",
            " sixteen-letters-and-a-space",
            "sixteen-letters-\nand-a-line",
            &long,
        ] {
            let (results, _) = plan(&[token("a", wrong)], KnownClients::default());
            assert_eq!(results[0].outcome, TokenOutcome::Refused, "{wrong}");
            assert!(wrong.is_empty() || !format!("{results:?}").contains(wrong));
        }
        let right = imported(&[token("a", "sixteen-letters!")], KnownClients::default());
        assert_eq!(right, [(Some("a".to_owned()), TokenOutcome::Imported)]);
    }

    #[test]
    fn a_name_or_a_token_that_is_there_is_skipped() {
        let hash = Hash::of(b"the-first-token-of-a");
        let gone = Hash::of(b"the-token-that-is-gone");
        let known = || KnownClients::new([("a", hash)].into_iter(), [gone].into_iter());
        let tokens = [
            token("a", "another-token-of-a!"),
            token("A", "the-first-token-of-a"),
            token("b", "the-first-token-of-a"),
            token("c", "the-only-token-of-c"),
            token("C ", "another-token-of-c!"),
            token("d", "the-token-that-is-gone"),
        ];
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(
            imported(&tokens, known()),
            [
                (name("a"), TokenOutcome::Skipped),
                (name("a"), TokenOutcome::Skipped),
                (name("a"), TokenOutcome::Skipped),
                (name("c"), TokenOutcome::Imported),
                (name("c"), TokenOutcome::Skipped),
                (None, TokenOutcome::Skipped),
            ]
        );
        let (_, new) = plan(&tokens, known());
        let names: Vec<_> = new.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["c"]);
    }
}
