//! A renewed login, and the tokens that it replaces.

use super::super::journal::UnsavedLogin;
use super::super::refresh_token::same;
use crate::provider::Login;
use crate::secret::Secret;

/// So many spent refresh tokens are remembered: weeks of them.
const REMEMBERED: usize = 256;

/// A renewed login and what it replaces.
#[derive(Debug, Clone)]
pub(in crate::credentials) struct Renewed {
    pub(in crate::credentials) login: Login,
    /// The refresh tokens that must not be used any more: the one that was spent, and the store's
    /// at that time.
    pub(super) spent: Vec<Option<Secret>>,
}

impl PartialEq for Renewed {
    fn eq(&self, other: &Self) -> bool {
        let mut both = self.spent.iter().zip(&other.spent);
        self.login == other.login
            && self.spent.len() == other.spent.len()
            && both.all(|(one, other)| same(one.as_ref(), other.as_ref()))
    }
}

impl Renewed {
    /// A login just granted. `spent` is the token that it was granted for and the store's; the
    /// tokens that `former` replaced stay spent.
    pub(super) fn new(login: Login, spent: [Option<Secret>; 2], former: Option<Self>) -> Self {
        let current = login.refresh_token();
        let mut spent: Vec<_> = spent.into_iter().collect();
        spent.extend(former.map(|former| former.spent).unwrap_or_default());
        spent.retain(|token| !same(token.as_ref(), current.as_ref()));
        spent.truncate(REMEMBERED);
        Self { login, spent }
    }

    /// Whether `stored` is still the login that it replaces, or already the new one: there was no
    /// other renewal or login since.
    pub(in crate::credentials) fn still_stands(&self, stored: &Login) -> bool {
        // Another account's row, or a login that the user has made since, says nothing about this
        // one.
        let row = self.login.row();
        if row.is_some() && row != stored.row() {
            return true;
        }
        let stored = stored.refresh_token();
        self.is_spent(stored.as_ref()) || same(self.login.refresh_token().as_ref(), stored.as_ref())
    }

    /// In the form that is kept beside the journal.
    pub(in crate::credentials) fn to_keep(&self) -> UnsavedLogin {
        let replaces = self.spent.iter().flatten().map(Secret::fingerprint);
        UnsavedLogin {
            login: self.login.clone(),
            replaces: replaces.collect(),
        }
    }

    /// The fingerprints of its refresh token and of those that it replaces.
    pub(in crate::credentials) fn tokens(&self) -> Vec<String> {
        let current = self.login.refresh_token();
        let tokens = self.spent.iter().flatten().chain(&current);
        tokens.map(Secret::fingerprint).collect()
    }

    /// Whether this refresh token is one that it replaces.
    pub(in crate::credentials) fn is_spent(&self, token: Option<&Secret>) -> bool {
        self.spent.iter().any(|spent| same(spent.as_ref(), token))
    }
}
