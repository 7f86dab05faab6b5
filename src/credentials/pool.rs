//! A provider's logins as requests see them: which one a request goes with, and what its answer tells of that
//! login.
//!
//! Each login has a keeper of its own, and the pool has one strategy. Today a provider has one login, whose
//! lease costs what it costs without a pool: one atomic load and a look at the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handle::{Handle, Lease, NotReplaced, Refusal, Replay};
use super::keeper::Keeper;
use super::status::Status;
use super::store::StoreFiles;
use super::terms::Terms;
use crate::clock::{self, Clock};
use crate::provider::Verdict;

/// A login that has nothing left rests so long where the provider does not say.
const REST: Duration = Duration::from_hours(1);
/// And never for longer: a time that a provider gives may be a mistake.
const LONGEST_REST: Duration = Duration::from_hours(24);

/// A provider's logins. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Logins>);

#[derive(Debug)]
struct Logins {
    first: Member,
    /// The further ones, in the order in which they are asked.
    others: Vec<Member>,
    strategy: Strategy,
    /// Ends the keepers.
    stop: CancellationToken,
}

#[derive(Debug)]
struct Member {
    login: Handle,
    rest: Arc<Rest>,
}

/// Until when a login has nothing left, in seconds since 1970; 0 while it has.
#[derive(Debug, Default)]
struct Rest(AtomicI64);

/// Which login a request goes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    /// The first one that has something left.
    FillFirst,
}

/// What a strategy sees of a login.
#[derive(Debug, Clone, Copy)]
struct Look {
    has_credential: bool,
    rests_until: Option<DateTime<Utc>>,
}

impl Rest {
    fn begin(&self, until: DateTime<Utc>) {
        self.0.store(until.timestamp(), Ordering::Relaxed);
    }

    fn end(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// What lies further ahead than any rest was set before the clock was put back.
    fn until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let until = DateTime::from_timestamp(self.0.load(Ordering::Relaxed), 0)?;
        (now < until && until <= clock::after(now, LONGEST_REST)).then_some(until)
    }
}

impl Strategy {
    /// The place of the login to ask. Where all rest, the one whose rest ends first; without any
    /// credential the first login, which knows what is wrong.
    fn choose(self, logins: impl Iterator<Item = Look>) -> usize {
        let Self::FillFirst = self;
        let usable = logins.enumerate().filter(|(_, login)| login.has_credential);
        let best = usable.min_by_key(|(_, login)| login.rests_until);
        best.map_or(0, |(place, _)| place)
    }
}

impl From<Handle> for Pool {
    /// A pool of one login, whose keeper runs elsewhere.
    fn from(login: Handle) -> Self {
        let rest = Arc::default();
        Self(Arc::new(Logins {
            first: Member { login, rest },
            others: Vec::new(),
            strategy: Strategy::FillFirst,
            stop: CancellationToken::new(),
        }))
    }
}

impl Member {
    fn renewed(&self, terms: &Terms) -> Self {
        Self {
            login: self.login.renewed(terms.clone()),
            rest: self.rest.clone(),
        }
    }
}

impl Pool {
    /// The provider's login in `files`; its keeper runs on `tasks`.
    pub fn start(
        terms: Terms,
        files: StoreFiles,
        clock: Arc<dyn Clock>,
        tasks: &TaskTracker,
    ) -> Self {
        let (adapter, settings) = (terms.adapter, terms.settings);
        let (keeper, login) = Keeper::new(adapter, files, settings, clock);
        let pool = Self::from(login);
        let keeper = keeper.optional(terms.optional);
        tasks.spawn(keeper.run(pool.0.stop.clone()));
        pool
    }

    /// The same logins by other terms, which hold for this pool's requests at once; see [`Handle::renewed`].
    #[must_use]
    pub fn renewed(&self, terms: &Terms) -> Self {
        let logins = &self.0;
        Self(Arc::new(Logins {
            first: logins.first.renewed(terms),
            others: logins.others.iter().map(|one| one.renewed(terms)).collect(),
            strategy: logins.strategy,
            stop: logins.stop.clone(),
        }))
    }

    /// Ends the keepers. A renewal under way is finished and persisted first.
    pub fn stop(&self) {
        self.0.stop.cancel();
    }

    /// Waits until requests can be answered; see [`Handle::started`].
    pub async fn started(&self) {
        for login in self.logins() {
            login.started().await;
        }
    }

    /// Whether every keeper goes by this pool's terms.
    pub fn is_settled(&self) -> bool {
        self.logins().all(Handle::is_settled)
    }

    /// A credential, at once when a valid one is there; otherwise waits as [`Handle::credential`] does.
    ///
    /// # Errors
    /// [`Refusal`] tells the client what to do.
    pub fn lease(&self) -> impl Future<Output = Result<Lease, Refusal>> + '_ {
        self.chosen().login.credential()
    }

    /// Another credential after the provider has refused this one; see [`Handle::replacement`].
    ///
    /// # Errors
    /// [`NotReplaced`] says whether the same credential is worth a second try.
    pub async fn replacement(&self, refused: &Lease, path: &str) -> Result<Lease, NotReplaced> {
        self.of(refused).login.replacement(refused, path).await
    }

    /// The same after a second try was refused; see [`Handle::replacement_at_last`].
    ///
    /// # Errors
    /// There is no other credential for now.
    pub async fn replacement_at_last(
        &self,
        refused: &Lease,
        path: &str,
    ) -> Result<Lease, NotReplaced> {
        let login = &self.of(refused).login;
        login.replacement_at_last(refused, path).await
    }

    /// A request of this path is sent again with this credential.
    pub fn replay<'r>(&'r self, path: &'r str, lease: &'r Lease) -> Replay<'r> {
        self.of(lease).login.replay(path, lease)
    }

    /// What an answer that goes to the client says of the credential that it was given for.
    pub fn judged(&self, lease: &Lease, verdict: Verdict, is_success: bool) {
        let member = self.of(lease);
        if let Verdict::NextLogin { cooldown, .. } = verdict {
            let now = member.login.clock.now();
            let rest = cooldown.unwrap_or(REST).min(LONGEST_REST);
            return member.rest.begin(clock::after(now, rest));
        }
        // An error may come from the provider's edge, which looks at no token, or from a check before that of
        // the token.
        if is_success {
            lease.prove();
            member.rest.end();
        }
    }

    /// The login that a person means who names only the provider.
    pub fn login(&self) -> &Handle {
        &self.0.first.login
    }

    /// All logins, in the order in which they are asked.
    pub fn logins(&self) -> impl Iterator<Item = &Handle> {
        self.members().map(|member| &member.login)
    }

    /// How each login is, in the same order.
    pub fn statuses(&self) -> Vec<Status> {
        self.logins().map(Handle::status).collect()
    }

    /// How the login is that the next request goes with.
    pub fn status(&self) -> Status {
        self.chosen().login.status()
    }

    /// Whether there has never been a login, as far as is known.
    pub fn is_unused(&self) -> bool {
        self.logins().all(Handle::is_unused)
    }

    /// Whether a login is there, as far as is known. No lock, no file.
    pub fn is_authenticated(&self) -> bool {
        self.logins().any(Handle::is_authenticated)
    }

    /// Whether the login that the next request goes with is ours alone. Takes a lock.
    pub fn is_separate(&self) -> bool {
        self.chosen().login.is_separate()
    }

    /// Whether every keeper lives, or has ended because it was told to.
    pub fn is_well(&self) -> bool {
        self.logins().all(Handle::keeper_is_well)
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        std::iter::once(&self.0.first).chain(&self.0.others)
    }

    fn chosen(&self) -> &Member {
        if self.0.others.is_empty() {
            return &self.0.first;
        }
        let looks = self.members().map(|member| Look {
            has_credential: member.login.is_authenticated(),
            rests_until: member.rest.until(member.login.clock.now()),
        });
        self.at(self.0.strategy.choose(looks))
    }

    fn at(&self, place: usize) -> &Member {
        let further = place.checked_sub(1).and_then(|at| self.0.others.get(at));
        further.unwrap_or(&self.0.first)
    }

    /// The login that gave this credential.
    fn of(&self, lease: &Lease) -> &Member {
        self.at(lease.place())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        format!("2026-11-29T{time}Z").parse().unwrap()
    }

    #[test]
    fn the_first_login_that_has_something_left_is_asked_and_else_the_one_that_has_it_soonest() {
        let login = |has_credential, rests: Option<&str>| Look {
            has_credential,
            rests_until: rests.map(at),
        };
        let (none, free) = (login(false, None), login(true, None));
        let (long, short) = (login(true, Some("14:00:00")), login(true, Some("13:00:00")));
        for (logins, chosen) in [
            (vec![free, free], 0),
            (vec![none, free], 1),
            (vec![long, free, free], 1),
            (vec![long, short], 1),
            (vec![short, long, none], 0),
            (vec![none, none], 0),
            (vec![none], 0),
        ] {
            let place = Strategy::FillFirst.choose(logins.iter().copied());
            assert_eq!(place, chosen, "{logins:?}");
        }
    }

    #[test]
    fn a_rest_ends_with_its_time_and_is_over_when_the_clock_is_put_back_behind_it() {
        let (rest, now) = (Rest::default(), at("12:00:00"));
        assert_eq!(rest.until(now), None);
        rest.begin(at("13:00:00"));
        assert_eq!(rest.until(now), Some(at("13:00:00")));
        assert_eq!(rest.until(at("13:00:00")), None);
        assert_eq!(rest.until(clock::before(now, LONGEST_REST)), None);
        rest.end();
        assert_eq!(rest.until(now), None);
    }
}
