//! The portal's device login (RFC 8628).

use async_trait::async_trait;
use url::Url;

use super::super::device::{DeviceCode, DeviceError, DeviceLogin, Poll, polled};
use super::{CLIENT_ID, Nous, PORTAL, PORTAL_HOSTS, SCOPE};
use crate::provider::Login;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

#[async_trait]
impl DeviceLogin for Nous {
    async fn begin(&self) -> Result<DeviceCode, DeviceError> {
        let portal = self.login_portal();
        let request = self
            .client
            .post(&format!("{portal}/api/oauth/device/code"))
            .form(&[("client_id", CLIENT_ID), ("scope", SCOPE)]);
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|error| DeviceError::Unreachable {
            what: error.to_string(),
        })?;
        DeviceCode::read(answer, |address| is_trusted(address, &portal))
    }

    async fn poll(&self, code: &DeviceCode) -> Result<Poll, DeviceError> {
        let request = self
            .client
            .post(&format!("{}/api/oauth/token", self.login_portal()))
            .form(&[
                ("grant_type", GRANT_TYPE),
                ("client_id", CLIENT_ID),
                ("device_code", code.secret.expose()),
            ]);
        polled(self.client.send(request).await)
    }
}

impl Nous {
    /// The portal for a new login: the operator's, otherwise the provider's own.
    fn login_portal(&self) -> String {
        self.portal(&Login::none())
    }
}

/// Whether an address is one that a browser may be sent to: https on the portal's own host.
fn is_trusted(address: &str, portal: &str) -> bool {
    let host = |text: &str| Url::parse(text).ok()?.host_str().map(str::to_owned);
    let Ok(url) = Url::parse(address) else {
        return false;
    };
    let ours = [host(PORTAL), host(portal)].contains(&url.host_str().map(str::to_owned));
    let loopback = url
        .host_str()
        .is_some_and(|host| PORTAL_HOSTS[1..].contains(&host));
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    ours && scheme && url.username().is_empty() && url.password().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_sent_to_the_portals_own_pages_only() {
        let portal = "http://127.0.0.1:4711";
        for (address, trusted) in [
            ("https://portal.nousresearch.com/device?user_code=1", true),
            ("http://127.0.0.1:4711/device", true),
            ("http://portal.nousresearch.com/device", false),
            ("https://portal.nousresearch.com.evil.example/device", false),
            ("https://x@portal.nousresearch.com/device", false),
            ("https://evil.example/?portal.nousresearch.com", false),
            ("javascript:alert(1)", false),
            ("file:///etc/passwd", false),
            ("", false),
        ] {
            assert_eq!(is_trusted(address, portal), trusted, "{address}");
        }
    }
}
