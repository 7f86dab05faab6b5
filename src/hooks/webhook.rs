//! A hook that is a web address: the notice is posted there.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use tokio::time::{sleep, timeout};
use url::Url;

use crate::causes::with_causes;
use crate::provider;

/// The waits between attempts; one more attempt than these is made.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(1)];

/// Why an address did not get the notice. Names only its host: the rest may hold a token.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebhookFault {
    /// The HTTP client can't be built.
    #[error("the HTTP client can't be built: {0}")]
    Client(String),
    /// Nothing answered.
    #[error("{host} can't be reached ({reason}); check that it is running, and correct the URL")]
    Unreachable {
        /// The URL's host.
        host: String,
        /// The chain of causes.
        reason: String,
    },
    /// It refused.
    #[error("{host} answered {status}; correct the URL, or see that service's own log")]
    Answered {
        /// The URL's host.
        host: String,
        /// What it answered.
        status: StatusCode,
    },
    /// It took too long.
    #[error(
        "{host} did not answer within {limit:?}; check that it is running, or raise the hook's \
         `timeout`"
    )]
    TooLong {
        /// The URL's host.
        host: String,
        /// The hook's limit.
        limit: Duration,
    },
}

impl WebhookFault {
    /// Whether another attempt may succeed.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Answered { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Client(_) | Self::TooLong { .. } => false,
        }
    }
}

/// Posts `json` to `url`, within `limit` for all attempts together.
///
/// # Errors
/// [`WebhookFault`] says what to do about it.
pub(super) async fn post(url: &Url, json: &str, limit: Duration) -> Result<(), WebhookFault> {
    let attempts = async {
        let client = client().await?;
        for pause in PAUSES {
            match attempt(&client, url, json).await {
                Err(fault) if fault.may_pass() => {
                    tracing::debug!(%fault, "retrying a hook");
                    sleep(pause).await;
                }
                result => return result,
            }
        }
        attempt(&client, url, json).await
    };
    let done = timeout(limit, attempts).await;
    done.unwrap_or_else(|_| {
        let host = host(url);
        Err(WebhookFault::TooLong { host, limit })
    })
}

async fn attempt(client: &reqwest::Client, url: &Url, json: &str) -> Result<(), WebhookFault> {
    let request = client
        .post(url.clone())
        .header(CONTENT_TYPE, "application/json")
        .body(json.to_owned());
    let host = host(url);
    let answer = request
        .send()
        .await
        .map_err(|error| WebhookFault::Unreachable {
            host: host.clone(),
            reason: with_causes(&error.without_url()),
        })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    Err(WebhookFault::Answered { host, status })
}

/// A client with the system's trust store, built for each notice: they are rare, and a trust store
/// takes memory. It is read from files, so not on the serving thread.
async fn client() -> Result<reqwest::Client, WebhookFault> {
    let build = || {
        let tls = provider::client_config(None).map_err(|error| with_causes(&error))?;
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(crate::USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .proxy(provider::Proxies::from_env().for_reqwest())
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| with_causes(&error))
    };
    let built = tokio::task::spawn_blocking(build).await;
    built
        .unwrap_or_else(|error| Err(error.to_string()))
        .map_err(WebhookFault::Client)
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}
