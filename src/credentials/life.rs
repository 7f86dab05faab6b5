//! A keeper's life: run to its end, and restarted after a panic, with what it held.
//!
//! A panic in one step, such as over an odd token, must cost only that step: the login is kept,
//! another one can be made, and the log, `proxy status` and `doctor` report it. A keeper that fails
//! as soon as it looks at the login treats it as missing until the files change.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::attempt::RenewalCause;
use super::fault_code::DEFECT;
use super::handle::Command;
use super::keeper::Keeper;
use super::notice::NoticeKind;
use super::standing::Availability;
use super::timing::AttemptFailure;

/// Why a login that makes the keeper fail can't be used.
const UNUSABLE: &str = "hermes-proxyd fails on this login (a defect in hermes-proxyd; see its log)";

impl Keeper {
    /// Runs until `stop`. A renewal under way is finished and persisted first.
    pub async fn run(mut self, stop: CancellationToken) {
        self.stop = stop;
        while AssertUnwindSafe(self.serve()).catch_unwind().await.is_err() {
            self.failed_by_a_defect();
        }
        if AssertUnwindSafe(self.leave()).catch_unwind().await.is_err() {
            tracing::error!("the keeper of a login failed while it stopped");
        }
        self.end();
    }

    /// Takes over the existing login, and handles events, until it is told to end.
    async fn serve(&mut self) {
        self.step();
        // A login that waits to be saved serves even while the store can't be read.
        let unsaved = self.core.knowledge.unsaved();
        if let Some(unsaved) = unsaved.filter(|_| self.sight.distrusted.is_none()) {
            let login = unsaved.login.clone();
            self.decide(|core, now| core.take(&login, now));
        }
        self.look().await;
        self.sight.looked = true;
        self.settled();
        self.keep().await;
    }

    /// The last step: a login that the user has just made is not lost to a shutdown, nor one that
    /// waits to be saved.
    async fn leave(&mut self) {
        self.commands.close();
        while let Some(command) = self.commands.recv().await {
            if matches!(command, Command::Install(..) | Command::Add(..)) {
                self.obey(command).await;
            }
        }
        self.step();
        if self.core.knowledge.unsaved().is_some() {
            self.renew(RenewalCause::default()).await.ok();
        }
    }

    fn failed_by_a_defect(&mut self) {
        let at_once = !std::mem::take(&mut self.sight.looked);
        self.core.told.hush = false;
        self.renewal_is_over();
        let message = if at_once {
            self.sight.distrusted = Some(self.sight.stamps.clone());
            format!("{UNUSABLE}; it is treated as missing until the store changes")
        } else {
            "the keeper of this login failed (a defect in hermes-proxyd; see its log); it was \
             restarted with its login"
                .to_owned()
        };
        self.decide(|core, now| {
            core.timing.failed(AttemptFailure::Defect, now);
            core.failed(DEFECT, &message, now);
        });
        if at_once {
            self.distrust();
        }
    }

    /// Whether the login is one that this keeper fails over, unchanged.
    pub(super) fn is_distrusted(&mut self) -> bool {
        let same = |stamps: &Vec<_>| *stamps == self.sight.stamps;
        if self.sight.distrusted.as_ref().is_some_and(same) {
            return true;
        }
        if self.sight.distrusted.take().is_some() {
            self.status(|status| status.last_error = None);
        }
        false
    }

    /// There is no login, as far as requests go. Nothing that is known of it is forgotten.
    pub(super) fn distrust(&mut self) {
        self.decide(|core, now| {
            core.timing.rest();
            if !std::mem::replace(&mut core.told.end, true) {
                let (reason, remedy) = (UNUSABLE.to_owned(), core.adapter.remedy());
                core.tell(NoticeKind::Ended { reason, remedy });
            }
            core.publish(Availability::LoginNeeded(UNUSABLE.into()), now);
        });
    }
}
