//! A provider's logins in one store: the block's, and each row of the pool that is a separate
//! login. Pure.
//!
//! Hermes Agent keeps one row in step with the block, so that one is the block's login. Of two rows with the same token
//! only the first is a login: a refresh token has one keeper.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::change::{Change, LoginUpdate};
use super::document::block;
use super::row::RowPlace;
use crate::credentials::spent_tokens::Spent;
use crate::provider::pool_row::{self, Failing, FailureMark, FailureReason, PoolRow};
use crate::provider::{Layout, Login};
use crate::secret::Secret;

/// A row that a person chose, to be replaced or removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChosenRow<'r> {
    pub(super) place: &'r RowPlace,
    /// Fingerprints of the tokens that it had then.
    pub(super) tokens: &'r [String],
    /// Whether they were spent since, so that it holds others.
    pub(super) were_rotated: bool,
}

/// Fingerprints of the tokens in a row.
pub(super) fn held(row: PoolRow<'_>) -> Vec<String> {
    let tokens = row.refresh().into_iter().chain(row.access());
    tokens.map(|token| token.fingerprint()).collect()
}

/// Whether a store has any row of this provider, valid or not.
pub(super) fn has_rows(document: &Map<String, Value>, layout: &dyn Layout) -> bool {
    entries(document, layout.key()).next().is_some()
}

/// The provider's rows of a store.
pub(super) fn entries<'d>(
    document: &'d Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'d Map<String, Value>> {
    let pool = document
        .get("credential_pool")
        .and_then(|pool| pool.get(key));
    let rows = pool.and_then(Value::as_array).into_iter().flatten();
    rows.filter_map(Value::as_object)
}

/// The same, to be changed.
fn entries_mut<'d>(
    document: &'d mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'d mut Map<String, Value>> {
    let pool = document
        .get_mut("credential_pool")
        .and_then(|pool| pool.get_mut(key));
    let rows = pool.and_then(Value::as_array_mut).into_iter().flatten();
    rows.filter_map(Value::as_object_mut)
}

/// The best login that a store has of this provider: its block, or the first row that can be used.
pub(in crate::credentials) fn login(
    document: &mut Map<String, Value>,
    layout: &'static dyn Layout,
) -> Option<Login> {
    let in_block = block(document, layout);
    let logins = entries(document, layout.key())
        .filter_map(|entry| Some((PoolRow::new(entry), pool_row::own_login(layout, entry)?)));
    let rank = |row: &PoolRow<'_>| (row.failing() == Some(Failing::Dead), row.priority());
    let in_row = logins.min_by_key(|(row, _)| rank(row));
    match (in_block, in_row) {
        (Some(block), Some((_, row))) => {
            let is_better = row.tokens().any() && !block.tokens().any();
            Some(if is_better { row } else { block })
        }
        (block, row) => block.or(row.map(|(_, login)| login)),
    }
}

/// The login of one version of the store: the block's, or that row's.
pub(super) fn login_at(
    document: &mut Map<String, Value>,
    layout: &'static dyn Layout,
    row: Option<&RowPlace>,
) -> Option<Login> {
    let Some(place) = row else {
        return block(document, layout);
    };
    logins_at(document, layout, Some(&place.id))
        .into_iter()
        .nth(place.nth)
}

/// Everything that a store has for this login: its block, or the rows with that id, of which there
/// may be several.
pub(super) fn logins_at(
    document: &Map<String, Value>,
    layout: &'static dyn Layout,
    row: Option<&str>,
) -> Vec<Login> {
    let Some(row) = row else {
        return block(&mut document.clone(), layout).into_iter().collect();
    };
    let rows =
        entries(document, layout.key()).filter(|entry| PoolRow::new(entry).id() == Some(row));
    rows.filter_map(|entry| pool_row::own_login(layout, entry))
        .collect()
}

/// Writes a login to the row with its id, and to all copies of the tokens that it had `before`. Among several rows
/// with this id, those that hold one of its tokens, even one `spent` earlier, count; otherwise the first. Returns
/// whether it is stored anywhere now.
pub(super) fn rewrite(
    document: &mut Map<String, Value>,
    id: &str,
    update: LoginUpdate<'_>,
    before: &[&Login],
    spent: &[String],
) -> bool {
    let LoginUpdate {
        login, change, now, ..
    } = update;
    let layout = login.layout();
    let held =
        |entry: &Map<String, Value>| before.iter().any(|before| before.shares_tokens_with(entry));
    let mut entries: Vec<_> = entries_mut(document, layout.key()).collect();
    let is_here = |entry: &Map<String, Value>| PoolRow::new(entry).id() == Some(id);
    let is_ours = |entry: &Map<String, Value>| {
        let token = PoolRow::new(entry).refresh();
        let was_spent = token.is_some_and(|token| spent.contains(&token.fingerprint()));
        // Wherever it was copied to, such a token is of no use any more, and must not be shown.
        held(entry) || was_spent && !PoolRow::new(entry).is_of_block()
    };
    let is_known = entries.iter().any(|entry| is_here(entry) && is_ours(entry));
    let first = entries.iter().position(|entry| is_here(entry));
    let first = first.filter(|_| !is_known);
    let mut written = false;
    for (place, entry) in entries.iter_mut().enumerate() {
        if !is_ours(entry) && first != Some(place) {
            continue;
        }
        written = true;
        match change {
            Change::Rotated | Change::LoggedIn => login.write_to_row(entry),
            Change::Quarantined => mark_dead(entry, login, now),
        }
    }
    // Half a login does not justify using the block, and its token is as spent as the row's.
    let Some(mut half) = block(&mut document.clone(), layout) else {
        return written;
    };
    let (ours, theirs) = (
        before.iter().find_map(|one| one.refresh_token()),
        half.refresh_token(),
    );
    let is_same = ours
        .zip(theirs)
        .is_some_and(|(ours, theirs)| ours.same(&theirs));
    let providers = document.get_mut("providers").and_then(Value::as_object_mut);
    if let Some(providers) = providers.filter(|_| is_same && change != Change::Quarantined) {
        half.put(&login.tokens());
        providers.insert(layout.key().to_owned(), half.into_fields().into());
        written = true;
    }
    written
}

/// Gives the rows with these ids that hold a spent token this login's tokens; whether there were any.
pub(super) fn follow(
    document: &mut Map<String, Value>,
    login: &Login,
    ids: &[&str],
    spent: &Spent,
) -> bool {
    let mut changed = false;
    for entry in entries_mut(document, login.layout().key()) {
        let told = PoolRow::new(entry);
        let is_twin = !told.is_of_block() && told.id().is_some_and(|id| ids.contains(&id));
        if is_twin && told.refresh().is_some_and(|token| spent.holds(&token)) {
            login.write_to_row(entry);
            changed = true;
        }
    }
    changed
}

/// As Hermes Agent marks an account whose login is gone: it is taken no more, and forgotten after a day.
pub(super) fn mark_dead(entry: &mut Map<String, Value>, login: &Login, now: DateTime<Utc>) {
    let mark = FailureMark {
        failing: Failing::Dead,
        status: 401,
        at: now,
        code: login.layout().end_code(login),
        message: None,
        ends_at: None,
        reason: None,
    };
    pool_row::mark(entry, &mark);
}

/// A mark for the row of a login, off the request path.
#[derive(Debug, Clone)]
pub(in crate::credentials) struct Marking {
    /// The bearer that was judged. A row with another one by now was rotated, which clears its
    /// marks.
    pub(in crate::credentials) bearer: Secret,
    pub(in crate::credentials) at: DateTime<Utc>,
    pub(in crate::credentials) what: Remark,
    /// Set once it was written, or is not needed any more.
    pub(in crate::credentials) written: Arc<AtomicBool>,
}

/// What is noted.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::credentials) enum Remark {
    /// Its quota is used up until then.
    Exhausted {
        status: u16,
        code: Option<&'static str>,
        reason: Option<FailureReason>,
        ends_at: DateTime<Utc>,
    },
    Works,
}

/// Marks the rows that hold the judged bearer; whether anything has changed. A newer mark stays.
pub(super) fn remark(
    document: &mut Map<String, Value>,
    layout: &'static dyn Layout,
    marking: &Marking,
) -> bool {
    let mut changed = false;
    for entry in entries_mut(document, layout.key()) {
        let mut login = Login::empty(layout);
        layout.lay_out(&mut login, entry);
        let tokens = login.tokens();
        let mut bearers = tokens.access.iter().chain(&tokens.minted);
        let told = PoolRow::new(entry);
        let is_newer = told.marked_at().is_some_and(|at| at > marking.at);
        // A login that has ended stays so, whatever the answer to an earlier request.
        let has_ended = told.failing() == Some(Failing::Dead);
        if !bearers.any(|token| token.same(&marking.bearer)) || is_newer || has_ended {
            continue;
        }
        match &marking.what {
            Remark::Exhausted {
                status,
                code,
                reason,
                ends_at,
            } => pool_row::mark(
                entry,
                &FailureMark {
                    failing: Failing::Exhausted,
                    status: *status,
                    at: marking.at,
                    code: *code,
                    message: None,
                    ends_at: Some(*ends_at),
                    reason: *reason,
                },
            ),
            Remark::Works if told.failing().is_some() => pool_row::mark_well(entry),
            Remark::Works => continue,
        }
        changed = true;
    }
    changed
}

/// A login that a person means, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::credentials) struct Meant {
    /// Its row; `None` for the one that follows the block.
    pub(in crate::credentials) place: Option<RowPlace>,
    /// Fingerprints of its tokens: a place with none of them has another login.
    pub(in crate::credentials) tokens: Vec<String>,
}

impl Meant {
    /// Whether this row of `file` is the one.
    fn is(&self, file: &Path, row: PoolRow<'_>) -> bool {
        let is_in_place = match &self.place {
            None => row.is_of_block(),
            Some(place) => {
                !row.is_of_block() && place.file == file && row.id() == Some(place.id.as_str())
            }
        };
        is_in_place && held(row).iter().any(|token| self.tokens.contains(token))
    }
}

/// Takes the marks of the rows of `file` out that a person means, those of one login or of all; whether anything has
/// changed.
pub(super) fn reset(
    document: &mut Map<String, Value>,
    file: &Path,
    layout: &'static dyn Layout,
    meant: Option<&Meant>,
) -> bool {
    let mut changed = false;
    for entry in entries_mut(document, layout.key()) {
        let told = PoolRow::new(entry);
        let is_meant = meant.is_none_or(|meant| meant.is(file, told));
        if told.failing() == Some(Failing::Exhausted) && is_meant {
            pool_row::unmark(entry);
            changed = true;
        }
    }
    changed
}

/// Six hexadecimal digits, as Hermes Agent draws them. No secret.
fn draw_id() -> String {
    format!("{:06x}", fastrand::u32(..0x0100_0000))
}

/// Adds a row with this login after all others, or in place of a row that it `replaces`; returns whether it did. A row
/// that holds its token already is this login, written by an earlier attempt that was cut off: two rows would spend the
/// token twice. The row gets a new id, since Hermes Agent may write the former row again from its memory, and a free
/// label, since another login may have been added meanwhile.
pub(super) fn add(
    document: &mut Map<String, Value>,
    login: &Login,
    label: &str,
    replaces: Option<ChosenRow<'_>>,
) -> bool {
    let layout = login.layout();
    let key = layout.key();
    let granted = login.refresh_token();
    let is_there = |entry: &Map<String, Value>| {
        let held = PoolRow::new(entry).refresh();
        held.zip(granted.as_ref())
            .is_some_and(|(held, granted)| held.same(granted))
    };
    if entries(document, key).any(is_there) {
        return false;
    }
    let last = entries(document, key).map(|entry| PoolRow::new(entry).priority());
    let last = last.max().map_or(0, |last| last.saturating_add(1));
    let mut freed = None;
    if let Some(chosen) = replaces
        && let Ok(at) = find(document, layout, chosen)
        && let Some(former) = rows_mut(document, key).and_then(|rows| rows.get_mut(at))
    {
        let priority = former.as_object().map(|row| PoolRow::new(row).priority());
        *former = Value::Null;
        freed = priority.map(|priority| (at, priority));
    }
    let priority = freed.map_or(last, |(_, priority)| priority);
    let mut id = draw_id();
    while entries(document, key).any(|entry| PoolRow::new(entry).id() == Some(&id)) {
        id = draw_id();
    }
    let label = match freed {
        Some(_) => label.to_owned(),
        None => vacant(&*document, key, label),
    };
    let row = login.new_row(&id, &label, priority);
    let pools = document.entry("credential_pool");
    let pools = pools.or_insert_with(|| Map::new().into());
    if !pools.is_object() {
        *pools = Map::new().into();
    }
    let Some(pools) = pools.as_object_mut() else {
        return false;
    };
    let rows = pools.entry(key).or_insert_with(|| Value::Array(Vec::new()));
    if !rows.is_array() {
        *rows = Value::Array(Vec::new());
    }
    if let Some(rows) = rows.as_array_mut() {
        match freed.and_then(|(at, _)| rows.get_mut(at)) {
            Some(freed) => *freed = row.into(),
            None => rows.push(row.into()),
        }
    }
    true
}

/// The label, or one like it that no row has.
fn vacant(document: &Map<String, Value>, key: &str, label: &str) -> String {
    let is_taken = |name: &str| {
        let mut rows = entries(document, key).map(PoolRow::new);
        rows.any(|row| row.label() == Some(name))
    };
    if !is_taken(label) {
        return label.to_owned();
    }
    let mut others = (2_u32..).map(|nth| format!("{label}-{nth}"));
    let other = others.find(|other| !is_taken(other));
    other.unwrap_or_else(|| label.to_owned())
}

fn rows_mut<'d>(document: &'d mut Map<String, Value>, key: &str) -> Option<&'d mut Vec<Value>> {
    let pool = document
        .get_mut("credential_pool")
        .and_then(|pool| pool.get_mut(key));
    pool.and_then(Value::as_array_mut)
}

/// Where the chosen row is, if it holds one of its tokens, or they were rotated since and it holds others.
///
/// # Errors
/// What became of it.
fn find(
    document: &mut Map<String, Value>,
    layout: &'static dyn Layout,
    chosen: ChosenRow<'_>,
) -> Result<usize, RowRemoval> {
    let ChosenRow {
        place,
        tokens,
        were_rotated,
    } = chosen;
    let rows = rows_mut(document, layout.key()).ok_or(RowRemoval::Gone)?;
    let mut nth = 0_usize;
    let found = rows.iter().position(|entry| {
        let Some(entry) = entry.as_object() else {
            return false;
        };
        let is_own = pool_row::own_login(layout, entry).is_some();
        if !is_own || PoolRow::new(entry).id() != Some(&place.id) {
            return false;
        }
        nth = nth.saturating_add(1);
        nth > place.nth
    });
    let found = found.ok_or(RowRemoval::Gone)?;
    let row = rows.get(found).and_then(Value::as_object).map(PoolRow::new);
    let mut held = row.map(held).into_iter().flatten();
    let is_meant = were_rotated || held.any(|token| tokens.contains(&token));
    is_meant.then_some(found).ok_or(RowRemoval::Another)
}

/// Whether a row is the block's with this login: it follows it, or holds one of its tokens.
pub(super) fn is_of(row: &Map<String, Value>, login: &Login) -> bool {
    PoolRow::new(row).is_of_block() || login.shares_tokens_with(row)
}

/// Removes the login from the provider's rows; returns whether none is left. Entries that are not
/// rows go with the last one.
pub(super) fn retain(
    document: &mut Map<String, Value>,
    key: &str,
    stays: impl Fn(&Map<String, Value>) -> bool,
) -> bool {
    if let Some(rows) = rows_mut(document, key) {
        rows.retain(|row| row.as_object().is_some_and(&stays));
        if !rows.is_empty() {
            return false;
        }
    }
    let pools = document
        .get_mut("credential_pool")
        .and_then(Value::as_object_mut);
    if let Some(pools) = pools {
        pools.shift_remove(key);
    }
    true
}

/// What became of a row that was to be taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowRemoval {
    Out,
    Gone,
    /// Another login is in its place.
    Another,
}

/// Takes the chosen row out, if it holds one of its tokens, or they were rotated since.
pub(super) fn remove(
    document: &mut Map<String, Value>,
    layout: &'static dyn Layout,
    chosen: ChosenRow<'_>,
) -> RowRemoval {
    match find(document, layout, chosen) {
        Ok(found) => {
            if let Some(rows) = rows_mut(document, layout.key()) {
                rows.remove(found);
            }
            RowRemoval::Out
        }
        Err(taken) => taken,
    }
}
