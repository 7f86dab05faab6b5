//! A provider's block of the credential store, and its layout.
//!
//! Hermes Agent writes one block per provider, and the blocks differ in the place of the tokens, in
//! other fields of a login, and in whether there is a mirror. Only a [`Layout`] knows these names;
//! all other code reads [`LoginTokens`] and asks a [`Login`]. The names of the default methods are those
//! of RFC 6749 and of Hermes Agent's own tables, at the top of the block.

use std::fmt;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use zeroize::Zeroize;

use super::login_tokens::{ACCESS, LoginEndReason, LoginTokens, Merge, REFRESH};
use super::pool_row::{self, PoolRow};
use super::stored_time::time_of;
use crate::secret::Secret;

const OBTAINED: &str = "obtained_at";
const EXPIRES: &str = "expires_at";
const COUNTDOWN: &str = "expires_in";
/// Where a login's end is noted.
pub(super) const ENDED: &str = "last_auth_error";
/// What only a mirror's file has.
const OF_MIRROR: [&str; 2] = ["_schema", "updated_at"];
/// Our table in a login, and its fields about a row.
const NOTES: &str = "hermes_proxyd";
const ROW: &str = "row";

/// A provider's block as the store has it, with all unknown fields in their order, and the layout
/// that knows what the fields mean. `Debug` shows the fields' names only, and the texts are wiped
/// when it is dropped.
#[derive(Clone)]
pub struct Login {
    fields: Map<String, Value>,
    layout: &'static dyn Layout,
}

/// A provider's place in the store, and what its fields mean. Pure: no file, no network, no clock.
pub trait Layout: fmt::Debug + Send + Sync {
    /// The block's name below `providers` and `credential_pool`.
    fn key(&self) -> &'static str;

    /// The file in the shared folder that mirrors the tokens for all profiles.
    fn mirror_file(&self) -> Option<&'static str> {
        None
    }

    /// Whether the login is in our own store alone: Hermes Agent knows no such provider.
    fn is_ours_alone(&self) -> bool {
        false
    }

    /// Whether the login is only in the root home's store, with any profile.
    fn is_in_root_only(&self) -> bool {
        false
    }

    /// The tokens of a block, or of a mirror.
    fn tokens(&self, login: &Login) -> LoginTokens {
        LoginTokens {
            access: login.secret(ACCESS),
            refresh: login.secret(REFRESH),
            minted: None,
            obtained: login.time(OBTAINED),
            expires: login.time(EXPIRES),
        }
    }

    /// Writes only the access and refresh tokens that are present into the block: for an answer
    /// that is not understood as a whole.
    fn put(&self, login: &mut Login, tokens: &LoginTokens) {
        for (key, token) in [(ACCESS, &tokens.access), (REFRESH, &tokens.refresh)] {
            if let Some(token) = token {
                login.set(key, token.expose().to_owned());
            }
        }
        if let Some(at) = tokens.obtained {
            login.set(OBTAINED, at.to_rfc3339());
        }
    }

    /// Takes the refresh token out.
    fn remove_refresh(&self, login: &mut Login) {
        login.remove(REFRESH);
    }

    /// Removes the tokens and their details; the addresses for their use stay.
    fn remove_tokens(&self, login: &mut Login) {
        for key in [ACCESS, REFRESH, EXPIRES, COUNTDOWN, OBTAINED] {
            login.remove(key);
        }
    }

    /// Removes all fields that the next grant sets.
    fn remove_grant(&self, login: &mut Login) {
        self.remove_tokens(login);
        for key in ["client_id", "scope"] {
            login.remove(key);
        }
    }

    /// Notes that the login has ended, in Hermes Agent's form.
    fn note_end(&self, login: &mut Login, end: &LoginEndReason<'_>) {
        let error = json!({
            "provider": end.provider,
            "code": end.code,
            "message": end.message,
            "reason": "hermes_proxyd_refresh_failure",
            "relogin_required": true,
            "at": end.at.to_rfc3339(),
        });
        login.set(ENDED, error);
    }

    /// The code in that note.
    fn end_code<'l>(&self, login: &'l Login) -> Option<&'l str> {
        login.fields().get(ENDED)?.get("code")?.as_str()
    }

    /// Takes that note out.
    fn forget_end(&self, login: &mut Login) {
        login.remove(ENDED);
    }

    /// Whether a field of the block only counts down from read to read.
    fn is_countdown(&self, key: &str) -> bool {
        key == COUNTDOWN
    }

    /// The block's value for a field that a row of the pool has too.
    fn row_value<'l>(&self, login: &'l Login, key: &str) -> Option<&'l Value> {
        login.fields().get(key)
    }

    /// The login in a row of the pool that Hermes Agent keeps in step with this block, in the block's
    /// layout; `None` for a row that is a separate login.
    fn of_row(&self, _row: &Map<String, Value>) -> Option<Login> {
        None
    }

    /// Lays the tokens of a row of the pool, and their details, out like a block. Each row that does not follow the
    /// block is a separate login; see [`pool_row::own_login`].
    fn lay_out(&self, login: &mut Login, row: &Map<String, Value>) {
        let row = PoolRow::new(row);
        let obtained = row.time("last_refresh").or_else(|| row.time(OBTAINED));
        let tokens = LoginTokens {
            access: row.access(),
            refresh: row.refresh(),
            obtained,
            ..LoginTokens::default()
        };
        self.put(login, &tokens);
    }

    /// What of a login goes into its row though the row lacks it, under these names.
    fn row_fields(&self) -> &'static [&'static str] {
        &[ACCESS, REFRESH]
    }

    /// The source that our rows name. Hermes Agent treats any name that begins with `manual:` as a separate login.
    fn row_source(&self) -> &'static str {
        pool_row::OWN
    }

    /// Where Hermes Agent sends the requests of a row.
    fn row_base_url(&self) -> Option<&'static str> {
        None
    }

    /// Copies such a row's tokens into `login` when they are known to be fresher at `now`, as after a
    /// rotation that was written to the row alone.
    fn merge_row(&self, _login: &mut Login, _row: &Login, _now: DateTime<Utc>) -> Merge {
        Merge::Same
    }

    /// The CA file that the login names for its provider.
    fn ca_file(&self, login: &Login) -> Option<PathBuf> {
        let file = login.fields().get("tls")?.get("ca_bundle")?.as_str()?;
        Some(file.into())
    }

    /// The block that a mirror alone makes.
    fn of_mirror(&self, mirror: &Login) -> Login {
        let mut login = mirror.clone();
        for key in OF_MIRROR {
            login.remove(key);
        }
        login
    }

    /// Whether a mirror would differ from `other`, apart from its time of writing.
    fn mirrors_differ(&self, mirror: &Login, other: &Login) -> bool {
        let other = other.fields();
        let mut fields = mirror.fields().iter();
        fields.any(|(key, value)| key != "updated_at" && other.get(key) != Some(value))
    }

    /// Copies the mirror's tokens into `login` when they are known to be fresher at `now`.
    fn merge_mirror(&self, _login: &mut Login, _mirror: &Login, _now: DateTime<Utc>) -> Merge {
        Merge::Same
    }

    /// What the mirror should hold for `login`; `None` when there is nothing to share.
    fn mirror(&self, _login: &Login, _now: DateTime<Utc>) -> Option<Login> {
        None
    }
}

/// Each block has one layout.
impl PartialEq for dyn Layout {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for dyn Layout {}

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
