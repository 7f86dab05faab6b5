//! Which of a provider's logins in one store is used: that of its block, or that of a row of the pool which is a login
//! of its own. Pure.
//!
//! The block goes first: a login that the user makes here, and what Hermes Agent rotates outside of its pool, lies there.
//! Of the rows, the one in use stays in use by its id as long as it lives, whatever becomes of the pool's order. A login
//! whose refresh was begun and not ended goes before all of them: its token may be spent, and the next one lie beside.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::document::block;
use super::transaction::Change;
use crate::provider::row::{self, Failing, Mark, Row};
use crate::provider::{Layout, Login};

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

/// The login that a store has of this provider, where the row `in_use` was used last and a refresh of those that
/// are `is_begun` did not end.
pub(in crate::credentials) fn login(
    document: &mut Map<String, Value>,
    layout: &'static dyn Layout,
    in_use: Option<&str>,
    is_begun: impl Fn(&Login) -> bool,
) -> Option<Login> {
    let in_block = block(document, layout);
    if !layout.has_pool() {
        return in_block;
    }
    if !in_block.as_ref().is_some_and(&is_begun) {
        let mut rows = entries(document, layout.key()).filter_map(|row| layout.of_own_row(row));
        if let Some(begun) = rows.find(is_begun) {
            return Some(begun);
        }
    }
    if in_block
        .as_ref()
        .is_some_and(|login| login.tokens().whole())
    {
        return in_block;
    }
    let in_row = choose(document, layout, in_use);
    match (in_block, in_row) {
        (Some(block), Some(row)) => {
            // What can be renewed goes before what can't, and an end is told of the block.
            let (block_has, row_has) = (block.tokens(), row.tokens());
            let is_better = row_has.whole() || row_has.any() && !block_has.any();
            Some(if is_better { row } else { block })
        }
        (block, row) => block.or(row),
    }
}

/// The same login of another version of the store: what stands in the block, or in that row.
pub(super) fn login_at(
    document: &mut Map<String, Value>,
    layout: &'static dyn Layout,
    row: Option<&str>,
) -> Option<Login> {
    let Some(row) = row else {
        return block(document, layout);
    };
    let rows = entries(document, layout.key());
    first(
        rows.filter(|entry| Row::new(entry).id() == Some(row)),
        layout,
        Some(row),
    )
}

/// All that a store has in the place of this login: its block, or what is in rows with that id, which may be several.
pub(super) fn logins_at(
    document: &Map<String, Value>,
    layout: &'static dyn Layout,
    row: Option<&str>,
) -> Vec<Login> {
    let Some(row) = row else {
        return block(&mut document.clone(), layout).into_iter().collect();
    };
    let rows = entries(document, layout.key()).filter(|entry| Row::new(entry).id() == Some(row));
    rows.filter_map(|entry| layout.of_own_row(entry)).collect()
}

fn choose(
    document: &Map<String, Value>,
    layout: &'static dyn Layout,
    in_use: Option<&str>,
) -> Option<Login> {
    first(entries(document, layout.key()), layout, in_use)
}

/// Of these rows' logins the one to use.
fn first<'d>(
    rows: impl Iterator<Item = &'d Map<String, Value>>,
    layout: &'static dyn Layout,
    in_use: Option<&str>,
) -> Option<Login> {
    let logins = rows.filter_map(|entry| Some((Row::new(entry), layout.of_own_row(entry)?)));
    // Where no row works, the first one that ended says why.
    let rank = |row: &Row<'_>| {
        let failing = row.failing();
        let is_in_use = in_use.is_some() && row.id() == in_use;
        (
            failing == Some(Failing::Dead),
            !is_in_use,
            failing.is_some(),
            row.priority(),
        )
    };
    let first = logins.min_by_key(|(row, _)| rank(row));
    first.map(|(_, login)| login)
}

/// Writes a login to the row with its id, and to what else holds the tokens that it had `before`. Of several rows with
/// this id, those are meant that hold one of its tokens, also one `spent` earlier; else the first one.
pub(super) fn rewrite(
    document: &mut Map<String, Value>,
    (id, login): (&str, &Login),
    (before, spent): (&[&Login], &[String]),
    (change, now): (Change, DateTime<Utc>),
) {
    let layout = login.layout();
    let held =
        |entry: &Map<String, Value>| before.iter().any(|before| before.shares_tokens_with(entry));
    let pool = document
        .get_mut("credential_pool")
        .and_then(|pool| pool.get_mut(layout.key()));
    let entries = pool.and_then(Value::as_array_mut).into_iter().flatten();
    let mut entries: Vec<_> = entries.filter_map(Value::as_object_mut).collect();
    let is_here = |entry: &Map<String, Value>| Row::new(entry).id() == Some(id);
    let is_ours = |entry: &Map<String, Value>| {
        let token = Row::new(entry).refresh();
        let was_spent = token.is_some_and(|token| spent.contains(&token.fingerprint()));
        held(entry) || is_here(entry) && was_spent
    };
    let is_known = entries.iter().any(|entry| is_here(entry) && is_ours(entry));
    let first = entries.iter().position(|entry| is_here(entry));
    let first = first.filter(|_| !is_known);
    for (place, entry) in entries.iter_mut().enumerate() {
        if !is_ours(entry) && first != Some(place) {
            continue;
        }
        match change {
            Change::Rotated | Change::LoggedIn => login.write_to_row(entry),
            Change::Quarantined => mark_dead(entry, login, now),
        }
    }
    // Half a login is no reason to use the block, and its token is as spent as the row's.
    let Some(mut half) = block(&mut document.clone(), layout) else {
        return;
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
    }
}

/// As Hermes Agent marks an account whose login is gone: it is taken no more, and forgotten after a day.
pub(super) fn mark_dead(entry: &mut Map<String, Value>, login: &Login, now: DateTime<Utc>) {
    let mark = Mark {
        failing: Failing::Dead,
        status: 401,
        at: now,
        code: login.layout().end_code(login),
        message: None,
        ends_at: None,
        reason: None,
    };
    row::mark(entry, &mark);
}
