//! Whether what a provider has granted can be used at all, before it takes the place of a login that works.

use chrono::{DateTime, Utc};

use super::{Adapter, Assessment, Grant, Login};

/// Why no request can go with what was granted; `None` where nothing speaks against it.
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
