//! Probes an address of a provider: whether it can be reached by the path of requests, and what its
//! clock says. The request contains nothing private.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::header::{DATE, HeaderMap, LOCATION};
use hyper::{Method, Uri};
use rustls::CertificateError;
use tokio::time::timeout;
use url::Url;

use super::proxies::Proxies;
use super::token_client::is_loopback;
use crate::causes::{find, root};

/// An address that a provider is reached at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTarget {
    /// The address's role, in one word: `inference`, or the adapter's name for its token endpoint.
    pub what: &'static str,
    /// The key of the provider's settings that names another address.
    pub setting: &'static str,
    /// Its URL, without anything secret.
    pub url: String,
}

/// What answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The other side's clock (RFC 9110 §6.6.1), in whole seconds.
    pub date: Option<DateTime<Utc>>,
    /// The host that the answer sends us on to, if it does.
    pub redirected_to: Option<String>,
}

/// Why nothing answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// No connection could be made.
    #[error("{0}")]
    Connect(String),
    /// The other side's certificate is not to be trusted.
    #[error("{what}")]
    Certificate {
        /// What is wrong with it.
        fault: CertificateFault,
        /// The same in words.
        what: String,
    },
    /// TLS failed for another reason.
    #[error("{0}")]
    Tls(String),
    /// No answer came in time.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// The fault of a certificate, as far as it decides what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// It is another name's.
    WrongName,
    /// It is signed by no authority that we trust.
    UnknownIssuer,
    /// Any other fault.
    Other,
}

/// Asks `url` once, with this method and without any credential; any answer is a success.
///
/// # Errors
/// If there is none within `limit`.
pub async fn probe(
    method: Method,
    url: &str,
    tls: rustls::ClientConfig,
    limit: Duration,
) -> Result<ProbeAnswer, Unreachable> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(crate::USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0);
    let builder = if is_loopback(url) {
        builder.no_proxy()
    } else {
        builder.proxy(Proxies::from_env().for_reqwest())
    };
    let client = builder.build().map_err(|error| explain(&error, limit))?;
    match timeout(limit, client.request(method, url).send()).await {
        Ok(Ok(answer)) => Ok(ProbeAnswer {
            status: answer.status().as_u16(),
            date: date(answer.headers()),
            redirected_to: redirected_to(url, answer.headers()),
        }),
        Ok(Err(error)) => Err(explain(&error.without_url(), limit)),
        Err(_) => Err(Unreachable::TimedOut(limit)),
    }
}

/// The proxy of the environment that `url` is reached through, as `host:port`; without the user and
/// password that a proxy's URL may hold.
pub fn proxy_for(url: &str) -> Option<String> {
    let target: Uri = url.parse().ok()?;
    let proxy = Proxies::from_env()
        .intercept(&target)
        .filter(|_| !is_loopback(url))?;
    let uri = proxy.uri();
    let host = uri.host()?;
    Some(match uri.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

fn date(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    let text = headers.get(DATE)?.to_str().ok()?;
    let time = DateTime::parse_from_rfc2822(text).ok()?;
    Some(time.to_utc())
}

/// The other host in `Location`.
fn redirected_to(url: &str, headers: &HeaderMap) -> Option<String> {
    let here = Url::parse(url).ok()?;
    let there = here.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
    let host = there.host_str()?.to_owned();
    (here.host_str() != Some(&host)).then_some(host)
}

fn explain(error: &reqwest::Error, limit: Duration) -> Unreachable {
    if let Some(tls) = find::<rustls::Error>(error) {
        let what = tls.to_string();
        return match certificate_fault(tls) {
            Some(fault) => Unreachable::Certificate { fault, what },
            None => Unreachable::Tls(what),
        };
    }
    if error.is_timeout() {
        return Unreachable::TimedOut(limit);
    }
    Unreachable::Connect(root(error).to_string())
}

fn certificate_fault(error: &rustls::Error) -> Option<CertificateFault> {
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return None;
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls' list grows, and the rest takes the same advice"
    )]
    Some(match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateFault::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateFault::NotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateFault::WrongName
        }
        CertificateError::UnknownIssuer => CertificateFault::UnknownIssuer,
        _ => CertificateFault::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_counts_only_to_another_host() {
        let mut headers = HeaderMap::new();
        for (location, host) in [
            ("/login", None),
            ("https://portal.example/login", None),
            ("https://hotel.example/terms", Some("hotel.example")),
        ] {
            headers.insert(LOCATION, location.parse().unwrap());
            let found = redirected_to("https://portal.example/", &headers);
            assert_eq!(found.as_deref(), host, "{location}");
        }
    }

    #[test]
    fn this_machine_is_never_behind_a_proxy() {
        assert_eq!(proxy_for("http://127.0.0.1:1/v1"), None);
        assert_eq!(proxy_for("http://localhost:1/v1"), None);
    }
}
