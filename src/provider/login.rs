//! A provider's block of the credential store.

use std::fmt;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use zeroize::Zeroize;

use super::layout::{Layout, LoginEndReason, LoginTokens, Merge};
use crate::clock;
use crate::secret::Secret;

/// A provider's block as the store has it, with all unknown fields in their order, and the layout
/// that knows what the fields mean. `Debug` shows the fields' names only, and the texts are wiped
/// when it is dropped.
#[derive(Clone)]
pub struct Login {
    fields: Map<String, Value>,
    layout: &'static dyn Layout,
}

/// Our table in a login, and its fields about a row.
const NOTES: &str = "hermes_proxyd";
const ROW: &str = "row";

/// The layout of a login outside the stores.
#[derive(Debug)]
struct Nowhere;

impl Layout for Nowhere {
    fn key(&self) -> &'static str {
        ""
    }
}

/// Two blocks are equal when their fields are.
impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

/// What every caller may ask, for any login.
impl Login {
    /// Takes a block over.
    pub fn new(fields: Map<String, Value>, layout: &'static dyn Layout) -> Self {
        Self { fields, layout }
    }

    /// An empty block of this layout.
    pub fn empty(layout: &'static dyn Layout) -> Self {
        Self::new(Map::new(), layout)
    }

    /// No login: an empty block of a provider that keeps none in a store.
    pub fn none() -> Self {
        Self::empty(&Nowhere)
    }

    /// The block, to be written.
    pub fn into_fields(mut self) -> Map<String, Value> {
        std::mem::take(&mut self.fields)
    }

    /// The same login as that of the pool's row with this id: it is written back there, and not to the
    /// provider's block.
    #[must_use]
    pub fn in_row(mut self, id: &str) -> Self {
        let mut notes = Map::new();
        notes.insert(ROW.to_owned(), id.into());
        self.set(NOTES, notes);
        self
    }

    /// The id of its row in the pool; `None` for the provider's block.
    pub fn row(&self) -> Option<&str> {
        self.fields.get(NOTES)?.get(ROW)?.as_str()
    }

    /// All fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// What knows its fields.
    pub fn layout(&self) -> &'static dyn Layout {
        self.layout
    }

    /// The tokens that it holds.
    pub fn tokens(&self) -> LoginTokens {
        self.layout.tokens(self)
    }

    /// The user of the login, if its access token is a JWT (`sub`, RFC 7519 §4.1.2).
    pub fn subject(&self) -> Option<String> {
        let access = self.tokens().access?;
        let claims = super::jwt::Claims::of(&access)?;
        claims.subject().map(str::to_owned)
    }

    /// Whether this is an older login of the same account as `other`, if both access tokens are JWTs (`sub` and `iat`,
    /// RFC 7519 §4.1).
    pub fn is_older_than(&self, other: &Self) -> bool {
        let claims = |login: &Self| super::jwt::Claims::of(&login.tokens().access?);
        let (Some(ours), Some(theirs)) = (claims(self), claims(other)) else {
            return false;
        };
        let issued = ours.issued_at().zip(theirs.issued_at());
        ours.same_account(&theirs) && issued.is_some_and(|(ours, theirs)| ours < theirs)
    }

    /// Which account it is for, as far as its access token says: texts to be compared.
    pub fn account(&self) -> Option<String> {
        super::jwt::Claims::of(&self.tokens().access?)?.account()
    }

    /// When its access token was issued, by the provider's clock, as far as that says.
    pub fn issued_at(&self) -> Option<DateTime<Utc>> {
        super::jwt::Claims::of(&self.tokens().access?)?.issued_at()
    }

    /// The refresh token: two logins with the same one are the same grant, rotated as often.
    pub fn refresh_token(&self) -> Option<Secret> {
        self.tokens().refresh
    }

    /// Writes only the access and refresh tokens that are present into the block.
    pub fn put(&mut self, tokens: &LoginTokens) {
        self.layout.put(self, tokens);
    }

    /// Takes the refresh token out: it is spent or refused.
    pub fn remove_refresh_token(&mut self) {
        self.layout.remove_refresh(self);
    }

    /// Removes all fields that the next grant sets.
    pub fn remove_grant(&mut self) {
        self.layout.remove_grant(self);
    }

    /// Takes the dead tokens out and notes why.
    pub fn end(&mut self, end: &LoginEndReason<'_>) {
        self.layout.remove_tokens(self);
        self.layout.note_end(self, end);
    }

    /// The login lives again.
    pub fn forget_end(&mut self) {
        self.layout.forget_end(self);
    }

    /// Copies a row's tokens when they are known to be fresher at `now`.
    pub fn merge_row(&mut self, row: &Self, now: DateTime<Utc>) -> Merge {
        self.layout.merge_row(self, row, now)
    }

    /// Copies the mirror's tokens when they are known to be fresher at `now`.
    pub fn merge(&mut self, mirror: &Self, now: DateTime<Utc>) -> Merge {
        self.layout.merge_mirror(self, mirror, now)
    }

    /// What the mirror should hold; `None` when there is nothing to share.
    pub fn mirror(&self, now: DateTime<Utc>) -> Option<Self> {
        self.layout.mirror(self, now)
    }

    /// Whether two logins differ in more than their countdowns, which tick down between reads
    /// and are not worth a write that others would notice.
    pub fn differs_from(&self, other: &Self) -> bool {
        let relevant = |login: &Self| {
            let mut login = login.clone();
            login.fields.retain(|key, _| !self.layout.is_countdown(key));
            login
        };
        relevant(self) != relevant(other)
    }
}

/// Fields by name, for the layout and the adapter whose block it is.
impl Login {
    /// A text that is not blank, without the space around it.
    pub fn text(&self, key: &str) -> Option<&str> {
        let text = self.fields.get(key)?.as_str()?.trim();
        (!text.is_empty()).then_some(text)
    }

    /// A token.
    pub fn secret(&self, key: &str) -> Option<Secret> {
        self.text(key).map(|text| Secret::new(text.to_owned()))
    }

    /// A time: ISO-8601 with an offset, or epoch seconds or milliseconds (a number above 10^12
    /// is milliseconds). What can't be read counts as absent.
    pub fn time(&self, key: &str) -> Option<DateTime<Utc>> {
        time_of(self.fields.get(key)?)
    }

    /// Sets a field, in its place if it exists already.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        wipe(self.fields.insert(key.to_owned(), value.into()).as_mut());
    }

    /// Removes a field; the others keep their order.
    pub fn remove(&mut self, key: &str) {
        wipe(self.fields.shift_remove(key).as_mut());
    }
}

/// A block holds tokens, as plain text.
impl Drop for Login {
    fn drop(&mut self) {
        wipe(self.fields.values_mut());
    }
}

fn wipe<'v>(values: impl IntoIterator<Item = &'v mut Value>) {
    for value in values {
        match value {
            Value::String(text) => text.zeroize(),
            Value::Array(values) => wipe(values),
            Value::Object(fields) => wipe(fields.values_mut()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// A time in one of the forms that stores have.
pub(super) fn time_of(value: &Value) -> Option<DateTime<Utc>> {
    told(value).and_then(clock::plausible)
}

fn told(value: &Value) -> Option<DateTime<Utc>> {
    if let Some(text) = value.as_str() {
        return DateTime::parse_from_rfc3339(text.trim())
            .ok()
            .map(|time| time.to_utc());
    }
    let number = value.as_f64().filter(|number| number.is_finite())?;
    let millis = if number > 1e12 { number } else { number * 1e3 };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float casts to the nearest i64"
    )]
    DateTime::from_timestamp_millis(millis as i64)
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.fields.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn login(value: Value) -> Login {
        let Value::Object(fields) = value else {
            panic!("not an object")
        };
        Login::new(fields, &Nowhere)
    }

    #[test]
    fn times_are_read_in_every_form_that_is_seen_in_stores() {
        let expected: DateTime<Utc> = "2026-05-15T04:43:21Z".parse().unwrap();
        for value in [
            json!("2026-05-15T04:43:21+00:00"),
            json!("2026-05-15T06:43:21.000000+02:00"),
            json!(" 2026-05-15T04:43:21Z "),
            json!(1_778_820_201),
            json!(1_778_820_201_000_i64),
            json!(1_778_820_201.0),
        ] {
            assert_eq!(
                login(json!({"at": value})).time("at"),
                Some(expected),
                "{value}"
            );
        }
        for value in [
            json!(null),
            json!("soon"),
            json!(""),
            json!({}),
            json!(1e300),
            json!(-8_000_000_000_000_000_i64),
            json!(8_000_000_000_000_000_i64),
            json!("+255484-01-01T00:00:00+00:00"),
            json!("0001-01-01T00:00:00+00:00"),
        ] {
            assert_eq!(login(json!({"at": value})).time("at"), None, "{value}");
        }
    }

    #[test]
    fn debug_shows_no_value() {
        let text = format!("{:?}", login(json!({"access_token": "secret-token"})));
        assert!(text.contains("access_token") && !text.contains("secret-token"));
    }

    #[test]
    fn countdowns_alone_are_no_difference() {
        let old = login(json!({"a": 1, "expires_in": 10}));
        assert!(!login(json!({"a": 1, "expires_in": 9})).differs_from(&old));
        assert!(login(json!({"a": 2, "expires_in": 10})).differs_from(&old));
    }
}
