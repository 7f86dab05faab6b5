//! How a keeper takes up the terms of a reload.

use std::sync::atomic::Ordering;

use super::core::{Core, KeeperOptions};
use super::keeper::Keeper;
use super::settings::KeeperContext;

impl Keeper {
    /// Continues by the newest terms. All knowledge of the login stays.
    pub(super) async fn take_up_terms(&mut self) {
        let newest = self.terms.borrow_and_update().clone();
        if newest.number == self.revision {
            return;
        }
        self.revision = newest.number;
        let KeeperContext {
            adapter,
            settings,
            optional,
            strategy: _,
        } = newest.terms.clone();
        self.core.adapter = adapter;
        self.core.habits = KeeperOptions {
            lead: settings.refresh_lead,
            initiative: settings.initiative,
            // That a row has no login is its own affair.
            optional: optional || self.naming.is_some(),
            has_others: self.core.habits.has_others,
        };
        self.settings = settings;
        self.step();
        self.sight.distrusted = None;
        // If the store can't be read now, its former content is used by these terms too.
        self.decide(Core::go_on);
        self.look().await;
        self.settled();
    }

    /// It goes by its terms from here on.
    pub(super) fn settled(&self) {
        self.shared.in_force.store(self.revision, Ordering::Relaxed);
        self.shared.changed.send_replace(());
    }
}
