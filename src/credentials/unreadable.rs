//! A login whose file exists and can't be read. The user hears of it within seconds, with the
//! command that helps, and again when it is over.
//!
//! The file may have been emptied, cut, or given to another user, as `sudo hermes` does. It is never
//! overwritten. If the mirror holds the whole login, that serves and is kept fresh.

use std::sync::Arc;

use super::fault_code::UNREADABLE;
use super::keeper::Keeper;
use super::notice::NoticeKind;
use super::remedy::remedy;
use super::standing::Availability;
use super::status::{LoginFault, StatusEvent, UnreadableStore};
use super::store::StoreError;

impl Keeper {
    /// The file could not be read at this look. A program that writes in place has finished by the
    /// next one, so the user is notified at the second.
    pub(super) async fn unreadable(&mut self, error: Arc<StoreError>, mirrored: bool) {
        let reason = error.to_string();
        let again = self.sight.unread.is_some();
        let at = self.sight.unread.unwrap_or_else(|| self.clock.now());
        self.sight.unread = Some(at);
        if !again {
            let provider = self.core.adapter.name().as_str();
            tracing::error!(
                provider,
                code = UNREADABLE,
                error = reason,
                mirrored,
                "a login can't be read"
            );
        }
        // Whose the file is, is asked of a file system that may hang.
        let login = self.core.adapter.remedy().command(self.is_own());
        let cause = error.cause();
        let asked = self.desk.run(move || remedy(&error, login)).await;
        let command = asked.ok().flatten();
        let told = UnreadableStore {
            at,
            reason: cause.clone(),
            command: command.clone(),
            mirrored,
        };
        self.status(|status| status.unreadable = Some(told));
        if again && !std::mem::replace(&mut self.core.told.unreadable, true) {
            self.tell(NoticeKind::Unreadable {
                reason: cause,
                command,
                mirrored,
            });
        }
        let now = self.clock.now();
        let credential = self.core.credential();
        let lives = credential.map(|credential| credential.expires_at.is_none_or(|end| end > now));
        if !mirrored && !lives.unwrap_or(false) {
            self.decide(|core, now| core.publish(Availability::Unreadable(reason.into()), now));
        }
    }

    /// The file can be read, or is gone.
    pub(super) fn readable(&mut self) {
        if self.sight.unread.take().is_none() {
            return;
        }
        self.status(|status| {
            status.unreadable = None;
            // A renewal that failed over the same file fails no more.
            let of_file = |event: &StatusEvent<LoginFault>| event.what.code == "store";
            if !status.unsaved && status.last_error.as_ref().is_some_and(of_file) {
                status.last_error = None;
            }
        });
        let told = std::mem::take(&mut self.core.told.unreadable);
        let standing = self.core.standing();
        let serves = matches!(
            standing,
            Availability::Credential(_) | Availability::Pending
        );
        if told && serves {
            self.tell(NoticeKind::Restored);
        }
    }
}
