//! A provider with a fixed API key: the degenerate case of the contract, without any refresh.

use std::io::Read;
use std::path::Path;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use hyper::Method;
use zeroize::Zeroizing;

use super::probe::Address;
use super::{
    Adapter, Assessment, BaseUrl, Credential, CredentialKind, Grant, Login, LoginSource, Remedy,
    Renewal, TokenError,
};
use crate::config::{AllowedPath, KeySource, ProviderName};
use crate::secret::Secret;

/// No key is longer; a longer file is no key.
const LONGEST_KEY: u64 = 16 * 1024;

/// A provider with a fixed API key.
#[derive(Debug)]
pub(super) struct StaticKey {
    name: ProviderName,
    base_url: BaseUrl,
    paths: Vec<AllowedPath>,
    source: KeySource,
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
        let post = |path: &str| AllowedPath {
            path: path.to_owned(),
            methods: vec![Method::POST],
        };
        let mut paths = vec![
            post("/chat/completions"),
            post("/completions"),
            post("/embeddings"),
            AllowedPath {
                path: "/models".to_owned(),
                methods: vec![Method::GET],
            },
        ];
        super::registry::add_paths(&mut paths, extra_paths);
        let advice = match &source {
            KeySource::File(file) => format!(
                "put the API key into {}, then run `hermesctl proxy reload`",
                file.display()
            ),
            KeySource::Env(variable) => format!(
                "restart hermes-proxyd with {variable} in its environment, or name a file with the \
                 key as `api_key_file` under [providers.{name}]"
            ),
        };
        Self {
            name,
            base_url,
            paths,
            source,
            advice,
        }
    }

    fn key(&self) -> Result<Secret, String> {
        let text = Zeroizing::new(match &self.source {
            KeySource::File(file) => first_line(file).map_err(|error| {
                format!("the key file {} can't be read: {error}", file.display())
            })?,
            KeySource::Env(variable) => std::env::var(variable)
                .map_err(|_| format!("the environment variable {variable} is not set"))?,
        });
        if text.trim().is_empty() {
            return Err("the API key is empty".to_owned());
        }
        Ok(Secret::new(text.trim().to_owned()))
    }
}

fn first_line(file: &Path) -> std::io::Result<String> {
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(file)?
        .take(LONGEST_KEY)
        .read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
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

    fn login_source(&self) -> LoginSource {
        LoginSource::Own
    }

    fn addresses(&self, _login: &Login) -> Vec<Address> {
        vec![Address {
            what: "inference",
            url: self.base_url.to_string(),
        }]
    }

    fn assess(&self, _login: &Login, _now: DateTime<Utc>) -> Assessment {
        let key = match self.key() {
            Ok(key) => key,
            Err(reason) => return Assessment::NoLogin { reason },
        };
        let Ok(authorization) = key.authorization("Bearer") else {
            let reason = "the API key holds characters that a header can't carry".to_owned();
            return Assessment::NoLogin { reason };
        };
        Assessment::Login {
            credential: Some(Credential {
                bearer: key,
                authorization,
                base_url: self.base_url.clone(),
                kind: CredentialKind::ApiKey,
                issued_at: None,
                expires_at: None,
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
