//! From the configuration's settings to adapters.

use std::sync::Arc;
use std::time::Duration;

use super::base_url::BaseUrlError;
use super::codex::{self, Codex};
use super::nous::{self, BadVariable, Nous};
use super::oauth2::{self, Generic};
use super::static_key::StaticKey;
use super::token_client::TokenClient;
use super::xai::{self, Xai};
use super::{Adapter, BaseUrl, Layout};
use crate::config::{Lookup, OAuth2, Provider, ProviderKind, ProviderName, Variables};

/// A provider that can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Its base URL can't be used.
    #[error("the base URL of provider {provider} can't be used: {source}")]
    BaseUrl {
        /// The provider.
        provider: ProviderName,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It needs a base URL and has none.
    #[error("provider {provider} has no base URL; set `providers.{provider}.base_url`")]
    NoBaseUrl {
        /// The provider.
        provider: ProviderName,
    },
    /// An environment variable has a URL that can't be used.
    #[error(transparent)]
    Variable(#[from] BadVariable),
    /// The HTTP client for its token endpoint can't be built.
    #[error("the HTTP client for provider {provider}'s token endpoint can't be built")]
    Client {
        /// The provider.
        provider: ProviderName,
        /// Why.
        source: reqwest::Error,
    },
}

/// The form of this kind of provider's logins in a shared store, before there is an adapter.
pub fn layout(kind: &ProviderKind) -> Option<&'static dyn Layout> {
    match kind {
        ProviderKind::Nous { .. } => Some(nous::LAYOUT),
        ProviderKind::Xai { .. } => Some(xai::LAYOUT),
        ProviderKind::Codex { .. } => Some(codex::LAYOUT),
        // A separate login names no file to trust.
        ProviderKind::OAuth2(_) | ProviderKind::Static { .. } => None,
    }
}

/// The form of a login under this name in our own store, if the configuration describes the
/// provider, or once did.
pub fn own_layout(name: &ProviderName) -> &'static dyn Layout {
    oauth2::layout::of(name)
}

/// The name of the provider whose login our own store has under this key, if the configuration
/// describes it.
pub fn owner(key: &str) -> Option<ProviderName> {
    oauth2::layout::name_of(key)
}

/// The name of the provider whose login has this key, in any store.
pub fn named(key: &str) -> Option<ProviderName> {
    let mut built_in = BUILT_IN.iter();
    match built_in.find(|(_, layout)| layout.key() == key) {
        Some((built_in, _)) => ProviderName::new(built_in.name),
        None => owner(key),
    }
}

/// A provider that needs no address in the configuration: its login is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltIn {
    /// Its name, which is that of its table in the configuration, too.
    pub name: &'static str,
    /// Its name for people.
    pub display_name: &'static str,
}

/// Every built-in provider with a login, and the form of that.
const BUILT_IN: [(BuiltIn, &dyn Layout); 3] = [
    (
        BuiltIn {
            name: "nous",
            display_name: nous::DISPLAY_NAME,
        },
        nous::LAYOUT,
    ),
    (
        BuiltIn {
            name: "xai",
            display_name: xai::DISPLAY_NAME,
        },
        xai::LAYOUT,
    ),
    (
        BuiltIn {
            name: "openai-codex",
            display_name: codex::DISPLAY_NAME,
        },
        codex::LAYOUT,
    ),
];

/// Every built-in provider with a login.
pub fn built_in() -> impl Iterator<Item = BuiltIn> {
    BUILT_IN.iter().map(|(built_in, _)| *built_in)
}

/// What of the variables that these kinds of providers honour can't be used, each as a sentence.
pub(super) fn environment_faults<'k>(
    kinds: impl Iterator<Item = &'k ProviderKind>,
    env: Lookup<'_>,
) -> Vec<String> {
    let of_kind = |kind: &ProviderKind| match kind {
        ProviderKind::Nous { .. } => nous::environment_faults(env),
        ProviderKind::Xai { .. } => xai::environment_faults(env),
        ProviderKind::Codex { .. } => codex::environment_faults(env),
        ProviderKind::OAuth2(_) | ProviderKind::Static { .. } => Vec::new(),
    };
    kinds.flat_map(of_kind).collect()
}

/// The same of what all kinds honour in the file that adds to the environment.
pub(super) fn file_faults(env: Lookup<'_>) -> Vec<String> {
    [nous::file_faults(env), xai::environment_faults(env)].concat()
}

/// The limit of one request to this provider's token endpoint: the file's, otherwise the
/// environment's.
pub fn token_timeout(settings: &Provider, env: Lookup<'_>) -> Duration {
    let from_env = || match &settings.kind {
        ProviderKind::Xai { .. } => xai::token_timeout(env),
        ProviderKind::Codex { .. } => codex::token_timeout(env),
        ProviderKind::Nous { .. } | ProviderKind::OAuth2(_) | ProviderKind::Static { .. } => None,
    };
    let is_default = settings.token_timeout == settings.kind.token_timeout();
    let from_env = is_default.then(from_env).flatten();
    from_env.unwrap_or(settings.token_timeout)
}

/// The adapter for a provider's settings. `variables` are what a provider honours of the environment;
/// `tls` is the trust store for its token endpoint.
///
/// # Errors
/// [`BuildError`] names the setting to correct.
pub fn build(
    name: &ProviderName,
    settings: &Provider,
    tls: rustls::ClientConfig,
    variables: &Variables,
) -> Result<Arc<dyn Adapter>, BuildError> {
    let env = |name: &str| variables.get(name);
    let base_error = |source: BaseUrlError| BuildError::BaseUrl {
        provider: name.clone(),
        source: Box::new(source),
    };
    let base_url = settings
        .base_url
        .as_ref()
        .map(BaseUrl::new)
        .transpose()
        .map_err(base_error)?;
    let no_base_url = || BuildError::NoBaseUrl {
        provider: name.clone(),
    };
    let client = || {
        TokenClient::new(tls, token_timeout(settings, &env)).map_err(|source| BuildError::Client {
            provider: name.clone(),
            source,
        })
    };
    match &settings.kind {
        ProviderKind::Nous { portal_url } => {
            let mut adapter = Nous::new(name.clone(), client()?, &settings.extra_paths);
            if let Some(home) = variables.home() {
                adapter.share_limit(home);
            }
            let is_in_file = |name: &str| variables.file_of(name).is_some();
            adapter.override_urls(portal_url.as_ref(), base_url, &env, &is_in_file)?;
            Ok(Arc::new(adapter))
        }
        ProviderKind::Xai { issuer_url } => {
            let settings = xai::XaiSettings {
                extra_paths: &settings.extra_paths,
                issuer: issuer_url.as_ref(),
                inference: base_url,
            };
            Ok(Arc::new(Xai::new(name.clone(), client()?, settings, &env)))
        }
        ProviderKind::Codex { issuer_url } => {
            let of_file = codex::CodexSettings {
                extra_paths: &settings.extra_paths,
                issuer: issuer_url.as_ref(),
                inference: base_url,
                translate: settings.translate,
            };
            let adapter = Codex::new(name.clone(), client()?, of_file, &env);
            Ok(Arc::new(adapter))
        }
        ProviderKind::OAuth2(oauth2) => {
            let base_url = base_url.ok_or_else(no_base_url)?;
            Ok(Arc::new(Generic::new(
                name.clone(),
                client()?,
                base_url,
                OAuth2::clone(oauth2),
                &settings.extra_paths,
            )))
        }
        ProviderKind::Static { api_key } => {
            let base_url = base_url.ok_or_else(no_base_url)?;
            let paths = &settings.extra_paths;
            Ok(Arc::new(StaticKey::new(
                name.clone(),
                base_url,
                api_key.clone(),
                paths,
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_has_a_login_for_is_offered() {
        let offered: Vec<_> = built_in().map(|one| one.name).collect();
        let known: Vec<_> = crate::config::login_providers().collect();
        assert_eq!(offered, known);
    }
}
