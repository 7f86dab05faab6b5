//! The types of providers, with the keys that only some of them have.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::super::changes::Changes;
use super::super::form::{Form, Optional, Path, Text, Word};
use super::super::oauth2::OAuth2;
use super::super::reader::TableReader;
use super::super::table::{Table, keys_written, table};
use super::super::writer::SettingsWriter;
use super::super::{ProviderName, values};

/// The types of providers, as the file calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum ProviderType {
    Nous,
    Xai,
    Codex,
    OAuth2,
    Static,
}

pub(in super::super) const KINDS: [(&str, ProviderType); 5] = [
    ("nous", ProviderType::Nous),
    ("xai", ProviderType::Xai),
    ("openai-codex", ProviderType::Codex),
    ("oauth2", ProviderType::OAuth2),
    ("static", ProviderType::Static),
];
/// The kinds with a login, each with the one provider that has it: two keepers of one login would
/// race for its single-use tokens.
const LOGINS: [(&str, ProviderType); 3] = [
    ("nous", ProviderType::Nous),
    ("xai", ProviderType::Xai),
    ("openai-codex", ProviderType::Codex),
];
/// Keys that only some kinds have, besides all of [`OAuth2`] and [`KeyFields`].
const OF_KIND: [(&str, &[ProviderType]); 3] = [
    ("portal_url", &[ProviderType::Nous]),
    (
        "issuer_url",
        &[ProviderType::Xai, ProviderType::Codex, ProviderType::OAuth2],
    ),
    (
        "pool",
        &[
            ProviderType::Nous,
            ProviderType::Xai,
            ProviderType::Codex,
            ProviderType::OAuth2,
        ],
    ),
];
/// Whether a server without a login wants a key.
const NEEDS_KEY: [(&str, bool); 2] = [("key", true), ("none", false)];

/// The protocol of a provider, with the settings that only it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderKind {
    /// Nous Portal, with the login of Hermes Agent's store.
    Nous {
        /// Where tokens are refreshed instead of the portal's own URL. The operator's word.
        portal_url: Option<Url>,
    },
    /// xAI Grok, with the login of Hermes Agent's store.
    Xai {
        /// The issuer that replaces xAI's own, to discover the endpoints of its logins. It is
        /// trusted as the operator's word.
        issuer_url: Option<Url>,
    },
    /// OpenAI Codex, with the login of Hermes Agent's store.
    Codex {
        /// Where the login is made and tokens are refreshed instead of OpenAI's own issuer. The operator's
        /// word.
        issuer_url: Option<Url>,
    },
    /// Any provider that speaks OAuth 2.0, with a login in our own store.
    OAuth2(Box<OAuth2>),
    /// A fixed API key, never refreshed.
    Static {
        /// Where the key is read from.
        api_key: KeySource,
    },
}

/// Where a static API key is stored; the key itself is never in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file that holds the key on its first line.
    File(PathBuf),
    /// An environment variable's name.
    Env(String),
    /// The name of a credential that systemd hands to the service (`LoadCredential=`).
    Credential(String),
    /// Nowhere: the server takes requests without a key.
    Unneeded,
}

table! {
    /// Where the provider's logins are made and renewed.
    pub(in super::super) struct LoginUrls {
        /// Where tokens are refreshed instead of Nous Portal's own address: set it only to a server that you run
        /// yourself, since your login is sent there.
        portal_url: Option<Url> = Optional(Text("https://portal.example", values::base_url)), or None, on reload;
        /// Who issues the tokens. For xai and openai-codex this replaces the provider's own issuer: set it only to a
        /// server that you run yourself, since your login is sent there. For oauth2 it is the provider's issuer, whose discovery
        /// document (RFC 8414) names the endpoints that you don't set.
        issuer_url: Option<Url> = Optional(Text("https://issuer.example", values::base_url)), or None, on reload;
    }
}

table! {
    /// Where a provider of type `static` has its key: one of these.
    pub(in super::super) struct KeyFields {
        /// The key is read from the first line of a file that only you can read.
        api_key_file: Option<PathBuf> = Optional(Path("~/.config/example.key", values::path)), or None, on reload;
        /// The name of a variable in the environment of the service that holds the key.
        api_key_env: Option<String> = Optional(Text("EXAMPLE_API_KEY", values::variable_name)), or None, on reload;
        /// The name that `LoadCredential=` gives the key; it is read from `$CREDENTIALS_DIRECTORY`.
        api_key_credential: Option<String> = Optional(Text("example.key", values::credential_name)),
            or None, on reload;
        /// Whether the server wants a key: key or none. With none no Authorization header is sent, and only then may
        /// `base_url` be plain http to a private address or to a name without a dot.
        auth: Option<bool> = Optional(Word(&NEEDS_KEY)), or None, on reload;
    }
}

/// The providers with a login, by name.
pub fn login_providers() -> impl Iterator<Item = &'static str> {
    LOGINS.iter().map(|(name, _)| *name)
}

/// The provider with a login that is meant by this name: its own, or the last part of it.
pub fn login_meant(name: &str) -> Option<&'static str> {
    let mut all = login_providers();
    all.find(|known| {
        let before = known.strip_suffix(name);
        before.is_some_and(|before| before.is_empty() || before.ends_with('-'))
    })
}

/// The table that sets up a provider with a login; `None` if there is no such provider.
pub fn login_table(name: &str) -> Option<String> {
    let (_, kind) = LOGINS.iter().find(|(known, _)| *known == name)?;
    let (word, _) = KINDS.iter().find(|(_, known)| known == kind)?;
    Some(format!("[providers.{name}]\ntype = \"{word}\"\n"))
}

/// Whether a provider with a login of this name serves only apps with a client key.
pub fn login_needs_key(name: &str) -> bool {
    let kind = LOGINS.iter().find(|(known, _)| *known == name);
    matches!(kind, Some((_, ProviderType::Codex)))
}

impl ProviderType {
    pub(in super::super) fn of(kind: &ProviderKind) -> Self {
        match kind {
            ProviderKind::Nous { .. } => Self::Nous,
            ProviderKind::Xai { .. } => Self::Xai,
            ProviderKind::Codex { .. } => Self::Codex,
            ProviderKind::OAuth2(_) => Self::OAuth2,
            ProviderKind::Static { .. } => Self::Static,
        }
    }
}

impl ProviderKind {
    /// The limit for one request to the token endpoint where nothing else is said: Hermes Agent's own.
    pub fn token_timeout(&self) -> Duration {
        match self {
            Self::Xai { .. } | Self::Codex { .. } => Duration::from_secs(20),
            Self::OAuth2(_) | Self::Nous { .. } | Self::Static { .. } => Duration::from_secs(15),
        }
    }

    /// Whether each of its requests needs a client key, at every listener.
    pub fn needs_client_key(&self) -> bool {
        match self {
            Self::Codex { .. } => true,
            Self::Nous { .. } | Self::Xai { .. } | Self::OAuth2(_) | Self::Static { .. } => false,
        }
    }

    /// Where a fixed API key is read from; `None` where a login takes its place.
    pub fn api_key(&self) -> Option<&KeySource> {
        match self {
            Self::Static { api_key } => Some(api_key),
            Self::Nous { .. } | Self::Xai { .. } | Self::Codex { .. } | Self::OAuth2(_) => None,
        }
    }

    fn login_urls(&self) -> LoginUrls {
        let mut urls = LoginUrls::default();
        match self {
            Self::Nous { portal_url } => urls.portal_url.clone_from(portal_url),
            Self::Xai { issuer_url } | Self::Codex { issuer_url } => {
                urls.issuer_url.clone_from(issuer_url);
            }
            Self::OAuth2(settings) => urls.issuer_url.clone_from(&settings.issuer_url),
            Self::Static { .. } => {}
        }
        urls
    }

    /// Writes the keys that only this kind has.
    pub(super) fn write(&self, table: &mut SettingsWriter<'_>) {
        self.login_urls().write(table);
        match self {
            Self::OAuth2(settings) => settings.write(table),
            Self::Static { api_key } => KeyFields::of(api_key).write(table),
            Self::Nous { .. } | Self::Xai { .. } | Self::Codex { .. } => {}
        }
    }

    /// Names the keys that differ from the new ones.
    pub(super) fn compare(&self, new: &Self, changes: &mut Changes) {
        match (self, new) {
            (Self::Static { api_key: old }, Self::Static { api_key: new }) => {
                for key in keys_written(&KeyFields::of(new)) {
                    changes.reload(key, old, new);
                }
            }
            _ if ProviderType::of(self) != ProviderType::of(new) => {
                changes.reload("type", self, new);
            }
            (Self::OAuth2(old), Self::OAuth2(settings)) => {
                self.login_urls().compare(&new.login_urls(), changes);
                old.compare(settings, changes);
            }
            _ => self.login_urls().compare(&new.login_urls(), changes),
        }
    }
}

impl KeyFields {
    fn of(source: &KeySource) -> Self {
        let mut fields = Self::default();
        match source.clone() {
            KeySource::File(file) => fields.api_key_file = Some(file),
            KeySource::Env(name) => fields.api_key_env = Some(name),
            KeySource::Credential(name) => fields.api_key_credential = Some(name),
            KeySource::Unneeded => fields.auth = Some(false),
        }
        fields
    }

    fn needs_key(&self) -> bool {
        self.auth.unwrap_or(true)
    }

    fn source(self) -> Option<KeySource> {
        if !self.needs_key() {
            return Some(KeySource::Unneeded);
        }
        let file = self.api_key_file.map(KeySource::File);
        let env = self.api_key_env.map(KeySource::Env);
        let credential = self.api_key_credential.map(KeySource::Credential);
        file.or(env).or(credential)
    }

    /// One place for a key, or none where the server wants none.
    fn check(&self, table: &TableReader<'_>) {
        let needs_key = self.needs_key();
        let keys = ["api_key_file", "api_key_env", "api_key_credential"];
        let mut given = keys.into_iter().filter(|key| table.has(key));
        let (first, second) = (given.next(), given.next());
        let (key, message) = match (first, second) {
            (Some(key), _) if !needs_key => (key, "remove it, or auth = \"none\"".to_owned()),
            (Some(first), Some(second)) => (second, format!("set this or `{first}`, not both")),
            (None, _) if needs_key => (
                "api_key_file",
                "is missing: name the file that holds the API key, or its environment variable with \
                 `api_key_env`, or systemd's credential with `api_key_credential`; a server without a key has \
                 auth = \"none\""
                    .to_owned(),
            ),
            (None | Some(_), _) => return,
        };
        table.report().add(&table.place(key), message);
    }
}

/// The kind of the provider in this table; `None` if it is unknown or something that it needs is missing.
pub(super) fn read(table: &TableReader<'_>, name: Option<&ProviderName>) -> Option<ProviderKind> {
    let kind: Option<ProviderType> = Word(&KINDS).read(table, "type");
    // All kinds' keys, so that a key of another kind is not called unknown.
    let LoginUrls {
        portal_url,
        issuer_url,
    } = LoginUrls::read(table, LoginUrls::default());
    let oauth2 = OAuth2::read(table, OAuth2::of_issuer(issuer_url.clone()));
    let key = KeyFields::read(table, KeyFields::default());

    let mut logins = LOGINS.iter();
    let by_name = logins.find(|(login, _)| name.is_some_and(|name| name.as_str() == *login));
    let by_name = by_name.map(|(_, kind)| *kind);
    let kind = kind.or_else(|| by_name.filter(|_| !table.has("type")));
    if let Some(kind) = kind {
        check_kind(table, kind, by_name);
    }
    match kind {
        Some(ProviderType::Nous) => Some(ProviderKind::Nous { portal_url }),
        Some(ProviderType::Xai) => Some(ProviderKind::Xai { issuer_url }),
        Some(ProviderType::Codex) => Some(ProviderKind::Codex { issuer_url }),
        Some(ProviderType::OAuth2) => {
            let settings = oauth2.checked(table);
            settings.map(|settings| ProviderKind::OAuth2(Box::new(settings)))
        }
        Some(ProviderType::Static) => {
            key.check(table);
            key.source().map(|api_key| ProviderKind::Static { api_key })
        }
        None if table.has("type") => None,
        None => {
            let place = table.place("type");
            let message = "is missing: write type = \"static\" or type = \"oauth2\"";
            table.report().add(&place, message);
            None
        }
    }
}

/// Whether the provider's name and keys go with its kind.
fn check_kind(table: &TableReader<'_>, kind: ProviderType, by_name: Option<ProviderType>) {
    for (key, of) in of_some_kinds() {
        if !of.contains(&kind) && table.has(key) {
            let of = KINDS.iter().filter(|(_, kind)| of.contains(kind));
            let of: Vec<_> = of.map(|(name, _)| format!("{name:?}")).collect();
            let message = format!("only a provider of type {} has this key", of.join(" or "));
            table.report().add(&table.place(key), message);
        }
    }
    let login = LOGINS.iter().find(|(_, of)| *of == kind);
    if let Some((name, _)) = login.filter(|_| by_name != Some(kind)) {
        let message = format!(
            "is only for the provider named {name}, which has the login; write type = \"static\", \
             or move these settings to [providers.{name}]"
        );
        table.report().add(&table.place("type"), message);
    }
}

/// The keys that only some kinds have.
fn of_some_kinds() -> impl Iterator<Item = (&'static str, &'static [ProviderType])> {
    let oauth2 = OAuth2::KEYS
        .iter()
        .map(|(key, _)| (*key, &[ProviderType::OAuth2][..]));
    let fixed = KeyFields::KEYS
        .iter()
        .map(|(key, _)| (*key, &[ProviderType::Static][..]));
    OF_KIND.into_iter().chain(fixed).chain(oauth2)
}

/// The keys that this kind does not have.
pub(super) fn keys_of_others(kind: ProviderType) -> Vec<&'static str> {
    let others = of_some_kinds().filter(|(_, of)| !of.contains(&kind));
    others.map(|(key, _)| key).collect()
}
