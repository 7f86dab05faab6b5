//! Reads a JWT's claims (RFC 7519) without verifying it: the provider verifies; we only need its
//! expiry and its purpose.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::clock;
use crate::secret::Secret;

/// A clock that is further behind is not believed to be one.
const SKEW: Duration = Duration::from_hours(2);

/// The claims of a token.
#[derive(Debug)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// The claims of this token, which are not secret by themselves.
    pub(super) fn of(token: &Secret) -> Option<Self> {
        Self::decode(token.expose())
    }

    /// Decodes the second of a token's three parts. `None` if it is not a JWT or has no claims.
    pub(super) fn decode(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        let claims: Map<String, Value> = serde_json::from_slice(&bytes).ok()?;
        (!claims.is_empty()).then_some(Self(claims))
    }

    /// `exp`: when the token expires. An implausible time counts as absent.
    pub(super) fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.time("exp")
    }

    /// `iat`: when it was issued.
    pub(super) fn issued_at(&self) -> Option<DateTime<Utc>> {
        self.time("iat")
    }

    /// `sub`: whose it is.
    pub(super) fn subject(&self) -> Option<&str> {
        self.0.get("sub")?.as_str().filter(|sub| !sub.is_empty())
    }

    /// The account's identity: the `sub` of its issuer, with the claims that have fields of their own, in which
    /// providers name workspaces and tenants.
    pub(super) fn account(&self) -> Option<String> {
        let issuer = self.text("iss").unwrap_or_default();
        let mut account = format!("{}\n{issuer}", self.subject()?);
        let mut tables: Vec<_> = self
            .0
            .iter()
            .filter(|(_, claim)| claim.is_object())
            .collect();
        tables.sort_by_key(|(key, _)| *key);
        for (key, table) in tables {
            account.extend(["\n", key, " ", &table.to_string()]);
        }
        Some(account)
    }

    /// Whether both belong to the same account: the same `sub` of the same issuer, and no difference in a claim with
    /// fields of its own, in which providers name workspaces and tenants.
    pub(super) fn same_account(&self, other: &Self) -> bool {
        let is_same = |key: &str| self.0.get(key) == other.0.get(key);
        let keys = self.0.iter().chain(&other.0);
        let mut tables = keys.filter(|(_, claim)| claim.is_object());
        self.subject().is_some()
            && is_same("sub")
            && is_same("iss")
            && tables.all(|(key, _)| is_same(key))
    }

    /// When the token ends by our clock. The provider's clock set `iat` and `exp`; if ours is
    /// behind it, their difference counts from when the token was `obtained`.
    pub(super) fn ends_at(
        &self,
        obtained: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let end = self.expires_at()?;
        let ours = self
            .issued_at()
            .zip(obtained.filter(|at| *at <= now))
            // An earlier time is that of an older token.
            .filter(|(issued, obtained)| *issued <= clock::after(*obtained, SKEW))
            .map(|(issued, obtained)| clock::after(obtained, clock::until(end, issued)));
        Some(ours.map_or(end, |ours| ours.min(end)))
    }

    /// How long it lives from its issue.
    pub(super) fn life(&self) -> Option<Duration> {
        let life = clock::until(self.expires_at()?, self.issued_at()?);
        (!life.is_zero()).then_some(life)
    }

    /// Whether `scope` or `scp` holds this scope.
    pub(super) fn has_scope(&self, scope: &str) -> bool {
        ["scope", "scp"]
            .iter()
            .any(|claim| self.0.get(*claim).is_some_and(|v| holds(v, scope)))
    }

    /// A claim that is a text, not blank.
    pub(super) fn text(&self, claim: &str) -> Option<&str> {
        text_of(&self.0, claim)
    }

    /// The same within a claim that is a table.
    pub(super) fn text_in(&self, table: &str, claim: &str) -> Option<&str> {
        text_of(self.0.get(table)?.as_object()?, claim)
    }

    fn time(&self, claim: &str) -> Option<DateTime<Utc>> {
        let seconds = self
            .0
            .get(claim)?
            .as_f64()
            .filter(|seconds| seconds.is_finite())?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a float casts to the nearest i64"
        )]
        DateTime::from_timestamp(seconds as i64, 0).and_then(clock::plausible)
    }
}

fn text_of<'c>(claims: &'c Map<String, Value>, claim: &str) -> Option<&'c str> {
    let text = claims.get(claim)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

/// Whether a scope value, a text or a list of texts, holds `scope`.
pub(super) fn holds(value: &Value, scope: &str) -> bool {
    match value {
        Value::String(text) => text
            .split([' ', ',', '\t', '\n'])
            .any(|part| part.trim() == scope),
        Value::Array(values) => values.iter().any(|value| holds(value, scope)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(claims: &Value) -> String {
        format!(
            "eyJhbGciOiJub25lIn0.{}.sig",
            URL_SAFE_NO_PAD.encode(claims.to_string())
        )
    }

    #[test]
    fn claims_are_read_with_and_without_padding() {
        let claims = json!({"exp": 1_778_820_201, "scp": ["a", "inference:invoke"]});
        for token in [token(&claims), token(&claims).replace(".sig", "=.sig")] {
            let claims = Claims::decode(&token).unwrap();
            assert_eq!(claims.expires_at().unwrap().timestamp(), 1_778_820_201);
            assert!(claims.has_scope("inference:invoke"));
            assert!(!claims.has_scope("inference"));
        }
    }

    #[test]
    fn what_is_no_jwt_has_no_claims() {
        for text in ["", "sk-opaque", "a.b", "a.b.c", "a.e30.c", "a.b.c.d"] {
            assert!(Claims::decode(text).is_none(), "{text}");
        }
    }
}
