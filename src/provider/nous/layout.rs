//! How the login lies in the store: tokens at the top of the block, a key beside them, and a mirror
//! for all profiles.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::super::jwt::Claims;
use super::{CLIENT_ID, INFERENCE, PORTAL, SCOPE, invoke_claims, iso};
use crate::clock;
use crate::provider::{Layout, Login, Merge, Tokens};

/// The layout of the block `nous`.
pub(in crate::provider) const LAYOUT: &dyn Layout = &Block;

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
/// The tokens and what tells of them.
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
/// What else a grant brings.
const GRANT: [&str; 4] = [
    "client_id",
    "scope",
    "portal_base_url",
    "inference_base_url",
];

#[derive(Debug)]
struct Block;

impl Layout for Block {
    fn key(&self) -> &'static str {
        "nous"
    }

    fn mirror_file(&self) -> Option<&'static str> {
        Some("nous_auth.json")
    }

    fn tokens(&self, login: &Login) -> Tokens {
        Tokens {
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
        for key in TOKENS.into_iter().chain(GRANT) {
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
        mirror_invoke_jwt(login, login.time("obtained_at").unwrap_or(now));
        Merge::Taken
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
        mirror.set("updated_at", iso(now));
        Some(mirror)
    }
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

/// Which of two logins was granted later: by the portal's own clock where both hold a JWT, else by
/// the clocks of those who wrote them, unless one of these was ahead of `now`.
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
