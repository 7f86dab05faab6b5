//! One login in several places: which tokens are the newest. Pure.

use chrono::{DateTime, Utc};

use super::knowledge::Knowledge;
use super::refresh_token::same;
use super::store::StoreContents;
use crate::provider::{Login, Merge};
use crate::secret::Secret;

/// Merges the mirror, if there is one, into a login.
pub(super) fn with_mirror(login: &mut Login, mirror: Option<&Login>, now: DateTime<Utc>) -> Merge {
    mirror.map_or(Merge::Same, |mirror| login.merge(mirror, now))
}

impl Knowledge {
    /// Merges a login with its copies: its rows of the pool, and its mirror. A copy with a spent
    /// token is ignored. If neither is known to be newer, a spent token decides.
    pub(super) fn merge(
        &self,
        login: &mut Login,
        found: &StoreContents,
        now: DateTime<Utc>,
    ) -> Merge {
        let merge = self.merge_all(login, found, now);
        if merge != Merge::Undecided || !self.is_stale(login) {
            return merge;
        }
        let mut newer = login.clone();
        newer.remove_refresh_token();
        let merge = self.merge_all(&mut newer, found, now);
        if newer.refresh_token().is_some() {
            *login = newer;
            return merge;
        }
        Merge::Same
    }

    fn merge_all(&self, login: &mut Login, found: &StoreContents, now: DateTime<Utc>) -> Merge {
        let merge = self.merge_rows(login, found, |_| false, now);
        let token = login.refresh_token();
        let behind = found.mirror.as_ref().filter(|mirror| {
            let theirs = mirror.refresh_token();
            self.was_spent(theirs.as_ref()) && !same(theirs.as_ref(), token.as_ref())
        });
        merge.and_mirror(match behind {
            Some(_) if token.is_some() => Merge::MirrorBehind,
            Some(_) => Merge::Same,
            None => with_mirror(login, found.mirror.as_ref(), now),
        })
    }

    /// The same with the rows alone; one with a `refused` token is ignored too.
    pub(super) fn merge_rows(
        &self,
        login: &mut Login,
        found: &StoreContents,
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

/// Which of a provider's logins in several places are stale: another place holds a newer one of the same account, and
/// another refresh token, so this one's may be its predecessor. While the newer one exists, it is not sent.
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "one keeper per provider looks at one place; pools ask it for rows"
    )
)]
pub(super) fn left_behind(places: &[&Login]) -> Vec<bool> {
    let is_behind = |login: &&Login| {
        let token = login.refresh_token();
        let mut others = places.iter();
        others.any(|other| {
            let theirs = other.refresh_token();
            theirs.is_some() && !same(theirs.as_ref(), token.as_ref()) && login.is_older_than(other)
        })
    };
    places.iter().map(is_behind).collect()
}

/// The predecessor of a refused token, if it came from a row of the pool: it is spent.
pub(super) fn replaced_by(refused: &Secret, found: &StoreContents) -> Option<Secret> {
    let mut rows = found.rows.iter();
    let is_row = rows.any(|row| same(row.refresh_token().as_ref(), Some(refused)));
    is_row.then(|| found.login.refresh_token()).flatten()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;
    use crate::credentials::tests::layout;

    fn login(name: &str, claims: &Value) -> Login {
        let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
        let fields = json!({"access_token": format!("x.{payload}.x"), "refresh_token": name});
        Login::new(fields.as_object().cloned().unwrap(), layout())
    }

    #[test]
    fn an_older_login_of_the_same_account_is_left_behind_while_the_newer_one_is_there() {
        let of = |sub: &str, iat: i64| json!({"sub": sub, "iat": iat, "jti": iat.to_string()});
        let workspace =
            |iat: i64, account: &str| json!({"sub": "u", "iat": iat, "auth": {"account": account}});
        for (what, places, expected) in [
            (
                "older and newer",
                [login("r0", &of("u", 1)), login("r1", &of("u", 2))],
                [true, false],
            ),
            (
                "two users",
                [login("r0", &of("u", 1)), login("r1", &of("v", 2))],
                [false, false],
            ),
            (
                "one token",
                [login("r0", &of("u", 1)), login("r0", &of("u", 2))],
                [false, false],
            ),
            (
                "as old",
                [login("r0", &of("u", 2)), login("r1", &of("u", 2))],
                [false, false],
            ),
            (
                "no user",
                [
                    login("r0", &json!({"iat": 1})),
                    login("r1", &json!({"iat": 2})),
                ],
                [false, false],
            ),
            (
                "two workspaces",
                [
                    login("r0", &workspace(1, "a")),
                    login("r1", &workspace(2, "b")),
                ],
                [false, false],
            ),
            (
                "one workspace",
                [
                    login("r0", &workspace(1, "a")),
                    login("r1", &workspace(2, "a")),
                ],
                [true, false],
            ),
        ] {
            let [one, other] = &places;
            assert_eq!(left_behind(&[one, other]), expected, "{what}");
        }
    }
}
