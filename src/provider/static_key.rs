//! A provider with a fixed API key: the degenerate case of the contract, without any refresh.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use hyper::Method;
use hyper::header::HeaderValue;

use super::key_file::{self, NoKey};
use super::probe::ProbeTarget;
use super::{
    Adapter, Assessment, BaseUrl, BearerKind, Credential, Grant, Layout, Login, Remedy, Renewal,
    TokenError,
};
use crate::config::{AllowedPath, KeySource, ProviderName};
use crate::secret::Secret;

/// A provider with a fixed API key.
#[derive(Debug)]
pub(super) struct StaticKey {
    name: ProviderName,
    base_url: BaseUrl,
    paths: Vec<AllowedPath>,
    source: KeySource,
    /// What was read last, once [`Adapter::reread`] was called.
    held: ArcSwapOption<Result<Secret, NoKey>>,
    /// What sets the key right, as a clause.
    advice: String,
}

impl StaticKey {
    pub(super) fn new(
        name: ProviderName,
        base_url: BaseUrl,
        source: KeySource,
        extra_paths: &[AllowedPath],
    ) -> Self {
        let advice = match &source {
            KeySource::File(file) => format!(
                "put the API key in {}, then run `hermesctl proxy reload`",
                file.display()
            ),
            KeySource::Env(variable) => format!(
                "restart hermes-proxyd with {variable} in its environment, or name a file with the \
                 key as `api_key_file` under [providers.{name}]"
            ),
            KeySource::Credential(credential) => format!(
                "add `LoadCredential={credential}:FILE` to the service of hermes-proxyd and restart it, or \
                 name the file as `api_key_file` under [providers.{name}]"
            ),
            KeySource::Unneeded => format!(
                "remove `auth = \"none\"` under [providers.{name}] if the server wants a key"
            ),
        };
        Self {
            name,
            base_url,
            paths: paths(extra_paths),
            source,
            held: ArcSwapOption::empty(),
            advice,
        }
    }

    fn key(&self) -> Result<Secret, NoKey> {
        key_file::read(&self.source)
    }
}

/// What every API of OpenAI's kind serves, and what the configuration adds.
pub(super) fn paths(extra: &[AllowedPath]) -> Vec<AllowedPath> {
    let post = |path| AllowedPath::new(path, &[Method::POST]);
    let mut paths = vec![
        post("/chat/completions"),
        post("/completions"),
        post("/embeddings"),
        AllowedPath::new("/models", &[Method::GET]),
    ];
    AllowedPath::add_all(&mut paths, extra);
    paths
}

#[async_trait]
impl Adapter for StaticKey {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn display_name(&self) -> &str {
        self.name.as_str()
    }

    fn allowed_paths(&self) -> &[AllowedPath] {
        &self.paths
    }

    fn remedy(&self) -> Remedy {
        Remedy::Advice(self.advice.clone())
    }

    fn layout(&self) -> Option<&'static dyn Layout> {
        None
    }

    fn reread(&self) {
        self.held.store(Some(Arc::new(self.key())));
    }

    fn is_unread(&self) -> bool {
        let held = self.held.load();
        match held.as_deref() {
            Some(Err(NoKey::Unread(_) | NoKey::Unfit(_))) => true,
            // A variable is read at the start alone: no reload has anything to read.
            Some(Err(NoKey::Missing(_))) => !matches!(self.source, KeySource::Env(_)),
            Some(Ok(_)) | None => false,
        }
    }

    fn fault(&self) -> Option<String> {
        match self.key() {
            Ok(_) | Err(NoKey::Missing(_) | NoKey::Unread(_)) => None,
            Err(NoKey::Unfit(reason)) => Some(reason),
        }
    }

    fn addresses(&self, _login: &Login) -> Vec<ProbeTarget> {
        vec![ProbeTarget {
            what: "inference",
            setting: "base_url",
            url: self.base_url.to_string(),
        }]
    }

    fn is_elsewhere(&self) -> bool {
        true
    }

    fn assess(&self, _login: &Login, _now: DateTime<Utc>) -> Assessment {
        let held = self.held.load_full();
        let key = match held.map_or_else(|| self.key(), |held| Result::clone(&held)) {
            Ok(key) => key,
            Err(NoKey::Missing(reason) | NoKey::Unread(reason) | NoKey::Unfit(reason)) => {
                return Assessment::NoLogin { reason };
            }
        };
        let (kind, authorization) = if self.source == KeySource::Unneeded {
            (BearerKind::NO_KEY, Ok(HeaderValue::from_static("")))
        } else {
            (BearerKind::API_KEY, key.authorization("Bearer"))
        };
        let Ok(authorization) = authorization else {
            let reason = "the API key contains characters that a header can't carry".to_owned();
            return Assessment::NoLogin { reason };
        };
        Assessment::Login {
            credential: Some(Credential {
                bearer: key,
                authorization,
                base_url: self.base_url.clone(),
                kind,
                issued_at: None,
                expires_at: None,
                headers: Vec::new(),
            }),
            renewal: Renewal::Never,
        }
    }

    async fn renew(&self, _login: &Login, _renewal: Renewal) -> Result<Grant, TokenError> {
        let what = "a fixed API key can't be refreshed".to_owned();
        Err(TokenError::Transient {
            may_be_spent: false,
            what,
            retry_after: None,
        })
    }

    fn apply(&self, _login: &mut Login, _grant: Grant, _now: DateTime<Utc>) {}
}
