//! A store's content with a login replaced.

use serde_json::{Map, Value};

use super::change::{Change, LoginUpdate};
use super::document::{note_login, stamp_document};
use super::pool;
use crate::provider::Login;
use crate::provider::pool_row::PoolRow;

/// The store with the provider's block replaced, and its pool entries that hold a token of the old login, of the one
/// that was `stored`, or one that was `spent` earlier. `None` if the login's row is gone, and no other
/// place has its tokens.
pub(super) fn rewritten(
    mut document: Map<String, Value>,
    key: &str,
    update: LoginUpdate<'_>,
    stored: &Login,
    spent: &[String],
) -> Option<Map<String, Value>> {
    let LoginUpdate {
        old,
        login,
        change,
        now,
    } = update;
    let before = [old, stored];
    stamp_document(&mut document, now);
    if let Some(id) = login.row() {
        let before = before.into_iter().filter(|before| before.row() == Some(id));
        let before: Vec<_> = before.collect();
        let written = pool::rewrite(&mut document, id, update, &before, spent);
        return written.then_some(document);
    }
    let providers = document
        .entry("providers")
        .or_insert_with(|| Map::new().into());
    if !providers.is_object() {
        // As Hermes Agent does: any other content holds no login.
        *providers = Map::new().into();
    }
    if let Some(providers) = providers.as_object_mut() {
        providers.insert(key.to_owned(), login.clone().into_fields().into());
    }
    if change == Change::LoggedIn {
        note_login(&mut document, key);
    }
    let entries = document
        .get_mut("credential_pool")
        .and_then(|pool| pool.get_mut(key));
    if let Some(entries) = entries.and_then(Value::as_array_mut) {
        match change {
            Change::Rotated | Change::LoggedIn => {
                let entries = entries.iter_mut().filter_map(Value::as_object_mut);
                let is_new = change == Change::LoggedIn;
                let follows = |entry: &Map<String, Value>| {
                    // Its row may hold a rotation that reached it alone. A new login is unrelated to a row
                    // that is a separate login.
                    let row = PoolRow::new(entry);
                    let token = row.refresh().map(|token| token.fingerprint());
                    let was_spent = token.is_some_and(|token| spent.contains(&token));
                    let shares = || before.iter().any(|login| login.shares_tokens_with(entry));
                    row.is_of_block() || !is_new && (was_spent || shares())
                };
                for entry in entries.filter(|entry| follows(entry)) {
                    login.write_to_row(entry);
                }
            }
            Change::Quarantined => entries.retain_mut(|entry| {
                let Some(entry) = entry.as_object_mut() else {
                    return true;
                };
                if !before.iter().any(|login| login.shares_tokens_with(entry)) {
                    return true;
                }
                // What the user has added to the pool is not ours to take out.
                let stays = !PoolRow::new(entry).is_of_block();
                if stays {
                    pool::mark_dead(entry, login, now);
                }
                stays
            }),
        }
    }
    Some(document)
}
