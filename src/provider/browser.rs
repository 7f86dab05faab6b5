//! Login in a browser: an authorization code (RFC 6749 §4.1) with PKCE (RFC 7636), for a redirect to this machine
//! (RFC 8252). It covers the parameters of one attempt, the answer, and the exchange at the token endpoint. The
//! addresses are the provider's own.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::device::{DeviceError, Poll, polled, redirected};
use super::token_client::{TokenResponse, shortened};
use super::{Grant, TokenError};
use crate::secret::Secret;

/// How long a page may take that names no end itself, in all.
pub const PAGE_LIFE: Duration = Duration::from_mins(15);
/// No code is longer.
const LONGEST_CODE: usize = 8 * 1024;

/// A provider whose own page logs the user in and sends the browser back to this machine.
#[async_trait]
pub trait BrowserLogin: Send + Sync {
    /// Where the provider sends the browser back to.
    fn redirect(&self) -> Redirect;

    /// The page for this attempt. Asks the network if the endpoints are not known yet.
    ///
    /// # Errors
    /// [`DeviceError::Unreachable`] when the provider can't be asked.
    async fn page(&self, attempt: &BrowserAttempt) -> Result<AuthorizationPage, DeviceError>;

    /// Sends the code to the token endpoint, once. [`Poll::Busy`] only if that has not spent it.
    ///
    /// # Errors
    /// [`DeviceError`] ends the login.
    async fn exchange(&self, attempt: &BrowserAttempt, code: &Code) -> Result<Poll, DeviceError>;

    /// The error that ends the login after this refusal: another server's refusal does not count as
    /// the provider's (RFC 9207 §2.4).
    async fn refused(&self, no: No) -> DeviceError {
        no.error
    }
}

/// Where a provider sends the browser back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// 127.0.0.1 with any free port, and this path (RFC 8252 §7.3).
    AnyPort(&'static str),
    /// This address alone: `http`, `localhost`, `127.0.0.1` or `[::1]`, a port and a path.
    Fixed(Url),
}

/// The page that the user opens.
#[derive(Debug, Clone)]
pub struct AuthorizationPage {
    /// Its address, with all that the attempt asks for.
    pub url: Url,
    /// Whether it is https and on the provider's own host, so that a browser may be sent there.
    pub trusted: bool,
}

/// One try to log in, from the page to the code. It is good for one code.
#[derive(Debug)]
pub struct BrowserAttempt {
    redirect_uri: Url,
    state: Secret,
    verifier: Secret,
}

/// What the browser brings back.
#[derive(Debug)]
pub enum Callback {
    /// A code for this attempt.
    Code(Code),
    /// The provider's no.
    Refused(No),
}

/// An error in place of a code (RFC 6749 §4.1.2.1).
#[derive(Debug)]
pub struct No {
    /// What it says.
    pub error: DeviceError,
    /// The issuer that answers (RFC 9207 §2), if it says so.
    pub issuer: Option<String>,
}

/// An authorization code, single-use and bound to its attempt.
#[derive(Debug, Clone)]
pub struct Code {
    secret: Secret,
    issuer: Option<String>,
    is_bare: bool,
}

/// Why an answer does not belong to this attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stray {
    /// Its `state` is missing or another one's.
    #[error("it belongs to another login")]
    Foreign,
    /// A parameter comes twice.
    #[error("it names a parameter twice")]
    Twice,
    /// It has neither a code nor an error.
    #[error("it has no code")]
    Empty,
    /// It is the address of the page that the user was to open.
    #[error("it is the address of the login page; copy the one that the browser ends at")]
    LoginPage,
    /// It is an address elsewhere.
    #[error("it is the address of another page; copy the one that the browser ends at")]
    Elsewhere,
    /// It can't be a code.
    #[error("it is neither an address nor a code")]
    Unreadable,
}

impl Code {
    /// The code, for the token endpoint.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The issuer of the code (RFC 9207 §2), if it says so.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Whether the user has copied it alone, without what came with it.
    pub fn is_bare(&self) -> bool {
        self.is_bare
    }
}

impl BrowserAttempt {
    /// An attempt whose browser comes back to `redirect_uri`, with a state and a verifier of 256 random bits each.
    ///
    /// # Errors
    /// [`DeviceError::Unreachable`] when the system has no random numbers.
    pub fn new(redirect_uri: Url) -> Result<Self, DeviceError> {
        Ok(Self {
            redirect_uri,
            state: random()?,
            verifier: random()?,
        })
    }

    /// Where the browser comes back to.
    pub fn redirect_uri(&self) -> &Url {
        &self.redirect_uri
    }

    /// The proof at the token endpoint that the request was ours (RFC 7636 §4.1).
    pub fn verifier(&self) -> &Secret {
        &self.verifier
    }

    /// The provider's page at `endpoint`, with this attempt's parameters (RFC 6749 §4.1.1, RFC 7636 §4.3) and the
    /// provider's extra ones.
    pub fn page<'q>(
        &self,
        mut endpoint: Url,
        others: impl IntoIterator<Item = (&'q str, &'q str)>,
    ) -> Url {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier.expose().as_bytes()));
        endpoint
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .extend_pairs(others)
            .append_pair("redirect_uri", self.redirect_uri.as_str())
            .append_pair("state", self.state.expose())
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        endpoint
    }

    /// What the query of a redirect says.
    ///
    /// # Errors
    /// [`Stray`] if it does not belong to this attempt.
    pub fn read(&self, query: &str) -> Result<Callback, Stray> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let one = |key: &str| {
            let mut values = pairs.iter().filter(|(name, _)| name == key);
            let first = values.next().map(|(_, value)| value.as_ref());
            match values.next() {
                Some(_) => Err(Stray::Twice),
                None => Ok(first.filter(|value| !value.is_empty())),
            }
        };
        if pairs.iter().any(|(name, _)| name == "code_challenge") {
            return Err(Stray::LoginPage);
        }
        let (code, error) = (one("code")?, one("error")?);
        let (description, issuer) = (one("error_description")?, one("iss")?);
        if !one("state")?.is_some_and(|state| self.is_state(state)) {
            return Err(Stray::Foreign);
        }
        match (error, code) {
            (Some(error), _) => {
                let error = if error == "access_denied" {
                    DeviceError::Denied
                } else {
                    DeviceError::Refused {
                        code: shortened(error, &[]),
                        description: shortened(description.unwrap_or("no description"), &[]),
                    }
                };
                let issuer = issuer.map(str::to_owned);
                Ok(Callback::Refused(No { error, issuer }))
            }
            (None, Some(code)) => {
                let code = self.code(code)?;
                let issuer = issuer.map(str::to_owned);
                Ok(Callback::Code(Code {
                    issuer,
                    is_bare: false,
                    ..code
                }))
            }
            (None, None) => Err(Stray::Empty),
        }
    }

    /// What the user has pasted: the address that the browser ended at, its query, or the code alone.
    ///
    /// # Errors
    /// [`Stray`] if it does not belong to this attempt.
    pub fn pasted(&self, text: &str) -> Result<Callback, Stray> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || "<>\"'`".contains(c));
        if text.contains("://") {
            let url = Url::parse(text).map_err(|_| Stray::Unreadable)?;
            let query = url.query().unwrap_or_default();
            if !self.leads_here(&url) {
                let is_page = url.query_pairs().any(|(name, _)| name == "code_challenge");
                return Err(if is_page {
                    Stray::LoginPage
                } else {
                    Stray::Elsewhere
                });
            }
            return self.read(query);
        }
        let query = text.strip_prefix('?').unwrap_or(text);
        if query.contains('&') || query.starts_with("code=") || query.starts_with("error=") {
            return self.read(query);
        }
        // As some pages show it.
        match text.split_once('#') {
            Some((_, state)) if !self.is_state(state) => Err(Stray::Foreign),
            Some((code, _)) => self.code(code).map(Callback::Code),
            None => self.code(text).map(Callback::Code),
        }
    }

    /// A code that came alone.
    fn code(&self, code: &str) -> Result<Code, Stray> {
        let is_code = (4..=LONGEST_CODE).contains(&code.len())
            && code.bytes().all(|byte| byte.is_ascii_graphic())
            && !self.is_state(code);
        if !is_code {
            return Err(Stray::Unreadable);
        }
        Ok(Code {
            secret: Secret::new(code.to_owned()),
            issuer: None,
            is_bare: true,
        })
    }

    /// Whether a browser that was sent back would end there. Names of loopback are as good as each other: it is the
    /// user's browser that shows the address.
    fn leads_here(&self, url: &Url) -> bool {
        let names = ["localhost", "127.0.0.1", "[::1]"];
        let here = &self.redirect_uri;
        url.scheme() == here.scheme()
            && url.port_or_known_default() == here.port_or_known_default()
            && url.path() == here.path()
            && url.host_str().is_some_and(|host| names.contains(&host))
    }

    /// In constant time.
    fn is_state(&self, shown: &str) -> bool {
        let ours = self.state.expose().as_bytes();
        ours.ct_eq(shown.as_bytes()).into()
    }
}

/// 256 random bits, as RFC 7636 §4.1 and RFC 6749 §10.12 want them.
fn random() -> Result<Secret, DeviceError> {
    let mut bits = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bits).map_err(|error| DeviceError::Unreachable {
        what: format!("the system gives no random numbers: {error}"),
    })?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bits.as_slice())))
}

/// The meaning of the token endpoint's answer to a code. A code that was sent may be spent, and sending it twice can
/// end its grant (RFC 6749 §4.1.2): it is tried again only if the answer proves that it was not used.
pub(super) fn exchanged(answer: Result<TokenResponse, TokenError>) -> Result<Poll, DeviceError> {
    if let Ok(answer) = &answer {
        redirected(answer)?;
    }
    let answer = answer.and_then(|answer| {
        let final_word = answer.is_oauth_refusal();
        match answer.granted("access_token") {
            // A refusal that is not the end of a login is the end of this one.
            Err(TokenError::Transient { what, .. }) if final_word => Err(TokenError::Lost {
                what,
                retry_after: None,
            }),
            granted => granted,
        }
    });
    match answer {
        Ok(fields) => Ok(Poll::Granted(Grant::of_login(fields))),
        Err(TokenError::Transient {
            may_be_spent: false,
            what,
            retry_after,
        }) => Ok(Poll::Busy { what, retry_after }),
        Err(TokenError::Rejected { code, description }) => {
            Err(DeviceError::Refused { code, description })
        }
        Err(error @ (TokenError::Lost { .. } | TokenError::Transient { .. })) => {
            Err(DeviceError::Unreachable {
                what: format!("the provider does not grant the login: {error}"),
            })
        }
        Err(error @ TokenError::AccessTokenRefused) => polled(Err(error)),
    }
}

#[cfg(test)]
mod tests;
