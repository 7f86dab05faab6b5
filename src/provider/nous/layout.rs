//! The login's form in the store: tokens at the top of the block, a key beside them, and a mirror
//! for all profiles.

use std::cmp::Ordering;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

use super::super::jwt::{Claims, holds};
use crate::clock;
use crate::provider::pool_row::PoolRow;
use crate::provider::{Layout, Login, LoginTokens, Merge};
use crate::secret::Secret;

pub(super) const PORTAL: &str = "https://portal.nousresearch.com";
pub(super) const INFERENCE: &str = "https://inference-api.nousresearch.com/v1";
pub(super) const CLIENT_ID: &str = "hermes-cli";
pub(super) const SCOPE: &str = "inference:invoke";

/// The layout of the block `nous`.
pub(in crate::provider) const LAYOUT: &dyn Layout = &NousBlock;

/// The fields that all profiles share, in the mirror's file and in a login.
const SHARED: [&str; 9] = [
    "access_token",
    "refresh_token",
    "token_type",
    "scope",
    "client_id",
    "portal_base_url",
    "inference_base_url",
    "obtained_at",
    "expires_at",
];
/// Fields that only a guest's login has, which all profiles share too.
const GUEST: [&str; 5] = [
    "auth_method",
    "account_tier",
    "anon_token",
    "user_id",
    "org_id",
];
/// The tokens and their details.
const TOKENS: [&str; 11] = [
    "access_token",
    "refresh_token",
    "expires_at",
    "expires_in",
    "obtained_at",
    "agent_key",
    "agent_key_id",
    "agent_key_expires_at",
    "agent_key_expires_in",
    "agent_key_reused",
    "agent_key_obtained_at",
];
/// Other fields of a grant.
const GRANT: [&str; 4] = [
    "client_id",
    "scope",
    "portal_base_url",
    "inference_base_url",
];

#[derive(Debug)]
struct NousBlock;

impl Layout for NousBlock {
    fn key(&self) -> &'static str {
        "nous"
    }

    fn mirror_file(&self) -> Option<&'static str> {
        Some("nous_auth.json")
    }

    fn tokens(&self, login: &Login) -> LoginTokens {
        LoginTokens {
            access: login.secret("access_token"),
            refresh: login.secret("refresh_token"),
            minted: login.secret("agent_key"),
            obtained: login.time("obtained_at"),
            expires: login.time("expires_at"),
        }
    }

    fn remove_tokens(&self, login: &mut Login) {
        for key in TOKENS {
            login.remove(key);
        }
    }

    fn remove_grant(&self, login: &mut Login) {
        for key in TOKENS.into_iter().chain(GRANT).chain(GUEST) {
            login.remove(key);
        }
    }

    fn is_countdown(&self, key: &str) -> bool {
        matches!(key, "expires_in" | "agent_key_expires_in")
    }

    fn merge_mirror(&self, login: &mut Login, mirror: &Login, now: DateTime<Utc>) -> Merge {
        if mirror.text("refresh_token").is_none() || mirror.text("access_token").is_none() {
            return Merge::Same;
        }
        let same = |key: &str| login.text(key) == mirror.text(key);
        if same("refresh_token") && same("access_token") {
            return Merge::Same;
        }
        // Hermes Agent takes the mirror's tokens whenever they differ. We take them when they
        // are known to be fresher, so that a mirror that was left behind can't bring back a
        // spent token.
        let order = match login.text("refresh_token") {
            None => Some(Ordering::Greater),
            Some(_) => freshness(mirror, login, now),
        };
        match order {
            Some(Ordering::Greater) => {}
            Some(Ordering::Less) => return Merge::MirrorBehind,
            Some(Ordering::Equal) | None => return Merge::Undecided,
        }
        for key in SHARED {
            if let Some(text) = mirror.text(key) {
                login.set(key, text.to_owned());
            }
        }
        for key in GUEST {
            match mirror.text(key) {
                Some(text) => login.set(key, text.to_owned()),
                None => login.remove(key),
            }
        }
        mirror_invoke_jwt(login, login.time("obtained_at").unwrap_or(now));
        Merge::Taken
    }

    /// Hermes Agent keeps one row in step with the block. The others are separate logins.
    fn of_row(&self, row: &Map<String, Value>) -> Option<Login> {
        if !PoolRow::new(row).is_of_block() {
            return None;
        }
        let login = Login::new(row.clone(), LAYOUT);
        login.tokens().whole().then_some(login)
    }

    /// A row names all of it as the block does.
    fn lay_out(&self, login: &mut Login, row: &Map<String, Value>) {
        let shared = SHARED.into_iter().chain(TOKENS).chain(["tls"]);
        for key in shared {
            match row.get(key) {
                None | Some(Value::Null) => {}
                Some(value) => login.set(key, value.clone()),
            }
        }
    }

    fn row_fields(&self) -> &'static [&'static str] {
        &[
            "access_token",
            "refresh_token",
            "token_type",
            "scope",
            "client_id",
            "portal_base_url",
            "inference_base_url",
            "obtained_at",
            "expires_at",
            "expires_in",
            "agent_key",
            "agent_key_expires_at",
        ]
    }

    /// Hermes Agent takes a row of the usual name for the block's own, and drops it when the block's login ends.
    fn row_source(&self) -> &'static str {
        "manual:hermes_proxyd"
    }

    /// If neither is known to be newer, the block decides, as in Hermes Agent: what that rotates
    /// into the row alone has a time.
    fn merge_row(&self, login: &mut Login, row: &Login, now: DateTime<Utc>) -> Merge {
        let order = match login.text("refresh_token") {
            token if token == row.text("refresh_token") => return Merge::Same,
            Some(_) => freshness(row, login, now),
            // The end of a login is written to its row too. A token there now came later, or was left
            // behind long before.
            None => row
                .time("obtained_at")
                .zip(ended_at(login))
                .filter(|(obtained, _)| *obtained <= now)
                .map(|(obtained, ended)| obtained.cmp(&ended))
                .or(Some(Ordering::Less)),
        };
        match order {
            Some(Ordering::Greater) => {}
            Some(Ordering::Less) => return Merge::Same,
            Some(Ordering::Equal) | None => return Merge::Undecided,
        }
        for key in SHARED.into_iter().chain(TOKENS) {
            match row.fields().get(key) {
                None | Some(Value::Null) => {}
                Some(value) => login.set(key, value.clone()),
            }
        }
        self.forget_end(login);
        mirror_invoke_jwt(login, login.time("obtained_at").unwrap_or(now));
        Merge::Taken
    }

    fn mirrors_differ(&self, mirror: &Login, other: &Login) -> bool {
        let same = |key: &str| mirror.fields().get(key) == other.fields().get(key);
        let mut keys = mirror.fields().keys().map(String::as_str).chain(GUEST);
        keys.any(|key| key != "updated_at" && !same(key))
    }

    fn mirror(&self, login: &Login, now: DateTime<Utc>) -> Option<Login> {
        login.text("refresh_token")?;
        login.text("access_token")?;
        let mut mirror = Login::empty(LAYOUT);
        mirror.set("_schema", 1);
        for key in SHARED {
            let fallback = match key {
                "token_type" => "Bearer",
                "scope" => SCOPE,
                "client_id" => CLIENT_ID,
                "portal_base_url" => PORTAL,
                "inference_base_url" => INFERENCE,
                _ => "",
            };
            mirror.set(key, login.text(key).unwrap_or(fallback).to_owned());
        }
        for key in GUEST {
            if let Some(text) = login.text(key) {
                mirror.set(key, text.to_owned());
            }
        }
        mirror.set("updated_at", iso(now));
        Some(mirror)
    }
}

/// Whether it is a guest's: Hermes Agent exchanges another token for the next one, and there is nothing
/// to refresh it with.
pub(super) fn is_guest(login: &Login) -> bool {
    login.text("auth_method") == Some("anonymous") && login.text("refresh_token").is_none()
}

/// When the login ended, as it was noted.
fn ended_at(login: &Login) -> Option<DateTime<Utc>> {
    let at = login.fields().get("last_auth_error")?.get("at")?.as_str()?;
    at.parse().ok()
}

/// Hermes Agent reads the bearer at `agent_key`: an invoke JWT is put there too, and its own
/// expiry becomes the login's.
pub(super) fn mirror_invoke_jwt(login: &mut Login, now: DateTime<Utc>) {
    let Some(token) = login.secret("access_token") else {
        return;
    };
    let Some(claims) = invoke_claims(&token, login) else {
        return;
    };
    let end = claims.expires_at().or_else(|| login.time("expires_at"));
    let left = end.map_or(0, |end| clock::until(end, now).as_secs());
    if let Some(end) = claims.expires_at() {
        login.set("expires_at", iso(end));
        login.set("expires_in", left);
    }
    login.set("agent_key", token.expose().to_owned());
    login.set("agent_key_id", Value::Null);
    login.set("agent_key_expires_at", end.map(iso));
    login.set("agent_key_expires_in", left);
    login.set("agent_key_reused", false);
    login.set("agent_key_obtained_at", iso(now));
}

/// Which of two logins was granted later: by the portal's own clock if both hold a JWT, otherwise
/// by their writers' clocks, unless one of these was ahead of `now`.
fn freshness(one: &Login, other: &Login, now: DateTime<Utc>) -> Option<Ordering> {
    let issued = |login: &Login| Claims::decode(login.text("access_token")?)?.issued_at();
    let by_portal = issued(one)
        .zip(issued(other))
        .map(|(one, other)| one.cmp(&other));
    if let Some(order) = by_portal.filter(|order| order.is_ne()) {
        return Some(order);
    }
    let obtained = |login: &Login| login.time("obtained_at").filter(|at| *at <= now);
    obtained(one)
        .zip(obtained(other))
        .map(|(one, other)| one.cmp(&other))
}

/// The claims of an access token that may call the inference API.
pub(super) fn invoke_claims(token: &Secret, login: &Login) -> Option<Claims> {
    let claims = Claims::decode(token.expose())?;
    let granted = login
        .fields()
        .get("scope")
        .is_some_and(|scope| holds(scope, SCOPE));
    (granted || claims.has_scope(SCOPE)).then_some(claims)
}

/// A time as Python's `isoformat` writes it.
pub(super) fn iso(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, false)
}
