//! A few handles for processes that are not Rust, on the portal's port below `/_mock/`.

use std::collections::HashMap;
use std::time::Duration;

use hyper::http::request::Parts;
use serde_json::json;

use crate::faults::{Canned, Endpoint, PortalFault};
use crate::lock;
use crate::portal::Portal;

/// `None` when the path is not one of these.
pub(crate) fn answer(portal: &Portal, head: &Parts) -> Option<Canned> {
    let path = head.uri.path().strip_prefix("/_mock/")?;
    let query = head.uri.query().unwrap_or_default();
    let query: HashMap<String, String> = url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    Some(match path {
        "state" => Canned::json(200, &json!(portal.log.counts())),
        "requests" => Canned::json(200, &json!(portal.log.seen())),
        "approve" => {
            let code = query.get("user_code").cloned().unwrap_or_default();
            decide(portal, &code, true);
            Canned::status(204)
        }
        "access-ttl" => {
            let seconds = query
                .get("seconds")
                .and_then(|s| s.parse().ok())
                .unwrap_or(3600);
            lock(&portal.policy).access_ttl = Duration::from_secs(seconds);
            Canned::status(204)
        }
        // The next refresh takes this long; processed at once, with `committed`, or not at all.
        "slow-refresh" => {
            let wait = query.get("ms").and_then(|ms| ms.parse().ok());
            let wait = Duration::from_millis(wait.unwrap_or(1000));
            let fault = if query.contains_key("committed") {
                PortalFault::DelayAfterCommit(wait)
            } else {
                PortalFault::LateAnswer(wait, Canned::status(503))
            };
            portal.faults(Endpoint::Refresh).push(1, &fault);
            Canned::status(204)
        }
        "revoke-access-tokens" => {
            lock(&portal.tokens).revoke_bearers();
            Canned::status(204)
        }
        _ => Canned::status(404),
    })
}

/// The user's answer to a device code.
pub(crate) fn decide(portal: &Portal, user_code: &str, verdict: bool) {
    for device in lock(&portal.tokens).devices.values_mut() {
        if device.user_code == user_code {
            device.verdict = Some(verdict);
        }
    }
}
