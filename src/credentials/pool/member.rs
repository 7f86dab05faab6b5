//! A login of a pool by the terms of one configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::super::handle::CredentialHandle;
use super::super::login_name::{MAIN, RowNaming};
use super::super::settings::KeeperContext;
use super::super::store::{Meant, RowFacts, RowPlace, RowSeen, Twins};
use super::cooldown::Rest;
use super::entry::PoolEntry;
use super::strategy::LoginView;

/// A login by the terms of one configuration.
#[derive(Debug)]
pub(super) struct PoolMember {
    pub(super) login: CredentialHandle,
    pub(super) common: Arc<Common>,
}

/// What of a login is the same by all terms.
#[derive(Debug)]
pub(super) struct Common {
    /// Its row; `None` for the block.
    pub(super) row: Option<RowPlace>,
    /// Its row's facts; for the block, those of the row that follows it.
    pub(super) facts: ArcSwap<Option<RowFacts>>,
    /// Fingerprints of the tokens in it.
    pub(super) tokens: ArcSwap<Vec<String>>,
    /// Rows that belong to it; see [`Twins`].
    pub(super) twins: Twins,
    /// The same with the fingerprints of the tokens in them.
    pub(super) kin: ArcSwap<Vec<(RowPlace, Vec<String>)>>,
    /// What its keeper calls it; of no use for the block.
    pub(super) naming: RowNaming,
    pub(super) rest: Rest,
    pub(super) stop: CancellationToken,
}

impl PoolMember {
    pub(super) fn renewed(&self, terms: &KeeperContext) -> Self {
        Self {
            login: self.login.renewed(terms.clone()),
            common: self.common.clone(),
        }
    }

    pub(super) fn look(&self, now: DateTime<Utc>) -> LoginView {
        LoginView {
            usable: self.login.usable(now),
            rests_until: self.common.rest.until(now),
        }
    }

    pub(super) fn label(&self) -> Option<String> {
        let facts = self.common.facts.load();
        facts.as_ref().as_ref().map(|facts| facts.label.clone())
    }

    /// What it is called in any case.
    pub(super) fn name(&self) -> String {
        self.label().unwrap_or_else(|| MAIN.to_owned())
    }

    /// Whether a person may mean it by this name.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let is_main = self.common.row.is_none() && name == MAIN;
        is_main && !self.login.is_unused() || self.label().as_deref() == Some(name)
    }

    /// All names that a person may mean it by, each once.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let is_main = self.common.row.is_none() && !self.login.is_unused();
        let main = is_main.then(|| MAIN.to_owned());
        [main, self.label(), self.id()]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The id of its row; for the block, that of the row which follows it.
    pub(super) fn id(&self) -> Option<String> {
        let facts = self.common.facts.load();
        facts.as_ref().as_ref().and_then(|facts| facts.id.clone())
    }

    pub(super) fn priority(&self) -> i64 {
        let facts = self.common.facts.load();
        facts.as_ref().as_ref().map_or(0, |facts| facts.priority)
    }

    /// It, as it was seen last.
    pub(super) fn meant(&self) -> Meant {
        Meant {
            place: self.common.row.clone(),
            tokens: self.common.tokens.load().to_vec(),
        }
    }

    /// These rows belong to it. It reads them if they are new, or hold other tokens.
    pub(super) fn has_twins<'t>(&self, twins: impl Iterator<Item = &'t RowSeen>) {
        let twins: Vec<_> = twins
            .map(|row| (row.place.clone(), row.tokens.clone()))
            .collect();
        if **self.common.kin.load() == twins {
            return;
        }
        let places = twins.iter().map(|(place, _)| place.clone());
        self.common.twins.store(Arc::new(places.collect()));
        self.common.kin.store(Arc::new(twins));
        self.login.reread_soon();
    }

    pub(super) fn entry(&self, is_next: bool, now: DateTime<Utc>) -> PoolEntry {
        let rests_until = self.common.rest.until(now);
        let known = self.common.rest.known();
        let facts = self.common.facts.load();
        let facts = facts.as_ref().as_ref();
        PoolEntry {
            place: self.login.place,
            label: facts.map(|facts| facts.label.clone()),
            row: self.common.row.as_ref().map(|row| row.id.clone()),
            called: self
                .common
                .row
                .as_ref()
                .map(|_| self.common.naming.load().called.clone()),
            source: facts.map(|facts| facts.source.clone()),
            status: self.login.status(),
            rests_until,
            rests_for: known.status.filter(|_| rests_until.is_some()),
            rest_code: known.code.filter(|_| rests_until.is_some()),
            failures: known.failures,
            is_next,
        }
    }
}
