//! The generic dialect: a discovery document (RFC 8414), a login page that says yes at once and sends the browser back,
//! and the exchange of its code with PKCE (RFC 7636).

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::http::request::Parts;
use serde_json::json;
use sha2::{Digest, Sha256};
use url::{Url, form_urlencoded};

use crate::faults::Canned;
use crate::lock;
use crate::options::Policy;
use crate::portal::{Asked, Portal};
use crate::tls::Tls;
use crate::tokens::Family;

/// A code on its way from the page to the token endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Authorized {
    redirect_uri: String,
    challenge: String,
    /// What it has been exchanged for: shown a second time, it ends that.
    spent: Option<Family>,
}

/// The paths of both standards, with an issuer's path behind or before.
pub(crate) fn is_discovery(path: &str) -> bool {
    path.starts_with("/.well-known/oauth-authorization-server")
        || path.ends_with("/.well-known/openid-configuration")
}

impl Portal {
    /// The document that names the endpoints of the dialects below `/oauth2/`.
    pub(crate) fn discovery(&self, head: &Parts) -> Canned {
        if let Some(canned) = lock(&self.document).clone() {
            return canned;
        }
        let host = head.headers.get(HOST);
        let host = host.and_then(|host| host.to_str().ok());
        // HTTP/2 has it in the address.
        let host = host.or_else(|| {
            head.uri
                .authority()
                .map(hyper::http::uri::Authority::as_str)
        });
        let scheme = if matches!(self.options.portal_tls, Tls::Off) {
            "http"
        } else {
            "https"
        };
        let origin = format!("{scheme}://{}", host.unwrap_or_default());
        let mut document = json!({
            "issuer": origin,
            "authorization_endpoint": format!("{origin}/oauth2/authorize"),
            "token_endpoint": format!("{origin}/oauth2/token"),
            "device_authorization_endpoint": format!("{origin}/oauth2/device/code"),
            "code_challenge_methods_supported": ["S256"],
        });
        if self.options.secret_in_form {
            document["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"]);
        }
        Canned::json(200, &document)
    }

    /// The login page, whose user says yes, or no if the page was told so.
    pub(crate) fn page(&self, head: &Parts) -> Canned {
        let query = head.uri.query().unwrap_or_default();
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let asked: HashMap<_, _> = pairs.iter().cloned().collect();
        let text = |key: &str| asked.get(key).map_or("", String::as_str);
        let wrong = |what: &str| Canned::status(400).body(what.to_owned());
        if asked.len() != pairs.len() {
            return wrong("a parameter comes twice");
        }
        if text("client_id") != self.options.client_id {
            return wrong("unknown client_id");
        }
        let Ok(mut back) = Url::parse(text("redirect_uri")) else {
            return wrong("no redirect_uri");
        };
        // RFC 8252 §7.3: any port of loopback, and nothing else.
        if back.scheme() != "http"
            || !["127.0.0.1", "localhost"].contains(&back.host_str().unwrap_or_default())
        {
            return wrong("the redirect_uri is not registered");
        }
        if let Some(why) = self.codex_page_lacks(&asked) {
            return wrong(why);
        }
        if text("response_type") != "code" || text("code_challenge_method") != "S256" {
            return wrong("code and S256 alone");
        }
        if text("state").len() < 16 || text("code_challenge").len() != 43 {
            return wrong("state or challenge too short");
        }
        lock(&self.pages).push(asked.clone());
        let mut answer = back.query_pairs_mut();
        if *lock(&self.declines) {
            answer.append_pair("error", "access_denied");
        } else {
            let mut tokens = lock(&self.tokens);
            let code = tokens.secret("code");
            answer.append_pair("code", &code);
            let authorized = Authorized {
                redirect_uri: text("redirect_uri").to_owned(),
                challenge: text("code_challenge").to_owned(),
                spent: None,
            };
            tokens.codes.insert(code, authorized);
        }
        answer.append_pair("state", text("state"));
        drop(answer);
        Canned::redirect(302, back.as_str())
    }

    /// The client's secret, where this cloud wants one: in the form, or in the header (RFC 6749 §2.3.1).
    pub(crate) fn knows_client(&self, asked: &Asked) -> bool {
        let Some(secret) = &self.options.client_secret else {
            return true;
        };
        if self.options.secret_in_form {
            return asked.form.get("client_secret") == Some(secret);
        }
        let expected = format!("{}:{secret}", self.options.client_id);
        let expected = base64::engine::general_purpose::STANDARD.encode(expected);
        let shown = asked.head.headers.get(AUTHORIZATION);
        shown.is_some_and(|shown| shown.as_bytes() == format!("Basic {expected}").as_bytes())
    }

    /// The code for tokens, once.
    pub(crate) fn exchange(&self, asked: &Asked) -> Canned {
        let form = &asked.form;
        let text = |key: &str| form.get(key).map_or("", String::as_str);
        if text("client_id") != self.options.client_id || !self.knows_client(asked) {
            return Canned::oauth_error(401, "invalid_client", "unknown client");
        }
        let now = self.clock.now();
        let policy: Policy = lock(&self.policy).clone();
        let mut tokens = lock(&self.tokens);
        let Some(authorized) = tokens.codes.get(text("code")).cloned() else {
            return Canned::oauth_error(400, "invalid_grant", "unknown code");
        };
        if let Some(family) = authorized.spent {
            tokens.revoke(family);
            return Canned::oauth_error(400, "invalid_grant", "the code was used before");
        }
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(text("code_verifier")));
        if challenge != authorized.challenge {
            return Canned::oauth_error(400, "invalid_grant", "the verifier is another one");
        }
        if text("redirect_uri") != authorized.redirect_uri {
            return Canned::oauth_error(400, "invalid_grant", "the redirect_uri is another one");
        }
        let login = tokens.login(&policy, now);
        if let Some(authorized) = tokens.codes.get_mut(text("code")) {
            authorized.spent = Some(login.family);
        }
        drop(tokens);
        Canned::json(200, &self.token_answer(&login))
    }
}
