//! A [`Config`], written as the file that would produce it; pure.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hyper::header::HeaderName;

use super::file::{KINDS, Kind, NEEDS_KEY, POOL_STRATEGIES, USER_AGENTS};
use super::oauth2;
use super::units::{format_duration, format_size};
use super::{
    Auth, Config, Guard, Hook, HookAction, KeySource, Limits, ListenAddress, Listener, Log,
    LogFormat, ModelGlob, NoticeKind, Provider, ProviderKind, RouteRule, Routing, Timeouts, Usage,
};

/// One key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The line that opens its table, `[limits]`; empty at the file's top level.
    pub table: String,
    /// The key with its tables as problems name it: `limits.body`, `listen[0].address`.
    pub place: String,
    /// The key within its table.
    pub key: &'static str,
    /// The value as TOML.
    pub value: String,
}

/// The settings of a table that grow.
struct Table<'s> {
    settings: &'s mut Vec<Setting>,
    header: String,
    place: String,
}

/// Every setting in the file's order, including those at their defaults. Unset keys without a default
/// are omitted.
pub fn settings(config: &Config) -> Vec<Setting> {
    // Without `..`, so that a new field can't be forgotten.
    let Config {
        default_provider,
        hermes_home,
        models_cache,
        listeners,
        guard,
        limits,
        timeouts,
        log,
        usage,
        hooks,
        routing,
        providers,
    } = config;
    let mut settings = Vec::new();
    let mut root = Table::new(&mut settings, String::new(), String::new());
    root.text("default_provider", default_provider.as_str());
    root.path("hermes_home", hermes_home.as_deref());
    root.duration("models_cache", *models_cache);
    let Routing {
        routes,
        aliases,
        default_model,
    } = routing;
    if let Some(model) = default_model {
        root.text("default_model", model);
    }
    root.named_texts("aliases", aliases);
    for (index, listener) in listeners.iter().enumerate() {
        let table = Table::new(
            &mut settings,
            "[[listen]]".into(),
            format!("listen[{index}]"),
        );
        write_listener(table, listener);
    }
    write_guard(Table::plain(&mut settings, "guard"), guard);
    write_limits(Table::plain(&mut settings, "limits"), limits);
    write_timeouts(Table::plain(&mut settings, "timeouts"), timeouts);
    write_log(Table::plain(&mut settings, "log"), log);
    write_usage(Table::plain(&mut settings, "usage"), *usage);
    for (index, hook) in hooks.iter().enumerate() {
        let table = Table::new(&mut settings, "[[hooks]]".into(), format!("hooks[{index}]"));
        write_hook(table, hook);
    }
    for (index, route) in routes.iter().enumerate() {
        let table = Table::new(&mut settings, "[[route]]".into(), format!("route[{index}]"));
        write_route(table, route);
    }
    for (name, provider) in providers.iter().filter(|(_, one)| !one.implied) {
        let table = Table::plain(&mut settings, &format!("providers.{name}"));
        write_provider(table, provider);
    }
    settings
}

/// The settings as a file, with what `note` says of each behind it.
pub fn to_toml(settings: &[Setting], note: impl Fn(&Setting) -> Option<String>) -> String {
    let mut text = String::new();
    let mut table = ("", "");
    for setting in settings {
        let place = setting
            .place
            .rsplit_once('.')
            .map_or("", |(table, _)| table);
        if (place, setting.table.as_str()) != table {
            table = (place, &setting.table);
            let gap = if text.is_empty() { "" } else { "\n" };
            text.extend([gap, &setting.table, "\n"]);
        }
        let note = note(setting).map_or_else(String::new, |note| format!("  # {note}"));
        text.extend([setting.key, " = ", &setting.value, &note, "\n"]);
    }
    text
}

fn write_listener(mut table: Table<'_>, listener: &Listener) {
    let Listener {
        address,
        provider,
        auth,
        allow_unauthenticated,
    } = listener;
    match address {
        ListenAddress::Ip(_) | ListenAddress::Interface { .. } => {
            table.text("address", &address.to_string());
        }
        ListenAddress::Unix { path, mode } => {
            table.path("unix", Some(path));
            table.text("mode", &format!("{mode:04o}"));
        }
    }
    table.text("auth", word(&Auth::NAMES, auth));
    table.flag("allow_unauthenticated", *allow_unauthenticated);
    if let Some(provider) = provider {
        table.text("provider", provider.as_str());
    }
}

fn write_guard(mut table: Table<'_>, guard: &Guard) {
    let Guard {
        peer_check,
        allowed_hosts,
        allowed_origins,
    } = guard;
    table.flag("peer_check", *peer_check);
    table.texts("allowed_hosts", allowed_hosts.iter().map(String::as_str));
    table.texts(
        "allowed_origins",
        allowed_origins.iter().map(String::as_str),
    );
}

fn write_limits(mut table: Table<'_>, limits: &Limits) {
    let Limits {
        body,
        headers,
        connections,
        replay_body,
        replay_total,
        route_body,
    } = *limits;
    table.text("body", &format_size(body));
    table.text("headers", &format_size(headers as u64));
    table.add("connections", connections.to_string());
    table.text("replay_body", &format_size(replay_body as u64));
    table.text("replay_total", &format_size(replay_total as u64));
    table.text("route_body", &format_size(route_body as u64));
}

fn write_timeouts(mut table: Table<'_>, timeouts: &Timeouts) {
    let Timeouts {
        headers,
        keep_alive,
        body,
        connect,
        reuse,
        response_head,
        idle,
        credential,
        drain,
    } = *timeouts;
    table.duration("headers", headers);
    table.duration("keep_alive", keep_alive);
    table.duration("body", body);
    table.duration("connect", connect);
    table.duration("reuse", reuse);
    table.duration("response_head", response_head);
    table.duration("idle", idle);
    table.duration("credential", credential);
    table.duration("drain", drain);
}

fn write_log(mut table: Table<'_>, log: &Log) {
    let Log { level, format } = log;
    table.text("level", level);
    table.text("format", word(&LogFormat::NAMES, format));
}

fn write_usage(mut table: Table<'_>, usage: Usage) {
    let Usage { enabled, keep_days } = usage;
    table.flag("enabled", enabled);
    table.add("keep_days", keep_days.to_string());
}

fn write_hook(mut table: Table<'_>, hook: &Hook) {
    let Hook {
        events,
        action,
        timeout,
    } = hook;
    match action {
        HookAction::Command(line) => table.texts("command", line.iter().map(String::as_str)),
        HookAction::Url(url) => table.text("url", url.as_str()),
    }
    let events = events.iter().map(|event| word(&NoticeKind::NAMES, event));
    table.texts("events", events);
    table.duration("timeout", *timeout);
}

fn write_route(mut table: Table<'_>, route: &RouteRule) {
    let RouteRule {
        paths,
        models,
        provider,
        model,
    } = route;
    // An empty list means all, and is not a list that the file may hold.
    if !paths.is_empty() {
        table.texts("paths", paths.iter().map(String::as_str));
    }
    if !models.is_empty() {
        table.texts("models", models.iter().map(ModelGlob::as_str));
    }
    table.text("provider", provider.as_str());
    if let Some(model) = model {
        table.text("model", model);
    }
}

fn write_provider(mut table: Table<'_>, provider: &Provider) {
    let Provider {
        kind,
        // Such a provider is not written at all.
        implied: _,
        base_url,
        extra_paths,
        forward_headers,
        user_agent,
        append_done,
        keep_alive_comment,
        translate,
        ca_file,
        token_timeout,
        refresh_lead,
        pool,
    } = provider;
    let (kind_word, login_url, api_key) = match kind {
        ProviderKind::Nous { portal_url } => (Kind::Nous, Some(("portal_url", portal_url)), None),
        ProviderKind::Xai { issuer_url } => (Kind::Xai, Some(("issuer_url", issuer_url)), None),
        ProviderKind::Codex { issuer_url } => (Kind::Codex, Some(("issuer_url", issuer_url)), None),
        ProviderKind::OAuth2(_) => (Kind::OAuth2, None, None),
        ProviderKind::Static { api_key } => (Kind::Static, None, Some(api_key)),
    };
    table.text("type", word(&KINDS, &kind_word));
    if let Some(url) = base_url {
        table.text("base_url", url.as_str());
    }
    if let Some((key, Some(url))) = login_url {
        table.text(key, url.as_str());
    }
    match api_key {
        Some(KeySource::File(path)) => table.path("api_key_file", Some(path)),
        Some(KeySource::Env(name)) => table.text("api_key_env", name),
        Some(KeySource::Credential(name)) => table.text("api_key_credential", name),
        Some(KeySource::Unneeded) => table.text("auth", word(&NEEDS_KEY, &false)),
        None => {}
    }
    if let ProviderKind::OAuth2(settings) = kind {
        for (key, text) in oauth2::texts(settings) {
            match text {
                oauth2::Text::One(text) => table.text(key, &text),
                oauth2::Text::Several(texts) => {
                    table.texts(key, texts.iter().map(String::as_str));
                }
            }
        }
    }
    let paths: Vec<_> = extra_paths.iter().map(ToString::to_string).collect();
    table.texts("extra_paths", paths.iter().map(String::as_str));
    let headers = forward_headers.iter().map(HeaderName::as_str);
    table.texts("forward_headers", headers);
    table.text("user_agent", word(&USER_AGENTS, user_agent));
    table.flag("append_done", *append_done);
    table.duration("keep_alive_comment", *keep_alive_comment);
    table.flag("translate", *translate);
    table.path("ca_file", ca_file.as_deref());
    table.duration("token_timeout", *token_timeout);
    table.duration("refresh_lead", *refresh_lead);
    if kind_word != Kind::Static {
        table.text("pool", word(&POOL_STRATEGIES, pool));
    }
}

/// The word that the file has for a value.
fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    let found = words.iter().find(|(_, known)| known == value);
    found.map_or("", |(word, _)| word)
}

impl<'s> Table<'s> {
    fn new(settings: &'s mut Vec<Setting>, header: String, place: String) -> Self {
        Self {
            settings,
            header,
            place,
        }
    }

    fn plain(settings: &'s mut Vec<Setting>, name: &str) -> Self {
        Self::new(settings, format!("[{name}]"), name.to_owned())
    }

    fn add(&mut self, key: &'static str, value: String) {
        let place = if self.place.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.place)
        };
        self.settings.push(Setting {
            table: self.header.clone(),
            place,
            key,
            value,
        });
    }

    fn text(&mut self, key: &'static str, text: &str) {
        self.add(key, quoted(text));
    }

    fn texts<'t>(&mut self, key: &'static str, texts: impl Iterator<Item = &'t str>) {
        let texts: Vec<_> = texts.map(quoted).collect();
        self.add(key, format!("[{}]", texts.join(", ")));
    }

    fn named_texts(&mut self, key: &'static str, texts: &BTreeMap<String, String>) {
        let texts = texts.iter();
        let texts: Vec<_> = texts
            .map(|(name, text)| format!("{} = {}", quoted(name), quoted(text)))
            .collect();
        let value = match texts.as_slice() {
            [] => "{}".to_owned(),
            texts => format!("{{ {} }}", texts.join(", ")),
        };
        self.add(key, value);
    }

    fn path(&mut self, key: &'static str, path: Option<&Path>) {
        if let Some(path) = path {
            self.text(key, &path.to_string_lossy());
        }
    }

    fn flag(&mut self, key: &'static str, flag: bool) {
        self.add(key, flag.to_string());
    }

    fn duration(&mut self, key: &'static str, duration: Duration) {
        self.text(key, &format_duration(duration));
    }
}

/// A TOML string on one line.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                let code = format!("\\u{:04X}", u32::from(letter));
                quoted.push_str(&code);
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
