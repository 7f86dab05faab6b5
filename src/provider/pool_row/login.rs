//! A login in a row of the pool. Pure.

use serde_json::{Map, Value, json};

use super::super::login::{ENDED, Layout, Login};
use super::row::{Failing, LAST, PoolRow, unmark};

/// A row's own fields, with any login in it.
const ITS_OWN: [&str; 6] = ["id", "label", "auth_type", "priority", "source", "base_url"];

/// A login and the rows of its pool.
impl Login {
    /// Whether a row of the pool holds one of this login's tokens.
    pub fn shares_tokens_with(&self, row: &Map<String, Value>) -> bool {
        let (tokens, row) = (self.tokens(), PoolRow::new(row));
        [
            (row.refresh(), tokens.refresh),
            (row.access(), tokens.access),
        ]
        .iter()
        .any(|(row, ours)| {
            row.as_ref()
                .zip(ours.as_ref())
                .is_some_and(|(row, ours)| row.same(ours))
        })
    }

    /// Gives a row of the pool this login's values for the fields that it has, and forgets the
    /// row's last failure: that was about the old token.
    pub fn write_to_row(&self, row: &mut Map<String, Value>) {
        for (key, value) in row.iter_mut() {
            if let Some(new) = self.layout().row_value(self, key)
                && !ITS_OWN.contains(&key.as_str())
            {
                *value = new.clone();
            }
        }
        if !PoolRow::new(row).is_of_block() {
            self.complete(row);
        }
        unmark(row);
    }

    /// Adds this login's missing fields to a row.
    fn complete(&self, row: &mut Map<String, Value>) {
        for key in self.layout().row_fields() {
            if let Some(value) = self.layout().row_value(self, key) {
                row.entry(*key).or_insert_with(|| value.clone());
            }
        }
    }

    /// A new row with this login, as `hermes auth add` makes one.
    pub fn new_row(&self, id: &str, label: &str, priority: i64) -> Map<String, Value> {
        let mut row = Map::new();
        for (key, value) in [
            ("id", id.into()),
            ("label", label.into()),
            ("auth_type", "oauth".into()),
            ("priority", priority.into()),
            ("source", self.layout().row_source().into()),
        ] {
            row.insert(key.to_owned(), value);
        }
        self.complete(&mut row);
        for key in LAST {
            row.insert(key.to_owned(), Value::Null);
        }
        if let Some(base) = self.layout().row_base_url() {
            row.insert("base_url".to_owned(), base.into());
        }
        row.insert("request_count".to_owned(), 0.into());
        row
    }
}

/// The login in a separate row, in a block's layout, with the row's id: see [`Login::in_row`]. `None` if the row
/// follows the block, or holds no token. A row that is marked as dead gives a login that has ended.
pub fn own_login(layout: &'static dyn Layout, row: &Map<String, Value>) -> Option<Login> {
    let told = PoolRow::new(row);
    let id = told.id().filter(|_| !told.is_of_block())?;
    if told.access().is_none() && told.refresh().is_none() {
        return None;
    }
    let mut login = Login::empty(layout);
    layout.lay_out(&mut login, row);
    if told.failing() == Some(Failing::Dead) {
        layout.remove_tokens(&mut login);
        let code = row.get("last_error_reason").cloned().unwrap_or_default();
        login.set(ENDED, json!({ "code": code }));
    }
    Some(login.in_row(id))
}
