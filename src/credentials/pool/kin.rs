//! Which rows are the same login: a refresh token has one keeper, however often it was copied.
//! Pure.
//!
//! A row that holds another login's token, or held it together with that login, is its twin. A rotation of a twin alone
//! belongs to the owner, which merges it; see `Store::twins`.

use std::collections::VecDeque;

use super::super::store::{Roster, RowPlace, RowSeen, Twin};

/// How many tokens are remembered with their login.
const REMEMBERED: usize = 1024;

/// Whose tokens are whose, as far as this process has seen.
#[derive(Debug, Default)]
pub(super) struct TokenOwners {
    /// Fingerprints of tokens, and the row that had them first; `None` for the block. The most recent comes last.
    held: VecDeque<(String, Option<RowPlace>)>,
    /// Rows that were twins when they were there last, with their owners.
    twins: Vec<(RowPlace, Option<RowPlace>)>,
    /// Fingerprints of the tokens that the block holds.
    block: Vec<String>,
    /// Where a login was seen before; `None` for the block.
    places: Vec<Option<RowPlace>>,
}

/// The rows of a store.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sorted {
    /// The separate logins.
    pub(super) rows: Vec<RowSeen>,
    /// Rows that belong to another existing login.
    pub(super) twins: Vec<Twin>,
    /// Fingerprints of tokens that may be spent: a newer pair of the same account is elsewhere.
    pub(super) doubts: Vec<String>,
}

impl TokenOwners {
    /// Separates the rows that are logins from those that are copies.
    pub(super) fn sort(&mut self, roster: &Roster) -> Sorted {
        let mut sorted = Sorted {
            rows: Vec::new(),
            twins: roster.twins.clone(),
            doubts: self.doubts(roster),
        };
        for row in &roster.rows {
            let owner = self.owner(row, roster);
            // A profile's stale copy gives way to its original.
            let newer = roster.hidden.iter().find(|hidden| {
                let is_copied = hidden.place.id == row.place.id;
                owner.is_none()
                    && is_copied
                    && self.is_first(row)
                    && row.origin.is_before(&hidden.origin)
            });
            if let Some(newer) = newer {
                sorted.rows.push(newer.clone());
            }
            match owner.or_else(|| newer.map(|newer| Some(newer.place.clone()))) {
                Some(owner) => sorted.twins.push(Twin {
                    row: row.clone(),
                    owner,
                }),
                None => sorted.rows.push(row.clone()),
            }
        }
        self.block.clone_from(&roster.block_tokens);
        for token in &roster.block_tokens {
            self.hold(token, None);
        }
        for row in &sorted.rows {
            self.twins.retain(|(place, _)| *place != row.place);
            for token in &row.tokens {
                self.hold(token, Some(&row.place));
            }
        }
        // Their tokens are seen again with each look, so they are not forgotten while they exist.
        for Twin { row, owner } in &sorted.twins {
            self.twins.retain(|(place, _)| *place != row.place);
            self.twins.push((row.place.clone(), owner.clone()));
            for token in &row.tokens {
                self.hold(token, owner.as_ref());
            }
        }
        self.places = [None]
            .into_iter()
            .filter(|_| !roster.block_tokens.is_empty())
            .collect();
        let rows = sorted
            .rows
            .iter()
            .chain(sorted.twins.iter().map(|twin| &twin.row));
        self.places.extend(rows.map(|row| Some(row.place.clone())));
        sorted
    }

    /// Whether nothing was there at the look before.
    fn is_first(&self, row: &RowSeen) -> bool {
        !self.places.contains(&Some(row.place.clone()))
    }

    /// Of two logins of one account that are found at once, such as after a start, the older one may be a copy that a
    /// rotation has left behind. Since this is unknown, it is not renewed before it changes.
    fn doubts(&self, roster: &Roster) -> Vec<String> {
        let block = roster.shared_block.as_ref();
        let has_newer = |row: &RowSeen| {
            let mut others = roster.rows.iter().filter(|other| other.place != row.place);
            let in_block = block.is_some_and(|(_, origin)| row.origin.is_before(origin));
            in_block || others.any(|other| row.origin.is_before(&other.origin))
        };
        let firsts = roster.rows.iter().filter(|row| self.is_first(row));
        let older = firsts.filter(|row| has_newer(row));
        let mut doubts: Vec<_> = older.flat_map(|row| row.tokens.clone()).collect();
        if let Some((tokens, origin)) = block.filter(|_| !self.places.contains(&None))
            && roster.rows.iter().any(|row| origin.is_before(&row.origin))
        {
            doubts.extend(tokens.iter().cloned());
        }
        // A token that this process has seen in use is not a copy's.
        doubts.retain(|token| !self.held.iter().any(|(known, _)| known == token));
        doubts
    }

    /// The login that a row copies, if that login still exists.
    #[expect(clippy::option_option, reason = "the block is an owner without a row")]
    fn owner(&self, row: &RowSeen, roster: &Roster) -> Option<Option<RowPlace>> {
        let is_other = |owner: &Option<RowPlace>| {
            owner.as_ref() != Some(&row.place) && is_there(owner.as_ref(), roster)
        };
        let mut held = self.held.iter();
        if let Some((_, owner)) = held.find(|(token, _)| row.tokens.contains(token)) {
            return Some(owner.clone()).filter(is_other);
        }
        // A twin with another token was rotated alone, unless another account has logged in there.
        let mut twins = self.twins.iter();
        let (_, owner) = twins.find(|(place, _)| *place == row.place)?;
        let (ours, theirs) = (
            row.origin.account.as_deref(),
            account(owner.as_ref(), roster),
        );
        let is_same = ours.zip(theirs).is_none_or(|(one, other)| one == other);
        Some(owner.clone()).filter(|owner| is_same && is_other(owner))
    }

    /// The user has made another login in the block: the former one belongs to the row beside it.
    pub(super) fn block_was_replaced(&mut self) {
        let former = std::mem::take(&mut self.block);
        self.held.retain(|(token, _)| !former.contains(token));
        self.twins.retain(|(_, owner)| owner.is_some());
    }

    fn hold(&mut self, token: &str, owner: Option<&RowPlace>) {
        self.held.retain(|(known, _)| known != token);
        self.held.push_back((token.to_owned(), owner.cloned()));
        while self.held.len() > REMEMBERED {
            self.held.pop_front();
        }
    }
}

/// Whether a login exists. A profile's rows hide those of the root, which keep their role.
fn is_there(owner: Option<&RowPlace>, roster: &Roster) -> bool {
    match owner {
        None => !roster.block_tokens.is_empty(),
        Some(place) => {
            let mut rows = roster.rows.iter().chain(&roster.hidden);
            rows.any(|row| row.place == *place)
        }
    }
}

/// Whose a login is.
fn account<'r>(owner: Option<&RowPlace>, roster: &'r Roster) -> Option<&'r str> {
    let origin = match owner {
        None => roster.shared_block.as_ref().map(|(_, origin)| origin),
        Some(place) => {
            let mut rows = roster.rows.iter().chain(&roster.hidden);
            rows.find(|row| row.place == *place).map(|row| &row.origin)
        }
    };
    origin?.account.as_deref()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::credentials::store::{RowFacts, TokenOrigin};

    fn place(id: &str) -> RowPlace {
        RowPlace {
            file: PathBuf::from("/auth.json"),
            id: id.to_owned(),
            nth: 0,
        }
    }

    fn row(id: &str, token: &str) -> RowSeen {
        RowSeen {
            place: place(id),
            facts: RowFacts::default(),
            tokens: vec![token.to_owned()],
            held: vec![token.to_owned()],
            origin: TokenOrigin::default(),
        }
    }

    fn roster(block: &str, rows: &[RowSeen]) -> Roster {
        let block = [block.to_owned()].into_iter();
        Roster {
            block_tokens: block.filter(|block| !block.is_empty()).collect(),
            rows: rows.to_vec(),
            ..Roster::default()
        }
        .without_twins()
    }

    /// Whose each row is: its own id, or that of its owner, which is empty for the block.
    fn sorted(kin: &mut TokenOwners, roster: &Roster) -> Vec<(String, String)> {
        let sorted = kin.sort(roster);
        let own = sorted.rows.iter();
        let own = own.map(|row| (row.place.id.clone(), row.place.id.clone()));
        let twins = sorted.twins.iter().map(|twin| {
            let owner = twin.owner.as_ref().map(|owner| owner.id.clone());
            (twin.row.place.id.clone(), owner.unwrap_or_default())
        });
        own.chain(twins).collect()
    }

    fn told(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs
            .map(|(row, owner)| ((*row).to_owned(), (*owner).to_owned()))
            .collect()
    }

    #[test]
    fn a_twin_stays_one_whichever_of_both_is_rotated_alone() {
        for moves in ["owner", "twin"] {
            let kin = &mut TokenOwners::default();
            let before = roster("r0", &[row("alias", "r0")]);
            assert_eq!(sorted(kin, &before), told(&[("alias", "")]));
            let (block, alias) = if moves == "owner" {
                ("r1", "r0")
            } else {
                ("r0", "r1")
            };
            let after = roster(block, &[row("alias", alias)]);
            assert_eq!(sorted(kin, &after), told(&[("alias", "")]), "{moves}");
            // Also in a row's own twin.
            let kin = &mut TokenOwners::default();
            sorted(kin, &roster("", &[row("a", "r0"), row("b", "r0")]));
            let (one, other) = if moves == "owner" {
                ("r1", "r0")
            } else {
                ("r0", "r1")
            };
            let after = roster("", &[row("a", one), row("b", other)]);
            assert_eq!(
                sorted(kin, &after),
                told(&[("a", "a"), ("b", "a")]),
                "{moves}"
            );
        }
    }

    #[test]
    fn a_twin_is_a_login_of_its_own_once_its_owner_is_gone_or_another_account_is_in_it() {
        let kin = &mut TokenOwners::default();
        sorted(kin, &roster("r0", &[row("alias", "r0")]));
        assert_eq!(
            sorted(kin, &roster("", &[row("alias", "r0")])),
            told(&[("alias", "alias")])
        );
        let kin = &mut TokenOwners::default();
        let whose = |mut row: RowSeen, who: &str| {
            row.origin.account = Some(who.to_owned());
            row
        };
        sorted(kin, &roster("", &[row("a", "r0"), row("b", "r0")]));
        let rows = [whose(row("a", "r0"), "me"), whose(row("b", "x0"), "you")];
        assert_eq!(
            sorted(kin, &roster("", &rows)),
            told(&[("a", "a"), ("b", "b")])
        );
    }

    #[test]
    fn a_hidden_row_is_an_owner_still_and_is_not_forgotten_while_its_twin_is_there() {
        let kin = &mut TokenOwners::default();
        let mut root = row("b", "r0");
        root.place.file = PathBuf::from("/root/auth.json");
        assert_eq!(
            sorted(kin, &roster("", std::slice::from_ref(&root))),
            told(&[("b", "b")])
        );
        root.tokens = vec!["r1".to_owned()];
        sorted(kin, &roster("", std::slice::from_ref(&root)));
        for nth in 0..=REMEMBERED {
            let profile = Roster {
                hidden: vec![root.clone()],
                ..roster(&format!("block{nth}"), &[row("b", "r0")])
            };
            let sorted = kin.sort(&profile);
            assert!(sorted.rows.is_empty(), "{nth}");
            assert_eq!(sorted.twins[0].owner, Some(root.place.clone()));
        }
    }

    #[test]
    fn of_two_logins_of_one_account_that_are_found_at_once_the_older_one_is_doubted() {
        let of = |mut row: RowSeen, who: &str, seconds: i64| {
            row.origin = TokenOrigin {
                account: Some(who.to_owned()),
                issued_at: chrono::DateTime::from_timestamp(seconds, 0),
            };
            row
        };
        let with_block = |seconds: i64, rows: &[RowSeen]| Roster {
            shared_block: Some((
                vec!["block".to_owned()],
                of(row("", ""), "me", seconds).origin,
            )),
            ..roster("block", rows)
        };
        for (seconds, rows, doubted) in [
            (5, vec![of(row("a", "r0"), "me", 4)], vec!["r0"]),
            (4, vec![of(row("a", "r0"), "me", 5)], vec!["block"]),
            (5, vec![of(row("a", "r0"), "you", 4)], vec![]),
            (5, vec![of(row("a", "r0"), "me", 5)], vec![]),
            (5, vec![row("a", "r0")], vec![]),
            (
                5,
                vec![of(row("a", "r0"), "you", 4), of(row("b", "s0"), "you", 6)],
                vec!["r0"],
            ),
        ] {
            let kin = &mut TokenOwners::default();
            assert_eq!(kin.sort(&with_block(seconds, &rows)).doubts, doubted);
            // Later rotations are seen as they come.
            let block = with_block(seconds + 9, &rows);
            assert!(kin.sort(&block).doubts.is_empty());
        }
    }

    #[test]
    fn a_profiles_copy_gives_way_to_the_newer_row_that_it_hides() {
        let at = |seconds: i64| TokenOrigin {
            account: Some("me".to_owned()),
            issued_at: chrono::DateTime::from_timestamp(seconds, 0),
        };
        let mut root = row("b", "r1");
        root.place.file = PathBuf::from("/root/auth.json");
        root.origin = at(9);
        let mut copy = row("b", "r0");
        copy.origin = at(5);
        let kin = &mut TokenOwners::default();
        let both = Roster {
            hidden: vec![root.clone()],
            ..roster("", std::slice::from_ref(&copy))
        };
        for _ in 0..2 {
            let sorted = kin.sort(&both);
            assert_eq!(sorted.twins[0].owner, Some(root.place.clone()));
        }
        assert_eq!(
            TokenOwners::default().sort(&both).rows,
            std::slice::from_ref(&root)
        );
    }

    #[test]
    fn another_login_in_the_block_leaves_the_former_one_to_the_row_that_has_it() {
        let kin = &mut TokenOwners::default();
        sorted(kin, &roster("r0", &[row("alias", "r0")]));
        kin.block_was_replaced();
        let after = roster("n0", &[row("alias", "r0")]);
        assert_eq!(sorted(kin, &after), told(&[("alias", "alias")]));
    }
}
