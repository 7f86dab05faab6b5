//! One keeper after another, as a reload has it.
//!
//! A keeper that asks its token endpoint ends when it has its answer, which may take as long as its
//! limits allow. Its follower does not spend or write anything before that, but what the store holds
//! serves meanwhile, by the new settings.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

use super::handle::{Handle, Standing};
use super::keeper::{Estate, Keeper};
use super::store::Store;
use crate::provider::Assessment;

/// A keeper that waits for nothing ends within this time.
const AT_ONCE: Duration = Duration::from_millis(250);
/// The next sign of life while the former one goes on.
const BEAT: Duration = Duration::from_secs(1);

impl Keeper {
    /// Waits for the former keeper's end, and takes over what it knows and the store does not.
    pub async fn succeed(&mut self, former: &Handle, end: impl Future<Output = Estate>) {
        let mut end = pin!(end);
        if let Ok(estate) = timeout(AT_ONCE, &mut end).await {
            return self.inherit(estate);
        }
        self.published = Some(former.shared.snapshot.load_full());
        // A defect over an odd login must not end the one that is to take over.
        let standing_in = AssertUnwindSafe(self.stand_in()).catch_unwind();
        standing_in.await.ok();
        let estate = loop {
            match timeout(BEAT, &mut end).await {
                Ok(estate) => break estate,
                // One that hangs for longer than it may is seen by the watchdog.
                Err(_) if former.keeper_is_well() => self.step(),
                Err(_) => {}
            }
        };
        self.inherit(estate);
    }

    /// Serves what the store holds, if it is valid. No lock, no write, nothing is spent.
    async fn stand_in(&mut self) {
        let Some(store) = self.store.clone() else {
            return;
        };
        let Ok(Some(found)) = store.work(Store::peek).await else {
            return;
        };
        let mut login = found.login;
        self.merge(&mut login, found.mirror.as_ref());
        let now = self.clock.now();
        if let Assessment::Login {
            credential: Some(credential),
            ..
        } = self.adapter.assess(&login, now)
            && credential.expires_at.is_none_or(|end| end > now)
        {
            self.publish(Standing::Credential(Arc::new(credential)));
        }
    }
}
