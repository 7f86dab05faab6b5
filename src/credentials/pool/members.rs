//! The members of a pool, by the rows of the store: a keeper for each, which comes and goes with its row; and the marks
//! that are written to the rows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::keeper::{Keeper, RowOwner};
use super::super::login_name::{LoginName, RowNaming};
use super::super::settings::KeeperContext;
use super::super::store::{
    LoginStore, Marking, Meant, Occasion, Roster, RowPlace, RowSeen, StoreError,
};
use super::cooldown::Rest;
use super::kin::{Sorted, TokenOwners};
use super::member::{Common, PoolMember};
use super::strategy::{Strategy, Usable};
use crate::clock::Clock;

/// So many marks wait to be written; what comes on top is known to this process alone.
const QUEUE: usize = 256;
/// How long a lock is awaited before marks are tried again.
const LOCK_WAIT: Duration = Duration::from_secs(15);
/// The same at the end.
const FAREWELL: Duration = Duration::from_secs(1);
/// What could not be written is tried again after this time.
const AGAIN: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct PoolLogins {
    /// The block's, which exists even without a login: a login is made there.
    pub(super) first: Arc<PoolMember>,
    /// All of them, in the order in which they are asked.
    pub(super) all: ArcSwap<Vec<Arc<PoolMember>>>,
    /// Whether there are rows besides the block.
    pub(super) has_rows: AtomicBool,
    pub(super) strategy: Strategy,
    /// Counts requests.
    pub(super) turn: Arc<AtomicUsize>,
    /// Ends the keepers.
    pub(super) stop: CancellationToken,
    pub(super) estate: Option<Arc<LoginPoolState>>,
}

impl PoolLogins {
    /// The same by other terms.
    pub(super) fn renewed(&self, terms: &KeeperContext) -> Self {
        let first = Arc::new(self.first.renewed(terms));
        let all = self.all.load();
        let all = all.iter().map(|member| {
            if member.login.place == 0 {
                first.clone()
            } else {
                Arc::new(member.renewed(terms))
            }
        });
        Self {
            all: ArcSwap::from_pointee(all.collect()),
            first,
            has_rows: AtomicBool::new(self.has_rows.load(Ordering::Relaxed)),
            strategy: terms.strategy,
            turn: self.turn.clone(),
            stop: self.stop.clone(),
            estate: self.estate.clone(),
        }
    }
}

/// A provider's current logins, and the marks that are written for them.
#[derive(Debug)]
pub(super) struct LoginPoolState {
    /// The place of the block's login, whose files have all rows.
    store: LoginStore,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    stop: CancellationToken,
    marks: mpsc::Sender<Marking>,
    state: Mutex<PoolState>,
}

#[derive(Debug)]
struct PoolState {
    /// By what new keepers begin.
    terms: KeeperContext,
    /// The logins by the newest terms.
    view: Weak<PoolLogins>,
    /// Counts logins.
    next: usize,
    kin: TokenOwners,
}

impl LoginPoolState {
    /// Begins with the block's login alone.
    pub(super) fn begin(
        store: LoginStore,
        terms: KeeperContext,
        clock: Arc<dyn Clock>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (marks, waiting) = mpsc::channel(QUEUE);
        let writer = write_marks(store.clone(), clock.clone(), waiting, stop.clone());
        tasks.spawn(writer);
        Arc::new(Self {
            store,
            clock,
            tasks,
            stop,
            marks,
            state: Mutex::new(PoolState {
                terms,
                view: Weak::new(),
                next: 1,
                kin: TokenOwners::default(),
            }),
        })
    }

    /// These are the logins by the newest terms.
    pub(super) fn serve(&self, logins: &Arc<PoolLogins>) {
        self.lock().view = Arc::downgrade(logins);
    }

    /// The logins by other terms; those that come later begin with them.
    pub(super) fn renewed(&self, logins: &PoolLogins, terms: &KeeperContext) -> Arc<PoolLogins> {
        // No member comes or goes meanwhile.
        let mut state = self.lock();
        let logins = Arc::new(logins.renewed(terms));
        state.terms = terms.clone();
        state.view = Arc::downgrade(&logins);
        logins
    }

    /// Has a mark written, in a moment.
    pub(super) fn note(&self, marking: Marking) {
        self.marks.try_send(marking).ok();
    }

    /// Takes the marks out, of one login or of all.
    pub(super) async fn reset(&self, meant: Option<Meant>) -> Result<bool, StoreError> {
        self.store.reset(meant, self.occasion()).await
    }

    /// Removes a row that had these tokens.
    pub(super) async fn remove(
        &self,
        row: RowPlace,
        tokens: Vec<String>,
    ) -> Result<bool, StoreError> {
        self.store.remove_row(row, tokens, self.occasion()).await
    }

    fn occasion(&self) -> Occasion {
        Occasion {
            limit: LOCK_WAIT,
            now: self.clock.now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A keeper for a row.
    fn member(&self, state: &mut PoolState, row: &RowSeen) -> PoolMember {
        let number = state.next;
        state.next = state.next.saturating_add(1);
        let store = self.store.of_row(row.place.clone());
        let twins = store.twins().clone();
        // That a row has no login is its own affair.
        let terms = KeeperContext {
            optional: true,
            ..state.terms.clone()
        };
        let (mut keeper, login) = Keeper::of(Some(store), terms, self.clock.clone(), number);
        let naming = RowNaming::default();
        keeper.naming = Some(naming.clone());
        keeper.peers = state.view.upgrade().and_then(|logins| {
            let peers: Arc<dyn RowOwner> = logins.estate.clone()?;
            Some(peers)
        });
        let stop = self.stop.child_token();
        self.tasks.spawn(keeper.run(stop.clone()));
        PoolMember {
            login,
            common: Arc::new(Common {
                row: Some(row.place.clone()),
                facts: ArcSwap::from_pointee(None),
                tokens: ArcSwap::default(),
                twins,
                kin: ArcSwap::default(),
                naming,
                rest: Rest::default(),
                stop,
            }),
        }
    }
}

impl RowOwner for LoginPoolState {
    fn replaced(&self) {
        self.lock().kin.block_was_replaced();
    }

    fn others_serve(&self, place: usize) -> bool {
        let Some(logins) = self.lock().view.upgrade() else {
            return false;
        };
        let now = self.clock.now();
        let all = logins.all.load();
        let mut others = all.iter().filter(|one| one.login.place != place);
        others.any(|other| other.login.usable(now) != Usable::No)
    }

    fn seen(&self, roster: Roster) -> bool {
        let mut state = self.lock();
        let Some(logins) = state.view.upgrade() else {
            return false;
        };
        let Sorted {
            rows,
            twins,
            doubts,
        } = state.kin.sort(&roster);
        for token in doubts {
            tracing::info!(
                "two logins belong to one account; the older one is not renewed until it changes"
            );
            self.store.spent().doubt(&token);
        }
        let before = logins.all.load_full();
        let mut all: Vec<(i64, Arc<PoolMember>)> = Vec::new();
        // Without a row that follows it, the block's login goes first.
        let block = &logins.first;
        let of_block = roster.of_block.as_ref();
        let first = of_block.map_or(i64::MIN, |facts| facts.priority);
        block.common.facts.store(Arc::new(roster.of_block.clone()));
        block.common.tokens.store(Arc::new(roster.block_tokens));
        all.push((first, block.clone()));
        for row in rows {
            let known = before
                .iter()
                .find(|member| member.common.row.as_ref() == Some(&row.place));
            let member = match known {
                Some(member) => member.clone(),
                None => Arc::new(self.member(&mut state, &row)),
            };
            let priority = row.facts.priority;
            member.common.facts.store(Arc::new(Some(row.facts)));
            member.common.tokens.store(Arc::new(row.held));
            all.push((priority, member));
        }
        // A row that another profile's hide keeps its login while it is the same as one of these.
        let hidden = before.iter().filter(|member| {
            let place = member.common.row.as_ref();
            let owns = twins.iter().any(|twin| twin.owner.as_ref() == place);
            let is_there = all.iter().any(|(_, one)| one.common.row.as_ref() == place);
            place.is_some() && owns && !is_there
        });
        let hidden: Vec<_> = hidden.cloned().collect();
        all.extend(hidden.into_iter().map(|member| (member.priority(), member)));
        for member in before.iter() {
            let stays = all
                .iter()
                .any(|(_, one)| one.login.place == member.login.place);
            let file = member.common.row.as_ref().map(|row| &row.file);
            if stays {
                continue;
            }
            if file.is_none_or(|file| roster.read.contains(file)) {
                // A renewal under way is finished, and what waits to be saved is saved.
                member.common.stop.cancel();
            } else {
                // A missing file is not a logout.
                all.push((member.priority(), member.clone()));
            }
        }
        all.sort_by_key(|(priority, member)| (*priority, member.login.place != 0));
        let all: Vec<_> = all.into_iter().map(|(_, member)| member).collect();
        let has_rows = all.len() > 1;
        for member in &all {
            let of_it = twins.iter().filter(|twin| twin.owner == member.common.row);
            member.has_twins(of_it.map(|twin| &twin.row));
        }
        self.read_marks(&all);
        name(&all);
        logins.all.store(Arc::new(all));
        logins.has_rows.store(has_rows, Ordering::Relaxed);
        has_rows
    }
}

impl LoginPoolState {
    /// Takes the marks that the rows have.
    fn read_marks(&self, all: &[Arc<PoolMember>]) {
        let now = self.clock.now();
        for member in all {
            let facts = member.common.facts.load();
            let Some(facts) = facts.as_ref().as_ref() else {
                continue;
            };
            let is_other = |other: &&Arc<PoolMember>| {
                other.login.place != member.login.place && other.login.usable(now) != Usable::No
            };
            let is_only = !all.iter().any(|other| is_other(&other));
            member.common.rest.read(&facts.mark, is_only, now);
        }
    }
}

/// Tells the keepers of rows what their logins are called.
fn name(all: &[Arc<PoolMember>]) {
    // How many logins a name may mean.
    let mut names: HashMap<String, usize> = HashMap::new();
    for member in all {
        for name in member.names() {
            let meant = names.entry(name).or_default();
            *meant = meant.saturating_add(1);
        }
    }
    for member in all {
        let Some(label) = member.label() else {
            continue;
        };
        let is_taken = names.get(&label).is_some_and(|meant| *meant > 1);
        let id = member.id().filter(|_| is_taken);
        let called = id.unwrap_or_else(|| label.clone());
        let name = LoginName { label, called };
        if **member.common.naming.load() != name {
            member.common.naming.store(Arc::new(name));
        }
    }
}

/// Writes marks as they come, several at once if they are queued.
async fn write_marks(
    store: LoginStore,
    clock: Arc<dyn Clock>,
    mut waiting: mpsc::Receiver<Marking>,
    stop: CancellationToken,
) {
    let mut pending: Vec<Marking> = Vec::new();
    loop {
        let next = async {
            if pending.is_empty() {
                waiting.recv().await
            } else {
                tokio::time::sleep(AGAIN).await;
                waiting.try_recv().ok()
            }
        };
        let is_over = tokio::select! {
            biased;
            next = next => {
                let is_over = next.is_none() && waiting.is_closed();
                pending.extend(next);
                is_over
            }
            () = stop.cancelled() => true,
        };
        while let Ok(marking) = waiting.try_recv() {
            pending.push(marking);
        }
        if !pending.is_empty() {
            let occasion = Occasion {
                limit: if is_over { FAREWELL } else { LOCK_WAIT },
                now: clock.now(),
            };
            match store.mark(pending.clone(), occasion).await {
                Ok(()) => {
                    for marking in pending.drain(..) {
                        marking.written.store(true, Ordering::Relaxed);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "the marks of a login can't be written yet");
                    let extra = pending.len().saturating_sub(QUEUE);
                    pending.drain(..extra);
                }
            }
        }
        if is_over {
            return;
        }
    }
}
