//! A login's form in our own store: RFC 6749's fields at the top of the block, and the authority
//! that granted them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::config::ProviderName;
use crate::provider::{Layout, Login};

/// Where the tokens of a login may go for the next ones, as its block says.
const AUTHORITY: &str = "authority";

/// How the key of a block begins, before the provider's name.
const PREFIX: &str = "oauth2-";

/// A block of this provider.
#[derive(Debug)]
struct OAuth2Block {
    key: &'static str,
}

impl Layout for OAuth2Block {
    fn key(&self) -> &'static str {
        // A layout lives for the whole process; see `of`.
        self.key
    }

    fn is_ours_alone(&self) -> bool {
        true
    }

    fn remove_grant(&self, login: &mut Login) {
        self.remove_tokens(login);
        for key in ["client_id", "scope", "token_type", AUTHORITY] {
            login.remove(key);
        }
    }

    /// A row says whose the login is, too.
    fn lay_out(&self, login: &mut Login, row: &Map<String, Value>) {
        for key in self.row_fields() {
            if let Some(value) = row.get(*key) {
                login.set(key, value.clone());
            }
        }
    }

    fn row_fields(&self) -> &'static [&'static str] {
        &[
            "access_token",
            "refresh_token",
            "obtained_at",
            "expires_at",
            "expires_in",
            "token_type",
            "scope",
            "client_id",
            AUTHORITY,
        ]
    }

    /// A file that a block names is not followed: only the configuration decides about trust.
    fn ca_file(&self, _login: &Login) -> Option<PathBuf> {
        None
    }
}

/// The name of the provider whose login has this key.
pub(in crate::provider) fn name_of(key: &str) -> Option<ProviderName> {
    ProviderName::new(key.strip_prefix(PREFIX)?)
}

/// The layout of a provider of this name. Each name has one for the whole process: a login refers to it, and there are
/// only as many as names that the configuration has ever had.
pub(in crate::provider) fn of(name: &ProviderName) -> &'static dyn Layout {
    static LAYOUTS: Mutex<BTreeMap<String, &'static OAuth2Block>> = Mutex::new(BTreeMap::new());
    let mut layouts = LAYOUTS.lock().unwrap_or_else(PoisonError::into_inner);
    // Not the name alone: a block of another program's may have that.
    let key = format!("{PREFIX}{name}");
    *layouts.entry(key.clone()).or_insert_with(|| {
        let key: &'static str = Box::leak(key.into_boxed_str());
        Box::leak(Box::new(OAuth2Block { key }))
    })
}

/// Whether that authority granted the login's tokens to this client. Another authority's tokens must not be sent
/// there, and a login that names no authority has been changed by another program.
pub(super) fn is_of(login: &Login, authority: &str, client: &str) -> bool {
    login.text(AUTHORITY) == Some(authority) && login.text("client_id") == Some(client)
}

/// Notes that.
pub(super) fn note(login: &mut Login, authority: &str, client: &str) {
    login.set(AUTHORITY, authority);
    login.set("client_id", client);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_layout_and_its_own_block() {
        let of = |name: &str| of(&ProviderName::new(name).unwrap());
        assert_eq!(of("example").key(), "oauth2-example");
        assert!(std::ptr::addr_eq(of("example"), of("example")));
        assert_ne!(of("example"), of("other"));
    }

    #[test]
    fn a_login_is_bound_to_who_granted_it() {
        let layout = of(&ProviderName::new("example").unwrap());
        let mut login = Login::empty(layout);
        assert!(!is_of(&login, "https://a.example", "me"));
        note(&mut login, "https://a.example", "me");
        assert!(is_of(&login, "https://a.example", "me"));
        assert!(!is_of(&login, "https://b.example", "me"));
        assert!(!is_of(&login, "https://a.example", "you"));
    }
}
