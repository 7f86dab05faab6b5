//! The settings that the command line overrides.

use std::net::{Ipv4Addr, SocketAddr};

use super::{Config, DEFAULT_PORT, ListenAddress, LogFormat, Provider, ProviderName, values};
use crate::suggest::did_you_mean;

/// Settings of the command line, which win over the file's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The provider that `/v1` means.
    pub provider: Option<String>,
    /// The first listener's address: an IP address or `localhost`.
    pub host: Option<String>,
    /// The first listener's port.
    pub port: Option<u16>,
    /// As `log.level`.
    pub log_level: Option<String>,
    /// As `log.format`.
    pub log_format: Option<LogFormat>,
}

/// An option of the command line that does not fit the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// `--provider` names a provider that is not configured.
    #[error(
        "--provider: there is no provider {name:?}; there are: {}{}",
        known.join(", "),
        hint(suggestion.as_deref())
    )]
    UnknownProvider {
        /// As it was given.
        name: String,
        /// The names that would be right.
        known: Vec<String>,
        /// The one that was probably meant.
        suggestion: Option<String>,
    },
    /// `--host` is neither an IP address nor `localhost`.
    #[error("--host: {0:?} is not an IP address, such as 127.0.0.1 or ::1, or localhost")]
    NotAnAddress(String),
    /// Another listener of the configuration has this address.
    #[error("--host, --port: {0} is already the address of another [[listen]]")]
    DuplicateAddress(ListenAddress),
    /// `--log-level` is not one.
    #[error("--log-level: {message}{}", hint(suggestion.as_deref()))]
    LogLevel {
        /// What is wrong, and what would be right.
        message: String,
        /// The level that was probably meant.
        suggestion: Option<String>,
    },
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |meant| format!(" (did you mean `{meant}`?)"))
}

impl Config {
    /// The configuration, overridden by the command line's settings.
    pub fn with_overrides(mut self, overrides: &Overrides) -> Result<Self, OverrideError> {
        if let Some(name) = &overrides.provider {
            self.default_provider = self.provider_named(name)?;
            self.imply_nous();
        }
        self.move_first_listener(overrides)?;
        if let Some(level) = &overrides.log_level {
            let level = values::log_level(level);
            self.log.level = level.map_err(|wrong| OverrideError::LogLevel {
                message: wrong.message,
                suggestion: wrong.suggestion,
            })?;
        }
        if let Some(format) = overrides.log_format {
            self.log.format = format;
        }
        Ok(self)
    }

    /// With another default provider, nothing may ask for Nous any more.
    fn imply_nous(&mut self) {
        let name = ProviderName::nous();
        let is_default = self.default_provider == name;
        let mut listeners = self.listeners.iter();
        let is_named = listeners.any(|one| one.provider.as_ref() == Some(&name));
        if let Some(nous) = self.providers.get_mut(&name) {
            // What the file does not name has its defaults.
            let is_plain = nous.implied || *nous == Provider::nous();
            nous.implied = is_plain && !is_default && !is_named;
        }
    }

    fn provider_named(&self, name: &str) -> Result<ProviderName, OverrideError> {
        let found = ProviderName::new(name).filter(|name| self.providers.contains_key(name));
        found.ok_or_else(|| {
            let known = self.providers.keys().map(ProviderName::as_str);
            OverrideError::UnknownProvider {
                name: name.to_owned(),
                suggestion: did_you_mean(name, known.clone()),
                known: known.map(str::to_owned).collect(),
            }
        })
    }

    fn move_first_listener(&mut self, overrides: &Overrides) -> Result<(), OverrideError> {
        let host = match &overrides.host {
            Some(host) => {
                let parsed = values::listen_host(host);
                Some(parsed.ok_or_else(|| OverrideError::NotAnAddress(host.clone()))?)
            }
            None => None,
        };
        let Some((first, others)) = self.listeners.split_first_mut() else {
            return Ok(());
        };
        if host.is_none() && overrides.port.is_none() {
            return Ok(());
        }
        let was_reachable = first.address.is_reachable_by_others();
        first.address = match (&first.address, host, overrides.port) {
            (ListenAddress::Interface { name, .. }, None, Some(port)) if port != 0 => {
                ListenAddress::Interface {
                    name: name.clone(),
                    port,
                }
            }
            (ListenAddress::Ip(address), host, port) => ListenAddress::Ip(SocketAddr::new(
                host.unwrap_or(address.ip()),
                port.unwrap_or(address.port()),
            )),
            (_, host, port) => ListenAddress::Ip(SocketAddr::new(
                host.unwrap_or(Ipv4Addr::LOCALHOST.into()),
                port.unwrap_or(DEFAULT_PORT),
            )),
        };
        // What was allowed to this machine is not allowed to others by that.
        if !was_reachable && first.address.is_reachable_by_others() {
            first.allow_unauthenticated = false;
        }
        if others
            .iter()
            .any(|other| other.address.collides(&first.address))
        {
            return Err(OverrideError::DuplicateAddress(first.address.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listener;

    fn host(host: &str) -> Overrides {
        Overrides {
            host: Some(host.to_owned()),
            ..Overrides::default()
        }
    }

    fn address(overrides: &Overrides) -> Result<String, OverrideError> {
        let config = Config::default().with_overrides(overrides)?;
        Ok(config.listeners[0].address.to_string())
    }

    #[test]
    fn no_options_change_nothing() {
        let config = Config::default().with_overrides(&Overrides::default());
        assert_eq!(config, Ok(Config::default()));
    }

    #[test]
    fn host_and_port_move_the_first_listener() {
        for (given, bound) in [
            ("localhost", "127.0.0.1:8645"),
            ("127.0.0.2", "127.0.0.2:8645"),
            ("::1", "[::1]:8645"),
            ("[::1]", "[::1]:8645"),
        ] {
            assert_eq!(address(&host(given)).unwrap(), bound);
        }
        let port = Overrides {
            port: Some(9000),
            ..Overrides::default()
        };
        assert_eq!(address(&port).unwrap(), "127.0.0.1:9000");
    }

    #[test]
    fn a_host_that_others_can_reach_needs_a_key_or_the_operators_word() {
        let config = Config::default().with_overrides(&host("0.0.0.0")).unwrap();
        assert_eq!(config.listeners[0].address.to_string(), "0.0.0.0:8645");
        assert!(config.listeners[0].needs_key());
        let mut config = Config::default();
        config.listeners[0].allow_unauthenticated = true;
        let moved = config.clone().with_overrides(&host("0.0.0.0")).unwrap();
        assert!(moved.listeners[0].needs_key());
        config.listeners[0].address = ListenAddress::Ip("192.0.2.1:80".parse().unwrap());
        let moved = config.with_overrides(&host("0.0.0.0")).unwrap();
        assert!(!moved.listeners[0].needs_key());
        assert!(matches!(
            address(&host("my-host")),
            Err(OverrideError::NotAnAddress(_))
        ));
    }

    #[test]
    fn a_port_moves_an_interface_and_replaces_a_socket() {
        let mut config = Config::default();
        let port = Overrides {
            port: Some(9000),
            ..Overrides::default()
        };
        config.listeners[0].address = ListenAddress::Interface {
            name: "docker0".to_owned(),
            port: 8645,
        };
        let moved = config.clone().with_overrides(&port).unwrap();
        assert_eq!(moved.listeners[0].address.to_string(), "docker0:9000");
        config.listeners[0].address = ListenAddress::Unix {
            path: "/run/x.sock".into(),
            mode: 0o600,
        };
        let moved = config.with_overrides(&port).unwrap();
        assert_eq!(moved.listeners[0].address.to_string(), "127.0.0.1:9000");
    }

    #[test]
    fn two_listeners_never_share_an_address() {
        let mut config = Config::default();
        config.listeners.push(Listener {
            address: ListenAddress::Ip("127.0.0.1:9000".parse().unwrap()),
            ..Listener::default()
        });
        let port = |port| Overrides {
            port: Some(port),
            ..Overrides::default()
        };
        assert!(config.clone().with_overrides(&port(9000)).is_err());
        assert!(config.with_overrides(&port(0)).is_ok());
    }

    #[test]
    fn an_unknown_provider_lists_the_known_ones() {
        let provider = |name: &str| {
            Config::default().with_overrides(&Overrides {
                provider: Some(name.to_owned()),
                ..Overrides::default()
            })
        };
        assert_eq!(
            provider(" NOUS ").unwrap().default_provider,
            ProviderName::nous()
        );
        assert_eq!(
            provider("nuos").unwrap_err().to_string(),
            "--provider: there is no provider \"nuos\"; there are: nous (did you mean `nous`?)"
        );
        assert!(provider("").is_err());
    }

    #[test]
    fn another_default_provider_leaves_nous_to_its_login() {
        let providers = |name: &str| {
            let text = "[providers.x]\ntype = \"static\"\nbase_url = \"https://x.example\"\n\
                        api_key_env = \"A\"\n";
            let file = std::path::Path::new("config.toml");
            let config = crate::config::parse(text, file, &crate::paths::Environment::default());
            let overrides = Overrides {
                provider: Some(name.to_owned()),
                ..Overrides::default()
            };
            config
                .unwrap()
                .with_overrides(&overrides)
                .unwrap()
                .providers
        };
        assert!(providers("x")[&ProviderName::nous()].implied);
        assert!(!providers("nous")[&ProviderName::nous()].implied);
    }

    #[test]
    fn the_log_level_is_checked() {
        let level = |level: &str| Overrides {
            log_level: Some(level.to_owned()),
            log_format: Some(LogFormat::Json),
            ..Overrides::default()
        };
        let config = Config::default().with_overrides(&level("warn,hermes_proxy=debug"));
        let log = config.unwrap().log;
        assert_eq!(
            (log.level.as_str(), log.format),
            ("warn,hermes_proxy=debug", LogFormat::Json)
        );
        let error = Config::default()
            .with_overrides(&level("wran"))
            .unwrap_err();
        assert!(
            error.to_string().ends_with("(did you mean `warn`?)"),
            "{error}"
        );
    }
}
