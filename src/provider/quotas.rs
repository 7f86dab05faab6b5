//! The quotas that a provider's answers have reported for its logins, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

use super::quota::Quota;

/// How many logins' quotas are remembered.
const LOGINS: usize = 64;

/// The quotas of a provider's logins, by their places among these.
#[derive(Debug, Default)]
pub struct Quotas {
    told: Mutex<BTreeMap<usize, Quota>>,
    /// Woken when a window has become nearly used up, used up, or free again.
    changed: OnceLock<Arc<Notify>>,
}

impl Quotas {
    /// Keeps a report on a login, if there is one.
    pub(super) fn hold(&self, login: usize, quota: Option<Quota>) {
        let Some(quota) = quota else {
            return;
        };
        let mut told = self.told();
        let is_news = told
            .get(&login)
            .is_none_or(|known| quota.is_news_after(known));
        told.insert(login, quota);
        // Places of rows are not used again, so the first ones are of logins that are gone.
        while told.len() > LOGINS {
            let oldest = told.keys().copied().find(|place| *place != 0);
            oldest.and_then(|oldest| told.remove(&oldest));
        }
        drop(told);
        if let (true, Some(changed)) = (is_news, self.changed.get()) {
            changed.notify_one();
        }
    }

    /// The last report on the login at this place.
    pub fn of(&self, login: usize) -> Option<Quota> {
        self.told().get(&login).cloned()
    }

    /// Takes over the reports of the former adapter of the same logins, which a reload has
    /// replaced.
    pub fn go_on_from(&self, former: &Self) {
        let known = former.told().clone();
        *self.told() = known;
    }

    /// From now on, `changed` is woken when there may be something to report; a second one is not.
    pub fn wake(&self, changed: Arc<Notify>) {
        self.changed.set(changed).ok();
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<usize, Quota>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
