//! What the bodies of xAI's refusals mean.

use std::time::Duration;

use hyper::StatusCode;

use crate::provider::{ProviderReply, Verdict};

/// The free tier has a rolling day.
const FREE_USAGE: Duration = Duration::from_hours(24);

/// The access token is refused, and a new one helps.
const STALE: [&str; 2] = [
    "unauthenticated:bad-credentials",
    "access token could not be validated",
];
/// The account is refused, and neither a new token nor a new login helps.
const BLOCKED: [(&str, &str); 3] = [
    ("personal-team-blocked:spending-limit", "spending_limit"),
    ("do not have an active grok subscription", "no_subscription"),
    ("out of available resources", "no_subscription"),
];
/// A 403 with none of these.
const TIER: &str = "account_tier";
const FREE: (&str, &str) = ("subscription:free-usage-exhausted", "free_usage_exhausted");

/// What an answer says of the account and its token.
pub(super) fn verdict(reply: &ProviderReply<'_>) -> Verdict {
    let Some(start) = reply.start else {
        return match reply.status {
            StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => Verdict::ReadOn,
            _ => reply.by_status(),
        };
    };
    let text = String::from_utf8_lossy(start).to_lowercase();
    if reply.status == StatusCode::TOO_MANY_REQUESTS {
        let is_free = text.contains(FREE.0);
        let cooldown = if is_free {
            Some(FREE_USAGE)
        } else {
            reply.retry_after()
        };
        return Verdict::NextLogin {
            cooldown,
            code: is_free.then_some(FREE.1),
            may_be_request: cooldown.is_none(),
        };
    }
    if STALE.iter().any(|words| text.contains(words)) {
        return Verdict::RenewAndRetry;
    }
    match blocked(&text) {
        Some(code) => Verdict::Blocked(code),
        // The cause may be the requested model or the request's content.
        None if reply.is_whole => Verdict::NextLogin {
            cooldown: None,
            code: Some(TIER),
            may_be_request: true,
        },
        // A body that was not read may say anything: only the status is reported.
        None => Verdict::Pass,
    }
}

/// What an error event in a stream says of the account.
pub(super) fn in_stream(error: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(error).to_lowercase();
    blocked(&text)
}

fn blocked(text: &str) -> Option<&'static str> {
    let mut known = BLOCKED.iter();
    let known = known.find(|(words, _)| text.contains(words));
    known.map(|(_, code)| *code)
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    #[test]
    fn what_could_not_be_read_whole_is_no_judgement_of_the_account() {
        let fields = HeaderMap::new();
        let refused = |text: &str, is_whole| {
            verdict(&ProviderReply {
                status: StatusCode::FORBIDDEN,
                fields: &fields,
                start: Some(text.as_bytes()),
                is_whole,
            })
        };
        let tier = Verdict::NextLogin {
            cooldown: None,
            code: Some("account_tier"),
            may_be_request: true,
        };
        assert_eq!(refused("{}", true), tier);
        assert_eq!(refused("", false), Verdict::Pass);
        let entitlement = "You have either run out of available resources or do not have an \
                           active Grok subscription.";
        let code = Verdict::Blocked("no_subscription");
        assert_eq!(refused(entitlement, false), code);
        // The permission's words come before both.
        let stale = format!("{entitlement} [WKE=unauthenticated:bad-credentials]");
        assert_eq!(refused(&stale, false), Verdict::RenewAndRetry);
    }

    #[test]
    fn an_error_in_a_stream_tells_of_the_account_and_never_of_the_token() {
        let told = |text: &str| in_stream(text.as_bytes());
        let text =
            "{\"type\":\"error\",\"message\":\"You do not have an active Grok subscription\"}";
        assert_eq!(told(text), Some("no_subscription"));
        assert_eq!(told("{\"error\":\"overloaded\"}"), None);
        assert_eq!(told("unauthenticated:bad-credentials"), None);
    }
}
