//! The shape of the file: its keys, and how they become a [`Config`]; pure.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::DeTable;

use super::error::ConfigError;
use super::provider::{self, unknown_provider};
use super::reader::{ConfigReport, TableReader};
use super::root::Top;
use super::routing::read as routing;
use super::table::Table;
use super::takes::ConfigKey;
use super::{Config, Guard, Limits, Log, ProviderName, Timeouts, Usage, hook, listen};
use crate::paths::Environment;

/// Turns the text of `file` into a configuration, or reports everything that is wrong with it.
///
/// Does no I/O: `file` is only for the messages, `env` only replaces a leading `~` in paths.
pub fn parse(text: &str, file: &Path, env: &Environment) -> Result<Config, ConfigError> {
    read(text, file, env).config
}

pub(super) struct FileReading {
    pub(super) config: Result<Config, ConfigError>,
    /// All keys that were asked for.
    pub(super) keys: Vec<ConfigKey>,
    /// The keys that the file holds, as problems name them, with their lines.
    pub(super) lines: BTreeMap<String, usize>,
}

/// As [`parse`], with what was asked for and what was found.
pub(super) fn read(text: &str, file: &Path, env: &Environment) -> FileReading {
    let (table, errors) = DeTable::parse_recoverable(text);
    let report = ConfigReport::new(text, &errors);
    let config = TableReader::read_root(&report, table.get_ref(), env, config);
    let (problems, keys, lines) = report.finish();
    let file = file.to_path_buf();
    let config = if problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError { file, problems })
    };
    FileReading {
        config,
        keys,
        lines,
    }
}

fn config(root: &TableReader<'_>) -> Config {
    let default = Config::default();
    let top = Top::read(root, Top::default());
    let listeners = root.sections("listen", listen::read);
    if root.is_empty_list("listen") {
        let place = root.place("listen");
        root.report().add(&place, "at least one is needed");
    }
    let guard = root.section("guard", |table| Guard::read(table, default.guard));
    let limits = root.section("limits", |table| {
        let limits = Limits::read(table, default.limits);
        limits.check(table);
        limits
    });
    let timeouts = root.section("timeouts", |table| Timeouts::read(table, default.timeouts));
    let log = root.section("log", |table| Log::read(table, default.log));
    let usage = root.section("usage", |table| Usage::read(table, default.usage));
    let hooks = root.sections("hooks", hook::read);
    let routing = routing::read(root);
    let (mut providers, names) = provider::read_all(root);
    routing::check(&routing, root, &names);

    let named =
        |one: &listen::UncheckedListener| one.listener.provider.clone().zip(one.provider.clone());
    let named = listeners.iter().flatten().filter_map(named);
    let default_provider = root.right("default_provider");
    let default_provider = default_provider.map(|place| (top.default_provider.clone(), place));
    let named: Vec<_> = named.chain(default_provider).collect();
    for (name, place) in &named {
        if !names.contains(name) {
            root.report().add(place, unknown_provider(name, &names));
        }
    }
    listen::check_duplicates(root.report(), listeners.iter().flatten());
    let nous = ProviderName::nous();
    let wanted = !root.has("default_provider")
        || named.iter().any(|(name, _)| *name == nous)
        || routing.names(&nous);
    if let Some(nous) = providers.get_mut(&nous) {
        nous.implied &= !wanted;
    }

    Config {
        default_provider: top.default_provider,
        hermes_home: top.hermes_home,
        models_cache: top.models_cache,
        listeners: listeners.map_or(default.listeners, |listeners| {
            listeners.into_iter().map(|one| one.listener).collect()
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
