//! Nous Portal: the login that Hermes Agent made, and the portal's token endpoint.
//!
//! The bearer is the access token itself when it is a JWT with the scope `inference:invoke` (the
//! invoke JWT), else an agent key that the portal mints for it. Refresh tokens are single-use.

mod device;
mod layout;
mod limit;
#[cfg(test)]
mod tests;

use std::path::Path;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use url::Url;

pub(super) use self::layout::LAYOUT;
use self::layout::{CLIENT_ID, INFERENCE, PORTAL, SCOPE, invoke_claims, iso};
use self::limit::Limit;
use super::jwt::Claims;
use super::probe::ProbeTarget;
use super::token_client::{TokenClient, seconds};
use super::{
    Adapter, AnswerContext, Assessment, BaseUrl, BearerKind, Credential, DeviceLogin, Forwards,
    Grant, Layout, Login, ProviderReply, Quotas, Remedy, Renewal, Skew, TokenError, Verdict,
    rate_limits,
};

use crate::clock;
use crate::config::{self, AllowedPath, ProviderName, unquoted};
use crate::secret::Secret;

/// Its name for people.
pub(super) const DISPLAY_NAME: &str = "Nous Portal";
/// The access token itself, a JWT that may call the inference API.
const INVOKE_JWT: BearerKind = BearerKind::new("invoke_jwt", Renewal::Refresh);
/// A key that the portal minted for an access token.
const AGENT_KEY: BearerKind = BearerKind::new("agent_key", Renewal::Mint);
/// A guest's, for which there is nothing to refresh; Hermes Agent gets the next one.
const GUEST_TOKEN: BearerKind = BearerKind::new("guest_token", Renewal::Never);
/// Where guests are served: the other host answers 400 to their tokens.
const GUEST_INFERENCE: &str = "https://welcome-api.nousresearch.com/v1";
/// Hosts that an inference URL from the network or the store may name, always over https.
const INFERENCE_HOSTS: [&str; 2] = [
    "inference-api.nousresearch.com",
    "welcome-api.nousresearch.com",
];
/// Hosts that a stored portal URL may name; http is accepted for loopback only.
const PORTAL_HOSTS: [&str; 3] = ["portal.nousresearch.com", "localhost", "127.0.0.1"];
/// How long a token or key without a plausible lifetime is used, in seconds: counting it as expired
/// would spend the next one at once.
const UNTOLD: u64 = 900;
/// A grant ends this long after the login, as users report.
const GRANT: std::time::Duration = std::time::Duration::from_hours(30 * 24);
/// Why a guest's login gives no bearer.
const NO_GUEST_TOKEN: &str =
    "the guest login's token has expired; Hermes Agent gets the next one when it runs";
/// What the limits are of whose names say no length.
const MINUTE: std::time::Duration = std::time::Duration::from_mins(1);
/// A minted key should live this long at least, in seconds.
const MINT_TTL: u64 = 1800;

/// Nous Portal.
#[derive(Debug)]
pub(super) struct Nous {
    name: ProviderName,
    client: TokenClient,
    paths: Vec<AllowedPath>,
    /// The operator's choice, not checked against the hosts above, never written to the store.
    portal: Option<String>,
    inference: Option<BaseUrl>,
    limit: Limit,
    quotas: Quotas,
}

/// An environment variable with a URL that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable {variable} can't be used: {reason}; correct it or unset it")]
pub struct BadVariable {
    /// Its name.
    pub variable: &'static str,
    /// Why, without its text.
    pub reason: String,
}

/// The variables that name the portal and the inference API that can't be used, each as a sentence.
pub(super) fn environment_faults(env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let url = |name: &str| {
        let value = env(name)?;
        Some(Url::parse(unquoted(&value)?).ok())
    };
    let portals = ["HERMES_PORTAL_BASE_URL", "NOUS_PORTAL_BASE_URL"].into_iter();
    let mut faults: Vec<_> = portals
        .filter(|name| url(name).is_some_and(|url| url.is_none()))
        .map(|name| format!("{name} is ignored: it is not a URL such as {PORTAL}."))
        .collect();
    let name = "NOUS_INFERENCE_BASE_URL";
    let is_base = |url: Option<Url>| url.is_some_and(|url| BaseUrl::new(&url).is_ok());
    if url(name).is_some_and(|url| !is_base(url)) {
        faults.push(format!(
            "{name} is ignored: it is not a base URL such as {INFERENCE}."
        ));
    }
    faults
}

/// The same of the file that adds to the environment. It is Hermes Agent's, and nothing in it may stop the service.
pub(super) fn file_faults(env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let flaw = |name: &str| {
        let url = Url::parse(unquoted(&env(name)?)?).ok()?;
        let reason = config::base_url_flaw(url.as_str())?;
        Some(format!("{name} is ignored: {reason}."))
    };
    let mut faults = environment_faults(env);
    for name in [
        "HERMES_PORTAL_BASE_URL",
        "NOUS_PORTAL_BASE_URL",
        "NOUS_INFERENCE_BASE_URL",
    ] {
        let is_told = faults.iter().any(|fault| fault.starts_with(name));
        faults.extend(flaw(name).filter(|_| !is_told));
    }
    faults
}

/// The times of a bearer, as the provider or its store tells them.
#[derive(Debug, Clone, Copy)]
struct BearerTimes {
    issued_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
}

impl Nous {
    pub(super) fn new(name: ProviderName, client: TokenClient, extra: &[AllowedPath]) -> Self {
        let path = |path, method| AllowedPath::new(path, &[method]);
        let mut paths = vec![
            path("/chat/completions", Method::POST),
            path("/completions", Method::POST),
            path("/embeddings", Method::POST),
            path("/models", Method::GET),
            path("/messages", Method::POST),
            path("/messages/count_tokens", Method::POST),
        ];
        AllowedPath::add_all(&mut paths, extra);
        Self {
            name,
            client,
            paths,
            portal: None,
            inference: None,
            limit: Limit::new(None),
            quotas: Quotas::default(),
        }
    }

    /// Shares the account's rate limit with the Hermes Agent of this home.
    pub(super) fn share_limit(&mut self, home: &Path) {
        self.limit = Limit::new(Some(home));
    }

    /// Takes the operator's URLs: the configuration's, otherwise those of the environment variables
    /// that Hermes Agent honours. An unusable one that `is_in_file` is ignored.
    pub(super) fn override_urls(
        &mut self,
        portal: Option<&Url>,
        inference: Option<BaseUrl>,
        env: &dyn Fn(&str) -> Option<String>,
        is_in_file: &dyn Fn(&str) -> bool,
    ) -> Result<(), BadVariable> {
        // The same rule as for the file: what is sent there is as secret.
        let from_env = |variable: &'static str| {
            let text = env(variable);
            // An invalid URL is reported by `environment_faults`.
            let Some(url) = text.and_then(|text| Url::parse(unquoted(&text)?).ok()) else {
                return Ok(None);
            };
            match config::base_url_flaw(url.as_str()) {
                None => Ok(Some(url)),
                // Told by `file_faults`.
                Some(_) if is_in_file(variable) => Ok(None),
                Some(reason) => Err(BadVariable { variable, reason }),
            }
        };
        let mut portal = portal.cloned();
        for variable in ["HERMES_PORTAL_BASE_URL", "NOUS_PORTAL_BASE_URL"] {
            if portal.is_none() {
                portal = from_env(variable)?;
            }
        }
        self.portal = portal.map(|url| url.as_str().trim_end_matches('/').to_owned());
        self.inference = match inference {
            Some(inference) => Some(inference),
            None => from_env("NOUS_INFERENCE_BASE_URL")?.and_then(|url| BaseUrl::new(&url).ok()),
        };
        Ok(())
    }

    fn portal(&self, login: &Login) -> String {
        let stored = || login.text("portal_base_url").and_then(trusted_portal);
        self.portal
            .clone()
            .or_else(stored)
            .unwrap_or_else(|| PORTAL.to_owned())
    }

    fn inference(&self, login: &Login) -> Option<BaseUrl> {
        if let Some(base) = &self.inference {
            return Some(base.clone());
        }
        let stored = login.text("inference_base_url").and_then(trusted_inference);
        let (default, stored) = if layout::is_guest(login) {
            // Another login's leftover leads to a host that refuses guests.
            (GUEST_INFERENCE, stored.filter(|url| url != INFERENCE))
        } else {
            (INFERENCE, stored)
        };
        BaseUrl::new(&Url::parse(stored.as_deref().unwrap_or(default)).ok()?).ok()
    }

    /// A guest's token, while it lives.
    fn guest_token(&self, login: &Login, now: DateTime<Utc>) -> Option<Credential> {
        let token = login.secret("access_token")?;
        let claims = Claims::decode(token.expose());
        let claims = claims.as_ref();
        let obtained = login.time("obtained_at");
        let expires_at = claims
            .and_then(|claims| claims.ends_at(obtained, now))
            .or_else(|| login.time("expires_at"));
        let times = BearerTimes {
            issued_at: obtained.or_else(|| claims?.issued_at()),
            expires_at,
        };
        let credential = self.credential(token, login, GUEST_TOKEN, times)?;
        let lives = credential.expires_at.is_some_and(|end| end > now);
        lives.then_some(credential)
    }

    fn invoke_jwt(&self, login: &Login, now: DateTime<Utc>) -> Option<Credential> {
        let token = login.secret("access_token")?;
        let claims = invoke_claims(&token, login)?;
        let expires_at = claims
            .ends_at(login.time("obtained_at"), now)
            .or_else(|| login.time("expires_at"));
        let times = BearerTimes {
            issued_at: login.time("obtained_at").or_else(|| claims.issued_at()),
            expires_at,
        };
        self.credential(token, login, INVOKE_JWT, times)
    }

    fn agent_key(&self, login: &Login) -> Option<Credential> {
        let key = login.secret("agent_key")?;
        let times = BearerTimes {
            issued_at: login.time("agent_key_obtained_at"),
            expires_at: login.time("agent_key_expires_at"),
        };
        self.credential(key, login, AGENT_KEY, times)
    }

    /// A missing or unreadable expiry counts as expired.
    fn credential(
        &self,
        bearer: Secret,
        login: &Login,
        kind: BearerKind,
        times: BearerTimes,
    ) -> Option<Credential> {
        let scheme = login.text("token_type").unwrap_or("Bearer");
        let scheme = if scheme.eq_ignore_ascii_case("bearer") {
            "Bearer"
        } else {
            scheme
        };
        let authorization = bearer.authorization(scheme).ok()?;
        let base_url = self.inference(login)?;
        let expires_at = Some(times.expires_at.unwrap_or(DateTime::UNIX_EPOCH));
        Some(Credential {
            bearer,
            authorization,
            base_url,
            kind,
            issued_at: times.issued_at,
            expires_at,
            headers: Vec::new(),
        })
    }

    async fn refresh(&self, login: &Login) -> Result<Map<String, Value>, TokenError> {
        let unusable = |what: &str| TokenError::Transient {
            what: what.to_owned(),
            retry_after: None,
            may_be_spent: false,
        };
        let token = login
            .secret("refresh_token")
            .ok_or_else(|| unusable("the login has no refresh token"))?;
        let header = token
            .header_value()
            .map_err(|_| unusable("the refresh token has characters that a header can't carry"))?;
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", login.text("client_id").unwrap_or(CLIENT_ID)),
        ];
        let request = self
            .client
            .post(&format!("{}/api/oauth/token", self.portal(login)))
            .header("x-nous-refresh-token", header)
            .form(&form);
        self.client.send(request).await?.granted("access_token")
    }

    async fn mint(&self, login: &Login) -> Result<Map<String, Value>, TokenError> {
        let header = login
            .secret("access_token")
            .and_then(|token| token.authorization("Bearer").ok());
        let header = header.ok_or(TokenError::AccessTokenRefused)?;
        let request = self
            .client
            .post(&format!("{}/api/oauth/agent-key", self.portal(login)))
            .header(hyper::header::AUTHORIZATION, header)
            .json(&json!({ "min_ttl_seconds": MINT_TTL }));
        // Minting spends nothing.
        let answer = self
            .client
            .send(request)
            .await
            .map_err(|error| match error {
                TokenError::Lost { what, retry_after } => TokenError::Transient {
                    may_be_spent: false,
                    what,
                    retry_after,
                },
                other @ (TokenError::Rejected { .. }
                | TokenError::AccessTokenRefused
                | TokenError::Transient { .. }) => other,
            })?;
        if answer.is_unauthorized() {
            return Err(TokenError::AccessTokenRefused);
        }
        answer.granted("api_key")
    }
}

#[async_trait]
impl Adapter for Nous {
    fn name(&self) -> &ProviderName {
        &self.name
    }

    fn display_name(&self) -> &'static str {
        DISPLAY_NAME
    }

    fn allowed_paths(&self) -> &[AllowedPath] {
        &self.paths
    }

    /// Those of Anthropic's Messages API.
    fn forwards(&self) -> Forwards {
        Forwards {
            names: &["anthropic-version", "anthropic-beta"],
            prefix: None,
        }
    }

    fn remedy(&self) -> Remedy {
        Remedy::Run("hermesctl auth login nous".to_owned())
    }

    fn layout(&self) -> Option<&'static dyn Layout> {
        Some(LAYOUT)
    }

    fn device_login(&self) -> Option<&dyn DeviceLogin> {
        Some(self)
    }

    fn addresses(&self, login: &Login) -> Vec<ProbeTarget> {
        let portal = ProbeTarget {
            what: "portal",
            setting: "portal_url",
            url: self.portal(login),
        };
        let inference = self.inference(login).map(|base| ProbeTarget {
            what: "inference",
            setting: "base_url",
            url: base.to_string(),
        });
        [portal].into_iter().chain(inference).collect()
    }

    fn is_elsewhere(&self) -> bool {
        self.inference.is_some()
    }

    /// A 429 without an empty bucket is about one model's capacity, and another account meets the same.
    fn verdict(&self, reply: &ProviderReply<'_>) -> Verdict {
        if reply.status != StatusCode::TOO_MANY_REQUESTS {
            return reply.by_status();
        }
        limit::of_account(reply.fields).map_or(Verdict::Pass, |wait| Verdict::NextLogin {
            cooldown: Some(wait),
            code: None,
            may_be_request: false,
        })
    }

    fn limited(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.limit.until(now)
    }

    fn hear(&self, reply: &ProviderReply<'_>, heard: AnswerContext, shared: &dyn Fn() -> bool) {
        self.limit.hear(reply, heard, shared);
        let quota = rate_limits::of_fields(reply.fields, heard.at, Some(MINUTE));
        self.quotas.hold(heard.login, quota);
    }

    fn quotas(&self) -> Option<&Quotas> {
        Some(&self.quotas)
    }

    fn forget_limit(&self) {
        self.limit.forget();
    }

    fn skew(&self) -> Option<&Skew> {
        Some(self.client.skew())
    }

    fn grant_lifetime(&self) -> Option<std::time::Duration> {
        Some(GRANT)
    }

    fn assess(&self, login: &Login, now: DateTime<Utc>) -> Assessment {
        if layout::is_guest(login) {
            return match self.guest_token(login, now) {
                credential @ Some(_) => Assessment::Login {
                    credential,
                    renewal: Renewal::Never,
                },
                None => Assessment::NoLogin {
                    reason: NO_GUEST_TOKEN.to_owned(),
                },
            };
        }
        let tokens = login.tokens();
        if !tokens.any() {
            return Assessment::NoLogin {
                reason: no_login_reason(login),
            };
        }
        let refreshable = if tokens.refresh.is_some() {
            Renewal::Refresh
        } else {
            Renewal::Never
        };
        if let Some(credential) = self.invoke_jwt(login, now) {
            return Assessment::Login {
                credential: Some(credential),
                renewal: refreshable,
            };
        }
        let access_token_lives =
            tokens.access.is_some() && tokens.expires.is_some_and(|end| end > now);
        let renewal = if access_token_lives {
            Renewal::Mint
        } else {
            refreshable
        };
        Assessment::Login {
            credential: self.agent_key(login),
            renewal,
        }
    }

    async fn renew(&self, login: &Login, renewal: Renewal) -> Result<Grant, TokenError> {
        let answer = match renewal {
            Renewal::Mint => self.mint(login).await?,
            Renewal::Refresh | Renewal::Never => self.refresh(login).await?,
        };
        Ok(Grant::new(answer, renewal))
    }

    fn lifetime(&self, grant: &Grant) -> Option<std::time::Duration> {
        grant.jwt_lifetime()
    }

    fn apply(&self, login: &mut Login, grant: Grant, now: DateTime<Utc>) {
        let renewal = grant.renewal();
        let answer = Login::new(grant.into_answer(), LAYOUT);
        match renewal {
            Renewal::Mint => apply_agent_key(login, &answer, now),
            Renewal::Refresh | Renewal::Never => apply_refresh(login, &answer, now),
        }
    }
}

fn apply_refresh(login: &mut Login, answer: &Login, now: DateTime<Utc>) {
    for key in ["access_token", "refresh_token", "token_type", "scope"] {
        if let Some(text) = answer.text(key) {
            login.set(key, text.to_owned());
        }
    }
    let inference = answer
        .text("inference_base_url")
        .and_then(trusted_inference);
    login.set(
        "inference_base_url",
        inference.unwrap_or_else(|| INFERENCE.to_owned()),
    );
    let lifetime = match seconds(answer.fields().get("expires_in")) {
        0 => UNTOLD,
        told => told,
    };
    login.set("obtained_at", iso(now));
    login.set("expires_in", lifetime);
    login.set(
        "expires_at",
        iso(clock::after(now, std::time::Duration::from_secs(lifetime))),
    );
    login.remove("last_auth_error");
    // A new login has none of these yet; they go where Hermes Agent puts them.
    for (key, value) in [
        ("client_id", CLIENT_ID),
        ("scope", SCOPE),
        ("token_type", "Bearer"),
        ("portal_base_url", PORTAL),
    ] {
        if login.text(key).is_none() {
            login.set(key, value);
        }
    }
    layout::mirror_invoke_jwt(login, now);
}

fn apply_agent_key(login: &mut Login, answer: &Login, now: DateTime<Utc>) {
    let told = seconds(answer.fields().get("expires_in"));
    let until = answer.time("expires_at").map(|end| clock::until(end, now));
    let lifetime = match (told, until) {
        (0, Some(until)) if !until.is_zero() => until.as_secs(),
        (0, _) => UNTOLD,
        (told, _) => told,
    };
    let end = clock::after(now, std::time::Duration::from_secs(lifetime));
    if let Some(key) = answer.text("api_key") {
        login.set("agent_key", key.to_owned());
    }
    login.set(
        "agent_key_id",
        answer.fields().get("key_id").cloned().unwrap_or_default(),
    );
    login.set("agent_key_expires_at", iso(end));
    login.set("agent_key_expires_in", lifetime);
    let reused = answer
        .fields()
        .get("reused")
        .and_then(Value::as_bool)
        .unwrap_or_default();
    login.set("agent_key_reused", reused);
    login.set("agent_key_obtained_at", iso(now));
    if let Some(url) = answer
        .text("inference_base_url")
        .and_then(trusted_inference)
    {
        login.set("inference_base_url", url);
    }
}

fn no_login_reason(login: &Login) -> String {
    match login.layout().end_code(login) {
        Some(code) => format!("the login has ended ({code})"),
        None => "there is no login".to_owned(),
    }
}

/// A stored portal URL without its trailing slash, if it is one that a refresh token may be
/// sent to.
fn trusted_portal(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?;
    if host == "api.nousresearch.com" {
        return None;
    }
    let loopback = host == "localhost" || host == "127.0.0.1";
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    if !scheme || !PORTAL_HOSTS.contains(&host) || !url.username().is_empty() {
        tracing::warn!(
            host,
            "ignoring a stored portal URL that is not the provider's"
        );
        return None;
    }
    Some(text.trim_end_matches('/').to_owned())
}

/// An inference URL from the network or the store without its trailing slash, if it is one that
/// a bearer may be sent to.
fn trusted_inference(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?;
    let plain = url.port().is_none() && url.username().is_empty() && url.query().is_none();
    if url.scheme() != "https" || !INFERENCE_HOSTS.contains(&host) || !plain {
        tracing::warn!(host, "ignoring an inference URL that is not the provider's");
        return None;
    }
    Some(text.trim_end_matches('/').to_owned())
}
