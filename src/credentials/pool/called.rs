//! A login that a person has named.

use std::sync::Arc;

use super::super::handle::{Command, CredentialHandle};
use super::super::refreshed::Refreshed;
use super::super::status::AvailabilityKind;
use super::super::store::{Added, Meant, NewRow, RowPlace, StoreError};
use super::member::PoolMember;
use crate::provider::Grant;

/// A login that a person has named.
#[derive(Debug, Clone)]
pub struct Called(pub(super) Arc<PoolMember>);

impl Called {
    /// It.
    pub fn login(&self) -> &CredentialHandle {
        &self.0.login
    }

    /// Its name for people.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// Whether it is the provider's block, and not a row.
    pub fn is_main(&self) -> bool {
        self.0.common.row.is_none()
    }

    /// Whether only a new login helps.
    pub fn has_ended(&self) -> bool {
        self.0.login.status().standing == AvailabilityKind::LoginNeeded
    }

    /// Its row, as it was seen last.
    pub(super) fn seen(&self) -> Option<(RowPlace, Vec<String>)> {
        let Meant { place, tokens } = self.0.meant();
        place.map(|place| (place, tokens))
    }

    /// Renews it, due or not; `None` when its keeper has ended. Another login that has come into its place since is not
    /// renewed.
    pub async fn refresh(&self) -> Option<Refreshed> {
        let Meant { tokens, .. } = self.0.meant();
        self.0.login.refresh_meant(tokens).await
    }
}

/// Why a person's name for a login means none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotCalled {
    /// No login is called so.
    Unknown,
    /// Several are; their ids.
    Several(Vec<String>),
}

impl CredentialHandle {
    /// Adds a login that was just granted to the pool, with this label, in place of the one that it replaces, and
    /// returns its place. `None` if the keeper has ended.
    pub async fn add(
        &self,
        grant: Grant,
        label: String,
        replaces: Option<&Called>,
    ) -> Option<Result<Added, StoreError>> {
        let replaces = replaces.and_then(Called::seen);
        let row = NewRow { label, replaces };
        self.ask(|done| Command::Add(grant, row, done)).await
    }
}
