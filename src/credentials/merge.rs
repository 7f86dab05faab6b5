//! One login in several places: which tokens are the newest. Pure.

use chrono::{DateTime, Utc};

use super::knowledge::{Knowledge, same};
use super::store::Found;
use crate::provider::{Login, Merge};
use crate::secret::Secret;

/// Merges the mirror, if there is one, into a login.
pub(super) fn with_mirror(login: &mut Login, mirror: Option<&Login>, now: DateTime<Utc>) -> Merge {
    mirror.map_or(Merge::Same, |mirror| login.merge(mirror, now))
}

impl Knowledge {
    /// Merges what is beside a login into it: its rows of the pool, and its mirror. A row with a token
    /// that is spent tells nothing.
    pub(super) fn merge(&self, login: &mut Login, found: &Found, now: DateTime<Utc>) -> Merge {
        let merge = self.merge_rows(login, found, |_| false, now);
        merge.and_mirror(with_mirror(login, found.mirror.as_ref(), now))
    }

    /// The same with the rows alone; one with a `refused` token tells nothing either.
    pub(super) fn merge_rows(
        &self,
        login: &mut Login,
        found: &Found,
        refused: impl Fn(&Secret) -> bool,
        now: DateTime<Utc>,
    ) -> Merge {
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
}

/// What a refused token was rotated from, where it came from a row of the pool: it is spent.
pub(super) fn replaced_by(refused: &Secret, found: &Found) -> Option<Secret> {
    let mut rows = found.rows.iter();
    let is_row = rows.any(|row| same(row.refresh_token().as_ref(), Some(refused)));
    is_row.then(|| found.login.refresh_token()).flatten()
}
