//! The difference between two configurations, and what a reload can apply; pure.

use std::collections::BTreeSet;

use super::oauth2;
use super::{
    Config, Guard, Limits, Listener, Log, Provider, ProviderKind, ProviderName, Routing, Timeouts,
    Usage,
};

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

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.needs_restart.is_empty()
    }
}

/// Compares the running configuration with a new one.
///
/// A reload applies guard, limits (except the connections), timeouts, the log's level, hooks, routes, the default
/// provider and the providers. Listeners, Hermes Agent's home, the log's format and the counting of usage need a
/// restart.
pub fn diff(old: &Config, new: &Config) -> Diff {
    // Taken apart, so that the compiler asks what a reload does with a new field.
    let Config {
        default_provider,
        hermes_home,
        models_cache,
        listeners,
        guard,
        limits,
        timeouts,
        log: Log { level, format },
        usage: Usage { enabled, keep_days },
        hooks,
        routing,
        providers: _,
    } = new;
    let mut applied = Keys::default();
    applied.compare("default_provider", &old.default_provider, default_provider);
    applied.compare("models_cache", &old.models_cache, models_cache);
    applied.guard(&old.guard, guard);
    applied.limits(&old.limits, limits);
    applied.timeouts(&old.timeouts, timeouts);
    applied.compare("log.level", &old.log.level, level);
    applied.compare("hooks", &old.hooks, hooks);
    applied.routing(&old.routing, routing);
    let mut needs_restart = Keys::default();
    needs_restart.compare("hermes_home", &old.hermes_home, hermes_home);
    needs_restart.listeners(&old.listeners, listeners);
    needs_restart.compare(
        "limits.connections",
        &old.limits.connections,
        &limits.connections,
    );
    needs_restart.compare("log.format", &old.log.format, format);
    needs_restart.compare("usage.enabled", &old.usage.enabled, enabled);
    needs_restart.compare("usage.keep_days", &old.usage.keep_days, keep_days);

    let mut diff = Diff::default();
    diff.compare_providers(old, new, &mut applied);
    diff.applied = applied.0;
    diff.needs_restart = needs_restart.0;
    diff
}

impl Diff {
    fn compare_providers(&mut self, old: &Config, new: &Config, keys: &mut Keys) {
        for (name, provider) in &new.providers {
            let Some(before) = old.providers.get(name) else {
                keys.0.push(format!("providers.{name}"));
                self.providers_added.insert(name.clone());
                continue;
            };
            if before != provider {
                keys.provider(name, before, provider);
                self.providers_changed.insert(name.clone());
            }
        }
        for name in old.providers.keys() {
            if !new.providers.contains_key(name) {
                keys.0.push(format!("providers.{name}"));
                self.providers_removed.insert(name.clone());
            }
        }
    }
}

/// The keys whose values differ.
#[derive(Default)]
struct Keys(Vec<String>);

impl Keys {
    fn compare<T: PartialEq>(&mut self, key: &str, old: &T, new: &T) {
        if old != new {
            self.0.push(key.to_owned());
        }
    }

    fn guard(&mut self, old: &Guard, new: &Guard) {
        let Guard {
            peer_check,
            allowed_hosts,
            allowed_origins,
        } = new;
        self.compare("guard.peer_check", &old.peer_check, peer_check);
        self.compare("guard.allowed_hosts", &old.allowed_hosts, allowed_hosts);
        self.compare(
            "guard.allowed_origins",
            &old.allowed_origins,
            allowed_origins,
        );
    }

    fn limits(&mut self, old: &Limits, new: &Limits) {
        let Limits {
            body,
            headers,
            // Fixed when the listeners start.
            connections: _,
            replay_body,
            replay_total,
            route_body,
        } = new;
        self.compare("limits.body", &old.body, body);
        self.compare("limits.headers", &old.headers, headers);
        self.compare("limits.replay_body", &old.replay_body, replay_body);
        self.compare("limits.replay_total", &old.replay_total, replay_total);
        self.compare("limits.route_body", &old.route_body, route_body);
    }

    fn routing(&mut self, old: &Routing, new: &Routing) {
        let Routing {
            routes,
            aliases,
            default_model,
        } = new;
        self.compare("default_model", &old.default_model, default_model);
        self.compare("aliases", &old.aliases, aliases);
        self.compare("route", &old.routes, routes);
    }

    fn timeouts(&mut self, old: &Timeouts, new: &Timeouts) {
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
        } = new;
        self.compare("timeouts.headers", &old.headers, headers);
        self.compare("timeouts.keep_alive", &old.keep_alive, keep_alive);
        self.compare("timeouts.body", &old.body, body);
        self.compare("timeouts.connect", &old.connect, connect);
        self.compare("timeouts.reuse", &old.reuse, reuse);
        self.compare("timeouts.response_head", &old.response_head, response_head);
        self.compare("timeouts.idle", &old.idle, idle);
        self.compare("timeouts.credential", &old.credential, credential);
        self.compare("timeouts.drain", &old.drain, drain);
    }

    fn listeners(&mut self, old: &[Listener], new: &[Listener]) {
        self.compare("listen", &old.len(), &new.len());
        for (index, (old, new)) in old.iter().zip(new).enumerate() {
            let Listener {
                address,
                provider,
                auth,
                allow_unauthenticated,
            } = new;
            let key = |name: &str| format!("listen[{index}].{name}");
            self.compare(&key("address"), &old.address, address);
            self.compare(&key("provider"), &old.provider, provider);
            self.compare(&key("auth"), &old.auth, auth);
            self.compare(
                &key("allow_unauthenticated"),
                &old.allow_unauthenticated,
                allow_unauthenticated,
            );
        }
    }

    fn provider(&mut self, name: &ProviderName, old: &Provider, new: &Provider) {
        let Provider {
            kind,
            // Follows from other keys.
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
        } = new;
        let key = |key: &str| format!("providers.{name}.{key}");
        match (&old.kind, kind) {
            (ProviderKind::OAuth2(old), ProviderKind::OAuth2(new)) => {
                self.0
                    .extend(oauth2::differing(old, new).into_iter().map(key));
            }
            (old, new) => self.compare(&key(kind_key(old, new)), old, new),
        }
        self.compare(&key("base_url"), &old.base_url, base_url);
        self.compare(&key("extra_paths"), &old.extra_paths, extra_paths);
        self.compare(
            &key("forward_headers"),
            &old.forward_headers,
            forward_headers,
        );
        self.compare(&key("user_agent"), &old.user_agent, user_agent);
        self.compare(&key("append_done"), &old.append_done, append_done);
        self.compare(
            &key("keep_alive_comment"),
            &old.keep_alive_comment,
            keep_alive_comment,
        );
        self.compare(&key("translate"), &old.translate, translate);
        self.compare(&key("ca_file"), &old.ca_file, ca_file);
        self.compare(&key("token_timeout"), &old.token_timeout, token_timeout);
        self.compare(&key("refresh_lead"), &old.refresh_lead, refresh_lead);
        self.compare(&key("pool"), &old.pool, pool);
    }
}

/// The key that a difference of two kinds comes from.
fn kind_key(old: &ProviderKind, new: &ProviderKind) -> &'static str {
    use super::KeySource::{Credential, Env, File, Unneeded};
    match (old, new) {
        (ProviderKind::Nous { .. }, ProviderKind::Nous { .. }) => "portal_url",
        (ProviderKind::Static { .. }, ProviderKind::Static { api_key: File(_) }) => "api_key_file",
        (ProviderKind::Static { .. }, ProviderKind::Static { api_key: Env(_) }) => "api_key_env",
        (
            ProviderKind::Static { .. },
            ProviderKind::Static {
                api_key: Credential(_),
            },
        ) => "api_key_credential",
        (ProviderKind::Static { .. }, ProviderKind::Static { api_key: Unneeded }) => "auth",
        (ProviderKind::Xai { .. }, ProviderKind::Xai { .. })
        | (ProviderKind::Codex { .. }, ProviderKind::Codex { .. }) => "issuer_url",
        (
            ProviderKind::Nous { .. }
            | ProviderKind::Xai { .. }
            | ProviderKind::Codex { .. }
            | ProviderKind::OAuth2(_)
            | ProviderKind::Static { .. },
            ProviderKind::Nous { .. }
            | ProviderKind::Xai { .. }
            | ProviderKind::Codex { .. }
            | ProviderKind::OAuth2(_)
            | ProviderKind::Static { .. },
        ) => "type",
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
        let diff = diff(&Config::default(), &config(""));
        assert_eq!(diff, Diff::default());
        assert!(diff.is_empty());
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
                "[providers.nous]\nportal_url = \"https://p.example\"\nuser_agent = \"client\"",
                vec!["providers.nous.portal_url", "providers.nous.user_agent"],
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
