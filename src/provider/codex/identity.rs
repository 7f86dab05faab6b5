//! The identity that the backend requires: the account and its region from the token, and this program's own name.
//! Pure.

use hyper::header::{HeaderName, HeaderValue, USER_AGENT};

use crate::provider::jwt::Claims;

/// The claim with the account.
const AUTH: &str = "https://api.openai.com/auth";
const ACCOUNT: HeaderName = HeaderName::from_static("chatgpt-account-id");
const RESIDENCY: HeaderName = HeaderName::from_static("x-openai-internal-codex-residency");
const ORIGINATOR: HeaderName = HeaderName::from_static("originator");
/// The claim's value for a workspace without a region.
const NO_REGION: &str = "no_constraint";

/// The header fields that accompany a token. `id` are the claims of the login's other token, for fields that the
/// access token lacks.
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
