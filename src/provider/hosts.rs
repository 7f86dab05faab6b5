//! The base URL of a provider with its own hosts: the operator's, otherwise the provider's; and the credential of
//! a login whose bearer is the access token.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::header::{HeaderName, HeaderValue};
use url::Url;

use super::jwt::Claims;
use super::probe::ProbeTarget;
use super::{Assessment, BaseUrl, BearerKind, Credential, Login, Renewal};
use crate::config::{self, EnvSetting, Lookup};

const ACCESS_TOKEN: BearerKind = BearerKind::new("access_token", Renewal::Refresh);

/// A provider's own hosts, and the variables that name others.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) issuer: &'static str,
    pub(super) inference: &'static str,
    pub(super) base_url: EnvSetting,
    pub(super) token_timeout: EnvSetting,
}

/// Where the provider is reached.
#[derive(Debug)]
pub(super) struct Hosts {
    own: &'static Own,
    /// The operator's choice, not checked against the provider's hosts.
    issuer: Option<Url>,
    inference: Option<BaseUrl>,
}

impl Own {
    /// What of the variables can't be used, each as a sentence.
    pub(super) fn environment_faults(&self, env: Lookup<'_>) -> Vec<String> {
        let variables = [&self.base_url, &self.token_timeout];
        let faults = variables.iter().filter_map(|variable| variable.fault(env));
        faults.collect()
    }

    /// The limit of one token request that the environment asks for.
    pub(super) fn token_timeout(&self, env: Lookup<'_>) -> Option<Duration> {
        let (_, text) = self.token_timeout.find(env)?;
        config::seconds(&text)
    }

    /// The base URL that the environment asks for, if it may.
    fn in_env(&self, env: Lookup<'_>) -> Option<BaseUrl> {
        let (_, text) = self.base_url.value(env)?;
        BaseUrl::new(&Url::parse(&text).ok()?).ok()
    }
}

impl Hosts {
    /// The hosts by the configuration's addresses, otherwise by the environment's.
    pub(super) fn new(
        own: &'static Own,
        issuer: Option<&Url>,
        inference: Option<BaseUrl>,
        env: Lookup<'_>,
    ) -> Self {
        Self {
            own,
            issuer: issuer.cloned(),
            inference: inference.or_else(|| own.in_env(env)),
        }
    }

    /// The issuer, without a slash at its end.
    pub(super) fn issuer(&self) -> &str {
        let issuer = self.issuer.as_ref().map_or(self.own.issuer, Url::as_str);
        issuer.trim_end_matches('/')
    }

    /// Whether the address is of the operator's issuer.
    pub(super) fn is_operators_issuer(&self, address: &Url) -> bool {
        let issuer = self.issuer.as_ref();
        issuer.is_some_and(|issuer| issuer.origin() == address.origin())
    }

    /// Whether requests go to an address of the operator's own.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.inference.is_some()
    }

    /// Issuer and inference API.
    pub(super) fn addresses(&self) -> Vec<ProbeTarget> {
        let issuer = ProbeTarget {
            what: "issuer",
            setting: "issuer_url",
            url: self.issuer().to_owned(),
        };
        let base = self.inference.as_ref();
        let inference = ProbeTarget {
            what: "inference",
            setting: "base_url",
            url: base.map_or_else(|| self.own.inference.to_owned(), ToString::to_string),
        };
        vec![issuer, inference]
    }

    /// What the login allows at `now`; `headers` are made of the access token's claims.
    pub(super) fn assess(
        &self,
        login: &Login,
        now: DateTime<Utc>,
        headers: impl FnOnce(Option<&Claims>) -> Vec<(HeaderName, HeaderValue)>,
    ) -> Assessment {
        let tokens = login.tokens();
        if !tokens.any() {
            return no_login(login);
        }
        let own = || BaseUrl::new(&Url::parse(self.own.inference).ok()?).ok();
        let credential = tokens.access.and_then(|bearer| {
            let claims = Claims::decode(bearer.expose());
            let claims = claims.as_ref();
            let end = claims.and_then(|claims| claims.ends_at(tokens.obtained, now));
            Some(Credential {
                authorization: bearer.authorization("Bearer").ok()?,
                bearer,
                base_url: self.inference.clone().or_else(own)?,
                kind: ACCESS_TOKEN,
                issued_at: tokens.obtained.or_else(|| claims?.issued_at()),
                // Without any end (RFC 6749 §5.1) it serves until it is refused.
                expires_at: end.or(tokens.expires),
                headers: headers(claims),
            })
        });
        let renewal = if tokens.refresh.is_some() {
            Renewal::Refresh
        } else {
            Renewal::Never
        };
        Assessment::Login {
            credential,
            renewal,
        }
    }
}

/// That a login without any token allows nothing, and why.
pub(super) fn no_login(login: &Login) -> Assessment {
    let reason = match login.layout().end_code(login) {
        Some(code) => format!("the login has ended ({code})"),
        None => "there is no login".to_owned(),
    };
    Assessment::NoLogin { reason }
}
