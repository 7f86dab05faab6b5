//! One login in several places: which tokens are the newest.

use super::keeper::{Keeper, NO_LOGIN, SUPPRESSED, same};
use super::store::{Found, Store};
use crate::provider::{Login, Merge};
use crate::secret::Secret;

impl Keeper {
    /// Merges the mirror, if there is one, into a login.
    pub(super) fn merge(&self, login: &mut Login, mirror: Option<&Login>) -> Merge {
        mirror.map_or(Merge::Same, |mirror| login.merge(mirror, self.clock.now()))
    }

    /// Merges what lies beside a login into it: its rows of the pool, and its mirror. A row with a token
    /// that is spent, or `refused`, tells nothing.
    pub(super) fn merge_found(
        &self,
        login: &mut Login,
        found: &Found,
        refused: impl Fn(&Secret) -> bool,
    ) -> Merge {
        let merge = self.merge_rows(login, found, refused);
        merge.and_mirror(self.merge(login, found.mirror.as_ref()))
    }

    /// The same with the rows alone.
    pub(super) fn merge_rows(
        &self,
        login: &mut Login,
        found: &Found,
        refused: impl Fn(&Secret) -> bool,
    ) -> Merge {
        let now = self.clock.now();
        let before = login.refresh_token();
        let is_good = |row: &&Login| {
            let token = row.refresh_token();
            let another = !same(token.as_ref(), before.as_ref());
            another && !self.was_spent(token.as_ref()) && !token.as_ref().is_some_and(&refused)
        };
        let mut merge = Merge::Same;
        for row in found.rows.iter().filter(is_good) {
            match login.merge_row(row, now) {
                Merge::Same | Merge::MirrorBehind => {}
                merged @ (Merge::Taken | Merge::Undecided) => merge = merged,
            }
        }
        merge
    }

    /// Why there is no login where none was found.
    pub(super) async fn why_none(&self) -> &'static str {
        let Some(store) = &self.store else {
            return NO_LOGIN;
        };
        let suppressed = store.work(|store: &Store| Ok(store.is_suppressed())).await;
        if suppressed.unwrap_or_default() {
            SUPPRESSED
        } else {
            NO_LOGIN
        }
    }
}

/// What a refused token was rotated from, where it came from a row of the pool: it is spent.
pub(super) fn replaced_by(refused: &Secret, found: &Found) -> Option<Secret> {
    let mut rows = found.rows.iter();
    let is_row = rows.any(|row| same(row.refresh_token().as_ref(), Some(refused)));
    is_row.then(|| found.login.refresh_token()).flatten()
}
