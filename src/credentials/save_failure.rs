//! A login that can be read but could not be saved after a renewal: its lock is unusable, its folder
//! read-only, or the disk full. The user hears of it within seconds, with the command that helps, and
//! again when it is over.
//!
//! No token is spent while the renewed login could not be saved, so the login ends with its token. A
//! check of the files every few seconds finds most of these causes long before. Those that it can't see,
//! such as a quota or a stuck lock, show when a renewal has failed twice.

use std::path::PathBuf;
use std::sync::Arc;

use super::keeper::Keeper;
use super::keeper_settings::Initiative;
use super::login_sight::Hindered;
use super::notice::NoticeKind;
use super::remedy::remedy;
use super::status::{Hindrance, LoginFault, StatusEvent};
use super::store::StoreError;

impl Keeper {
    /// Looks whether a renewal could be saved.
    pub(super) async fn notice_hindrance(&mut self) {
        let (Some(store), Some(source)) = (self.store.clone(), self.source()) else {
            return self.unhindered();
        };
        let due = self.core.timing.due();
        let looks = self.settings.initiative == Initiative::Keeps && due.is_some();
        if !looks || self.is_told_otherwise() {
            return;
        }
        let found = store.work(move |store| Ok(store.hindrance(&source))).await;
        match found {
            // Another program may be working on the files: it is reported at the second look.
            Ok(Some(_)) if !std::mem::replace(&mut self.sight.hindered.once, true) => {}
            Ok(Some(error)) => self.hindered(error).await,
            Ok(None) if !self.sight.hindered.by_renewal => self.unhindered(),
            // A hang is reported as a login that can't be read.
            Ok(None) | Err(_) => {}
        }
    }

    /// A renewal has failed over the store. Nothing was spent.
    pub(super) async fn hindered_at_renewal(&mut self, error: StoreError) {
        let passes = matches!(
            error,
            StoreError::Stopping
                | StoreError::Restless { .. }
                | StoreError::RowGone { .. }
                | StoreError::Moved { .. }
        );
        if self.is_told_otherwise() || passes {
            return;
        }
        let seen = match (self.store.clone(), self.source()) {
            (Some(store), Some(source)) => {
                let seen = store.work(move |store| Ok(store.hindrance(&source).is_some()));
                seen.await.unwrap_or(false)
            }
            _ => false,
        };
        let now = self.clock.now();
        // A renewal that is not due is not tried again, so nothing would show that it is over.
        if seen || self.core.timing.due().is_some_and(|due| due <= now) {
            self.sight.hindered.by_renewal = !seen;
            self.hindered(error).await;
        }
    }

    /// The file that holds the login in use.
    fn source(&self) -> Option<PathBuf> {
        Some(self.core.knowledge.seat()?.file.clone())
    }

    /// Whether the user already gets the same news as something else.
    fn is_told_otherwise(&self) -> bool {
        self.sight.unread.is_some() || self.core.knowledge.unsaved().is_some()
    }

    /// `proxy status` shows it at once, and the user is notified the second time.
    async fn hindered(&mut self, error: StoreError) {
        let error = Arc::new(error);
        let reason = error.cause();
        let again = std::mem::replace(&mut self.sight.hindered.once, true);
        // Whose the file is, is asked of a file system that may hang. The login itself is whole, so no other
        // one helps.
        let asked = self.desk.run(move || remedy(&error, None)).await;
        let command = asked.ok().flatten();
        let now = self.clock.now();
        self.status(|status| {
            let at = status.hindrance.as_ref().map_or(now, |known| known.at);
            status.hindrance = Some(Hindrance {
                at,
                reason: reason.clone(),
                command: command.clone(),
            });
        });
        if again && !std::mem::replace(&mut self.core.told.hindered, true) {
            self.tell(NoticeKind::Hindered { reason, command });
        }
    }

    /// A renewal could be saved.
    pub(super) fn unhindered(&mut self) {
        self.sight.hindered = Hindered::default();
        self.status(|status| {
            let was = status.hindrance.take().is_some();
            let of_store = |event: &StatusEvent<LoginFault>| event.what.code == "store";
            if was && !status.unsaved && status.last_error.as_ref().is_some_and(of_store) {
                status.last_error = None;
            }
        });
        if std::mem::take(&mut self.core.told.hindered) && self.core.credential().is_some() {
            self.tell(NoticeKind::Restored);
        }
    }
}
