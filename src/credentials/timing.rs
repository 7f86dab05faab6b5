//! When a keeper acts: the next renewal, the pause after a failure, the floor between rotations.
//! Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::schedule::{RotationPace, Window};
use crate::backoff::{self, Backoff};
use crate::clock;
use crate::provider::{Credential, Renewal};
use crate::secret::Secret;

/// A store that can't be locked, read or written is tried again after this time at the latest.
const STORE_AGAIN: Duration = Duration::from_secs(10);
/// A mirror that could not be written is tried again after this time.
const MIRROR_AGAIN: Duration = Duration::from_mins(1);
/// A credential just granted that was refused before it was ever taken is not replaced within
/// this time: the provider refuses for another reason, and each refresh would spend a token.
const UNPROVEN: Duration = Duration::from_secs(30);
/// How often that time doubles: up to an hour.
const LONGEST_TRIAL: u32 = 7;
/// A credential that one request was refused with twice is dead, unless it is younger than this.
pub(super) const SECONDS_OLD: Duration = Duration::from_secs(5);

/// When a keeper acts, and what that depends on.
#[derive(Debug, Default)]
pub(super) struct Timing {
    backoff: Backoff,
    /// The last attempt failed: none before this time.
    trouble: Option<DateTime<Utc>>,
    /// There were many rotations a moment ago: none before this time, if it can wait.
    floor: Option<DateTime<Utc>>,
    /// The next renewal.
    due: Option<DateTime<Utc>>,
    /// Store and mirror held different tokens at the last look; when that is to be put right.
    mirror_at: Option<DateTime<Utc>>,
    receipt: Option<Receipt>,
    /// How many tokens in a row were replaced before the provider had accepted them.
    unproven: u32,
    pace: RotationPace,
}

/// When a credential was received and when it ends by that.
#[derive(Debug, Clone)]
pub(super) struct Receipt {
    pub(super) bearer: Secret,
    pub(super) at: DateTime<Utc>,
    pub(super) expires_at: Option<DateTime<Utc>>,
}

/// What is known of a published credential.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof {
    /// When it was granted, if it was granted to this process.
    pub(super) granted_at: Option<DateTime<Utc>>,
    /// Whether the provider has taken it at least once.
    pub(super) taken: bool,
}

/// How often the provider has refused the credential to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    Once,
    /// Sent again with the same credential, it was refused again.
    Twice,
}

/// What is done about a refused credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusalAction {
    Renew,
    /// It was granted a moment ago and never taken.
    Unproven,
    /// The last attempt failed.
    Waits,
    /// There were many rotations a moment ago.
    Paced,
}

/// What an attempt failed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptFailure {
    /// The store: the user is waiting for it, and no one is asked for anything.
    Store,
    /// The token endpoint, with its wish.
    Endpoint(Option<Duration>),
    /// A panic.
    Defect,
}

impl Timing {
    /// No attempt before this time.
    pub(super) fn retry_at(&self) -> Option<DateTime<Utc>> {
        self.trouble.max(self.floor)
    }

    /// The next renewal.
    pub(super) fn due(&self) -> Option<DateTime<Utc>> {
        self.due
    }

    /// The time of the next attempt for what is due.
    pub(super) fn next(&self) -> Option<DateTime<Utc>> {
        [self.due, self.retry_at()].into_iter().flatten().max()
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, over: AttemptFailure, now: DateTime<Utc>) {
        self.trouble = Some(clock::after(now, self.delay(over)));
        // It may have rotated tokens before.
        self.floor = self.floor.max(self.pace.next(now));
    }

    /// A renewed login could not be saved: that is tried again soon, and needs no rotation.
    pub(super) fn not_saved(&mut self, now: DateTime<Utc>) {
        self.failed(AttemptFailure::Store, now);
        self.floor = None;
    }

    fn delay(&mut self, over: AttemptFailure) -> Duration {
        match over {
            AttemptFailure::Store => self.backoff.failed(None).min(STORE_AGAIN),
            AttemptFailure::Endpoint(asked) => self.backoff.failed(asked),
            AttemptFailure::Defect => self.backoff.failed(None),
        }
    }

    /// An attempt has ended, and nothing is left to write.
    pub(super) fn worked(&mut self, now: DateTime<Utc>) {
        self.backoff.succeeded();
        self.trouble = None;
        self.floor = self.pace.next(now);
    }

    /// Another program has renewed the login or made a new one. Our own rotations stay counted: it may be our own
    /// grant, found again.
    pub(super) fn others_renewed(&mut self, now: DateTime<Utc>) {
        self.worked(now);
    }

    /// Past failures do not delay a new login.
    pub(super) fn start_anew(&mut self) {
        self.backoff.succeeded();
        self.trouble = None;
        self.floor = None;
        self.receipt = None;
        self.mirror_at = None;
    }

    /// There is no login.
    pub(super) fn ended(&mut self) {
        self.due = None;
        self.trouble = None;
        self.floor = None;
    }

    /// Nothing is done for the existing login.
    pub(super) fn rest(&mut self) {
        self.due = None;
        self.mirror_at = None;
    }

    /// The mirror is to be written at `at`.
    pub(super) fn mirror_at(&mut self, at: Option<DateTime<Utc>>) {
        self.mirror_at = at;
    }

    /// The mirror could not be written.
    pub(super) fn mirror_failed(&mut self, now: DateTime<Utc>) {
        self.mirror_at = Some(clock::after(now, MIRROR_AGAIN));
    }

    /// Whether the mirror is to be written.
    pub(super) fn is_mirror_behind(&self) -> bool {
        self.mirror_at.is_some()
    }

    /// An attempt begins, which writes the mirror too.
    pub(super) fn take_mirror(&mut self) -> Option<DateTime<Utc>> {
        self.mirror_at.take()
    }

    /// The attempt did not get that far.
    pub(super) fn put_mirror_back(&mut self, at: Option<DateTime<Utc>>) {
        self.mirror_at = self.mirror_at.or(at);
    }

    /// This process was granted a credential with the bearer of `receipt`.
    pub(super) fn received(&mut self, receipt: Receipt) {
        self.receipt = Some(receipt);
    }

    /// When the credential of this bearer was granted, if it was granted to this process.
    pub(super) fn granted_at(&self, bearer: &Secret) -> Option<DateTime<Utc>> {
        let receipt = self.receipt.as_ref();
        let receipt = receipt.filter(|receipt| receipt.bearer.same(bearer))?;
        Some(receipt.at)
    }

    /// The credential with its times as its receipt has them, when it came to this process.
    pub(super) fn dated(&self, mut credential: Credential) -> Credential {
        if let Some(receipt) = &self.receipt
            && receipt.bearer.same(&credential.bearer)
        {
            credential.issued_at = Some(receipt.at);
            credential.expires_at = receipt.expires_at.or(credential.expires_at);
        }
        credential
    }

    /// Draws the next renewal of a login that has this credential. `dice` is a number from 0 to 1.
    pub(super) fn plan(
        &mut self,
        credential: Option<(&Credential, Option<Window>)>,
        renewal: Renewal,
        now: DateTime<Utc>,
        dice: f64,
    ) {
        self.due = match (renewal, credential) {
            (Renewal::Never, Some((credential, _))) => credential.expires_at,
            (Renewal::Refresh | Renewal::Mint, Some((_, window))) => {
                window.map(|window| window.draw(dice))
            }
            (_, None) => Some(now),
        };
    }

    /// It is due at once.
    pub(super) fn hurry(&mut self, now: DateTime<Utc>) {
        self.due = Some(now);
    }

    /// A refresh token was spent, and not for a person.
    pub(super) fn rotated(&mut self, now: DateTime<Utc>) {
        self.pace.rotated(now);
    }

    /// Until when the rotations so far hold up the next one.
    pub(super) fn paced(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.pace.next(now)
    }

    /// A token was replaced because it was refused: had it ever been accepted? Only the `first` grant
    /// of an attempt counts.
    pub(super) fn replaced(&mut self, proof: Proof, first: bool) {
        if proof.taken || proof.granted_at.is_none() {
            self.unproven = 0;
        } else if first {
            self.unproven = self.unproven.saturating_add(1);
        }
    }

    /// A token was replaced because it was due.
    pub(super) fn replaced_in_time(&mut self) {
        self.unproven = 0;
    }

    /// The provider refused the credential in use.
    pub(super) fn refused(&self, doubt: Doubt, proof: Proof, now: DateTime<Utc>) -> RefusalAction {
        let since = |age: Duration| {
            let granted_at = proof.granted_at;
            granted_at.is_some_and(|at| now < clock::after(at, age) && now >= at)
        };
        if is_ahead(self.trouble, now) {
            return RefusalAction::Waits;
        }
        if is_ahead(self.floor, now) && (doubt == Doubt::Once || since(SECONDS_OLD)) {
            return RefusalAction::Paced;
        }
        if !proof.taken && since(self.trial()) {
            return RefusalAction::Unproven;
        }
        RefusalAction::Renew
    }

    /// How long a token just granted is not replaced; longer after each one that was refused
    /// before it was ever taken.
    fn trial(&self) -> Duration {
        UNPROVEN.saturating_mul(2_u32.saturating_pow(self.unproven.min(LONGEST_TRIAL)))
    }

    /// Whether the next attempt is in the future.
    fn is_waiting(&self, now: DateTime<Utc>) -> bool {
        is_ahead(self.trouble, now) || is_ahead(self.floor, now)
    }

    /// Whether there is something to do now for a keeper of this `task`.
    pub(super) fn is_due(&self, task: KeeperTask, now: DateTime<Utc>) -> bool {
        let due = match task {
            KeeperTask::Save => true,
            KeeperTask::Keep => [self.due, self.mirror_at]
                .into_iter()
                .flatten()
                .any(|at| at <= now),
            KeeperTask::Wait => false,
        };
        due && !self.is_waiting(now)
    }

    /// When that will be.
    pub(super) fn wake(&self, task: KeeperTask, now: DateTime<Utc>) -> DateTime<Utc> {
        let due = match task {
            KeeperTask::Save => Some(now),
            KeeperTask::Keep => [self.due, self.mirror_at].into_iter().flatten().min(),
            KeeperTask::Wait => None,
        };
        match (due, self.retry_at()) {
            (Some(due), Some(retry)) => due.max(retry),
            (Some(due), None) => due,
            (None, _) => DateTime::<Utc>::MAX_UTC,
        }
    }
}

/// Whether this time is yet to come. A time further ahead than any backoff was set before the clock
/// was put back.
fn is_ahead(time: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    let wait = time.map(|time| clock::until(time, now)).unwrap_or_default();
    !wait.is_zero() && wait <= backoff::LONGEST
}

/// A keeper's own next work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeeperTask {
    /// A renewed login is in memory only.
    Save,
    /// What is due is renewed.
    Keep,
    /// It is asked.
    Wait,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> DateTime<Utc> {
        "2026-11-29T12:00:00Z".parse().unwrap()
    }

    fn at(seconds: u64) -> DateTime<Utc> {
        clock::after(start(), Duration::from_secs(seconds))
    }

    fn granted(seconds: u64, taken: bool) -> Proof {
        Proof {
            granted_at: Some(at(seconds)),
            taken,
        }
    }

    /// As after `rotations` at once.
    fn after_rotations(rotations: usize) -> Timing {
        let mut timing = Timing::default();
        for _ in 0..rotations {
            timing.rotated(start());
        }
        timing.worked(start());
        timing
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn a_refused_credential_is_replaced_at_once_unless_that_can_not_help() {
        use Doubt::{Once, Twice};
        let foreign = Proof {
            granted_at: None,
            taken: false,
        };
        let mut in_trouble = after_rotations(1);
        in_trouble.failed(AttemptFailure::Endpoint(None), start());
        let (calm, paced) = (after_rotations(1), after_rotations(6));
        let mut paced_in_trouble = after_rotations(6);
        paced_in_trouble.failed(
            AttemptFailure::Endpoint(Some(Duration::from_secs(20))),
            at(8),
        );
        for (what, timing, doubt, proof, now, expected) in [
            (
                "taken",
                &calm,
                Once,
                granted(0, true),
                at(0),
                RefusalAction::Renew,
            ),
            (
                "never taken",
                &calm,
                Once,
                granted(0, false),
                at(29),
                RefusalAction::Unproven,
            ),
            (
                "never taken, for long",
                &calm,
                Once,
                granted(0, false),
                at(30),
                RefusalAction::Renew,
            ),
            (
                "another program's",
                &calm,
                Once,
                foreign,
                at(0),
                RefusalAction::Renew,
            ),
            (
                "an outage",
                &in_trouble,
                Once,
                granted(0, true),
                at(0),
                RefusalAction::Waits,
            ),
            (
                "an outage",
                &in_trouble,
                Twice,
                granted(0, true),
                at(0),
                RefusalAction::Waits,
            ),
            // The refusal may be random: the same credential is tried again first.
            (
                "paced",
                &paced,
                Once,
                granted(0, true),
                at(10),
                RefusalAction::Paced,
            ),
            (
                "paced, but dead",
                &paced,
                Twice,
                granted(0, true),
                at(10),
                RefusalAction::Renew,
            ),
            (
                "paced, and an outage",
                &paced_in_trouble,
                Twice,
                granted(0, true),
                at(10),
                RefusalAction::Waits,
            ),
            (
                "paced, another program's",
                &paced,
                Twice,
                foreign,
                at(0),
                RefusalAction::Renew,
            ),
            (
                "paced, but dead at once",
                &paced,
                Twice,
                granted(6, true),
                at(10),
                RefusalAction::Paced,
            ),
            (
                "paced, never taken",
                &paced,
                Twice,
                granted(0, false),
                at(10),
                RefusalAction::Unproven,
            ),
            (
                "the pace's end",
                &paced,
                Once,
                granted(0, true),
                at(30),
                RefusalAction::Renew,
            ),
        ] {
            assert_eq!(timing.refused(doubt, proof, now), expected, "{what}");
        }
    }

    #[test]
    fn each_token_that_is_refused_before_it_was_taken_is_tried_for_twice_as_long() {
        let mut timing = after_rotations(1);
        for times in [1, 2, 4, 8, 16, 32, 64, 128, 128] {
            let trial = UNPROVEN * times;
            let proof = granted(0, false);
            let just_before = clock::before(clock::after(start(), trial), Duration::from_secs(1));
            let refused = |now| timing.refused(Doubt::Once, proof, now);
            assert_eq!(refused(just_before), RefusalAction::Unproven, "{times}");
            assert_eq!(refused(clock::after(start(), trial)), RefusalAction::Renew);
            // A clock that was put back keeps nothing from being replaced.
            assert_eq!(
                refused(clock::before(start(), UNPROVEN)),
                RefusalAction::Renew
            );
            timing.replaced(proof, true);
        }
        timing.replaced(granted(0, true), true);
        let refused = timing.refused(Doubt::Once, granted(0, false), at(30));
        assert_eq!(refused, RefusalAction::Renew);
    }

    #[test]
    fn what_is_due_waits_for_the_pause_and_not_for_one_of_before_the_clock_was_put_back() {
        let mut timing = Timing::default();
        assert!(!timing.is_due(KeeperTask::Keep, start()));
        assert_eq!(
            timing.wake(KeeperTask::Keep, start()),
            DateTime::<Utc>::MAX_UTC
        );
        timing.hurry(at(5));
        assert!(!timing.is_due(KeeperTask::Keep, at(4)) && timing.is_due(KeeperTask::Keep, at(5)));
        assert!(!timing.is_due(KeeperTask::Wait, at(5)));
        timing.failed(
            AttemptFailure::Endpoint(Some(Duration::from_mins(1))),
            at(5),
        );
        assert!(
            !timing.is_due(KeeperTask::Keep, at(64)) && !timing.is_due(KeeperTask::Save, at(64))
        );
        assert!(timing.is_due(KeeperTask::Keep, at(65)) && timing.is_due(KeeperTask::Save, at(65)));
        assert_eq!(timing.wake(KeeperTask::Keep, at(5)), at(65));
        let back = clock::before(start(), Duration::from_hours(1));
        assert!(
            timing.is_due(KeeperTask::Save, back),
            "set by another clock"
        );
        timing.failed(AttemptFailure::Store, at(100));
        assert!(
            timing.is_due(KeeperTask::Keep, at(110)),
            "the store is tried soon"
        );
        timing.ended();
        assert!(!timing.is_due(KeeperTask::Keep, at(200)));
        let mut paced = after_rotations(6);
        paced.failed(AttemptFailure::Store, at(1));
        assert_eq!(paced.retry_at(), Some(at(30)), "the floor holds");
        paced.not_saved(at(1));
        assert!(
            paced.retry_at() <= Some(at(11)),
            "what was granted is saved soon"
        );
        timing.mirror_failed(at(200));
        assert_eq!(timing.wake(KeeperTask::Keep, at(200)), at(260));
    }

    #[test]
    fn rotations_stay_paid_for_when_the_attempt_fails_or_its_grant_is_found_in_the_store() {
        let mut timing = Timing::default();
        for _ in 0..6 {
            timing.rotated(start());
        }
        timing.failed(AttemptFailure::Endpoint(None), start());
        assert_eq!(timing.retry_at(), Some(at(30)), "a failed attempt");
        timing.others_renewed(start());
        assert_eq!(timing.retry_at(), Some(at(30)), "found in the store");
        timing.start_anew();
        assert_eq!(timing.retry_at(), None, "a new login");
    }
}
