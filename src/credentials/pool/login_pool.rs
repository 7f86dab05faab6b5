//! The choice of a login for a request, and what its answer says about that login.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::handle::{CredentialHandle, Lease, NoCredential, NotReplaced, Replay};
use super::super::keeper::Keeper;
use super::super::login_name::RowNaming;
use super::super::settings::KeeperContext;
use super::super::status::KeeperStatus;
use super::super::store::{LoginStore, Marking, Remark, StoreError, StoreFiles};
use super::called::{Called, NotCalled};
use super::cooldown::{CooldownReason, Rest};
use super::entry::PoolEntry;
use super::member::{Common, PoolMember};
use super::members::{LoginPoolState, PoolLogins};
use super::strategy::{LoginView, Strategy, StrategyChoice, Usable};
use crate::clock::{self, Clock};
use crate::provider::Verdict;

/// A provider's logins. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LoginPool(Arc<PoolLogins>);

impl LoginPool {
    /// The provider's logins in `files`; their keepers run on `tasks`.
    pub fn start(
        terms: KeeperContext,
        files: StoreFiles,
        clock: Arc<dyn Clock>,
        tasks: &TaskTracker,
    ) -> Self {
        let layout = terms.adapter.layout();
        let store = layout.map(|layout| LoginStore::new(files, layout));
        let twins = store.as_ref().map(|store| store.twins().clone());
        let stop = CancellationToken::new();
        let strategy = terms.strategy;
        let (mut keeper, login) = Keeper::of(store.clone(), terms.clone(), clock.clone(), 0);
        let estate = store
            .map(|store| LoginPoolState::begin(store, terms, clock, tasks.clone(), stop.clone()));
        let first = Arc::new(PoolMember {
            login,
            common: Arc::new(Common {
                row: None,
                facts: ArcSwap::from_pointee(None),
                tokens: ArcSwap::default(),
                twins: twins.unwrap_or_default(),
                kin: ArcSwap::default(),
                naming: RowNaming::default(),
                rest: Rest::default(),
                stop: stop.clone(),
            }),
        });
        let logins = Arc::new(PoolLogins {
            all: ArcSwap::from_pointee(vec![first.clone()]),
            first,
            has_rows: AtomicBool::new(false),
            strategy,
            turn: Arc::default(),
            stop: stop.clone(),
            estate,
        });
        if let Some(estate) = &logins.estate {
            estate.serve(&logins);
            keeper.rows = Some(estate.clone());
            keeper.peers = Some(estate.clone());
        }
        tasks.spawn(keeper.run(stop));
        Self(logins)
    }

    /// The same logins by other terms, which hold for this pool's requests at once; see [`CredentialHandle::renewed`].
    #[must_use]
    pub fn renewed(&self, terms: &KeeperContext) -> Self {
        let Some(estate) = &self.0.estate else {
            return Self(Arc::new(self.0.renewed(terms)));
        };
        Self(estate.renewed(&self.0, terms))
    }

    /// Ends the keepers. A renewal under way is finished and persisted first.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    /// Waits until requests can be answered; see [`CredentialHandle::started`].
    pub async fn started(&self) {
        self.0.first.login.started().await;
        for login in self.logins() {
            login.started().await;
        }
    }

    /// Has all keepers look at the store, the rows' after the one that finds them.
    pub async fn look_unless_renewing(&self) {
        self.0.first.login.look_unless_renewing().await;
        for login in self.logins().into_iter().filter(|login| login.place != 0) {
            login.look_unless_renewing().await;
        }
    }

    /// Whether every keeper goes by this pool's terms.
    pub fn is_settled(&self) -> bool {
        self.any(|member| !member.login.is_settled()).is_none()
    }

    /// A credential, at once if a valid one exists; otherwise waits as [`CredentialHandle::credential`] does.
    ///
    /// # Errors
    /// [`NoCredential`] tells the client what to do.
    pub async fn lease(&self) -> Result<Lease, NoCredential> {
        if !self.has_rows() {
            return self.0.first.login.credential().await;
        }
        Box::pin(self.lease_of_several(|rest| rest)).await
    }

    /// The same for a request that uses no quota: any usable login.
    ///
    /// # Errors
    /// [`NoCredential`] tells the client what to do.
    pub async fn lease_for_nothing(&self) -> Result<Lease, NoCredential> {
        if !self.has_rows() {
            return self.0.first.login.credential().await;
        }
        Box::pin(self.lease_of_several(|_| None)).await
    }

    async fn lease_of_several(
        &self,
        rests: impl Fn(Option<DateTime<Utc>>) -> Option<DateTime<Utc>> + Copy,
    ) -> Result<Lease, NoCredential> {
        let now = self.0.first.login.clock.now();
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        let all = self.0.all.load_full();
        let looks = all.iter().map(|member| {
            let look = member.look(now);
            LoginView {
                rests_until: rests(look.rests_until),
                ..look
            }
        });
        match self.0.strategy.choose(looks, turn) {
            StrategyChoice::Login(place) => {
                let member = all.get(place).unwrap_or(&self.0.first);
                member.login.credential().await
            }
            StrategyChoice::AllRest(until) => Err(NoCredential::CoolingDown {
                until,
                retry_after: clock::until(until, now),
            }),
            StrategyChoice::NoneUsable => self.login().credential().await,
        }
    }

    /// The next login's credential after these failed; `None` if no other has one right now.
    pub fn next<'l>(&self, asked: &(impl Iterator<Item = &'l Lease> + Clone)) -> Option<Lease> {
        if !self.has_rows() {
            return None;
        }
        let now = self.0.first.login.clock.now();
        let turn = self.0.turn.load(Ordering::Relaxed);
        let all = self.0.all.load_full();
        let looks = all.iter().map(|member| {
            let look = member.look(now);
            let mut places = asked.clone().map(Lease::place);
            let was_asked = places.any(|place| place == member.login.place);
            let usable = if was_asked { Usable::No } else { look.usable };
            LoginView { usable, ..look }
        });
        match self.0.strategy.choose(looks, turn) {
            StrategyChoice::Login(place) => all.get(place)?.login.at_once(),
            StrategyChoice::AllRest(_) | StrategyChoice::NoneUsable => None,
        }
    }

    /// Another credential after the provider has refused this one; see [`CredentialHandle::replacement`].
    ///
    /// # Errors
    /// [`NotReplaced`] says whether the same credential is worth a second try.
    pub async fn replacement(&self, refused: &Lease, path: &str) -> Result<Lease, NotReplaced> {
        let login = self.of(refused).ok_or(NotReplaced::NoOther)?;
        login.login.replacement(refused, path).await
    }

    /// The same after a second try was refused; see [`CredentialHandle::replacement_at_last`].
    ///
    /// # Errors
    /// There is no other credential for now.
    pub async fn replacement_at_last(
        &self,
        refused: &Lease,
        path: &str,
    ) -> Result<Lease, NotReplaced> {
        let login = self.of(refused).ok_or(NotReplaced::NoOther)?;
        login.login.replacement_at_last(refused, path).await
    }

    /// A request of this path is sent again with this credential.
    pub fn replay<'r>(&self, path: &'r str, lease: &'r Lease) -> Replay<'r> {
        let member = self.of(lease).unwrap_or_else(|| self.0.first.clone());
        member.login.replay(path, lease)
    }

    /// Judges a login by the answer to a request that uses quota.
    pub fn judged(&self, lease: &Lease, verdict: Verdict, status: StatusCode) {
        // An error may come from the provider's edge, which looks at no token, or from a check before that of
        // the token.
        if status.is_success() {
            lease.prove();
        }
        if lease.place() == 0 {
            self.judge(&self.0.first, lease, verdict, status);
        } else if let Some(member) = self.of(lease) {
            self.judge(&member, lease, verdict, status);
        }
    }

    fn judge(&self, member: &PoolMember, lease: &Lease, verdict: Verdict, status: StatusCode) {
        let rest = &member.common.rest;
        let (told, code) = match verdict {
            // With a single login nothing is held back, and the request may be the cause.
            Verdict::NextLogin {
                may_be_request: true,
                ..
            } if !self.has_rows() => return,
            Verdict::NextLogin { cooldown, code, .. } => (cooldown, code),
            Verdict::Blocked(code) if self.has_rows() => (None, Some(code)),
            Verdict::RenewAndRetry if self.has_rows() => (None, None),
            Verdict::Blocked(_) | Verdict::RenewAndRetry | Verdict::Pass | Verdict::ReadOn => {
                if status.is_success() && rest.is_known() {
                    self.works(member, lease);
                }
                return;
            }
        };
        let now = member.login.clock.now();
        let status = if verdict == Verdict::RenewAndRetry {
            StatusCode::UNAUTHORIZED
        } else {
            status
        };
        let failure = CooldownReason {
            status: status.as_u16(),
            told,
            code,
            is_only: self.is_only(member, now),
        };
        if let Some((what, written)) = rest.begin(&failure, now)
            && self.has_rows()
        {
            let provider = member.login.provider();
            let label = member.label();
            tracing::warn!(
                provider,
                label,
                status = failure.status,
                code,
                "a login's quota is used up for now; the next one is used"
            );
            self.note(lease, what, written, now);
        }
    }

    /// An answer reports a used-up quota, and the login or the request may be the cause. The login cools down for a
    /// minute if another one is usable, so that apps whose requests can't be sent again get through; other programs
    /// don't see this mark.
    pub fn suspected(&self, lease: &Lease, verdict: Verdict, status: StatusCode) {
        let Some(member) = self.of(lease).filter(|_| self.has_rows()) else {
            return;
        };
        let now = member.login.clock.now();
        let has_another = self.any(|other| {
            let look = other.look(now);
            let is_other = other.login.place != member.login.place;
            is_other && look.usable != Usable::No && look.rests_until.is_none()
        });
        let code = match verdict {
            Verdict::NextLogin { code, .. } => code,
            Verdict::Blocked(code) => Some(code),
            Verdict::Pass | Verdict::RenewAndRetry | Verdict::ReadOn => None,
        };
        if has_another.is_some() {
            member.common.rest.suspect(status.as_u16(), code, now);
        }
    }

    /// A login that was cooling down has answered. During the cooldown, this is the answer to an earlier request.
    fn works(&self, member: &PoolMember, lease: &Lease) {
        let now = member.login.clock.now();
        let rest = &member.common.rest;
        if self.has_rows() && rest.until(now).is_some() {
            return;
        }
        rest.end();
        if self.has_rows() {
            self.note(lease, Remark::Works, Arc::default(), now);
        }
    }

    fn note(&self, lease: &Lease, what: Remark, written: Arc<AtomicBool>, now: DateTime<Utc>) {
        if let Some(estate) = &self.0.estate {
            estate.note(Marking {
                bearer: lease.credential().bearer.clone(),
                at: now,
                what,
                written,
            });
        }
    }

    /// Whether no other login could take its place.
    fn is_only(&self, member: &PoolMember, now: DateTime<Utc>) -> bool {
        let other = self.any(|other| {
            other.login.place != member.login.place && other.login.usable(now) != Usable::No
        });
        other.is_none()
    }

    /// Ends the cooldown of the login with this name, or of all logins; returns the labels of those that were cooling
    /// down.
    ///
    /// # Errors
    /// When the marks in the store can't be taken out.
    pub async fn reset(&self, called: Option<&Called>) -> Result<Vec<String>, StoreError> {
        let now = self.0.first.login.clock.now();
        let meant = called.map(|called| called.0.meant());
        let mut ended = Vec::new();
        for member in self.0.all.load().iter() {
            if called.is_none_or(|called| called.0.login.place == member.login.place) {
                if member.common.rest.until(now).is_some() {
                    ended.push(member.name());
                }
                member.common.rest.end();
            }
        }
        if let Some(estate) = &self.0.estate {
            estate.reset(meant).await?;
        }
        Ok(ended)
    }

    /// The login that a person calls so: by its row's id, or else by a label that no other has.
    ///
    /// # Errors
    /// [`NotCalled`] if no login has the label, or several have.
    pub fn called(&self, name: &str) -> Result<Called, NotCalled> {
        let name = name.trim();
        let all = self.0.all.load();
        let those = |is_meant: &dyn Fn(&PoolMember) -> bool| -> Vec<_> {
            let those = all.iter().filter(|member| is_meant(member));
            those.cloned().collect()
        };
        let mut found = those(&|member| member.id().as_deref() == Some(name));
        if found.is_empty() {
            found = those(&|member| member.is_called(name));
        }
        match <[_; 1]>::try_from(found) {
            Ok([member]) => Ok(Called(member)),
            Err(found) if found.is_empty() => Err(NotCalled::Unknown),
            Err(found) => {
                let ids = found.iter().filter_map(|member| member.id());
                Err(NotCalled::Several(ids.collect()))
            }
        }
    }

    /// Removes the row of this login from the store; returns the file, or `None` if the row is
    /// gone.
    ///
    /// # Errors
    /// When the store can't be written, or another login is in its place.
    pub async fn remove(&self, called: &Called) -> Result<Option<std::path::PathBuf>, StoreError> {
        let (Some((row, tokens)), Some(estate)) = (called.seen(), &self.0.estate) else {
            return Ok(None);
        };
        let file = row.file.clone();
        let removed = estate.remove(row, tokens).await;
        self.0.first.login.look().await;
        Ok(removed?.then_some(file))
    }

    /// The login of the provider's block, where logins are made and imported; it may be missing.
    pub fn block(&self) -> &CredentialHandle {
        &self.0.first.login
    }

    /// The login for a person who names only the provider: that of the next request.
    pub fn login(&self) -> CredentialHandle {
        self.chosen().login.clone()
    }

    /// All logins, in the order in which they are asked.
    pub fn logins(&self) -> Vec<CredentialHandle> {
        let all = self.0.all.load();
        all.iter().map(|member| member.login.clone()).collect()
    }

    /// The credentials that are valid now, in the same order.
    pub fn leases(&self) -> Vec<Lease> {
        let all = self.0.all.load();
        all.iter()
            .filter_map(|member| member.login.at_once())
            .collect()
    }

    /// The place among all logins of the one that the next request goes with.
    pub fn place(&self) -> usize {
        self.chosen().login.place
    }

    /// The places of all logins, in the order in which they are asked.
    pub fn places(&self) -> Vec<usize> {
        let all = self.0.all.load();
        all.iter().map(|member| member.login.place).collect()
    }

    /// How each login is, in the same order.
    pub fn statuses(&self) -> Vec<KeeperStatus> {
        let all = self.0.all.load();
        all.iter().map(|member| member.login.status()).collect()
    }

    /// Each login of which anything is known, in the same order; of a provider that has none, the block's.
    pub fn entries(&self) -> Vec<PoolEntry> {
        let now = self.0.first.login.clock.now();
        let all = self.0.all.load();
        let turn = self.0.turn.load(Ordering::Relaxed);
        let looks = all.iter().map(|member| member.look(now));
        let next = match self.0.strategy.choose(looks, turn) {
            StrategyChoice::Login(place) => all.get(place).map(|member| member.login.place),
            // The only login is asked anyway.
            StrategyChoice::AllRest(_) => (all.len() == 1).then_some(0),
            StrategyChoice::NoneUsable => None,
        };
        let is_there = |member: &&Arc<PoolMember>| all.len() == 1 || !member.login.is_unused();
        let there = all.iter().filter(is_there);
        // The only login is used anyway.
        let rests = |entry: PoolEntry| PoolEntry {
            rests_until: entry.rests_until.filter(|_| all.len() > 1),
            ..entry
        };
        there
            .map(|member| rests(member.entry(Some(member.login.place) == next, now)))
            .collect()
    }

    /// Until when all usable logins cool down, if there are several.
    pub fn rests_until(&self) -> Option<DateTime<Utc>> {
        if !self.has_rows() {
            return None;
        }
        let now = self.0.first.login.clock.now();
        let all = self.0.all.load();
        let looks = all.iter().map(|member| member.look(now));
        match Strategy::FillFirst.choose(looks, 0) {
            StrategyChoice::AllRest(until) => Some(until),
            StrategyChoice::Login(_) | StrategyChoice::NoneUsable => None,
        }
    }

    /// How the login is that the next request goes with.
    pub fn status(&self) -> KeeperStatus {
        self.chosen().login.status()
    }

    /// Whether there has never been a login, as far as is known.
    pub fn is_unused(&self) -> bool {
        self.any(|member| !member.login.is_unused()).is_none()
    }

    /// Whether there is a login, as far as is known. No lock, no file.
    pub fn is_authenticated(&self) -> bool {
        self.any(|member| member.login.is_authenticated()).is_some()
    }

    /// Whether the login that the next request goes with is ours alone. Takes a lock.
    pub fn is_separate(&self) -> bool {
        self.chosen().login.is_separate()
    }

    /// Whether every keeper lives, or has ended on request.
    pub fn is_well(&self) -> bool {
        self.any(|member| !member.login.keeper_is_well()).is_none()
    }

    /// The name of the login with this place, if there are several.
    pub fn label_of(&self, place: usize) -> Option<String> {
        if !self.has_rows() {
            return None;
        }
        let member = self.any(|member| member.login.place == place)?;
        Some(member.name())
    }

    /// Whether there are rows besides the block, so that one login may stand in for another. One
    /// atomic load.
    pub fn has_rows(&self) -> bool {
        self.0.has_rows.load(Ordering::Relaxed)
    }

    fn chosen(&self) -> Arc<PoolMember> {
        if !self.has_rows() {
            return self.0.first.clone();
        }
        let now = self.0.first.login.clock.now();
        let all = self.0.all.load();
        let looks = all.iter().map(|member| member.look(now));
        let chosen = match Strategy::FillFirst.choose(looks, 0) {
            StrategyChoice::Login(place) => all.get(place).cloned(),
            StrategyChoice::AllRest(_) => {
                all.iter().find(|one| one.login.is_authenticated()).cloned()
            }
            StrategyChoice::NoneUsable => self.any(|member| !member.login.is_unused()),
        };
        chosen.unwrap_or_else(|| self.0.first.clone())
    }

    fn any(&self, is_meant: impl Fn(&PoolMember) -> bool) -> Option<Arc<PoolMember>> {
        let all = self.0.all.load();
        all.iter().find(|member| is_meant(member)).cloned()
    }

    /// The login that gave this credential, if it still exists.
    fn of(&self, lease: &Lease) -> Option<Arc<PoolMember>> {
        if lease.place() == 0 {
            return Some(self.0.first.clone());
        }
        self.any(|member| member.login.place == lease.place())
    }
}
