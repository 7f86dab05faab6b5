//! What is known of a login, for those who ask.

use super::super::grant;
use super::super::journal::{Chore, JournalEntry, RefreshJournal};
use super::super::spent_tokens::Spent;
use super::event::LoginFile;
use super::renewed::Renewed;
use super::state::LoginState;
use super::{Knowledge, LoggedInSince};
use crate::provider::Login;
use crate::secret::Secret;

impl Knowledge {
    /// Which of the login in use and the store's is newer.
    #[cfg(test)]
    pub(in crate::credentials) fn state(&self) -> &LoginState {
        &self.state
    }

    /// The file that holds the login in use.
    pub(in crate::credentials) fn seat(&self) -> Option<&LoginFile> {
        self.seat.as_ref()
    }

    /// The journal of the login in use.
    pub(in crate::credentials) fn journal(&self) -> Option<&RefreshJournal> {
        Some(&self.seat.as_ref()?.journal)
    }

    /// Whether the login in use is ours alone.
    pub(in crate::credentials) fn is_own(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| seat.own)
    }

    /// Whether the journal of the login in use could not be read yet.
    pub(in crate::credentials) fn is_unentered(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| !seat.entered)
    }

    /// When the user logged in.
    pub(in crate::credentials) fn since(&self) -> Option<LoggedInSince> {
        self.since
    }

    /// The provider's spent refresh tokens.
    pub(in crate::credentials) fn spent(&self) -> &Spent {
        &self.spent
    }

    /// What of the journal is to be removed.
    pub(in crate::credentials) fn chores(&self) -> &[Chore] {
        &self.chores
    }

    /// The renewed login that waits to be saved.
    pub(in crate::credentials) fn unsaved(&self) -> Option<&Renewed> {
        match &self.state {
            LoginState::Unsaved(unsaved) => Some(&unsaved.renewed),
            LoginState::None | LoginState::Held | LoginState::Suspect(_) | LoginState::Ended(_) => {
                None
            }
        }
    }

    /// Whether the user was notified that it waits.
    pub(in crate::credentials) fn is_unsaved_told(&self) -> bool {
        matches!(&self.state, LoginState::Unsaved(unsaved) if unsaved.told)
    }

    /// The last login that was granted or adopted.
    pub(in crate::credentials) fn latest(&self) -> Option<&Renewed> {
        self.latest.as_ref()
    }

    /// The refresh that was begun and whose end is not known.
    pub(in crate::credentials) fn begun(&self) -> Option<&JournalEntry> {
        self.state.begun()
    }

    /// Whether a refresh of this login's token was begun, and its end is not known.
    pub(in crate::credentials) fn is_suspect(&self, login: &Login) -> bool {
        let token = login.refresh_token();
        let about =
            |entry: &JournalEntry| token.as_ref().is_some_and(|token| entry.is_about(token));
        self.begun().is_some_and(about)
    }

    /// Whether this refresh token is known to be spent, by us or by a rotation that we adopted, now or before a restart.
    pub(in crate::credentials) fn was_spent(&self, token: Option<&Secret>) -> bool {
        let latest = self.latest.as_ref();
        let by_latest = || latest.is_some_and(|latest| latest.is_spent(token));
        token.is_some_and(|token| by_latest() || self.spent.holds(token))
    }

    /// Whether someone has put the store back to an older version of this login, such as a backup: its
    /// token is spent, and showing it again would end the login. The newer one is known.
    pub(in crate::credentials) fn is_put_back(&self, stored: &Login) -> bool {
        let (Some(latest), None) = (&self.latest, self.unsaved()) else {
            return false;
        };
        let token = stored.refresh_token();
        let (lineage, its) = (grant::login_at(stored), grant::login_at(&latest.login));
        if latest.is_spent(token.as_ref()) && token.is_some() {
            return lineage.is_none() || lineage == its;
        }
        // Of what was spent longer ago, it must be plain whose it was.
        let same_login = match lineage {
            Some(_) => lineage == its,
            None => its.is_none() && same_subject(stored, &latest.login),
        };
        same_login && self.was_spent(token.as_ref())
    }

    /// Whether this login is an older version of one whose newer version is unknown: its refresh token is spent, so it
    /// serves while its access token lives and is not renewed. While its journal can't be read, the newer one may be
    /// kept beside that.
    pub(in crate::credentials) fn is_stale(&self, login: &Login) -> bool {
        let is_known = self.unsaved().is_none() && !self.is_unentered();
        is_known && self.was_spent(login.refresh_token().as_ref())
    }
}

fn same_subject(one: &Login, other: &Login) -> bool {
    let subject = one.subject();
    subject.is_some() && subject == other.subject()
}
