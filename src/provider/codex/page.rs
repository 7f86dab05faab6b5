//! The login on OpenAI's page, which sends the browser back to one fixed address of this machine. If the browser runs
//! on another machine, the user pastes the address that it ends at.

use async_trait::async_trait;
use url::Url;

use super::{CLIENT_ID, Codex};
use crate::provider::browser::{
    AuthorizationPage, BrowserAttempt, BrowserLogin, Code, Redirect, exchanged,
};
use crate::provider::device::{DeviceError, Poll};

/// The only address that OpenAI sends a browser back to for this client.
const REDIRECT: &str = "http://localhost:1455/auth/callback";
const SCOPE: &str = "openid profile email offline_access";

#[async_trait]
impl BrowserLogin for Codex {
    fn redirect(&self) -> Redirect {
        Url::parse(REDIRECT).map_or(Redirect::AnyPort("/auth/callback"), Redirect::Fixed)
    }

    async fn page(&self, attempt: &BrowserAttempt) -> Result<AuthorizationPage, DeviceError> {
        let page = format!("{}/oauth/authorize", self.hosts.issuer());
        let page = Url::parse(&page).map_err(|error| DeviceError::Unreachable {
            what: format!("the address of the login page can't be used: {error}"),
        })?;
        let asked = [
            ("client_id", CLIENT_ID),
            ("scope", SCOPE),
            ("id_token_add_organizations", "true"),
            ("originator", env!("CARGO_PKG_NAME")),
        ];
        Ok(AuthorizationPage {
            // An issuer other than OpenAI's is the operator's own choice.
            trusted: page.scheme() == "https",
            url: attempt.page(page, asked),
        })
    }

    async fn exchange(&self, attempt: &BrowserAttempt, code: &Code) -> Result<Poll, DeviceError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.secret().expose()),
            ("redirect_uri", attempt.redirect_uri().as_str()),
            ("client_id", CLIENT_ID),
            ("code_verifier", attempt.verifier().expose()),
        ];
        let request = self.client.post(&self.token_endpoint()).form(&form);
        exchanged(self.client.send(request).await)
    }
}
