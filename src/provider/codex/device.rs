//! OpenAI's own kind of device login: a code is requested and entered on OpenAI's page; then an authorization code
//! comes, with its verifier, and is exchanged for tokens.

use std::time::Duration;

use async_trait::async_trait;
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::{CLIENT_ID, Codex};
use crate::provider::device::{DeviceCode, DeviceError, DeviceLogin, Poll};
use crate::provider::token_client::{TokenResponse, seconds};
use crate::provider::{Grant, TokenError};
use crate::secret::Secret;

/// The whole login.
const LIFETIME: Duration = Duration::from_mins(15);
/// Polls are at least so far apart.
const SHORTEST: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_mins(1);
/// The provider limits new logins: the code is asked for this many times anyway.
const TRIES: u32 = 4;
/// A wait between two of them is no longer: hermesctl waits for the answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

impl Codex {
    fn device_endpoint(&self, name: &str) -> String {
        format!("{}/api/accounts/deviceauth/{name}", self.hosts.issuer())
    }

    /// Asks for a code, again if OpenAI says that the requests came too often.
    async fn ask_for_code(&self) -> Result<TokenResponse, DeviceError> {
        let mut attempt = 1;
        loop {
            let request = self.client.post(&self.device_endpoint("usercode"));
            let request = request.json(&json!({ "client_id": CLIENT_ID }));
            let answer = self.client.send(request).await;
            let answer = answer.map_err(|error| DeviceError::Unreachable {
                what: error.to_string(),
            })?;
            if answer.status() != StatusCode::TOO_MANY_REQUESTS {
                return Ok(answer);
            }
            if attempt == TRIES {
                return Err(DeviceError::Unreachable {
                    what: "OpenAI accepts no more logins right now (429)".to_owned(),
                });
            }
            let pause = Duration::from_secs(2_u64.saturating_pow(attempt));
            sleep(answer.retry_after().unwrap_or(pause).min(LONGEST_PAUSE)).await;
            attempt = attempt.saturating_add(1);
        }
    }

    /// The tokens for an authorization code. It works once, so what may have been received is not sent again.
    async fn exchange(&self, fields: &Map<String, Value>) -> Result<Poll, DeviceError> {
        let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
        let (code, verifier) = (text("authorization_code"), text("code_verifier"));
        if verifier.is_empty() {
            return Err(DeviceError::Unreachable {
                what: "OpenAI's answer has no `code_verifier`".to_owned(),
            });
        }
        let redirect = format!("{}/deviceauth/callback", self.hosts.issuer());
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect.as_str()),
            ("client_id", CLIENT_ID),
            ("code_verifier", verifier),
        ];
        let mut attempt = 1;
        loop {
            let request = self.client.post(&self.token_endpoint()).form(&form);
            let answer = self.client.send(request).await;
            let error = match answer.and_then(|answer| answer.granted("access_token")) {
                Ok(fields) => return Ok(Poll::Granted(Grant::of_login(fields))),
                Err(error) => error,
            };
            let TokenError::Transient {
                may_be_spent: false,
                retry_after,
                ..
            } = &error
            else {
                return Err(refused(error));
            };
            if attempt == TRIES {
                return Err(refused(error));
            }
            let pause = Duration::from_secs(2_u64.saturating_pow(attempt));
            sleep(retry_after.unwrap_or(pause).min(LONGEST_PAUSE)).await;
            attempt = attempt.saturating_add(1);
        }
    }
}

fn refused(error: TokenError) -> DeviceError {
    match error {
        TokenError::Rejected { code, description } => DeviceError::Refused { code, description },
        TokenError::AccessTokenRefused | TokenError::Lost { .. } | TokenError::Transient { .. } => {
            DeviceError::Unreachable {
                what: format!("OpenAI does not grant the login: {error}"),
            }
        }
    }
}

#[async_trait]
impl DeviceLogin for Codex {
    async fn begin(&self) -> Result<DeviceCode, DeviceError> {
        let answer = self.ask_for_code().await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Err(DeviceError::Refused {
                code: "not_found".to_owned(),
                description: "device code login is switched off for this account; switch it on in \
                              ChatGPT under Settings, Security"
                    .to_owned(),
            });
        }
        let fields = answer.granted("device_auth_id").map_err(refused)?;
        let text = |key: &str| {
            let text = fields.get(key)?.as_str()?.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        let code = text("user_code").or_else(|| text("usercode"));
        let missing = || DeviceError::Unreachable {
            what: "OpenAI's answer has no `user_code`".to_owned(),
        };
        let interval = Duration::from_secs(seconds(fields.get("interval")));
        Ok(DeviceCode {
            secret: Secret::new(text("device_auth_id").unwrap_or_default()),
            user_code: code.ok_or_else(missing)?,
            verification_uri: format!("{}/codex/device", self.hosts.issuer()),
            verification_uri_complete: None,
            expires_in: LIFETIME,
            interval: if interval.is_zero() {
                INTERVAL
            } else {
                interval.clamp(SHORTEST, LONGEST)
            },
            // An issuer other than OpenAI's is the operator's own choice.
            trusted_uri: self.hosts.issuer().starts_with("https://"),
        })
    }

    async fn poll(&self, code: &DeviceCode) -> Result<Poll, DeviceError> {
        let request = self.client.post(&self.device_endpoint("token"));
        let request = request.json(&json!({
            "device_auth_id": code.secret.expose(), "user_code": code.user_code,
        }));
        let busy = |what: String, retry_after| Ok(Poll::Busy { what, retry_after });
        let answer = match self.client.send(request).await {
            Ok(answer) => answer,
            Err(
                TokenError::Lost { what, retry_after }
                | TokenError::Transient {
                    what, retry_after, ..
                },
            ) => return busy(what, retry_after),
            Err(error) => return Err(refused(error)),
        };
        let status = answer.status();
        match status {
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(Poll::Pending),
            StatusCode::OK => {
                let fields = answer.granted("authorization_code").map_err(refused)?;
                self.exchange(&fields).await
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                let retry_after = answer.retry_after();
                busy(format!("OpenAI answered {status}"), retry_after)
            }
            _ if status.is_client_error() => {
                let (code, description) = answer.refusal();
                Err(DeviceError::Refused { code, description })
            }
            _ => {
                let retry_after = answer.retry_after();
                busy(format!("OpenAI answered {status}"), retry_after)
            }
        }
    }
}
