//! The keeper's decisions: what is known of the login, when to act, and what was published and
//! announced. Pure: events come in; snapshots for requests and notices for the user go out.
//!
//! A renewal is a series of steps, in `attempt`.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::attempt::{RenewalAttempt, RenewalFailure};
use super::fault_code;
use super::grant;
use super::journal::{JournalEntry, UnsavedLogin};
use super::keeper_settings::Initiative;
use super::knowledge::{Knowledge, LoginEvent};
use super::no_login::{NO_LOGIN, NoLogin};
use super::notice::NoticeKind;
use super::schedule::Window;
use super::standing::Availability;
use super::status::{
    AvailabilityKind, KeeperStatus, LoginFault, RenewalResult, StatusEvent, StoredLogin,
};
use super::store::{StoreContents, StoreError};
use super::timing::{AttemptFailure, KeeperTask, Timing};
use crate::clock;
use crate::provider::{Adapter, Assessment, Credential, Login, Merge, Remedy, Renewal};
use crate::secret::Secret;

/// What a keeper knows and decides with.
#[derive(Debug)]
pub(super) struct Core {
    /// What the provider's logins mean. Only the shell asks its network.
    pub(super) adapter: Arc<dyn Adapter>,
    pub(super) habits: KeeperOptions,
    pub(super) knowledge: Knowledge,
    pub(super) timing: Timing,
    pub(super) told: LastNotice,
    pub(super) status: KeeperStatus,
    /// What was published last.
    standing: Availability,
    stored: bool,
    /// The login behind the credential that is published.
    pub(super) taken: Option<Arc<Login>>,
    /// Nothing renews the credential that is published: its end is the login's.
    is_final: bool,
    /// The renewal under way.
    pub(super) attempt: Option<RenewalAttempt>,
    effects: Vec<Effect>,
}

/// How a keeper was set up.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeeperOptions {
    /// About how long before its end a credential is renewed.
    pub(super) lead: Duration,
    pub(super) initiative: Initiative,
    /// Nothing asks for the provider, so its missing login is not a problem.
    pub(super) optional: bool,
    /// The provider has other logins, so this missing one is not a problem either.
    pub(super) has_others: bool,
}

/// What others are to learn.
#[derive(Debug)]
pub(super) enum Effect {
    /// Requests go by this from now on.
    Publish(Publication),
    /// The user is notified.
    Tell(NoticeKind),
}

/// What requests go by.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) standing: Availability,
    /// No attempt before this time.
    pub(super) retry_at: Option<DateTime<Utc>>,
    /// When the credential was granted, if it was granted to this process.
    pub(super) granted_at: Option<DateTime<Utc>>,
    /// The login behind the credential, if it is in a store.
    pub(super) login: Option<Arc<Login>>,
}

/// Why a login whose refresh token is spent is not renewed.
const SPENT: &str = "the stored login is an older copy: its refresh token was used before, and using it again would make \
                     the provider revoke the login everywhere";

/// The last notice to the user, so that each is sent once.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is about another notice"
)]
pub(super) struct LastNotice {
    /// That a login is needed.
    pub(super) end: bool,
    /// That a login can't be read.
    pub(super) unreadable: bool,
    /// That a login can't be renewed on this machine.
    pub(super) hindered: bool,
    /// Nothing, because it is about what the user has just asked for.
    pub(super) hush: bool,
    /// So many of the warnings about the grant's end at this time.
    warned: Option<(DateTime<Utc>, usize)>,
}

impl Core {
    /// `stored` if the login is in a store.
    pub(super) fn new(adapter: Arc<dyn Adapter>, habits: KeeperOptions, stored: bool) -> Self {
        Self {
            adapter,
            habits,
            stored,
            taken: None,
            is_final: false,
            knowledge: Knowledge::default(),
            timing: Timing::default(),
            told: LastNotice::default(),
            status: KeeperStatus::starting(),
            standing: Availability::Starting,
            attempt: None,
            effects: Vec::new(),
        }
    }

    /// What others are to learn, in this order.
    pub(super) fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// What was published last.
    pub(super) fn standing(&self) -> &Availability {
        &self.standing
    }

    /// The bearer in use.
    pub(super) fn bearer(&self) -> Option<Secret> {
        Some(self.credential()?.bearer.clone())
    }

    /// The credential in use.
    pub(super) fn credential(&self) -> Option<&Credential> {
        match &self.standing {
            Availability::Credential(credential) => Some(credential),
            Availability::Starting
            | Availability::Pending
            | Availability::LoginNeeded(_)
            | Availability::Unreadable(_) => None,
        }
    }

    pub(super) fn why_no_login(&self) -> Option<String> {
        match &self.standing {
            Availability::LoginNeeded(reason) => Some(reason.to_string()),
            Availability::Starting
            | Availability::Credential(_)
            | Availability::Pending
            | Availability::Unreadable(_) => None,
        }
    }

    /// What it does without being asked.
    pub(super) fn task(&self) -> KeeperTask {
        match self.habits.initiative {
            _ if self.knowledge.unsaved().is_some() => KeeperTask::Save,
            Initiative::Keeps => KeeperTask::Keep,
            Initiative::Waits => KeeperTask::Wait,
        }
    }

    /// The journal was read, or why it could not be: then it is unknown which token may be spent.
    pub(super) fn entered(
        &mut self,
        read: Result<Option<JournalEntry>, StoreError>,
    ) -> Option<StoreError> {
        match read {
            Ok(begun) => {
                self.knowledge.on(LoginEvent::Entered(begun));
                None
            }
            Err(error) => Some(error),
        }
    }

    /// No file holds a login, for this `reason`; `missing` if there is no file at all, as far as is
    /// known.
    pub(super) fn found_none(&mut self, missing: bool, reason: &str, now: DateTime<Utc>) {
        match self.knowledge.unsaved() {
            // A store that is gone, or can't be inspected, is not a logout.
            Some(unsaved) if missing => {
                let login = unsaved.login.clone();
                self.take(&login, now);
            }
            Some(_) | None => self.no_login(NoLogin::Gone(reason), now),
        }
    }

    /// A look without a lock has found a login, whose journal is read. `kept` is the renewed login beside the
    /// journal.
    pub(super) fn found(
        &mut self,
        found: &StoreContents,
        kept: Option<UnsavedLogin>,
        now: DateTime<Utc>,
    ) {
        let mut login = found.login.clone();
        // What was granted for the stored token is written at once, before another program sends
        // the spent one again.
        let token = login.refresh_token();
        let succeeds = |kept: UnsavedLogin| token.is_some_and(|token| kept.succeeds(&token));
        let kept = self.knowledge.unsaved().is_none() && kept.is_some_and(succeeds);
        self.notice_put_back(&login);
        self.settle_if_gone(&login);
        if let Some(unsaved) = self.knowledge.unsaved() {
            if unsaved.still_stands(&login) || found.broken.is_some() {
                let login = unsaved.login.clone();
                return self.take(&login, now);
            }
            self.knowledge.on(LoginEvent::Superseded);
            self.settle_if_gone(&login);
        }
        // The program that renewed it was cut off between the two files, or could not write one.
        let merge = self.knowledge.merge(&mut login, found, now);
        let torn =
            matches!(merge, Merge::Taken | Merge::MirrorBehind) && !self.knowledge.is_stale(&login);
        self.timing.mirror_at((torn || kept).then_some(now));
        if kept && self.knowledge.is_stale(&login) {
            // The newer one is brought in at once: nothing has ended.
            return self.publish(Availability::Pending, now);
        }
        self.take(&login, now);
    }

    /// The store was put back to an older version, such as a backup: its token is spent, and
    /// sending it again would end the login. What was granted for it is written again.
    pub(super) fn notice_put_back(&mut self, stored: &Login) {
        if self.knowledge.is_put_back(stored) {
            let provider = self.adapter.name().as_str();
            tracing::warn!(
                provider,
                "the store was set back to a spent login; the newer one is written again"
            );
            self.knowledge.on(LoginEvent::PutBack);
        }
    }

    /// The token of which a refresh was begun is not this login's any more.
    pub(super) fn settle_if_gone(&mut self, login: &Login) {
        let unsaved = self.knowledge.unsaved().is_some();
        if !unsaved && self.knowledge.begun().is_some() && !self.knowledge.is_suspect(login) {
            let obtained_at = login.tokens().obtained;
            self.knowledge.on(LoginEvent::Overtaken { obtained_at });
        }
    }

    /// Takes over a login: publishes its credential and plans the next renewal.
    pub(super) fn take(&mut self, login: &Login, now: DateTime<Utc>) {
        match self.adapter.assess(login, now) {
            // Its tokens are valid at their issuer, and the settings may be restored.
            Assessment::NoLogin { reason } if login.tokens().any() => {
                self.no_login(NoLogin::Elsewhere(&reason), now);
            }
            Assessment::NoLogin { reason } => self.no_login(NoLogin::Unusable(&reason), now),
            Assessment::Login {
                credential,
                renewal,
            } => {
                self.taken = self.stored.then(|| Arc::new(login.clone()));
                let life = self.adapter.grant_lifetime().unwrap_or_default();
                self.knowledge.on(LoginEvent::Taken { login, now, life });
                let credential = credential.map(|credential| self.timing.dated(credential));
                let renewal = self.possible(renewal, login);
                self.publish_login(credential, renewal, self.knowledge.is_stale(login), now);
                if self.knowledge.is_suspect(login) && renewal != Renewal::Never {
                    // While a grace time lasts, the provider gives the lost answer again.
                    self.timing.hurry(now);
                }
            }
        }
    }

    /// How a login can be renewed: a spent refresh token is not sent.
    pub(super) fn possible(&self, renewal: Renewal, login: &Login) -> Renewal {
        match renewal {
            Renewal::Refresh if self.knowledge.is_stale(login) => Renewal::Never,
            Renewal::Refresh | Renewal::Mint | Renewal::Never => renewal,
        }
    }

    /// Why the login in use can't be renewed, if its refresh token is spent.
    pub(super) fn why_stale(&self) -> Option<&'static str> {
        let taken = self.taken.as_ref();
        taken
            .is_some_and(|login| self.knowledge.is_stale(login))
            .then_some(SPENT)
    }

    /// Whether the login in use has nothing that renews it.
    pub(super) fn is_final(&self) -> bool {
        self.is_final
    }

    /// When this credential is to be renewed; `None` never.
    pub(super) fn window(&self, credential: &Credential) -> Option<Window> {
        let expires = credential.expires_at?;
        let lead = self.adapter.lead(credential, self.habits.lead);
        Some(Window::new(credential.issued_at, expires, lead))
    }

    fn publish_login(
        &mut self,
        credential: Option<Credential>,
        renewal: Renewal,
        is_stale: bool,
        now: DateTime<Utc>,
    ) {
        let planned = credential
            .as_ref()
            .map(|credential| (credential, self.window(credential)));
        self.timing.plan(planned, renewal, now, fastrand::f64());
        self.is_final = renewal == Renewal::Never;
        let expired = credential
            .as_ref()
            .is_none_or(|c| c.expires_at.is_some_and(|end| end <= now));
        if renewal == Renewal::Never && expired {
            let reason = "the token has expired and the login can't be refreshed";
            return self.no_login(
                if is_stale {
                    NoLogin::Stale(SPENT)
                } else {
                    NoLogin::Unusable(reason)
                },
                now,
            );
        }
        if is_stale {
            self.note_stale(now);
        }
        match credential {
            Some(credential) => self.publish(Availability::Credential(Arc::new(credential)), now),
            None => self.publish(Availability::Pending, now),
        }
    }

    /// A login serves while its access token lives, and is not renewed.
    fn note_stale(&mut self, now: DateTime<Utc>) {
        let known = self.status.last_error.as_ref();
        if known.is_some_and(|error| error.what.code == fault_code::STALE) {
            return;
        }
        let command = self.adapter.remedy().command(self.knowledge.is_own());
        let command =
            command.map_or_else(String::new, |command| format!("; run `{command} --force`"));
        self.failed(fault_code::STALE, &format!("{SPENT}{command}"), now);
    }

    /// There is no login, or one that can't be used.
    pub(super) fn no_login(&mut self, why: NoLogin<'_>, now: DateTime<Utc>) {
        self.timing.ended();
        let reason = match why {
            NoLogin::Gone(reason) => {
                self.knowledge.on(LoginEvent::NoLogin(None));
                reason
            }
            NoLogin::Unusable(reason) => {
                self.knowledge.on(LoginEvent::NoLogin(Some(reason)));
                reason
            }
            NoLogin::Elsewhere(reason) | NoLogin::Stale(reason) => {
                self.knowledge.on(LoginEvent::Elsewhere(reason));
                reason
            }
        };
        let old = self.standing.clone();
        // The store does not record why a login ended.
        let known = matches!(&old, Availability::LoginNeeded(known) if known.starts_with(reason));
        if known {
            return self.publish(old, now);
        }
        let first = matches!(old, Availability::Starting) && reason.starts_with(NO_LOGIN);
        if reason != NO_LOGIN {
            self.note("login_needed", reason.to_owned(), now);
        }
        let is_missed = !(self.habits.has_others && matches!(why, NoLogin::Gone(_)));
        if first && self.habits.optional || !is_missed {
            return self.publish(Availability::LoginNeeded(reason.into()), now);
        }
        if !self.told.end {
            if first {
                let provider = self.adapter.name().as_str();
                let command = self.adapter.remedy().command(false);
                tracing::error!(provider, reason, command, "a login is needed");
            } else {
                let (reason, remedy) = (reason.to_owned(), self.adapter.remedy());
                self.tell(NoticeKind::Ended { reason, remedy });
            }
        }
        self.told.end = true;
        if let Remedy::Advice(advice) = self.adapter.remedy() {
            // No command reports it, so `proxy status` does.
            self.note("key_missing", format!("{reason}; {advice}"), now);
        }
        self.publish(Availability::LoginNeeded(reason.into()), now);
    }

    /// Publishes to requests what there is for them.
    pub(super) fn publish(&mut self, standing: Availability, now: DateTime<Utc>) {
        if !matches!(standing, Availability::Credential(_)) {
            self.taken = None;
        }
        let granted_at = match &standing {
            Availability::Credential(credential) => self.timing.granted_at(&credential.bearer),
            Availability::Starting
            | Availability::Pending
            | Availability::LoginNeeded(_)
            | Availability::Unreadable(_) => None,
        };
        if self.told.end && matches!(standing, Availability::Credential(_)) {
            self.told.end = false;
            if let Remedy::Advice(_) = self.adapter.remedy() {
                self.status.last_error = None;
            }
            self.tell(NoticeKind::Restored);
        }
        self.standing = standing.clone();
        self.describe(now);
        self.effects.push(Effect::Publish(Publication {
            standing,
            retry_at: self.timing.retry_at(),
            granted_at,
            login: self.taken.clone(),
        }));
    }

    /// Publishes the same once more, with when the next attempt is made.
    pub(super) fn publish_again(&mut self, now: DateTime<Utc>) {
        self.publish(self.standing.clone(), now);
    }

    fn describe(&mut self, now: DateTime<Utc>) {
        let kind = match &self.standing {
            Availability::Starting => AvailabilityKind::Starting,
            Availability::Credential(_) => AvailabilityKind::Ready,
            Availability::Pending => AvailabilityKind::Expired,
            Availability::LoginNeeded(_) => AvailabilityKind::LoginNeeded,
            Availability::Unreadable(_) => AvailabilityKind::Unreadable,
        };
        let credential = self.credential().cloned();
        let next = self.timing.next();
        self.status.standing = kind;
        self.status.base_url = credential.as_ref().map(|known| known.base_url.to_string());
        self.status.kind = credential.as_ref().map(|known| known.kind);
        self.status.expires_at = credential.and_then(|known| known.expires_at);
        let renews = kind != AvailabilityKind::LoginNeeded && !self.is_final;
        self.status.next_renewal = next.filter(|_| renews);
        self.status.unsaved = self.knowledge.unsaved().is_some();
        self.describe_login(now);
    }

    fn describe_login(&mut self, now: DateTime<Utc>) {
        let ends_at = self.ends_at();
        self.status.login = self.knowledge.seat().map(|seat| StoredLogin {
            store: seat.file.clone(),
            own: seat.own,
            since: self.knowledge.since().map(|since| since.at),
            ends_at,
            ends_soon: ends_at.is_some_and(|end| grant::warnings_due(end, now) > 0),
        });
        self.status.may_be_spent = self.knowledge.begun().is_some();
    }

    fn ends_at(&self) -> Option<DateTime<Utc>> {
        let since = self.knowledge.since();
        let grant = since.zip(self.adapter.grant_lifetime());
        let grant = grant.map(|(since, life)| clock::after(since.at, life));
        let token = self.credential().filter(|_| self.is_final);
        let token = token.and_then(|token| token.expires_at);
        [grant, token].into_iter().flatten().min()
    }

    /// Warns of the grant's end, once for each of the times before it.
    pub(super) fn warn_of_the_end(&mut self, now: DateTime<Utc>) {
        let Some(ends_at) = self.ends_at() else {
            return;
        };
        let due = grant::warnings_due(ends_at, now);
        let given = self
            .told
            .warned
            .filter(|(of, _)| *of == ends_at)
            .map_or(0, |(_, given)| given);
        if due > given {
            self.told.warned = Some((ends_at, due));
            self.tell(NoticeKind::EndsSoon { ends_at });
            self.describe_login(now);
        }
    }

    /// Tells the user.
    pub(super) fn tell(&mut self, what: NoticeKind) {
        if !self.told.hush {
            self.effects.push(Effect::Tell(what));
        }
    }

    /// Notes what went wrong, for the log and `proxy status`.
    pub(super) fn failed(&mut self, code: &'static str, message: &str, now: DateTime<Utc>) {
        let provider = self.adapter.name().as_str();
        tracing::error!(
            provider,
            code,
            error = message,
            "a login can't be kept fresh right now"
        );
        self.note(code, message.to_owned(), now);
    }

    /// Notes what went wrong, for `proxy status` alone.
    fn note(&mut self, code: &'static str, message: String, now: DateTime<Utc>) {
        let what = LoginFault { code, message };
        self.status.last_error = Some(StatusEvent { at: now, what });
    }

    /// By other terms: what failed by the former ones may work by these; the floor between rotations stays.
    pub(super) fn go_on(&mut self, now: DateTime<Utc>) {
        self.timing.worked(now);
        let ended = matches!(self.standing, Availability::LoginNeeded(_));
        if !ended && self.knowledge.unsaved().is_none() && self.why_stale().is_none() {
            self.status.last_error = None;
        }
        if let Some(login) = self.taken.clone() {
            self.take(&login, now);
        }
    }

    /// Another program's login or rotation ends our own failures.
    pub(super) fn others_renewed(&mut self, now: DateTime<Utc>) {
        self.timing.others_renewed(now);
        if matches!(self.standing, Availability::Credential(_)) {
            self.status.renewal_ended(RenewalResult::Adopted, now);
            if self.why_stale().is_none() {
                self.status.last_error = None;
            }
            self.publish_again(now);
        }
    }

    /// A renewal came to its end.
    pub(super) fn finished(&mut self, result: Option<RenewalResult>, now: DateTime<Utc>) {
        if let Some(what) = result {
            self.status.renewal_ended(what, now);
        }
        let mirrored = !self.timing.is_mirror_behind();
        let ended = self.status.standing == AvailabilityKind::LoginNeeded;
        if !self.status.unsaved && mirrored && !ended && self.why_stale().is_none() {
            self.status.last_error = None;
        }
        if result == Some(RenewalResult::Refreshed)
            && let Some(next) = self.timing.paced(now)
        {
            let next = next.format("%H:%M:%S UTC");
            let message = format!(
                "the provider's tokens expire too soon, or it refuses them at random: no \
                 renewal before {next}"
            );
            self.failed("renewals_paced", &message, now);
        }
    }

    /// A renewal came to nothing for now.
    pub(super) fn troubled(&mut self, trouble: &RenewalFailure, now: DateTime<Utc>) {
        let (code, over) = match trouble {
            RenewalFailure::Store(_) | RenewalFailure::Unreadable(_) | RenewalFailure::Gone => {
                ("store", AttemptFailure::Store)
            }
            RenewalFailure::Endpoint { retry_after, .. }
            | RenewalFailure::AnswerLost { retry_after, .. } => {
                ("token_endpoint", AttemptFailure::Endpoint(*retry_after))
            }
            RenewalFailure::Claimed => ("token_in_use", AttemptFailure::Store),
            RenewalFailure::Defect => (fault_code::DEFECT, AttemptFailure::Defect),
        };
        self.timing.failed(over, now);
        self.failed(code, &trouble.to_string(), now);
        self.status.renewal_ended(RenewalResult::Failed, now);
        self.publish_again(now);
    }

    /// The logins of this file were taken out.
    pub(super) fn forget_login(&mut self) {
        self.knowledge.on(LoginEvent::Forgotten);
    }

    /// Nothing that was known of the login in this file holds for the next one.
    pub(super) fn replaced_login(&mut self) {
        self.knowledge.on(LoginEvent::Replaced);
    }

    /// Past failures do not delay a new login.
    pub(super) fn start_anew(&mut self) {
        self.timing.start_anew();
        self.status.last_error = None;
    }
}

#[cfg(test)]
mod tests;
