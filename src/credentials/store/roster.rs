//! A provider's rows in all of its stores, each token with the login that it belongs to.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::super::login_name::MAIN;
use super::document::block;
use super::pool::{entries, held};
use super::row::{RowFacts, RowPlace, RowSeen, TokenOrigin, Twin};
use crate::provider::pool_row::{self, PoolRow};
use crate::provider::{Layout, Login};

/// A store that a roster is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct RosterSource<'s> {
    pub(super) file: &'s Path,
    /// Whether its rows count, since a profile's rows hide those of the root.
    pub(super) takes_rows: bool,
    /// Whether it is shared with Hermes Agent.
    pub(super) is_shared: bool,
}

/// A provider's rows, as its stores had them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::credentials) struct Roster {
    /// The row that follows the block.
    pub(in crate::credentials) of_block: Option<RowFacts>,
    /// Fingerprints of the blocks' tokens.
    pub(in crate::credentials) block_tokens: Vec<String>,
    /// The others, in no order.
    pub(in crate::credentials) rows: Vec<RowSeen>,
    /// Those that a profile's rows hide.
    pub(in crate::credentials) hidden: Vec<RowSeen>,
    /// Rows with a token of one of the former, or of the block.
    pub(in crate::credentials) twins: Vec<Twin>,
    /// The block that is shared with Hermes Agent: fingerprints of its tokens, and their origin.
    pub(in crate::credentials) shared_block: Option<(Vec<String>, TokenOrigin)>,
    /// The files that were read.
    pub(in crate::credentials) read: Vec<PathBuf>,
}

impl Roster {
    /// Adds what a store holds.
    pub(super) fn add(
        &mut self,
        document: &Map<String, Value>,
        source: RosterSource<'_>,
        layout: &'static dyn Layout,
    ) {
        let RosterSource {
            file,
            takes_rows,
            is_shared,
        } = source;
        self.read.push(file.to_owned());
        let fingerprints = |login: &Login| login.tokens().fingerprints();
        if let Some(block) = block(&mut document.clone(), layout) {
            let tokens = fingerprints(&block);
            self.block_tokens.extend(tokens.iter().cloned());
            if is_shared && self.shared_block.is_none() && !tokens.is_empty() {
                self.shared_block = Some((tokens, TokenOrigin::of(&block)));
            }
        }
        let mut ids: Vec<&str> = Vec::new();
        for entry in entries(document, layout.key()) {
            let told = PoolRow::new(entry);
            if told.is_of_block() {
                if takes_rows {
                    self.of_block.get_or_insert_with(|| RowFacts::of(told));
                }
                continue;
            }
            let (Some(id), Some(login)) = (told.id(), pool_row::own_login(layout, entry)) else {
                continue;
            };
            let nth = ids.iter().filter(|known| **known == id).count();
            ids.push(id);
            let tokens = fingerprints(&login);
            let rows = if takes_rows {
                &mut self.rows
            } else {
                &mut self.hidden
            };
            rows.push(RowSeen {
                place: RowPlace {
                    file: file.to_owned(),
                    id: id.to_owned(),
                    nth,
                },
                facts: RowFacts::of(told),
                tokens,
                held: held(told),
                origin: TokenOrigin::of(&login),
            });
        }
    }

    /// The label of the row that holds one of these tokens.
    pub(in crate::credentials) fn label_of(&self, tokens: &[String]) -> Option<String> {
        let is_it = |row: &&RowSeen| row.tokens.iter().any(|token| tokens.contains(token));
        let row = self.rows.iter().find(is_it)?;
        Some(row.facts.label.clone())
    }

    /// The name of a login of this account that has none of these tokens.
    pub(in crate::credentials) fn of_account(
        &self,
        account: Option<&str>,
        tokens: &[String],
    ) -> Option<String> {
        let account = account?;
        let is_other = |held: &[String], origin: &TokenOrigin| {
            let is_it = held.iter().any(|token| tokens.contains(token));
            !is_it && origin.account.as_deref() == Some(account)
        };
        let block = self.shared_block.as_ref();
        if block.is_some_and(|(held, origin)| is_other(held, origin)) {
            let label = self.of_block.as_ref().map(|facts| facts.label.clone());
            return Some(label.unwrap_or_else(|| MAIN.to_owned()));
        }
        let mut rows = self.rows.iter();
        let row = rows.find(|row| is_other(&row.tokens, &row.origin))?;
        Some(row.facts.label.clone())
    }

    /// Leaves each token to one login: to the block, else to the first row that has it.
    pub(in crate::credentials) fn without_twins(mut self) -> Self {
        // The first one that had it, in order.
        let mut taken: HashMap<String, (usize, Option<RowPlace>)> = HashMap::new();
        let mut turn = 0_usize;
        for token in &self.block_tokens {
            taken.insert(token.clone(), (turn, None));
        }
        for is_hidden in [false, true] {
            let rows = if is_hidden {
                &mut self.hidden
            } else {
                &mut self.rows
            };
            for row in std::mem::take(rows) {
                let owners = row.tokens.iter().filter_map(|token| taken.get(token));
                let owner = owners.min_by_key(|(turn, _)| *turn);
                let owner = owner.map(|(_, owner)| owner.clone());
                turn = turn.saturating_add(1);
                let keeper = owner.clone().unwrap_or_else(|| Some(row.place.clone()));
                for token in &row.tokens {
                    let first = taken.entry(token.clone());
                    first.or_insert_with(|| (turn, keeper.clone()));
                }
                match owner {
                    Some(owner) => self.twins.push(Twin { row, owner }),
                    None => rows.push(row),
                }
            }
        }
        self
    }
}
