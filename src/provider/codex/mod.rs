//! OpenAI Codex: the backend that serves Codex with a `ChatGPT` subscription.
//!
//! The bearer is the access token, a JWT that also names the account and its region, which the backend wants as header
//! fields. Hermes Agent keeps the login only in the root home's store, with the tokens in a nested table. The client
//! id is that of OpenAI's Codex CLI, as in Hermes Agent: there is no other for this backend. Requests truthfully name
//! their sender.

mod device;
mod identity;
mod models;
mod page;
mod refusal;
mod rules;
mod usage;

#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use hyper::{Method, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use super::browser::BrowserLogin;
use super::device::DeviceLogin;
use super::hosts::{Hosts, Own};
use super::jwt::Claims;
use super::probe::ProbeTarget;
use super::tabled::{Tabled, inner};
use super::token_client::{TokenClient, TokenResponse};
use super::{
    Adapter, AnswerContext, Assessment, BaseUrl, Credential, Dialect, Forwards, Grant, Layout,
    Login, ProviderReply, Quotas, ReadError, Remedy, Renewal, SharedLoginFile, Skew, TokenError,
    Verdict,
};
use crate::config::{AllowedPath, CODEX_BASE_URL, CODEX_TOKEN_TIMEOUT, Lookup, ProviderName};

/// Its name for people.
pub(super) const DISPLAY_NAME: &str = "OpenAI Codex";
/// The layout of the block `openai-codex`.
pub(super) const LAYOUT: &dyn Layout = &BLOCK;
static BLOCK: Tabled = Tabled::new("openai-codex", INFERENCE, || LAYOUT);

const INFERENCE: &str = "https://chatgpt.com/backend-api/codex";
static OWN: Own = Own {
    issuer: "https://auth.openai.com",
    inference: INFERENCE,
    base_url: CODEX_BASE_URL,
    token_timeout: CODEX_TOKEN_TIMEOUT,
};
const CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";
/// A token is renewed this long before its end.
const LEAD: Duration = Duration::from_mins(2);
/// The codes of a refusal that end the login, with any status.
const DEAD: [&str; 8] = [
    "invalid_grant",
    "invalid_token",
    "invalid_request",
    "invalid_client",
    "refresh_token_reused",
    "refresh_token_expired",
    "refresh_token_invalidated",
    "refresh_token_revoked",
];

/// OpenAI Codex.
#[derive(Debug)]
pub(super) struct Codex {
    name: ProviderName,
    client: TokenClient,
    paths: Vec<AllowedPath>,
    hosts: Hosts,
    /// Whether bodies are translated.
    translates: bool,
    quotas: Quotas,
}

/// What the configuration says of this provider.
#[derive(Debug)]
pub(super) struct CodexSettings<'s> {
    pub(super) extra_paths: &'s [AllowedPath],
    pub(super) issuer: Option<&'s Url>,
    pub(super) inference: Option<BaseUrl>,
    pub(super) translate: bool,
}

impl Codex {
    pub(super) fn new(
        name: ProviderName,
        client: TokenClient,
        settings: CodexSettings<'_>,
        env: Lookup<'_>,
    ) -> Self {
        let path = |path, method| AllowedPath::new(path, &[method]);
        let mut paths = vec![
            path("/responses", Method::POST),
            path("/responses/compact", Method::POST),
            path("/models", Method::GET),
        ];
        AllowedPath::add_all(&mut paths, settings.extra_paths);
        Self {
            name,
            client,
            paths,
            hosts: Hosts::new(&OWN, settings.issuer, settings.inference, env),
            translates: settings.translate,
            quotas: Quotas::default(),
        }
    }

    fn token_endpoint(&self) -> String {
        format!("{}/oauth/token", self.hosts.issuer())
    }

    async fn refresh(&self, login: &Login) -> Result<Map<String, Value>, TokenError> {
        let token = login.refresh_token().ok_or_else(|| TokenError::Transient {
            may_be_spent: false,
            what: "the login has no refresh token".to_owned(),
            retry_after: None,
        })?;
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token.expose()),
            ("client_id", CLIENT_ID),
        ];
        let request = self.client.post(&self.token_endpoint()).form(&form);
        granted(self.client.send(request).await?)
    }
}

/// What the token endpoint's answer to a refresh means. A 429 is about the account's quota. A 401 or 403 with another
/// code than those that end a login, or without one, may be about the network, the country or a company's proxy: the
/// tokens stay, since the one that was sent is not spent by it.
fn granted(answer: TokenResponse) -> Result<Map<String, Value>, TokenError> {
    let status = answer.status();
    let (code, description) = answer.refusal();
    match status {
        StatusCode::TOO_MANY_REQUESTS => Err(TokenError::Transient {
            may_be_spent: false,
            what: format!("OpenAI's quota is used up (429); the login works ({code})"),
            retry_after: answer.retry_after(),
        }),
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
            if DEAD.contains(&code.as_str()) =>
        {
            Err(TokenError::Rejected { code, description })
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let code = answer.error_code();
            let code = code.map_or_else(String::new, |code| format!(", {code}"));
            Err(TokenError::Transient {
                may_be_spent: false,
                what: format!(
                    "OpenAI refused the renewal ({}{code}) without saying that the login has ended, so \
                     it is kept; if this lasts, run `hermesctl auth login openai-codex`",
                    status.as_u16()
                ),
                retry_after: answer.retry_after(),
            })
        }
        _ => answer.granted("access_token"),
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
impl Adapter for Codex {
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

    fn browser_login(&self) -> Option<&dyn BrowserLogin> {
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

    /// OpenAI forbids that an account is shared.
    fn needs_client_key(&self) -> bool {
        true
    }

    fn forwards(&self) -> Forwards {
        Forwards {
            names: &["session-id", "session_id", "thread-id", "conversation_id"],
            prefix: Some("x-codex-"),
        }
    }

    fn dialect(&self, path: &str) -> Option<Dialect> {
        if !self.translates {
            return None;
        }
        match path {
            "/responses" => Some(Dialect::Streamed(&rules::RESPONSES)),
            "/responses/compact" => Some(Dialect::Whole(&rules::COMPACT)),
            "/models" => Some(Dialect::Models(&models::LIST)),
            _ => None,
        }
    }

    fn other_holder(&self) -> Option<SharedLoginFile> {
        Some(SharedLoginFile {
            program: "Codex CLI",
            variable: "CODEX_HOME",
            folder: ".codex",
            file: "auth.json",
        })
    }

    fn lead(&self, _credential: &Credential, lead: Duration) -> Duration {
        lead.min(LEAD)
    }

    fn assess(&self, login: &Login, now: DateTime<Utc>) -> Assessment {
        self.hosts.assess(login, now, |claims| {
            let id_token = inner(login).secret("id_token");
            let id_claims = id_token.and_then(|token| Claims::decode(token.expose()));
            identity::headers(claims, id_claims.as_ref())
        })
    }

    async fn renew(&self, login: &Login, renewal: Renewal) -> Result<Grant, TokenError> {
        Ok(Grant::new(self.refresh(login).await?, renewal))
    }

    /// The body says when a 429 ends.
    fn verdict(&self, reply: &ProviderReply<'_>) -> Verdict {
        refusal::verdict(reply)
    }

    fn hear(&self, reply: &ProviderReply<'_>, heard: AnswerContext, _shared: &dyn Fn() -> bool) {
        self.quotas
            .hold(heard.login, usage::of_fields(reply.fields, heard.at));
    }

    fn quotas(&self) -> Option<&Quotas> {
        Some(&self.quotas)
    }

    fn answers_for_quota(&self) -> bool {
        true
    }

    async fn ask_quota(&self, credential: &Credential, login: usize, now: DateTime<Utc>) {
        let Some(url) = usage::url(&credential.base_url) else {
            return;
        };
        let mut request = self.client.get(&url);
        for (name, value) in &credential.headers {
            request = request.header(name.clone(), value.clone());
        }
        let authorization = credential.authorization.clone();
        let request = request.header(hyper::header::AUTHORIZATION, authorization);
        // It is only for the user to see: the next time may do.
        if let Ok(answer) = self.client.send(request).await {
            let quota = answer.ok().and_then(|fields| usage::of_body(&fields, now));
            self.quotas.hold(login, quota);
        }
    }

    fn models(&self, answer: &[u8]) -> Option<Vec<u8>> {
        (models::LIST.read)(answer).filter(|_| self.translates)
    }

    fn models_query(&self) -> Option<&str> {
        self.translates.then_some(models::QUERY)
    }

    fn reads_errors(&self) -> Option<ReadError> {
        Some(refusal::in_stream)
    }

    fn quota_event(&self) -> Option<&'static str> {
        Some(usage::EVENT)
    }

    fn hear_event(&self, event: &[u8], login: usize, at: DateTime<Utc>) {
        self.quotas.hold(login, usage::of_event(event, at));
    }

    fn lifetime(&self, grant: &Grant) -> Option<Duration> {
        grant.jwt_lifetime()
    }

    fn apply(&self, login: &mut Login, grant: Grant, now: DateTime<Utc>) {
        let answer = Login::new(grant.into_answer(), LAYOUT);
        let mut tokens = inner(login);
        for key in ["access_token", "refresh_token", "id_token"] {
            if let Some(text) = answer.text(key) {
                tokens.set(key, text.to_owned());
            }
        }
        // The token contains its end, and an older one's would be wrong.
        tokens.remove("expires_in");
        login.set("tokens", tokens.into_fields());
        login.set(
            "last_refresh",
            now.to_rfc3339_opts(SecondsFormat::Micros, true),
        );
        if !login.fields().contains_key("auth_mode") {
            login.set("auth_mode", "chatgpt");
        }
        login.forget_end();
    }
}
