//! The difference between two configurations, and what a reload can apply; pure.

use std::collections::BTreeSet;

use super::changes::Changes;
use super::table::Table;
use super::{Config, Listener, ProviderName};

/// What differs between two configurations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Keys that a reload applies, such as `limits.body`; a provider that was added or removed is
    /// `providers.<name>` as a whole.
    pub applied: Vec<String>,
    /// Keys that keep their old values until a restart, such as `listen[0].address`; `listen` when
    /// listeners were added or removed.
    pub needs_restart: Vec<String>,
    /// Providers that only the new configuration has.
    pub providers_added: BTreeSet<ProviderName>,
    /// Providers of which a setting changed.
    pub providers_changed: BTreeSet<ProviderName>,
    /// Providers that only the old configuration has.
    pub providers_removed: BTreeSet<ProviderName>,
}

/// Compares the running configuration with a new one.
///
/// A reload applies guard, limits (except the connections), timeouts, the log's level, hooks, routes, the default
/// provider and the providers. Listeners, Hermes Agent's home, the log's format and the counting of usage need a
/// restart.
pub fn diff(old: &Config, new: &Config) -> Diff {
    // Taken apart, so that the compiler asks what a reload does with a new field.
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
        providers: _,
    } = new;
    let mut changes = Changes::default();
    old.top().compare(&new.top(), &mut changes);
    changes.listeners(&old.listeners, listeners);
    changes.table("guard", &old.guard, guard);
    changes.table("limits", &old.limits, limits);
    changes.table("timeouts", &old.timeouts, timeouts);
    changes.table("log", &old.log, log);
    changes.table("usage", &old.usage, usage);
    changes.reload("hooks", &old.hooks, hooks);
    old.routing.compare(routing, &mut changes);
    changes.reload("route", &old.routing.routes, &routing.routes);

    let mut diff = Diff::default();
    diff.compare_providers(old, new, &mut changes);
    diff.applied = changes.applied;
    diff.needs_restart = changes.needs_restart;
    diff
}

impl Diff {
    fn compare_providers(&mut self, old: &Config, new: &Config, changes: &mut Changes) {
        for (name, provider) in &new.providers {
            let Some(before) = old.providers.get(name) else {
                changes.applied.push(format!("providers.{name}"));
                self.providers_added.insert(name.clone());
                continue;
            };
            if before != provider {
                changes.one(format!("providers.{name}"), |changes| {
                    before.compare_all(provider, changes);
                });
                self.providers_changed.insert(name.clone());
            }
        }
        for name in old.providers.keys() {
            if !new.providers.contains_key(name) {
                changes.applied.push(format!("providers.{name}"));
                self.providers_removed.insert(name.clone());
            }
        }
    }
}

impl Changes {
    /// The keys of this table.
    fn table<T: Table>(&mut self, name: &str, old: &T, new: &T) {
        self.one(name.to_owned(), |changes| old.compare(new, changes));
    }

    fn listeners(&mut self, old: &[Listener], new: &[Listener]) {
        self.restart("listen", &old.len(), &new.len());
        for (index, (old, new)) in old.iter().zip(new).enumerate() {
            self.one(format!("listen[{index}]"), |changes| {
                old.compare_all(new, changes);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;
    use crate::paths::Environment;

    fn config(text: &str) -> Config {
        parse(text, Path::new("config.toml"), &Environment::default()).unwrap()
    }

    fn names(names: &BTreeSet<ProviderName>) -> Vec<&str> {
        names.iter().map(ProviderName::as_str).collect()
    }

    #[test]
    fn equal_configurations_have_no_difference() {
        assert_eq!(diff(&Config::default(), &config("")), Diff::default());
    }

    #[test]
    fn each_setting_is_applied_or_needs_a_restart() {
        for (text, applied, needs_restart) in [
            (
                "[guard]\nallowed_hosts = [\"my-machine.lan\"]",
                vec!["guard.allowed_hosts"],
                vec![],
            ),
            (
                "[guard]\nallowed_origins = [\"https://a.example\"]",
                vec!["guard.allowed_origins"],
                vec![],
            ),
            (
                "[limits]\nbody = 1\nconnections = 2",
                vec!["limits.body"],
                vec!["limits.connections"],
            ),
            ("[timeouts]\nidle = \"1s\"", vec!["timeouts.idle"], vec![]),
            (
                "[log]\nlevel = \"warn\"\nformat = \"json\"",
                vec!["log.level"],
                vec!["log.format"],
            ),
            (
                "[[hooks]]\nurl = \"https://ntfy.example\"",
                vec!["hooks"],
                vec![],
            ),
            (
                "[[listen]]\naddress = \"127.0.0.1:1\"\nprovider = \"nous\"",
                vec![],
                vec!["listen[0].address", "listen[0].provider"],
            ),
            (
                "[[listen]]\n[[listen]]\naddress = \"127.0.0.1:1\"",
                vec![],
                vec!["listen"],
            ),
            (
                "[providers.nous]\nportal_url = \"https://p.example\"\nuser_agent = \"client\"\nhttp = \"1.1\"",
                vec![
                    "providers.nous.portal_url",
                    "providers.nous.user_agent",
                    "providers.nous.http",
                ],
                vec![],
            ),
        ] {
            let diff = diff(&Config::default(), &config(text));
            assert_eq!(diff.applied, applied, "{text}");
            assert_eq!(diff.needs_restart, needs_restart, "{text}");
        }
    }

    #[test]
    fn providers_are_added_changed_and_removed() {
        let provider = |name: &str, url: &str| {
            format!(
                "[providers.{name}]\ntype = \"static\"\nbase_url = \"{url}\"\napi_key_env = \"K\"\n"
            )
        };
        let old = config(&(provider("a", "https://a") + &provider("b", "https://b")));
        let new = config(&(provider("b", "https://bb") + &provider("c", "https://c")));
        let diff = diff(&old, &new);
        assert_eq!(
            diff.applied,
            ["providers.b.base_url", "providers.c", "providers.a"]
        );
        assert_eq!(names(&diff.providers_added), ["c"]);
        assert_eq!(names(&diff.providers_changed), ["b"]);
        assert_eq!(names(&diff.providers_removed), ["a"]);
    }
}
