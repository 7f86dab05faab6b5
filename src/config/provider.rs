//! `[providers.<name>]`: the keys that every provider may have. Those of one type are in [`kind`].

pub(super) mod kind;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use hyper::header::HeaderName;
use url::Url;

use super::changes::Changes;
use super::form::{Flag, Form, Optional, Path, Text, Texts, Wait, WaitOrNever, Word};
use super::reader::{KeyLocation, TableReader, Wrong};
use super::table::{KeyText, Table, table};
use super::tables::{OPTIONAL_WAIT, WAIT};
use super::writer::SettingsWriter;
use super::{AllowedPath, ProviderName, values};
use crate::suggest::did_you_mean;
use kind::{KINDS, KeySource, ProviderKind, ProviderType, login_meant};

/// The keys by which the others are read.
pub(super) const HEAD: [KeyText; 2] = [
    (
        "type",
        &[
            " nous, xai, openai-codex: an OAuth login that is refreshed; each only for the provider of this name.",
            " oauth2: any other provider with OAuth logins. static: a fixed API key.",
        ],
    ),
    (
        "base_url",
        &[
            " Where requests go: oauth2 and static need it. For the other types it replaces the provider's own address: set",
            " it only to a server that you run yourself, since your login is sent there.",
        ],
    ),
];

/// A silence in which a comment is sent, or zero for none.
const COMMENT_WAIT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(10);

const USER_AGENTS: [(&str, UserAgent); 2] =
    [("own", UserAgent::Own), ("client", UserAgent::Client)];
const HTTP_VERSIONS: [(&str, HttpVersion); 3] = [
    ("auto", HttpVersion::Auto),
    ("1.1", HttpVersion::Http1),
    ("2", HttpVersion::Http2),
];
const POOL_STRATEGIES: [(&str, PoolStrategy); 2] = [
    ("fill_first", PoolStrategy::FillFirst),
    ("round_robin", PoolStrategy::RoundRobin),
];

table! {
    /// One provider.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Provider {
        beside {
            /// Which protocol it speaks.
            pub kind: ProviderKind;
            /// Whether no setting asks for it: it is not in the file, no listener names it, and it is not
            /// the default provider. Then it exists once it has a login.
            pub implied: bool;
            /// Where requests go instead of the provider's own base URL. The operator's word: not
            /// checked against the provider's hosts.
            pub base_url: Option<Url>;
        }

        /// Paths below /v1 to forward in addition to the provider's own: "/responses" (POST), "GET /usage",
        /// "GET,DELETE /files/{id}" with a place for an id, or "/files multipart" for bodies of this type. Other
        /// bodies are forwarded as JSON; "any" behind the path keeps the type of all.
        pub extra_paths: Vec<AllowedPath> = Texts("/responses", AllowedPath::parse), or Vec::new(), on reload;
        /// Request headers to forward in addition to the standard ones.
        pub forward_headers: Vec<HeaderName> = Texts("x-request-tag", values::forwarded_header),
            or Vec::new(), on reload;
        /// The User-Agent that is sent to the provider: own (hermes-proxyd/VERSION) or client (the app's).
        pub user_agent: UserAgent = Word(&USER_AGENTS), or UserAgent::Own, on reload;
        /// Which HTTP is spoken to the provider over TLS: auto (what is faster of what it speaks: HTTP/2 for many requests at once,
        /// HTTP/1.1 for few that come fast), 1.1, or 2 (if it speaks it).
        pub http: HttpVersion = Word(&HTTP_VERSIONS), or HttpVersion::Auto, on reload;
        /// Whether to add the `data: [DONE]` that apps wait for to an event stream that ends after its
        /// `finish_reason` without one. Off for a provider of type static, unless you set this.
        pub append_done: bool = Flag, or matches!(kind, ProviderKind::Nous { .. }), on reload;
        /// After how long a silence between two events an event stream gets an SSE comment (": keep-alive"), which apps skip,
        /// so that a reverse proxy in front does not cut it: "15s", for example; from 1s to 10m. 0s: never.
        pub keep_alive_comment: Duration = WaitOrNever(COMMENT_WAIT), or Duration::ZERO, on reload;
        /// Whether to translate between Chat Completions and Responses if the provider serves only one of them, as
        /// docs/translation.md says. On for a provider of type openai-codex, unless you set this; there
        /// false also ends all other changes to bodies.
        pub translate: bool = Flag, or matches!(kind, ProviderKind::Codex { .. }), on reload;
        /// Certificates (PEM) to trust for this provider in addition to the system's.
        pub ca_file: Option<PathBuf> = Optional(Path("~/company-ca.pem", values::path)), or None, on reload;
        /// The time limit for one token request; 20s for xai and openai-codex.
        pub token_timeout: Duration = Wait(WAIT), or kind.token_timeout(), on reload;
        /// About how long before its expiry a token is renewed; a short-lived one is renewed after about 80 %
        /// of its lifetime.
        pub refresh_lead: Duration = Wait(OPTIONAL_WAIT), or Duration::from_mins(5), on reload;
        /// Which login a request uses if you have several of this provider: `fill_first` (the first one by priority
        /// that is not cooling down) or `round_robin` (one after the other). Hermes Agent's `credential_pool_strategies`
        /// has the same names.
        pub pool: PoolStrategy = Word(&POOL_STRATEGIES), or PoolStrategy::FillFirst, on reload;
    }
}

/// Which HTTP a provider is spoken to over TLS. Without TLS it is HTTP/1.1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// What is faster, of what its host speaks.
    #[default]
    Auto,
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 where its host speaks it.
    Http2,
}

/// Which `User-Agent` the provider sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserAgent {
    /// `hermes-proxyd/<version>`.
    Own,
    /// The client's, unchanged.
    Client,
}

/// Which of several logins of one provider a request goes with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PoolStrategy {
    /// The first one by priority that is not cooling down.
    #[default]
    FillFirst,
    /// One after the other.
    RoundRobin,
}

impl Provider {
    /// Nous Portal with every setting at its default.
    pub fn nous() -> Self {
        Self::of_kind(ProviderKind::Nous { portal_url: None })
    }

    /// A provider of this kind with every other setting at its default.
    pub fn of_kind(kind: ProviderKind) -> Self {
        Self::with_defaults(kind, false, None)
    }

    /// Writes its table.
    pub(super) fn write_all(&self, table: &mut SettingsWriter<'_>) {
        table.put("type", Word(&KINDS).write(&ProviderType::of(&self.kind)));
        table.put("base_url", base_url(Some(&self.kind)).write(&self.base_url));
        self.kind.write(table);
        table.without(kind::keys_of_others(ProviderType::of(&self.kind)));
        self.write(table);
    }

    /// Names the keys that differ from the new ones.
    pub(super) fn compare_all(&self, new: &Self, changes: &mut Changes) {
        self.kind.compare(&new.kind, changes);
        changes.reload("base_url", &self.base_url, &new.base_url);
        self.compare(new, changes);
    }
}

/// Where requests go, by what a provider of this kind may have there.
fn base_url(kind: Option<&ProviderKind>) -> Optional<Text<Url>> {
    let parse = match kind {
        Some(ProviderKind::Static {
            api_key: KeySource::Unneeded,
        }) => |text: &str| values::keyless_url(text).and_then(values::api_url),
        Some(ProviderKind::Static { .. }) => {
            |text: &str| values::keyed_url(text).and_then(values::api_url)
        }
        Some(_) | None => |text: &str| values::base_url(text).and_then(values::api_url),
    };
    Optional(Text("https://api.example.com/v1", parse))
}

/// The providers with all settings right, and the names of all.
pub(super) fn read_all(
    root: &TableReader<'_>,
) -> (BTreeMap<ProviderName, Provider>, BTreeSet<ProviderName>) {
    let mut providers = BTreeMap::new();
    let mut names = BTreeSet::new();
    let mut places: BTreeMap<ProviderName, KeyLocation> = BTreeMap::new();
    root.named_sections("providers", |key, table| {
        let name = values::provider_name(key).map_err(|wrong| {
            table.report().add(table.here(), wrong);
        });
        let provider = read_one(table, name.as_ref().ok());
        let Ok(name) = name else {
            return;
        };
        names.insert(name.clone());
        let here = table.here().clone();
        if let Some(first) = places.insert(name.clone(), here.clone()) {
            // The tables don't come in the file's order.
            let (first, second) = if first.line < here.line {
                (first, here)
            } else {
                (here, first)
            };
            let message = format!(
                "is the same provider as [{}] in line {}: upper and lower case don't count in names",
                first.key, first.line
            );
            table.report().add(&second, message);
        }
        if let Some(provider) = provider {
            providers.insert(name, provider);
        }
    });
    if names.insert(ProviderName::nous()) {
        let nous = Provider {
            implied: true,
            ..Provider::nous()
        };
        providers.insert(ProviderName::nous(), nous);
    }
    (providers, names)
}

/// A provider; `None` if its kind is unknown.
fn read_one(table: &TableReader<'_>, name: Option<&ProviderName>) -> Option<Provider> {
    let kind = kind::read(table, name);
    let base_url = base_url(kind.as_ref()).read(table, "base_url").flatten();
    // The keys are read even if the kind is unknown, so that all mistakes are reported at once.
    let default = kind.clone().map_or_else(Provider::nous, Provider::of_kind);
    let provider = Provider::read(table, default);

    let needs_base_url = match kind? {
        ProviderKind::Static { .. } => Some("static"),
        ProviderKind::OAuth2(_) => Some("oauth2"),
        ProviderKind::Nous { .. } | ProviderKind::Xai { .. } | ProviderKind::Codex { .. } => None,
    };
    if let Some(kind) = needs_base_url.filter(|_| !table.has("base_url")) {
        let message = format!(
            "is missing: a provider of type {kind:?} needs it, for example base_url = \
             \"https://api.example.com/v1\""
        );
        table.report().add(&table.place("base_url"), message);
    }
    Some(Provider {
        base_url,
        extra_paths: merge(&provider.extra_paths),
        ..provider
    })
}

/// One entry for each path, with all its methods.
fn merge(paths: &[AllowedPath]) -> Vec<AllowedPath> {
    let mut merged = Vec::with_capacity(paths.len());
    AllowedPath::add_all(&mut merged, paths);
    merged
}

pub(super) fn unknown_provider(name: &ProviderName, names: &BTreeSet<ProviderName>) -> Wrong {
    let all: Vec<_> = names.iter().map(ProviderName::as_str).collect();
    if let Some(meant) = login_meant(name.as_str()).filter(|meant| !all.contains(meant)) {
        let it_is = if meant == name.as_str() {
            format!("the provider `{name}` has no table")
        } else {
            format!("there is no provider `{name}`, and `{meant}` has no table")
        };
        let message = format!(
            "{it_is}: add [providers.{meant}], or run `hermesctl setup --provider {meant}`, which adds it"
        );
        return message.into();
    }
    Wrong {
        message: format!(
            "there is no provider `{name}`; there are: {}",
            all.join(", ")
        ),
        suggestion: did_you_mean(name.as_str(), all),
    }
}
