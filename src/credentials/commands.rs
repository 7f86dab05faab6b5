//! What a person asks of a keeper: refresh now, take a new login, log out. These are steps of the
//! keeper's own task, so none of them runs during a renewal.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::attempt::RenewalCause;
use super::keeper::Keeper;
use super::merge;
use super::no_login::NO_LOGIN;
use super::refresh_token::same;
use super::refreshed::Refreshed;
use super::standing::Availability;
use super::status::RenewalResult;
use super::store::{
    Added, Change, Extent, LoginDestination, LoginStore, LoginUpdate, NewRow, Occasion, Removed,
    StoreError, Transaction,
};
use crate::provider::{Grant, Login, Merge};

/// Why a login is not renewed that has nothing to renew it with.
const FINAL: &str = "the login came without a refresh token, so it ends with its token";

/// What is said of a renewed login that can't be written.
const UNSAVED: &str = "the renewed login can't be saved yet; `hermesctl proxy status` shows why";

impl Keeper {
    /// Renews the login whether or not it is due. Someone else's newer login is taken instead. Where a person has `meant`
    /// one by its tokens, another one's in its place is not spent.
    pub(super) async fn refresh_now(&mut self, meant: Option<Vec<String>>) -> Refreshed {
        let held = self.core.bearer();
        self.look().await;
        let now = self.core.bearer();
        let taken = matches!((&held, &now), (Some(held), Some(now)) if !held.same(now));
        let result = if taken {
            Ok(Some(RenewalResult::Adopted))
        } else if let Some(reason) = self.core.why_no_login() {
            let result = if reason.starts_with(NO_LOGIN) {
                RenewalResult::NoLogin
            } else {
                RenewalResult::Rejected
            };
            Err((result, reason))
        } else if let Some(reason) = self.core.why_stale() {
            Err((RenewalResult::Rejected, reason.to_owned()))
        } else {
            let cause = RenewalCause {
                refused: now,
                by_hand: true,
                meant,
                ..RenewalCause::default()
            };
            self.renew(cause)
                .await
                .map_err(|trouble| (RenewalResult::Failed, trouble))
        };
        self.renew_twins().await;
        let credential = self.core.credential();
        let expires_at = credential.and_then(|credential| credential.expires_at);
        let unsaved = self.core.knowledge.unsaved();
        let unsaved = unsaved.map(|_| UNSAVED.to_owned());
        match result {
            Ok(Some(RenewalResult::Rejected)) => Refreshed {
                result: RenewalResult::Rejected,
                detail: self.core.why_no_login(),
                expires_at,
            },
            Ok(None) => self.nothing_renewed(expires_at),
            Ok(Some(result)) => Refreshed {
                result,
                detail: unsaved,
                expires_at,
            },
            Err((result, detail)) => Refreshed {
                result,
                detail: Some(detail),
                expires_at,
            },
        }
    }

    /// What a renewal by hand came to that has asked the provider for nothing.
    fn nothing_renewed(&self, expires_at: Option<DateTime<Utc>>) -> Refreshed {
        let (result, detail) = match self.core.why_no_login() {
            Some(reason) => (RenewalResult::Rejected, Some(reason)),
            None if self.core.is_final() => (RenewalResult::NotRenewable, Some(FINAL.to_owned())),
            None => (RenewalResult::Adopted, None),
        };
        Refreshed {
            result,
            detail,
            expires_at,
        }
    }

    /// Adopts a login that only the mirror holds. A failure is reported by the next login.
    pub(super) async fn import(&mut self) -> bool {
        let now = self.clock.now();
        let Some(store) = self.store.clone() else {
            return false;
        };
        let opening = store.open_for(LoginDestination::Shared, self.lock_limit());
        let Ok(mut transaction) = self.unless_stopped(opening).await else {
            return false;
        };
        let Some(found) = transaction.found().cloned() else {
            return false;
        };
        let mut login = found.login.clone();
        let mirrored = found.mirror.as_ref().and_then(Login::refresh_token);
        if self.core.knowledge.was_spent(mirrored.as_ref()) {
            return false;
        }
        if merge::with_mirror(&mut login, found.mirror.as_ref(), now) != Merge::Taken {
            return false;
        }
        login.forget_end();
        let written = transaction.work(move |transaction| {
            let update = LoginUpdate {
                old: &found.login,
                login: &login,
                change: Change::LoggedIn,
                now,
            };
            transaction.commit(update, None)
        });
        if let Err(error) = written.await {
            tracing::warn!(%error, "the login in the mirror can't be adopted");
            return false;
        }
        self.core.replaced_login();
        self.core.start_anew();
        self.look().await;
        true
    }

    /// Checks that a new login could be written at `place`, before the user is asked for anything.
    pub(super) async fn make_room(&mut self, place: LoginDestination) -> Result<(), StoreError> {
        let Some(store) = self.store.clone() else {
            return Ok(());
        };
        if self.core.knowledge.unsaved().is_some() {
            self.renew(RenewalCause::default()).await.ok();
        }
        let here = self.is_own() == (place == LoginDestination::Own);
        if self.core.knowledge.unsaved().is_some() && here && !self.is_store_missing().await? {
            return Err(StoreError::Waiting);
        }
        let opening = store.open_for(place, self.lock_limit());
        let mut transaction = self.unless_stopped(opening).await?;
        transaction.work(Transaction::prepare).await
    }

    /// Writes a login that was just granted, and serves with it.
    pub(super) async fn install(
        &mut self,
        grant: Grant,
        place: LoginDestination,
    ) -> Result<PathBuf, StoreError> {
        let Some(store) = self.store.clone() else {
            return Ok(PathBuf::new());
        };
        let now = self.clock.now();
        let mut transaction = store.open_for(place, self.lock_limit()).await?;
        let Some(found) = transaction.found().cloned() else {
            return Ok(PathBuf::new());
        };
        let (old, source) = (found.login, found.source);
        let login = self.new_login(old.clone(), grant, now);
        let mirror = login.mirror(now);
        let change = match place {
            LoginDestination::Shared => Change::LoggedIn,
            LoginDestination::Own => Change::Rotated,
        };
        let written = {
            let login = login.clone();
            move |transaction: &mut Transaction| {
                let update = LoginUpdate {
                    old: &old,
                    login: &login,
                    change,
                    now,
                };
                transaction.commit(update, mirror)
            }
        };
        if let Err(error) = transaction.work(written).await {
            if !holds(&transaction, &login) {
                return Err(error);
            }
            tracing::warn!(%error, "a new login is not mirrored yet");
        }
        drop(transaction);
        if let Some(token) = login.refresh_token() {
            store.spent().forget(&token);
        }
        if place == LoginDestination::Shared {
            self.forget_own(now).await;
        }
        let seat = self.core.knowledge.seat();
        if seat.is_some_and(|seat| seat.file == source) {
            self.core.replaced_login();
            if let Some(rows) = &self.rows {
                rows.replaced();
            }
        }
        self.core.start_anew();
        self.look().await;
        Ok(source)
    }

    /// Adds a login that was just granted to the pool. Its row's keeper serves with it.
    pub(super) async fn add_row(&mut self, grant: Grant, row: NewRow) -> Result<Added, StoreError> {
        let (Some(store), Some(layout)) = (self.store.clone(), self.core.adapter.layout()) else {
            return Ok(Added {
                file: PathBuf::new(),
                label: None,
                same_account_as: None,
            });
        };
        let now = self.clock.now();
        let login = self.new_login(Login::empty(layout), grant, now);
        let occasion = Occasion {
            limit: self.lock_limit(),
            now,
        };
        let tokens: Vec<_> = login.tokens().fingerprints();
        let (account, wanted) = (login.account(), row.label.clone());
        let file = store.add_row(login, row, occasion).await?;
        let told = store.work(move |store| {
            let roster = store.roster()?;
            let same = roster.of_account(account.as_deref(), &tokens);
            Ok((roster.label_of(&tokens), same))
        });
        let (label, same_account_as) = told.await.unwrap_or_default();
        self.look().await;
        Ok(Added {
            file,
            label: label.filter(|label| *label != wanted),
            same_account_as,
        })
    }

    /// Removes the login in use from the store, if it is still the one that was `meant`. The caller
    /// may have given up while we waited for the locks; then nothing changes.
    pub(super) async fn logout(
        &mut self,
        meant: Option<PathBuf>,
        extent: Extent,
        given_up: impl Future<Output = ()>,
    ) -> Result<Removed, StoreError> {
        let now = self.clock.now();
        let Some(store) = self.store.clone() else {
            return Ok(Removed::default());
        };
        let limit = self.lock_limit();
        let opening = async {
            match extent {
                Extent::All => store.open_to_remove(limit).await,
                Extent::Main => store.open(limit).await,
            }
        };
        let mut transaction = tokio::select! {
            biased;
            () = given_up => return Err(StoreError::Stopping),
            opened = self.unless_stopped(opening) => opened?,
        };
        let found = transaction.found().map(|found| &found.source);
        if let Some((found, _)) = found.zip(meant).filter(|(found, meant)| *found != meant) {
            return Err(StoreError::Moved {
                file: found.clone(),
            });
        }
        let ours = self.is_mirror_ours(&transaction, now);
        let removed = transaction
            .work(move |login| login.remove(extent, |_| ours, now))
            .await?;
        self.core.forget_login();
        self.core.start_anew();
        // Requests wait for the look, which may not know yet what comes next.
        self.decide(|core, now| core.publish(Availability::Pending, now));
        // The user knows.
        self.core.told.hush = true;
        self.look().await;
        self.core.told.hush = false;
        self.core.told.end = false;
        Ok(removed)
    }

    /// Whether the mirror holds the login in use, even if a rotation reached the mirror alone.
    /// Another account's older one stays.
    fn is_mirror_ours(&self, transaction: &Transaction, now: DateTime<Utc>) -> bool {
        let Some(found) = transaction.found() else {
            return false;
        };
        let token = found.mirror.as_ref().and_then(Login::refresh_token);
        let latest = self.core.knowledge.latest();
        let latest = latest.and_then(|latest| latest.login.refresh_token());
        let granted_to_us = latest.is_some() && same(latest.as_ref(), token.as_ref());
        let spent = self.core.knowledge.was_spent(token.as_ref());
        let merge = merge::with_mirror(&mut found.login.clone(), found.mirror.as_ref(), now);
        granted_to_us || spent || merge == Merge::Taken
    }

    fn new_login(&self, mut login: Login, grant: Grant, now: DateTime<Utc>) -> Login {
        login.remove_grant();
        let adapter = &self.core.adapter;
        adapter.apply(&mut login, grant, now);
        if adapter.grant_lifetime().is_some() {
            super::grant::note_login_at(&mut login, now);
        }
        login
    }

    /// A login in Hermes Agent's store takes the place of one in ours, which would go first.
    async fn forget_own(&self, now: DateTime<Utc>) {
        let Some(store) = self.store.clone() else {
            return;
        };
        // A file that can't be inspected may exist.
        if let Ok(false) = store.work(LoginStore::has_own).await {
            return;
        }
        let removed = match store
            .open_for(LoginDestination::Own, self.lock_limit())
            .await
        {
            Ok(mut transaction) => {
                let removed =
                    transaction.work(move |login| login.remove(Extent::All, |_| false, now));
                removed.await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, "a separate login could not be removed and takes precedence \
                                    over the new one");
        }
    }
}

fn holds(transaction: &Transaction, login: &Login) -> bool {
    let token = login.refresh_token();
    transaction
        .found()
        .is_some_and(|found| same(found.login.refresh_token().as_ref(), token.as_ref()))
}
