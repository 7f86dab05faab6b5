//! A [`Config`], written as the file that would produce it; pure.

use super::Config;
use super::table::Table as _;
use super::writer::{Setting, SettingsWriter};

/// Every setting in the file's order, including those at their defaults. Unset keys without a default
/// are omitted.
pub fn settings(config: &Config) -> Vec<Setting> {
    // Without `..`, so that a new field can't be forgotten.
    let Config {
        // The keys of `Top`.
        default_provider: _,
        hermes_home: _,
        models_cache: _,
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
    let mut root = SettingsWriter::new(&mut settings, String::new(), String::new());
    config.top().write(&mut root);
    routing.write(&mut root);
    for (index, listener) in listeners.iter().enumerate() {
        listener.write_all(&mut SettingsWriter::repeated(
            &mut settings,
            "listen",
            index,
        ));
    }
    guard.write(&mut SettingsWriter::plain(&mut settings, "guard"));
    limits.write(&mut SettingsWriter::plain(&mut settings, "limits"));
    timeouts.write(&mut SettingsWriter::plain(&mut settings, "timeouts"));
    log.write(&mut SettingsWriter::plain(&mut settings, "log"));
    usage.write(&mut SettingsWriter::plain(&mut settings, "usage"));
    for (index, hook) in hooks.iter().enumerate() {
        hook.write_all(&mut SettingsWriter::repeated(&mut settings, "hooks", index));
    }
    for (index, route) in routing.routes.iter().enumerate() {
        route.write(&mut SettingsWriter::repeated(&mut settings, "route", index));
    }
    for (name, provider) in providers.iter().filter(|(_, one)| !one.implied) {
        let name = format!("providers.{name}");
        provider.write_all(&mut SettingsWriter::plain(&mut settings, &name));
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
