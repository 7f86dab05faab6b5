//! Whether a provider's grant is usable at all, before it replaces a working login.

use chrono::{DateTime, Utc};

use super::{Adapter, Assessment, Grant, Login};

/// Why a grant is unusable; `None` if it is fine.
pub fn flaw(adapter: &dyn Adapter, grant: &Grant, now: DateTime<Utc>) -> Option<String> {
    let mut login = Login::empty(adapter.layout()?);
    adapter.apply(&mut login, grant.clone(), now);
    if let Assessment::NoLogin { reason } = adapter.assess(&login, now) {
        return Some(reason);
    }
    let access = login.tokens().access?;
    let is_odd = access.authorization("Bearer").is_err();
    is_odd.then(|| "its access token has characters that no request can carry".to_owned())
}
