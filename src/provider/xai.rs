//! xAI Grok: a device login at the endpoints that xAI's discovery document names, and single-use
//! refresh tokens.
//!
//! The bearer is the access token. Hermes Agent keeps the login only in the root home's store, with
//! the tokens in a nested table. The client id is Hermes Agent's: xAI registers no others.

mod refusal;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use hyper::{Method, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use super::device::{DeviceCode, DeviceError, DeviceLogin, Poll, polled};
use super::hosts::{Hosts, Own};
use super::probe::ProbeTarget;
use super::tabled::{Tabled, inner};
use super::token_client::{TokenClient, TokenResponse};
use super::{
    Adapter, AnswerContext, Assessment, BaseUrl, Credential, Grant, Layout, Login, ProviderReply,
    Quotas, ReadError, Remedy, Renewal, Skew, TokenError, Verdict, rate_limits,
};
use crate::clock;
use crate::config::{AllowedPath, Lookup, ProviderName, XAI_BASE_URL, XAI_TOKEN_TIMEOUT, is_xai};

/// The layout of the block `xai-oauth`.
pub(super) const LAYOUT: &dyn Layout = &BLOCK;
static BLOCK: Tabled = Tabled::new("xai-oauth", INFERENCE, || LAYOUT);

/// Its name for people.
pub(super) const DISPLAY_NAME: &str = "xAI Grok";
const INFERENCE: &str = "https://api.x.ai/v1";
static OWN: Own = Own {
    issuer: "https://auth.x.ai",
    inference: INFERENCE,
    base_url: XAI_BASE_URL,
    token_timeout: XAI_TOKEN_TIMEOUT,
};
const CLIENT_ID: &str = "b1a00492-073a-47ea-816f-4c329264a828";
const SCOPE: &str = "openid profile email offline_access grok-cli:access api:access";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// A token that lives longer than this at its issue is renewed an hour before its end.
const LONG_LIFE: Duration = Duration::from_mins(45);
const LONG_LEAD: Duration = Duration::from_hours(1);
/// A shorter one, as device logins often get, is renewed this long before.
const SHORT_LEAD: Duration = Duration::from_mins(2);

/// xAI Grok.
#[derive(Debug)]
pub(super) struct Xai {
    name: ProviderName,
    client: TokenClient,
    paths: Vec<AllowedPath>,
    hosts: Hosts,
    found: Mutex<Option<Arc<XaiEndpoints>>>,
    quotas: Quotas,
}

/// What the discovery document names.
#[derive(Debug, Clone)]
struct XaiEndpoints {
    authorization: Option<String>,
    token: String,
    device: String,
}

/// What the configuration says of this provider.
#[derive(Debug)]
pub(super) struct XaiSettings<'s> {
    pub(super) extra_paths: &'s [AllowedPath],
    pub(super) issuer: Option<&'s Url>,
    pub(super) inference: Option<BaseUrl>,
}

impl Xai {
    pub(super) fn new(
        name: ProviderName,
        client: TokenClient,
        settings: XaiSettings<'_>,
        env: Lookup<'_>,
    ) -> Self {
        let path = |path, method| AllowedPath::new(path, &[method]);
        let mut paths = vec![
            path("/responses", Method::POST),
            path("/chat/completions", Method::POST),
            path("/completions", Method::POST),
            path("/embeddings", Method::POST),
            path("/models", Method::GET),
        ];
        AllowedPath::add_all(&mut paths, settings.extra_paths);
        Self {
            name,
            client,
            paths,
            hosts: Hosts::new(&OWN, settings.issuer, settings.inference, env),
            found: Mutex::default(),
            quotas: Quotas::default(),
        }
    }

    /// Whether a token may be sent there: to xAI's own hosts, or to the host of the operator's
    /// issuer.
    fn is_trusted(&self, address: &str) -> bool {
        let Ok(url) = Url::parse(address) else {
            return false;
        };
        let plain = url.username().is_empty() && url.password().is_none();
        plain && (is_xai(&url) || self.hosts.is_operators_issuer(&url))
    }

    /// The endpoints, asked for once.
    async fn endpoints(&self) -> Result<Arc<XaiEndpoints>, TokenError> {
        if let Some(found) = self.known() {
            return Ok(found);
        }
        let url = format!("{}/.well-known/openid-configuration", self.hosts.issuer());
        let answer = self.client.send(self.client.get(&url)).await;
        let fields = answer.and_then(|answer| answer.granted("token_endpoint"));
        let fields = fields.map_err(|error| nothing_spent(&error))?;
        let trusted = |key: &str| {
            let address = fields.get(key)?.as_str()?.trim();
            self.is_trusted(address).then(|| address.to_owned())
        };
        let token = trusted("token_endpoint").ok_or_else(|| {
            unusable("xAI's discovery document names a token endpoint that is not xAI's")
        })?;
        let device = trusted("device_authorization_endpoint");
        let found = Arc::new(XaiEndpoints {
            authorization: trusted("authorization_endpoint"),
            token,
            device: device.unwrap_or_else(|| format!("{}/oauth2/device/code", self.hosts.issuer())),
        });
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        Ok(found)
    }

    fn known(&self) -> Option<Arc<XaiEndpoints>> {
        let found = self.found.lock();
        found.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where this login is refreshed.
    async fn token_endpoint(&self, login: &Login) -> Result<String, TokenError> {
        let stored = login.fields().get("discovery");
        let stored = stored.and_then(|found| found.get("token_endpoint")?.as_str());
        match stored.filter(|stored| self.is_trusted(stored)) {
            Some(stored) => Ok(stored.to_owned()),
            None => Ok(self.endpoints().await?.token.clone()),
        }
    }

    async fn refresh(&self, login: &Login) -> Result<Map<String, Value>, TokenError> {
        let token = login
            .refresh_token()
            .ok_or_else(|| unusable("the login has no refresh token"))?;
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", CLIENT_ID),
            ("refresh_token", token.expose()),
        ];
        let endpoint = self.token_endpoint(login).await?;
        granted(
            self.client
                .send(self.client.post(&endpoint).form(&form))
                .await?,
        )
    }
}

/// What the token endpoint's answer to a refresh means: 400 and 401 are the end of the login, 403 is
/// about the account.
fn granted(answer: TokenResponse) -> Result<Map<String, Value>, TokenError> {
    let status = answer.status();
    let (code, description) = answer.refusal();
    match status {
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED if answer.error_code().is_some() => {
            Err(TokenError::Rejected { code, description })
        }
        StatusCode::FORBIDDEN => Err(unusable(&format!(
            "xAI refuses this account ({code}: {description}); a new login does not help, see the \
             account's plan at https://console.x.ai"
        ))),
        _ => answer.granted("access_token"),
    }
}

/// An outage that has spent nothing.
fn unusable(what: &str) -> TokenError {
    TokenError::Transient {
        may_be_spent: false,
        what: what.to_owned(),
        retry_after: None,
    }
}

/// What a request came to that carried no token.
fn nothing_spent(error: &TokenError) -> TokenError {
    let what = error.to_string();
    match error {
        TokenError::Lost { retry_after, .. } | TokenError::Transient { retry_after, .. } => {
            TokenError::Transient {
                may_be_spent: false,
                what,
                retry_after: *retry_after,
            }
        }
        TokenError::Rejected { .. } | TokenError::AccessTokenRefused => unusable(&what),
    }
}

/// What of the variables can't be used, each as a sentence.
pub(super) fn environment_faults(env: Lookup<'_>) -> Vec<String> {
    OWN.environment_faults(env)
}

/// The limit of one token request that the environment asks for.
pub(super) fn token_timeout(env: Lookup<'_>) -> Option<Duration> {
    OWN.token_timeout(env)
}

#[async_trait]
impl Adapter for Xai {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn display_name(&self) -> &'static str {
        DISPLAY_NAME
    }

    fn allowed_paths(&self) -> &[AllowedPath] {
        &self.paths
    }

    fn remedy(&self) -> Remedy {
        Remedy::Run(format!("hermesctl auth login {}", self.name))
    }

    fn layout(&self) -> Option<&'static dyn Layout> {
        Some(LAYOUT)
    }

    fn device_login(&self) -> Option<&dyn DeviceLogin> {
        Some(self)
    }

    fn skew(&self) -> Option<&Skew> {
        Some(self.client.skew())
    }

    fn addresses(&self, _login: &Login) -> Vec<ProbeTarget> {
        self.hosts.addresses()
    }

    fn is_elsewhere(&self) -> bool {
        self.hosts.is_elsewhere()
    }

    fn lead(&self, credential: &Credential, lead: Duration) -> Duration {
        let times = credential.expires_at.zip(credential.issued_at);
        let life = times.map_or(Duration::ZERO, |(end, issued)| clock::until(end, issued));
        if life > LONG_LIFE {
            lead.max(LONG_LEAD)
        } else {
            lead.min(SHORT_LEAD)
        }
    }

    fn assess(&self, login: &Login, now: DateTime<Utc>) -> Assessment {
        self.hosts.assess(login, now, |_| Vec::new())
    }

    async fn renew(&self, login: &Login, renewal: Renewal) -> Result<Grant, TokenError> {
        Ok(Grant::new(self.refresh(login).await?, renewal))
    }

    /// The body has the reason of a 403 and a 429.
    fn verdict(&self, reply: &ProviderReply<'_>) -> Verdict {
        refusal::verdict(reply)
    }

    fn hear(&self, reply: &ProviderReply<'_>, heard: AnswerContext, _shared: &dyn Fn() -> bool) {
        let quota = rate_limits::of_fields(reply.fields, heard.at, None);
        self.quotas.hold(heard.login, quota);
    }

    fn quotas(&self) -> Option<&Quotas> {
        Some(&self.quotas)
    }

    fn reads_errors(&self) -> Option<ReadError> {
        Some(refusal::in_stream)
    }

    fn lifetime(&self, grant: &Grant) -> Option<Duration> {
        grant.jwt_lifetime()
    }

    fn apply(&self, login: &mut Login, grant: Grant, now: DateTime<Utc>) {
        let lifetime = self.lifetime(&grant);
        let answer = Login::new(grant.into_answer(), LAYOUT);
        let mut tokens = inner(login);
        for key in ["access_token", "refresh_token", "id_token", "token_type"] {
            if let Some(text) = answer.text(key) {
                tokens.set(key, text.to_owned());
            }
        }
        for (key, value) in [("id_token", ""), ("token_type", "Bearer")] {
            if !tokens.fields().contains_key(key) {
                tokens.set(key, value);
            }
        }
        match lifetime {
            Some(lifetime) => tokens.set("expires_in", lifetime.as_secs()),
            None => tokens.remove("expires_in"),
        }
        login.set("tokens", tokens.into_fields());
        if let Some(found) = self.known() {
            let mut discovery = Map::new();
            if let Some(authorization) = &found.authorization {
                let authorization = authorization.as_str().into();
                discovery.insert("authorization_endpoint".to_owned(), authorization);
            }
            discovery.insert("token_endpoint".to_owned(), found.token.as_str().into());
            login.set("discovery", discovery);
        }
        for (key, value) in [("redirect_uri", ""), ("auth_mode", "oauth_device_code")] {
            if !login.fields().contains_key(key) {
                login.set(key, value);
            }
        }
        login.set(
            "last_refresh",
            now.to_rfc3339_opts(SecondsFormat::Micros, true),
        );
        login.forget_end();
    }
}

#[async_trait]
impl DeviceLogin for Xai {
    async fn begin(&self) -> Result<DeviceCode, DeviceError> {
        let unreachable = |error: TokenError| DeviceError::Unreachable {
            what: error.to_string(),
        };
        let endpoints = self.endpoints().await.map_err(unreachable)?;
        let form = [("client_id", CLIENT_ID), ("scope", SCOPE)];
        let request = self.client.post(&endpoints.device).form(&form);
        let answer = self.client.send(request).await.map_err(unreachable)?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Err(DeviceError::Refused {
                code: "not_found".to_owned(),
                description: "xAI offers this account no device login".to_owned(),
            });
        }
        DeviceCode::read(answer, |address| self.is_trusted(address))
    }

    async fn poll(&self, code: &DeviceCode) -> Result<Poll, DeviceError> {
        let endpoints = match self.endpoints().await {
            Ok(endpoints) => endpoints,
            Err(error) => return polled(Err(error)),
        };
        let request = self.client.post(&endpoints.token).form(&[
            ("grant_type", GRANT_TYPE),
            ("client_id", CLIENT_ID),
            ("device_code", code.secret.expose()),
        ]);
        polled(self.client.send(request).await)
    }
}
