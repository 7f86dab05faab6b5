//! The form of logins whose block has the tokens in a nested table; a row of the pool has them at its top.

use std::cmp::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::jwt::Claims;
use super::pool_row::PoolRow;
use super::token_client::seconds;
use super::{Layout, Login, LoginTokens, Merge};
use crate::clock;

/// Where a login's end is noted.
const ENDED: &str = "last_auth_error";

/// The layout of one such provider's block.
#[derive(Debug)]
pub(super) struct Tabled {
    key: &'static str,
    /// Where Hermes Agent sends the requests of a row.
    inference: &'static str,
    itself: fn() -> &'static dyn Layout,
}

impl Tabled {
    /// The layout of the block with this name, whose rows name their base URLs; `itself` returns
    /// the same layout.
    pub(super) const fn new(
        key: &'static str,
        inference: &'static str,
        itself: fn() -> &'static dyn Layout,
    ) -> Self {
        Self {
            key,
            inference,
            itself,
        }
    }
}

/// The table that holds the tokens.
pub(super) fn inner(login: &Login) -> Login {
    let tokens = login.fields().get("tokens").and_then(Value::as_object);
    Login::new(tokens.cloned().unwrap_or_default(), login.layout())
}

fn edit(login: &mut Login, change: impl FnOnce(&mut Login)) {
    let mut tokens = inner(login);
    change(&mut tokens);
    login.set("tokens", tokens.into_fields());
}

impl Layout for Tabled {
    fn key(&self) -> &'static str {
        self.key
    }

    fn is_in_root_only(&self) -> bool {
        true
    }

    fn tokens(&self, login: &Login) -> LoginTokens {
        let tokens = inner(login);
        let obtained = login.time("last_refresh");
        let life = seconds(tokens.fields().get("expires_in"));
        let expires = obtained.filter(|_| life > 0);
        LoginTokens {
            access: tokens.secret("access_token"),
            refresh: tokens.secret("refresh_token"),
            minted: None,
            obtained,
            expires: expires.map(|at| clock::after(at, Duration::from_secs(life))),
        }
    }

    fn put(&self, login: &mut Login, tokens: &LoginTokens) {
        edit(login, |inner| {
            for (key, token) in [
                ("access_token", &tokens.access),
                ("refresh_token", &tokens.refresh),
            ] {
                if let Some(token) = token {
                    inner.set(key, token.expose().to_owned());
                }
            }
        });
        if let Some(at) = tokens.obtained {
            login.set("last_refresh", at.to_rfc3339());
        }
    }

    fn remove_refresh(&self, login: &mut Login) {
        edit(login, |tokens| tokens.remove("refresh_token"));
    }

    fn remove_tokens(&self, login: &mut Login) {
        login.remove("tokens");
        login.remove("last_refresh");
    }

    fn remove_grant(&self, login: &mut Login) {
        self.remove_tokens(login);
        login.remove("auth_mode");
    }

    fn is_countdown(&self, _key: &str) -> bool {
        false
    }

    fn row_value<'l>(&self, login: &'l Login, key: &str) -> Option<&'l Value> {
        let tokens = login.fields().get("tokens");
        let token = tokens.and_then(|tokens| tokens.get(key));
        token.or_else(|| login.fields().get(key))
    }

    /// Hermes Agent keeps one row in step with the block.
    fn of_row(&self, row: &Map<String, Value>) -> Option<Login> {
        if !PoolRow::new(row).is_of_block() {
            return None;
        }
        let mut login = Login::empty((self.itself)());
        lay_out(&mut login, row);
        login.tokens().whole().then_some(login)
    }

    fn lay_out(&self, login: &mut Login, row: &Map<String, Value>) {
        lay_out(login, row);
    }

    fn row_fields(&self) -> &'static [&'static str] {
        &["access_token", "refresh_token", "last_refresh"]
    }

    fn row_base_url(&self) -> Option<&'static str> {
        Some(self.inference)
    }

    fn merge_row(&self, login: &mut Login, row: &Login, now: DateTime<Utc>) -> Merge {
        let (ours, theirs) = (login.tokens(), row.tokens());
        let Some(token) = &ours.refresh else {
            // A login that ended leaves no row, so this one came later or was left behind before.
            let ended = login.fields().get(ENDED).and_then(|end| end.get("at"));
            let ended: Option<DateTime<Utc>> = ended.and_then(|at| at.as_str()?.parse().ok());
            let obtained = theirs.obtained.filter(|at| *at <= now);
            let is_later = ended.is_none() || obtained.is_some_and(|at| Some(at) > ended);
            return if is_later {
                take_row(login, row)
            } else {
                Merge::Same
            };
        };
        if theirs.refresh.is_some_and(|theirs| theirs.same(token)) {
            return Merge::Same;
        }
        match freshness(row, login, now) {
            Some(Ordering::Greater) => take_row(login, row),
            Some(Ordering::Less) => Merge::Same,
            Some(Ordering::Equal) | None => Merge::Undecided,
        }
    }
}

/// A row as a block would be.
fn lay_out(login: &mut Login, row: &Map<String, Value>) {
    let told = PoolRow::new(row);
    edit(login, |tokens| {
        for (key, token) in [
            ("access_token", told.access()),
            ("refresh_token", told.refresh()),
        ] {
            if let Some(token) = token {
                tokens.set(key, token.expose().to_owned());
            }
        }
        if let Some(life) = row.get("expires_in") {
            tokens.set("expires_in", life.clone());
        }
    });
    if let Some(at) = row.get("last_refresh") {
        login.set("last_refresh", at.clone());
    }
}

fn take_row(login: &mut Login, row: &Login) -> Merge {
    login.put(&row.tokens());
    if let Some(at) = row.fields().get("last_refresh") {
        login.set("last_refresh", at.clone());
    }
    login.forget_end();
    Merge::Taken
}

/// Which of two logins was granted later: by the provider's own clock if both hold a JWT, otherwise
/// by the times of their renewals.
fn freshness(one: &Login, other: &Login, now: DateTime<Utc>) -> Option<Ordering> {
    let issued = |login: &Login| {
        let access = login.tokens().access?;
        Claims::decode(access.expose())?.issued_at()
    };
    let by_provider = issued(one).zip(issued(other));
    let by_provider = by_provider.map(|(one, other)| one.cmp(&other));
    if let Some(order) = by_provider.filter(|order| order.is_ne()) {
        return Some(order);
    }
    let obtained = |login: &Login| login.tokens().obtained.filter(|at| *at <= now);
    let obtained = obtained(one).zip(obtained(other));
    obtained.map(|(one, other)| one.cmp(&other))
}
