//! Any provider that speaks OAuth 2.0, by its settings alone: a code on another device (RFC 8628) or a page in the
//! browser (RFC 7636, RFC 8252), single-use or lasting refresh tokens, and a login in our own store.
//!
//! Tokens go to two places: the refresh token to the token endpoint that the configuration or its issuer names, the
//! access token to the configuration's base URL. No store, token answer or redirect changes these.

mod endpoints;
pub(super) mod layout;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use self::endpoints::{OAuth2Endpoints, unusable};
use super::browser::{
    AuthorizationPage, BrowserAttempt, BrowserLogin, Code, No, Redirect, exchanged,
};
use super::device::{DeviceCode, DeviceError, DeviceLogin, Poll, polled};
use super::hosts::no_login;
use super::jwt::Claims;
use super::probe::ProbeTarget;
use super::token_client::{TokenClient, TokenResponse};
use super::{
    Adapter, Assessment, BaseUrl, BearerKind, Credential, Grant, Layout, Login, Remedy, Renewal,
    Skew, TokenError, key_file,
};
use crate::clock;
use crate::config::{AllowedPath, Flow, OAuth2, ProviderName};
use crate::files::FileWorker;
use crate::secret::Secret;

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const ACCESS_TOKEN: BearerKind = BearerKind::new("access_token", Renewal::Refresh);
/// Where a browser comes back to, if the configuration names no address.
const CALLBACK: &str = "/callback";

/// A provider by its settings.
#[derive(Debug)]
pub(super) struct Generic {
    name: ProviderName,
    client: TokenClient,
    base_url: BaseUrl,
    paths: Vec<AllowedPath>,
    settings: OAuth2,
    layout: &'static dyn Layout,
    found: Mutex<Option<Arc<OAuth2Endpoints>>>,
}

impl Generic {
    pub(super) fn new(
        name: ProviderName,
        client: TokenClient,
        base_url: BaseUrl,
        settings: OAuth2,
        extra: &[AllowedPath],
    ) -> Self {
        Self {
            layout: layout::of(&name),
            paths: super::static_key::paths(extra),
            name,
            client,
            base_url,
            settings,
            found: Mutex::default(),
        }
    }

    /// The endpoints, discovered once.
    async fn endpoints(&self) -> Result<Arc<OAuth2Endpoints>, TokenError> {
        let known = || self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().clone() {
            return Ok(found);
        }
        let found = endpoints::find(&self.name, &self.settings, &self.client).await?;
        let found = Arc::new(found);
        *known() = Some(found.clone());
        Ok(found)
    }

    /// The authority that grants the tokens, as the login notes it: they are sent nowhere else.
    fn authority(&self) -> &str {
        let settings = &self.settings;
        let authority = settings.issuer_url.as_ref().or(settings.token_url.as_ref());
        authority.map_or("", Url::as_str).trim_end_matches('/')
    }

    /// Whether a login's tokens were granted by the authority that they would be sent to: by the issuer, or at the
    /// token endpoint. The configuration may name one of the two now that it did not name then.
    fn is_ours(&self, login: &Login) -> bool {
        let settings = &self.settings;
        let known = [&settings.issuer_url, &settings.token_url];
        let mut known = known.into_iter().flatten();
        known.any(|url| {
            let authority = url.as_str().trim_end_matches('/');
            layout::is_of(login, authority, &settings.client_id)
        })
    }

    /// Whether a page is https and of the provider's own hosts.
    fn is_own_page(&self, page: &str) -> bool {
        let Ok(page) = Url::parse(page) else {
            return false;
        };
        let settings = &self.settings;
        let known = [
            &settings.issuer_url,
            &settings.token_url,
            &settings.device_url,
            &settings.authorize_url,
        ];
        let mut known = known.into_iter().flatten();
        known.any(|one| endpoints::is_trusted(&page, one, &settings.allowed_hosts))
    }

    /// The fields of every request: the client, the scope, and the configuration's additions.
    fn asked(&self) -> Vec<(&str, &str)> {
        let settings = &self.settings;
        let mut fields = vec![("client_id", settings.client_id.as_str())];
        if let Some(audience) = &settings.audience {
            fields.push(("audience", audience));
        }
        let others = settings.form_fields.iter();
        fields.extend(others.map(|(name, value)| (name.as_str(), value.as_str())));
        fields
    }

    /// The client's secret, read each time: it may have been replaced.
    async fn secret(&self) -> Result<Option<Secret>, TokenError> {
        let Some(file) = self.settings.client_secret_file.clone() else {
            return Ok(None);
        };
        let read = FileWorker::default()
            .run(move || key_file::read_file(&file))
            .await;
        let read = read.map_err(|error| error.to_string());
        let secret = read.and_then(|read| read.map_err(|why| why.to_string()));
        secret.map(Some).map_err(|why| {
            unusable(format!(
                "the client's secret can't be read: {why} (`providers.{}.client_secret_file`)",
                self.name
            ))
        })
    }

    /// Asks the token endpoint with these fields, and a refresh token that goes into a header.
    async fn ask(
        &self,
        endpoints: &OAuth2Endpoints,
        fields: &[(&str, &str)],
        header: Option<&Secret>,
    ) -> Result<TokenResponse, TokenError> {
        let secret = self.secret().await?;
        let mut form = self.asked();
        form.extend_from_slice(fields);
        let mut request = self.client.post(endpoints.token.as_str());
        if let Some(secret) = &secret {
            if endpoints.basic {
                // RFC 6749 §2.3.1: both in the form's own encoding.
                let encoded = |text: &str| -> String {
                    form_urlencoded::byte_serialize(text.as_bytes()).collect()
                };
                let secret = encoded(secret.expose());
                request = request.basic_auth(encoded(&self.settings.client_id), Some(secret));
            } else {
                form.push(("client_secret", secret.expose()));
            }
        }
        if let (Some(name), Some(token)) = (&self.settings.refresh_token_header, header) {
            let value = token.header_value();
            let value = value
                .map_err(|_| unusable("the refresh token does not fit into a header".to_owned()))?;
            request = request.header(name, value);
        }
        self.client.send(request.form(&form)).await
    }

    async fn refresh(&self, login: &Login) -> Result<Map<String, Value>, TokenError> {
        // The keeper has asked `assess` first; a token of another authority is not shown in any case.
        if !self.is_ours(login) {
            return Err(unusable(self.foreign()));
        }
        let token = login.refresh_token();
        let token = token.ok_or_else(|| unusable("the login has no refresh token".to_owned()))?;
        let endpoints = self.endpoints().await?;
        let mut form = vec![("grant_type", "refresh_token")];
        if self.settings.refresh_token_header.is_none() {
            form.push(("refresh_token", token.expose()));
        }
        let answer = self.ask(&endpoints, &form, Some(&token)).await?;
        answer.granted("access_token")
    }

    fn foreign(&self) -> String {
        format!(
            "the stored login was made with another issuer or client than `providers.{}` names now",
            self.name
        )
    }

    fn scope(&self) -> String {
        self.settings.scopes.join(" ")
    }
}

fn unreachable(error: &TokenError) -> DeviceError {
    DeviceError::Unreachable {
        what: error.to_string(),
    }
}

#[async_trait]
impl Adapter for Generic {
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
        Remedy::RunAsItIs(format!("hermesctl auth login {}", self.name))
    }

    fn layout(&self) -> Option<&'static dyn Layout> {
        Some(self.layout)
    }

    fn grantor(&self) -> String {
        let (key, client) = (self.layout.key(), &self.settings.client_id);
        format!("{key} {} {client}", self.authority())
    }

    fn device_login(&self) -> Option<&dyn DeviceLogin> {
        (self.settings.flow == Flow::Device).then_some(self)
    }

    fn browser_login(&self) -> Option<&dyn BrowserLogin> {
        (self.settings.flow == Flow::Browser).then_some(self)
    }

    fn skew(&self) -> Option<&Skew> {
        Some(self.client.skew())
    }

    fn addresses(&self, _login: &Login) -> Vec<ProbeTarget> {
        let settings = &self.settings;
        let of = |setting, url: &Url| ProbeTarget {
            what: "issuer",
            setting,
            url: url.to_string(),
        };
        let issuer = settings
            .issuer_url
            .as_ref()
            .map(|url| of("issuer_url", url));
        let token = settings.token_url.as_ref().map(|url| of("token_url", url));
        let inference = ProbeTarget {
            what: "inference",
            setting: "base_url",
            url: self.base_url.to_string(),
        };
        issuer.or(token).into_iter().chain([inference]).collect()
    }

    fn is_elsewhere(&self) -> bool {
        true
    }

    fn assess(&self, login: &Login, now: DateTime<Utc>) -> Assessment {
        let tokens = login.tokens();
        if !tokens.any() {
            return no_login(login);
        }
        if !self.is_ours(login) {
            let reason = self.foreign();
            return Assessment::NoLogin { reason };
        }
        // RFC 6749 §7.1: a token is not used whose type is not understood.
        let kind = login.text("token_type");
        if let Some(kind) = kind.filter(|kind| !kind.eq_ignore_ascii_case("Bearer")) {
            let kind: String = kind.chars().take(40).collect();
            let reason = format!(
                "the provider gives access tokens of the type {kind:?}, and only Bearer tokens can be used"
            );
            return Assessment::NoLogin { reason };
        }
        let renewal = if tokens.refresh.is_some() {
            Renewal::Refresh
        } else {
            Renewal::Never
        };
        let credential = tokens.access.and_then(|bearer| {
            let claims = Claims::decode(bearer.expose());
            let claims = claims.as_ref();
            let end = claims.and_then(|claims| claims.ends_at(tokens.obtained, now));
            Some(Credential {
                authorization: bearer.authorization("Bearer").ok()?,
                bearer,
                base_url: self.base_url.clone(),
                kind: ACCESS_TOKEN,
                issued_at: tokens.obtained.or_else(|| claims?.issued_at()),
                // Without any end (RFC 6749 §5.1) it serves until it is refused.
                expires_at: end.or(tokens.expires),
                headers: self.settings.headers.clone(),
            })
        });
        Assessment::Login {
            credential,
            renewal,
        }
    }

    async fn renew(&self, login: &Login, renewal: Renewal) -> Result<Grant, TokenError> {
        Ok(Grant::new(self.refresh(login).await?, renewal))
    }

    fn lifetime(&self, grant: &Grant) -> Option<Duration> {
        grant.jwt_lifetime()
    }

    fn apply(&self, login: &mut Login, grant: Grant, now: DateTime<Utc>) {
        let lifetime = self.lifetime(&grant);
        let answer = Login::new(grant.into_answer(), self.layout);
        // RFC 6749 §6: without a new refresh token the old one stays.
        for key in ["access_token", "refresh_token", "token_type", "scope"] {
            if let Some(text) = answer.text(key) {
                login.set(key, text.to_owned());
            }
        }
        login.set("obtained_at", now.to_rfc3339());
        if let Some(lifetime) = lifetime {
            login.set("expires_in", lifetime.as_secs());
            login.set("expires_at", clock::after(now, lifetime).to_rfc3339());
        } else {
            login.remove("expires_in");
            login.remove("expires_at");
        }
        layout::note(login, self.authority(), &self.settings.client_id);
        login.forget_end();
    }
}

#[async_trait]
impl DeviceLogin for Generic {
    async fn begin(&self) -> Result<DeviceCode, DeviceError> {
        let endpoints = self
            .endpoints()
            .await
            .map_err(|error| unreachable(&error))?;
        let device = endpoints.begin.as_ref();
        let device = device.ok_or_else(|| DeviceError::Unreachable {
            what: endpoints::lacking(&self.name, &self.settings),
        })?;
        let scope = self.scope();
        let mut form = self.asked();
        if !scope.is_empty() {
            form.push(("scope", &scope));
        }
        let request = self.client.post(device.as_str()).form(&form);
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|error| unreachable(&error))?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Err(DeviceError::Unreachable {
                what: format!(
                    "the provider gives no codes at {device} (404); correct `providers.{}.device_url`, or set `flow = \"browser\"`",
                    self.name
                ),
            });
        }
        DeviceCode::read(answer, |address| self.is_own_page(address))
    }

    async fn poll(&self, code: &DeviceCode) -> Result<Poll, DeviceError> {
        let endpoints = match self.endpoints().await {
            Ok(endpoints) => endpoints,
            Err(error) => return polled(Err(error)),
        };
        let form = [
            ("grant_type", DEVICE_GRANT),
            ("device_code", code.secret.expose()),
        ];
        polled(self.ask(&endpoints, &form, None).await)
    }
}

#[async_trait]
impl BrowserLogin for Generic {
    fn redirect(&self) -> Redirect {
        match &self.settings.redirect_uri {
            Some(url) => Redirect::Fixed(url.clone()),
            None => Redirect::AnyPort(CALLBACK),
        }
    }

    async fn page(&self, attempt: &BrowserAttempt) -> Result<AuthorizationPage, DeviceError> {
        let endpoints = self
            .endpoints()
            .await
            .map_err(|error| unreachable(&error))?;
        let page = endpoints.begin.clone();
        let page = page.ok_or_else(|| DeviceError::Unreachable {
            what: endpoints::lacking(&self.name, &self.settings),
        })?;
        let scope = self.scope();
        let mut asked = self.asked();
        if !scope.is_empty() {
            asked.push(("scope", &scope));
        }
        Ok(AuthorizationPage {
            trusted: page.scheme() == "https" && self.is_own_page(page.as_str()),
            url: attempt.page(page, asked),
        })
    }

    async fn exchange(&self, attempt: &BrowserAttempt, code: &Code) -> Result<Poll, DeviceError> {
        // RFC 9207 §2.4: another issuer's code is sent nowhere.
        self.is_of_issuer("code", code.issuer())?;
        let endpoints = match self.endpoints().await {
            Ok(endpoints) => endpoints,
            Err(error) => return exchanged(Err(error)),
        };
        // A user can copy a code alone from a page.
        if endpoints.names_issuer && code.issuer().is_none() && !code.is_bare() {
            return Err(without_issuer("code"));
        }
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.secret().expose()),
            ("redirect_uri", attempt.redirect_uri().as_str()),
            ("code_verifier", attempt.verifier().expose()),
        ];
        exchanged(self.ask(&endpoints, &form, None).await)
    }

    async fn refused(&self, no: No) -> DeviceError {
        if let Err(error) = self.is_of_issuer("error", no.issuer.as_deref()) {
            return error;
        }
        match self.endpoints().await {
            Ok(endpoints) if endpoints.names_issuer && no.issuer.is_none() => {
                without_issuer("error")
            }
            Ok(_) | Err(_) => no.error,
        }
    }
}

impl Generic {
    /// That what a browser brings back does not name another issuer than the provider's (RFC 9207 §2.4).
    fn is_of_issuer(&self, what: &str, issuer: Option<&str>) -> Result<(), DeviceError> {
        let is_ours = |theirs: &str| match &self.settings.issuer_url {
            Some(ours) => ours.as_str().trim_end_matches('/') == theirs.trim_end_matches('/'),
            None => self.is_own_page(theirs),
        };
        if issuer.is_none_or(is_ours) {
            return Ok(());
        }
        Err(DeviceError::Refused {
            code: "wrong_issuer".to_owned(),
            description: format!("the {what} comes from another issuer"),
        })
    }
}

/// It lacks the issuer though the provider says that it sends it along.
fn without_issuer(what: &str) -> DeviceError {
    DeviceError::Refused {
        code: "missing_issuer".to_owned(),
        description: format!("the {what} came without the issuer that the provider sends along"),
    }
}
