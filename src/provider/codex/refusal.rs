//! What the bodies of the backend's refusals mean. Pure.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;

use crate::provider::{ProviderReply, Verdict};

/// The account is refused, and neither a new token nor a new login helps.
const BLOCKED: [&str; 4] = [
    "usage_limit_reached",
    "usage_not_included",
    "insufficient_quota",
    "workspace_owner_usage_limit_reached",
];

/// What an answer says of the account and its token.
pub(super) fn verdict(reply: &ProviderReply<'_>) -> Verdict {
    let is_limit = reply.status == StatusCode::TOO_MANY_REQUESTS;
    let may_tell = is_limit
        || matches!(
            reply.status,
            StatusCode::PAYMENT_REQUIRED | StatusCode::FORBIDDEN
        );
    let Some(start) = reply.start.filter(|_| may_tell) else {
        return match reply.status {
            StatusCode::UNAUTHORIZED => Verdict::RenewAndRetry,
            _ if may_tell => Verdict::ReadOn,
            _ => Verdict::Pass,
        };
    };
    let code = in_stream(start);
    if !is_limit {
        return code.map_or(Verdict::Pass, Verdict::Blocked);
    }
    let told = resets_in(start).map(Duration::from_secs);
    let cooldown = told.or_else(|| reply.retry_after());
    Verdict::NextLogin {
        cooldown,
        code,
        may_be_request: cooldown.is_none() && code.is_none(),
    }
}

/// What an error says about the account, in its own body or as an event of a stream.
pub(super) fn in_stream(error: &[u8]) -> Option<&'static str> {
    let error: Value = serde_json::from_slice(error).ok()?;
    let response = error
        .get("response")
        .and_then(|response| response.get("error"));
    let places = [response, error.get("error"), Some(&error)];
    places.into_iter().flatten().find_map(|place| {
        let told = ["code", "type"]
            .into_iter()
            .filter_map(|key| place.get(key)?.as_str());
        let mut told = told.into_iter();
        told.find_map(|told| BLOCKED.into_iter().find(|code| *code == told))
    })
}

/// In how many seconds the limit ends, as the error says.
fn resets_in(body: &[u8]) -> Option<u64> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body.get("error")?.get("resets_in_seconds")?.as_u64()
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::RETRY_AFTER;
    use serde_json::json;

    use super::*;

    fn judged(status: u16, retry_after: Option<&'static str>, body: Option<&Value>) -> Verdict {
        let mut fields = HeaderMap::new();
        if let Some(seconds) = retry_after {
            fields.insert(RETRY_AFTER, seconds.parse().unwrap());
        }
        let text = body.map(ToString::to_string);
        verdict(&ProviderReply {
            status: StatusCode::from_u16(status).unwrap(),
            fields: &fields,
            start: text.as_deref().map(str::as_bytes),
            is_whole: true,
        })
    }

    #[test]
    fn a_401_renews_and_a_429_goes_to_the_next_login_for_as_long_as_its_body_says() {
        assert_eq!(judged(401, None, None), Verdict::RenewAndRetry);
        assert_eq!(judged(200, None, None), Verdict::Pass);
        assert_eq!(judged(503, None, Some(&json!({}))), Verdict::Pass);
        assert_eq!(judged(429, None, None), Verdict::ReadOn);
        let next = |cooldown: Option<u64>, code| Verdict::NextLogin {
            cooldown: cooldown.map(Duration::from_secs),
            code,
            may_be_request: cooldown.is_none() && code.is_none(),
        };
        let used = json!({"error": {"type": "usage_limit_reached", "resets_in_seconds": 900}});
        let code = Some("usage_limit_reached");
        assert_eq!(judged(429, Some("7"), Some(&used)), next(Some(900), code));
        let untold = json!({"error": {"type": "usage_limit_reached"}});
        assert_eq!(judged(429, None, Some(&untold)), next(None, code));
        let other = json!({"error": {"code": "rate_limit_exceeded"}});
        assert_eq!(judged(429, Some("7"), Some(&other)), next(Some(7), None));
        assert_eq!(judged(429, None, Some(&json!("no"))), next(None, None));
    }

    #[test]
    fn a_403_tells_of_the_account_where_its_code_does() {
        let told = |body: &Value| judged(403, None, Some(body));
        let blocked = Verdict::Blocked("usage_not_included");
        assert_eq!(
            told(&json!({"error": {"code": "usage_not_included"}})),
            blocked
        );
        assert_eq!(
            told(&json!({"detail": "usage_not_included"})),
            Verdict::Pass
        );
    }

    #[test]
    fn an_error_in_a_stream_tells_of_the_account_in_each_of_its_forms() {
        for error in [
            json!({"type": "error", "code": "insufficient_quota"}),
            json!({"type": "error", "error": {"type": "insufficient_quota"}}),
            json!({"type": "response.failed",
                   "response": {"error": {"code": "insufficient_quota", "message": "…"}}}),
        ] {
            let told = in_stream(error.to_string().as_bytes());
            assert_eq!(told, Some("insufficient_quota"), "{error}");
        }
        let overloaded = json!({"type": "response.failed",
                                "response": {"error": {"code": "server_is_overloaded"}}});
        assert_eq!(in_stream(overloaded.to_string().as_bytes()), None);
    }
}
