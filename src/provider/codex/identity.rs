//! Who asks, as the backend wants to know it: the account and its region from the token, and this program by its own name.
//! Pure.

use hyper::header::{HeaderName, HeaderValue, USER_AGENT};

use crate::provider::jwt::Claims;

/// The claim that tells of the account.
const AUTH: &str = "https://api.openai.com/auth";
const ACCOUNT: HeaderName = HeaderName::from_static("chatgpt-account-id");
const RESIDENCY: HeaderName = HeaderName::from_static("x-openai-internal-codex-residency");
const ORIGINATOR: HeaderName = HeaderName::from_static("originator");
/// What stands in the claim of a workspace that is in no region.
const NO_REGION: &str = "no_constraint";

/// The header fields that go with a token. `id` are the claims of the login's other token, for what the access token
/// does not tell.
pub(super) fn headers(
    access: Option<&Claims>,
    id: Option<&Claims>,
) -> Vec<(HeaderName, HeaderValue)> {
    let claim = |name: &str| {
        let mut claims = [access, id].into_iter().flatten();
        claims.find_map(|claims| claims.text_in(AUTH, name).or_else(|| claims.text(name)))
    };
    let region = ["chatgpt_data_residency", "chatgpt_compute_residency"];
    let region = region.into_iter().filter_map(claim);
    let region = region.into_iter().find(|region| *region != NO_REGION);
    let told = [(ACCOUNT, claim("chatgpt_account_id")), (RESIDENCY, region)];
    let told = told.into_iter().filter_map(|(name, text)| {
        let mut value = HeaderValue::from_str(text?).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    });
    let ours = [
        (ORIGINATOR, HeaderValue::from_static(env!("CARGO_PKG_NAME"))),
        (USER_AGENT, HeaderValue::from_static(crate::USER_AGENT)),
    ];
    told.chain(ours).collect()
}
