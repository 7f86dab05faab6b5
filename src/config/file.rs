//! The shape of the file: its keys, and how they become a [`Config`]; pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::error::ConfigError;
use super::reader::{Field, Place, Report, Section, Wrong};
use super::shape::Key;
use super::{
    AllowedPath, Config, Guard, Hook, HookAction, KeySource, Limits, Log, LogFormat, NoticeKind,
    PoolStrategy, Provider, ProviderKind, ProviderName, Timeouts, Usage, UserAgent, listen, oauth2,
    routing, units, values,
};
use crate::paths::Environment;
use crate::suggest::did_you_mean;

const KIB: u64 = 1 << 10;
const TIB: u64 = 1 << 40;
/// hyper reads no header block into less than this.
const LEAST_HEADERS: u64 = 8 * KIB;
const MOST_HEADERS: u64 = 16 << 20;
const MOST_CONNECTIONS: u64 = 1_000_000;
/// A hundred years.
const MOST_DAYS: u64 = 36_500;
const MONTH: Duration = Duration::from_hours(30 * 24);
/// A required wait.
const WAIT: RangeInclusive<Duration> = Duration::from_millis(1)..=MONTH;
/// A wait that may be zero.
const OPTIONAL_WAIT: RangeInclusive<Duration> = Duration::ZERO..=MONTH;
/// A silence in which a comment is sent, or zero for none.
const COMMENT_WAIT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(10);
/// A hook that takes longer would keep the next notice waiting.
const HOOK_WAIT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(5);

/// The types of providers, as the file calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Nous,
    Xai,
    Codex,
    OAuth2,
    Static,
}

pub(super) const KINDS: [(&str, Kind); 5] = [
    ("nous", Kind::Nous),
    ("xai", Kind::Xai),
    ("openai-codex", Kind::Codex),
    ("oauth2", Kind::OAuth2),
    ("static", Kind::Static),
];
/// The kinds with a login, each with the one provider that has it: two keepers of one login would
/// race for its single-use tokens.
const LOGINS: [(&str, Kind); 3] = [
    ("nous", Kind::Nous),
    ("xai", Kind::Xai),
    ("openai-codex", Kind::Codex),
];

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
    matches!(kind, Some((_, Kind::Codex)))
}

/// Keys that only some kinds have, besides those of `oauth2`.
const OF_KIND: [(&str, &[Kind]); 7] = [
    ("portal_url", &[Kind::Nous]),
    ("issuer_url", &[Kind::Xai, Kind::Codex, Kind::OAuth2]),
    ("api_key_file", &[Kind::Static]),
    ("api_key_env", &[Kind::Static]),
    ("api_key_credential", &[Kind::Static]),
    ("auth", &[Kind::Static]),
    ("pool", &[Kind::Nous, Kind::Xai, Kind::Codex, Kind::OAuth2]),
];
/// Whether a server without a login wants a key.
pub(super) const NEEDS_KEY: [(&str, bool); 2] = [("key", true), ("none", false)];
pub(super) const USER_AGENTS: [(&str, UserAgent); 2] =
    [("own", UserAgent::Own), ("client", UserAgent::Client)];
pub(super) const POOL_STRATEGIES: [(&str, PoolStrategy); 2] = [
    ("fill_first", PoolStrategy::FillFirst),
    ("round_robin", PoolStrategy::RoundRobin),
];

/// Turns the text of `file` into a configuration, or reports everything that is wrong with it.
///
/// Does no I/O: `file` is only for the messages, `env` only replaces a leading `~` in paths.
pub fn parse(text: &str, file: &Path, env: &Environment) -> Result<Config, ConfigError> {
    read(text, file, env).config
}

pub(super) struct Reading {
    pub(super) config: Result<Config, ConfigError>,
    /// All keys that were asked for.
    pub(super) keys: Vec<Key>,
    /// The keys that the file holds, as problems name them, with their lines.
    pub(super) lines: BTreeMap<String, usize>,
}

/// As [`parse`], with what was asked for and what was found.
pub(super) fn read(text: &str, file: &Path, env: &Environment) -> Reading {
    let (table, errors) = DeTable::parse_recoverable(text);
    let report = Report::new(text, &errors);
    let config = Section::read_root(&report, table.get_ref(), |root| config(root, env));
    let (problems, keys, lines) = report.finish();
    let file = file.to_path_buf();
    let config = if problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError { file, problems })
    };
    Reading {
        config,
        keys,
        lines,
    }
}

fn config(root: &Section<'_>, env: &Environment) -> Config {
    let default = Config::default();
    let default_provider = root.text("default_provider", "nous", values::provider_name);
    let hermes_home = root.text("hermes_home", "~/.hermes", |text| values::path(text, env));
    let models_cache = root.duration("models_cache", OPTIONAL_WAIT);
    let listeners = root.sections("listen", |table| listen::listener(table, env));
    if root.is_empty_list("listen") {
        let place = root.place("listen");
        root.report().add(&place, "at least one is needed");
    }
    let guard = root.section("guard", guard);
    let limits = root.section("limits", limits);
    let timeouts = root.section("timeouts", timeouts);
    let log = root.section("log", log);
    let usage = root.section("usage", usage);
    let hooks = root.sections("hooks", |table| hook(table, env));
    let routing = routing::read(root);
    let (mut providers, names) = providers(root, env);
    routing::check(&routing, root, &names);

    let named = listeners.iter().flatten();
    for field in named
        .filter_map(|l| l.provider.as_ref())
        .chain(&default_provider)
    {
        if !names.contains(&field.value) {
            root.report()
                .add(&field.place, unknown_provider(&field.value, &names));
        }
    }
    listen::check_duplicates(root.report(), listeners.iter().flatten());
    let wanted = listeners
        .iter()
        .flatten()
        .filter_map(|l| l.provider.as_ref())
        .chain(&routing.providers);
    let wanted = default_provider.is_none()
        || wanted
            .chain(&default_provider)
            .any(|field| field.value == ProviderName::nous());
    if let Some(nous) = providers.get_mut(&ProviderName::nous()) {
        nous.implied &= !wanted;
    }

    Config {
        default_provider: or(default_provider, default.default_provider),
        hermes_home: hermes_home.map(|field| field.value),
        models_cache: or(models_cache, default.models_cache),
        listeners: listeners.map_or(default.listeners, |listeners| {
            listeners
                .into_iter()
                .map(listen::ListenerFields::listener)
                .collect()
        }),
        guard,
        limits,
        timeouts,
        log,
        usage,
        hooks: hooks.into_iter().flatten().flatten().collect(),
        routing: routing.routing,
        providers,
    }
}

fn guard(table: &Section<'_>) -> Guard {
    let default = Guard::default();
    let hosts = table.list("allowed_hosts", "my-machine.lan", values::host_name);
    let origins = table.list("allowed_origins", "https://app.example", values::origin);
    let peer_check = table.flag("peer_check");
    Guard {
        peer_check: or(peer_check, default.peer_check),
        allowed_hosts: all_or(hosts, default.allowed_hosts),
        allowed_origins: all_or(origins, default.allowed_origins),
    }
}

fn limits(table: &Section<'_>) -> Limits {
    let default = Limits::default();
    let replay_body = table.size("replay_body", 0..=TIB);
    let replay_total = table.size("replay_total", 0..=TIB);
    let place = replay_body.as_ref().or(replay_total.as_ref());
    let place = place.map(|field| field.place.clone());
    let limits = Limits {
        body: or(table.size("body", 1..=TIB), default.body),
        headers: or(
            table.size("headers", LEAST_HEADERS..=MOST_HEADERS),
            default.headers,
        ),
        connections: or(
            table.count("connections", 1..=MOST_CONNECTIONS),
            default.connections,
        ),
        replay_body: or(replay_body, default.replay_body),
        replay_total: or(replay_total, default.replay_total),
        route_body: or(table.size("route_body", 1..=TIB), default.route_body),
    };
    if let Some(place) = place
        && limits.replay_body > limits.replay_total
    {
        let size = |bytes: usize| units::format_size(bytes as u64);
        let message = format!(
            "replay_body ({}) must not be larger than replay_total ({}), which all requests share",
            size(limits.replay_body),
            size(limits.replay_total)
        );
        table.report().add(&place, message);
    }
    limits
}

fn timeouts(table: &Section<'_>) -> Timeouts {
    let default = Timeouts::default();
    Timeouts {
        headers: or(table.duration("headers", WAIT), default.headers),
        keep_alive: or(table.duration("keep_alive", WAIT), default.keep_alive),
        body: or(table.duration("body", WAIT), default.body),
        connect: or(table.duration("connect", WAIT), default.connect),
        reuse: or(table.duration("reuse", WAIT), default.reuse),
        response_head: or(table.duration("response_head", WAIT), default.response_head),
        idle: or(table.duration("idle", WAIT), default.idle),
        credential: or(table.duration("credential", WAIT), default.credential),
        drain: or(table.duration("drain", OPTIONAL_WAIT), default.drain),
    }
}

fn log(table: &Section<'_>) -> Log {
    let default = Log::default();
    Log {
        level: or(
            table.text("level", "info", values::log_level),
            default.level,
        ),
        format: or(table.choice("format", &LogFormat::NAMES), default.format),
    }
}

fn usage(table: &Section<'_>) -> Usage {
    let default = Usage::default();
    Usage {
        enabled: or(table.flag("enabled"), default.enabled),
        keep_days: or(table.count("keep_days", 1..=MOST_DAYS), default.keep_days),
    }
}

/// A hook; `None` if its action is unknown.
fn hook(table: &Section<'_>, env: &Environment) -> Option<Hook> {
    let events = table.choices("events", &NoticeKind::NAMES);
    let command = table.list("command", "notify-send", values::argument);
    let url = table.text("url", "https://ntfy.example/my-topic", values::webhook_url);
    let timeout = table.duration("timeout", HOOK_WAIT);

    if table.is_empty_list("events") {
        let message = "name at least one event, or remove the key to get all of them";
        table.report().add(&table.place("events"), message);
    }
    let action = match (table.has("command"), table.has("url")) {
        (true, true) => {
            let message = "set this or `command`, not both; repeat [[hooks]] for a second one";
            table.report().add(&table.place("url"), message);
            None
        }
        (false, false) => {
            let message = "is missing: name the program and its arguments, for example command = \
                           [\"notify-send\", \"hermes-proxyd\"], or a `url` to post to";
            table.report().add(&table.place("command"), message);
            None
        }
        (true, false) => command.and_then(|line| program(table, line, env)),
        (false, true) => url.map(|field| HookAction::Url(field.value)),
    };
    let default = Hook::of_action(action?);
    Some(Hook {
        events: all_or(events, default.events),
        timeout: or(timeout, default.timeout),
        action: default.action,
    })
}

fn program(table: &Section<'_>, line: Vec<Field<String>>, env: &Environment) -> Option<HookAction> {
    let mut line: Vec<String> = line.into_iter().map(|field| field.value).collect();
    match values::hook_program(line.first().map_or("", String::as_str), env) {
        Ok(program) => {
            if let Some(first) = line.first_mut() {
                *first = program;
            }
            Some(HookAction::Command(line))
        }
        Err(wrong) => {
            table.report().add(&table.place("command"), wrong);
            None
        }
    }
}

/// The providers with all settings right, and the names of all.
fn providers(
    root: &Section<'_>,
    env: &Environment,
) -> (BTreeMap<ProviderName, Provider>, BTreeSet<ProviderName>) {
    let mut providers = BTreeMap::new();
    let mut names = BTreeSet::new();
    let mut places: BTreeMap<ProviderName, Place> = BTreeMap::new();
    root.named_sections("providers", |key, table| {
        let name = values::provider_name(key).map_err(|wrong| {
            table.report().add(table.here(), wrong);
        });
        let provider = provider(table, name.as_ref().ok(), env);
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
fn provider(
    table: &Section<'_>,
    name: Option<&ProviderName>,
    env: &Environment,
) -> Option<Provider> {
    let path = |text: &str| values::path(text, env);
    let kind = provider_kind(table, name, env);
    let keyless = kind.as_ref().and_then(ProviderKind::api_key) == Some(&KeySource::Unneeded);
    let base_url = table.text("base_url", "https://api.example.com/v1", |text| {
        let url = match &kind {
            _ if keyless => values::keyless_url(text),
            Some(ProviderKind::Static { .. }) => values::keyed_url(text),
            Some(_) | None => values::base_url(text),
        };
        url.and_then(values::api_url)
    });
    let extra_paths = table.list("extra_paths", "/responses", AllowedPath::parse);
    let forward_headers = table.list("forward_headers", "x-request-tag", values::forwarded_header);
    let user_agent = table.choice("user_agent", &USER_AGENTS);
    let append_done = table.flag("append_done");
    let keep_alive_comment = table.duration_or_never("keep_alive_comment", COMMENT_WAIT);
    let translate = table.flag("translate");
    let ca_file = table.text("ca_file", "~/company-ca.pem", path);
    let token_timeout = table.duration("token_timeout", WAIT);
    let refresh_lead = table.duration("refresh_lead", OPTIONAL_WAIT);
    let pool = table.choice("pool", &POOL_STRATEGIES);

    let kind = kind?;
    let needs_base_url = match kind {
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
    let default = Provider::of_kind(kind);
    Some(Provider {
        base_url: base_url.map(|field| field.value),
        extra_paths: merge(&all_or(extra_paths, default.extra_paths)),
        forward_headers: all_or(forward_headers, default.forward_headers),
        user_agent: or(user_agent, default.user_agent),
        append_done: or(append_done, default.append_done),
        keep_alive_comment: or(keep_alive_comment, default.keep_alive_comment),
        translate: or(translate, default.translate),
        ca_file: ca_file.map(|field| field.value),
        token_timeout: or(token_timeout, default.token_timeout),
        refresh_lead: or(refresh_lead, default.refresh_lead),
        pool: or(pool, default.pool),
        implied: default.implied,
        kind: default.kind,
    })
}

fn provider_kind(
    table: &Section<'_>,
    name: Option<&ProviderName>,
    env: &Environment,
) -> Option<ProviderKind> {
    let kind = table.choice("type", &KINDS).map(|field| field.value);
    let portal_url = table.text("portal_url", "https://portal.example", values::base_url);
    let issuer_url = table.text("issuer_url", "https://issuer.example", values::base_url);
    let oauth2 = oauth2::Keys::read(table, env);
    let key_file = table.text("api_key_file", "~/.config/example.key", |text| {
        values::path(text, env)
    });
    let key_env = table.text("api_key_env", "EXAMPLE_API_KEY", values::variable_name);

    let key_credential = table.text("api_key_credential", "example.key", values::credential_name);
    let needs_key = table.choice("auth", &NEEDS_KEY);
    let needs_key = needs_key.is_none_or(|field| field.value);

    let mut logins = LOGINS.iter();
    let by_name = logins.find(|(login, _)| name.is_some_and(|name| name.as_str() == *login));
    let by_name = by_name.map(|(_, kind)| *kind);
    let kind = kind.or_else(|| by_name.filter(|_| !table.has("type")));
    if let Some(kind) = kind {
        check_kind(table, kind, by_name);
    }
    match kind {
        Some(Kind::Nous) => {
            let portal_url = portal_url.map(|field| field.value);
            Some(ProviderKind::Nous { portal_url })
        }
        Some(Kind::Xai) => {
            let issuer_url = issuer_url.map(|field| field.value);
            Some(ProviderKind::Xai { issuer_url })
        }
        Some(Kind::Codex) => Some(ProviderKind::Codex {
            issuer_url: issuer_url.map(|field| field.value),
        }),
        Some(Kind::OAuth2) => {
            let issuer_url = issuer_url.map(|field| field.value);
            let settings = oauth2.settings(table, issuer_url);
            settings.map(|settings| ProviderKind::OAuth2(Box::new(settings)))
        }
        Some(Kind::Static) => {
            let file = key_file.map(|field| KeySource::File(field.value));
            let env = key_env.map(|field| KeySource::Env(field.value));
            let credential = key_credential.map(|field| KeySource::Credential(field.value));
            check_one_key(table, needs_key);
            let api_key = if needs_key {
                file.or(env).or(credential)
            } else {
                Some(KeySource::Unneeded)
            };
            api_key.map(|api_key| ProviderKind::Static { api_key })
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
fn check_kind(table: &Section<'_>, kind: Kind, by_name: Option<Kind>) {
    let of_oauth2 = oauth2::KEYS.map(|key| (key, &[Kind::OAuth2][..]));
    for (key, of) in OF_KIND.into_iter().chain(of_oauth2) {
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

/// One place for a key, or none where the server wants none.
fn check_one_key(table: &Section<'_>, needs_key: bool) {
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

/// One entry for each path, with all its methods.
fn merge(paths: &[AllowedPath]) -> Vec<AllowedPath> {
    let mut merged = Vec::with_capacity(paths.len());
    for path in paths {
        AllowedPath::add(&mut merged, path);
    }
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

fn or<T>(field: Option<Field<T>>, default: T) -> T {
    field.map_or(default, |field| field.value)
}

fn all_or<T>(fields: Option<Vec<Field<T>>>, default: Vec<T>) -> Vec<T> {
    let values = |fields: Vec<Field<T>>| fields.into_iter().map(|field| field.value).collect();
    fields.map_or(default, values)
}
