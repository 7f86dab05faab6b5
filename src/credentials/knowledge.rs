//! What is known of a provider's login, and how each event changes it. Pure.
//!
//! The store may know less than we do: that a token was sent, that its successor is not on disk, that
//! a token was spent long ago. Losing one of these facts loses the login, so they change in
//! [`Knowledge::on`] alone.

mod answers;
mod event;
mod renewed;
mod state;

use std::time::Duration;

use chrono::{DateTime, Utc};

pub(super) use self::event::{LoginEvent, LoginFile};
pub(super) use self::renewed::Renewed;
pub(super) use self::state::LoginState;
use self::state::Unsaved;
use super::grant;
use super::journal::Chore;
use super::refresh_token::same;
use super::spent_tokens::{Claim, Spent};
use crate::clock;
use crate::provider::Login;
use crate::secret::Secret;

/// So many removals from the journal wait while its folder hangs.
const CHORES: usize = 64;

/// What is known of a login.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    state: LoginState,
    seat: Option<LoginFile>,
    /// The last login that was granted to this process or adopted, saved or not, and what it replaced.
    latest: Option<Renewed>,
    /// The login that was taken last.
    taken: Option<RotationMark>,
    since: Option<LoggedInSince>,
    /// What of the journal is not needed any more.
    chores: Vec<Chore>,
    /// All refresh tokens of the provider that are known to be spent, over restarts too.
    spent: Spent,
    /// The tokens that are being spent.
    claims: Vec<Claim>,
}

/// The mark that distinguishes a rotation of a login from another login.
#[derive(Debug)]
struct RotationMark {
    token: Option<Secret>,
    /// The pool's row that holds it.
    row: Option<String>,
    /// The note of the login's age, and when its tokens were obtained.
    lineage: Option<DateTime<Utc>>,
    obtained_at: Option<DateTime<Utc>>,
    /// Its user, if it has no note of its age.
    subject: Option<String>,
}

/// When the user logged in, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LoggedInSince {
    pub(super) at: DateTime<Utc>,
    /// Whether the store says so.
    pub(super) noted: bool,
}

impl Knowledge {
    /// Takes note of what has happened.
    pub(super) fn on(&mut self, event: LoginEvent<'_>) {
        let waited = self.unsaved().is_some();
        self.note(event);
        if waited {
            self.release();
        }
    }

    /// Forgets a renewed login beside the journal, unless it waits for its row.
    fn forget_replaced(&mut self, state: &LoginState) {
        let waits =
            matches!(state, LoginState::Unsaved(unsaved) if unsaved.renewed.login.row().is_some());
        if !waits {
            self.forget_own_kept(state);
        }
    }

    fn note(&mut self, event: LoginEvent<'_>) {
        // Kept until the next one exists: a panic over an odd login must not lose it.
        let state = self.state.clone();
        self.state = match event {
            LoginEvent::Found(seat) => self.found(seat, state),
            LoginEvent::Entered(begun) => {
                if let Some(seat) = &mut self.seat {
                    seat.entered = true;
                }
                state.with_begun(begun)
            }
            LoginEvent::NoLogin(why) => self.ended(state, why),
            LoginEvent::Elsewhere(why) => state.elsewhere(why),
            LoginEvent::Taken { login, now, life } => {
                self.note_age(login, now, life);
                self.note_adoption(login);
                match state {
                    LoginState::None | LoginState::Ended(_) => LoginState::Held,
                    state
                    @ (LoginState::Held | LoginState::Suspect(_) | LoginState::Unsaved(_)) => state,
                }
            }
            LoginEvent::Begun(entry) => {
                let journal = self.journal().cloned();
                self.chores
                    .retain(|chore| journal.as_ref().is_none_or(|journal| !chore.ends(journal)));
                state.with_begun(Some(entry))
            }
            LoginEvent::Settled => self.settled(&state),
            LoginEvent::Overtaken { obtained_at } => self.overtaken(&state, obtained_at),
            LoginEvent::Reused(tokens) => {
                let marks = tokens.iter().map(Secret::fingerprint);
                marks.for_each(|mark| self.spent.note(&mark));
                state
            }
            LoginEvent::Granted { login, spent } => self.granted(&state, login, spent),
            LoginEvent::Saved | LoginEvent::Superseded => {
                if let LoginState::Unsaved(unsaved) = &state {
                    self.note_spent(&unsaved.renewed);
                    // What is beside the journal now may be another process's.
                    self.forget_kept(Some(unsaved.renewed.tokens()));
                }
                state.without_unsaved()
            }
            LoginEvent::ToldUnsaved => match state {
                LoginState::Unsaved(unsaved) => LoginState::Unsaved(Unsaved {
                    told: true,
                    ..unsaved
                }),
                state @ (LoginState::None
                | LoginState::Held
                | LoginState::Suspect(_)
                | LoginState::Ended(_)) => state,
            },
            LoginEvent::PutBack => self.put_back(state),
            LoginEvent::Refused => {
                self.latest = None;
                state
            }
            LoginEvent::Forgotten => {
                self.forget_kept(None);
                self.forgotten(state)
            }
            LoginEvent::Replaced => {
                self.forget_replaced(&state);
                self.forgotten(state)
            }
            LoginEvent::KeptBeside => {
                let journal = self.journal().cloned();
                self.chores.retain(|chore| {
                    journal
                        .as_ref()
                        .is_none_or(|journal| !chore.forgets(journal))
                });
                state
            }
            LoginEvent::Tidied => {
                // An entry stays until its token is in the ledger.
                let spent = &self.spent;
                self.chores.retain(|chore| chore.waits_for(spent));
                state
            }
        };
    }

    /// Knowledge of a login in another file is of no use here; what could not be saved of it is
    /// beside its journal, and is passed in when that is read.
    fn found(&mut self, seat: LoginFile, state: LoginState) -> LoginState {
        let former = self.seat.as_ref();
        if former.is_some_and(|former| former.file == seat.file && former.entered) {
            return state;
        }
        let moved = former.is_some_and(|former| former.file != seat.file);
        self.seat = Some(seat);
        if moved {
            if let LoginState::Unsaved(unsaved) = &state {
                self.note_spent(&unsaved.renewed);
            }
            (self.latest, self.taken, self.since) = (None, None, None);
            return LoginState::Held;
        }
        state.with_begun(None)
    }

    fn overtaken(&mut self, state: &LoginState, obtained_at: Option<DateTime<Utc>>) -> LoginState {
        // A backup's is older, and the token may be good.
        let begun = state.begun();
        if let Some(begun) = begun.filter(|begun| obtained_at > Some(begun.started_at)) {
            self.spent.note(&begun.token);
        }
        self.settled(state)
    }

    fn settled(&mut self, state: &LoginState) -> LoginState {
        if let (Some(begun), Some(journal)) = (state.begun(), self.journal()) {
            self.leave_for_later(Chore::End(journal.clone(), begun.clone()));
        }
        state.clone().with_begun(None)
    }

    fn forgotten(&mut self, state: LoginState) -> LoginState {
        if let LoginState::Unsaved(unsaved) = &state {
            self.note_spent(&unsaved.renewed);
        }
        self.state = state;
        self.on(LoginEvent::Settled);
        (self.latest, self.taken, self.since) = (None, None, None);
        std::mem::take(&mut self.state).without_unsaved()
    }

    fn ended(&mut self, state: LoginState, why: Option<&str>) -> LoginState {
        // A row that is gone may come back with its spent token, from an editor or another program's memory.
        let may_come_back = matches!(
            &state,
            LoginState::Unsaved(unsaved) if why.is_none() && unsaved.renewed.login.row().is_some()
        );
        if !may_come_back {
            self.forget_own_kept(&state);
        }
        self.since = None;
        if let LoginState::Unsaved(unsaved) = &state {
            self.note_spent(&unsaved.renewed);
        }
        match (state.without_unsaved(), why) {
            (_, None) => {
                self.seat = None;
                LoginState::None
            }
            // Its token may be spent, whether or not it can be used.
            (suspect @ LoginState::Suspect(_), Some(_)) => suspect,
            (_, Some(why)) => LoginState::Ended(why.into()),
        }
    }

    fn granted(
        &mut self,
        state: &LoginState,
        login: Login,
        spent: [Option<Secret>; 2],
    ) -> LoginState {
        if let Some(token) = login.refresh_token() {
            self.spent.forget(&token);
        }
        let renewed = Renewed::new(login, spent, self.latest.take());
        self.latest = Some(renewed.clone());
        let told = matches!(state, LoginState::Unsaved(unsaved) if unsaved.told);
        LoginState::Unsaved(Unsaved {
            renewed,
            begun: state.begun().cloned(),
            told,
        })
    }

    /// The token that this login has replaced is spent, whatever happens to the login.
    fn note_spent(&self, renewed: &Renewed) {
        for token in renewed.spent.iter().flatten() {
            self.spent.note(&token.fingerprint());
        }
    }

    fn put_back(&self, state: LoginState) -> LoginState {
        match &self.latest {
            Some(latest) => LoginState::Unsaved(Unsaved {
                renewed: latest.clone(),
                begun: state.begun().cloned(),
                told: false,
            }),
            None => state,
        }
    }

    /// Another program has rotated the login that we held: our token is spent. With a different note of its
    /// age it is another login, and the former one may still be good. If neither has a note, as in rows of
    /// the pool, it is the same login if it is the same user's.
    fn note_adoption(&mut self, login: &Login) {
        let token = login.refresh_token();
        let lineage = grant::login_at(login);
        let known = self.latest.as_ref().map(|latest| &latest.login);
        let ours = known.is_some_and(|known| same(known.refresh_token().as_ref(), token.as_ref()));
        let obtained_at = login.tokens().obtained;
        let before = self.taken.replace(RotationMark {
            token: token.clone(),
            row: login.row().map(str::to_owned),
            lineage,
            obtained_at,
            subject: lineage.is_none().then(|| login.subject()).flatten(),
        });
        let Some(before) = before.filter(|_| !ours) else {
            return;
        };
        let other = !same(before.token.as_ref(), token.as_ref());
        let rotated = other && token.is_some() && !self.was_spent(token.as_ref());
        let subject = self.taken.as_ref().and_then(|taken| taken.subject.as_ref());
        // Two places may hold separate logins of one user.
        let same_place = login.row() == before.row.as_deref() && lineage == before.lineage;
        let same_login =
            lineage.is_some() || subject.is_some() && subject == before.subject.as_ref();
        // A backup has the same note, and an older time.
        let is_newer = obtained_at > before.obtained_at;
        let spent = before.token.as_ref();
        let was_spent = spent.is_some_and(|token| self.spent.holds(token));
        if rotated && same_place && (was_spent || same_login && is_newer) {
            let latest = Renewed::new(login.clone(), [before.token, None], self.latest.take());
            self.note_spent(&latest);
            self.latest = Some(latest);
        }
    }

    /// A login's age: by the store's note, otherwise since it was first seen. A block that has lost
    /// its note is a new login of Hermes Agent's.
    fn note_age(&mut self, login: &Login, now: DateTime<Utc>, life: Duration) {
        if let Some(at) = grant::login_at(login) {
            self.since = Some(LoggedInSince { at, noted: true });
            return;
        }
        // A time that would have ended the grant long ago is ignored.
        let told = login
            .tokens()
            .obtained
            .filter(|at| clock::after(*at, life) > now);
        let seen = told.map_or(now, |at| at.min(now));
        let at = match self.since {
            Some(since) if !since.noted => since.at.min(seen),
            Some(_) | None => seen,
        };
        self.since = Some(LoggedInSince { at, noted: false });
    }

    /// The mirror has no note of its login's age. While the store can't be read, it is the login
    /// that we knew.
    pub(super) fn keep_age(&self, login: &mut Login) {
        if let Some(since) = self.since
            && since.noted
            && grant::login_at(login).is_none()
        {
            grant::note_login_at(login, since.at);
        }
    }

    /// Removes what is kept beside the journal of the login in use. There may be another login's, such as
    /// another row's, that no process has saved yet.
    fn forget_own_kept(&mut self, state: &LoginState) {
        let unsaved = match state {
            LoginState::Unsaved(unsaved) => Some(&unsaved.renewed),
            LoginState::None | LoginState::Held | LoginState::Suspect(_) | LoginState::Ended(_) => {
                None
            }
        };
        let known = unsaved.into_iter().chain(&self.latest);
        let taken = self.taken.as_ref().and_then(|taken| taken.token.as_ref());
        let taken = taken.map(Secret::fingerprint);
        let tokens: Vec<_> = known.flat_map(Renewed::tokens).chain(taken).collect();
        if !tokens.is_empty() {
            self.forget_kept(Some(tokens));
        }
    }

    fn forget_kept(&mut self, tokens: Option<Vec<String>>) {
        if let Some(journal) = self.journal() {
            self.leave_for_later(Chore::Forget(journal.clone(), tokens));
        }
    }

    fn leave_for_later(&mut self, chore: Chore) {
        if !self.chores.contains(&chore) {
            self.chores.truncate(CHORES);
            self.chores.push(chore);
        }
    }

    /// From now on, spent tokens are known from here too.
    pub(super) fn know_spent(&mut self, spent: Spent) {
        self.spent = spent;
    }
}

/// The permission to send a refresh token: the journal has it, or it waits for a login that is
/// spent anyway.
#[derive(Debug)]
pub(super) struct Noted(());

impl Knowledge {
    /// Takes the sole right to send this login's refresh token; whether no other keeper has it.
    pub(super) fn claim(&mut self, login: &Login) -> bool {
        let Some(token) = login.refresh_token() else {
            return true;
        };
        if !self.claims.iter().any(|claim| claim.is_of(&token)) {
            self.claims.extend(self.spent.claim(&token));
        }
        self.claims.iter().any(|claim| claim.is_of(&token))
    }

    /// Nothing is being sent. What was granted for a token is known to others once it is saved.
    pub(super) fn release(&mut self) {
        if self.unsaved().is_none() {
            self.claims.clear();
        }
    }

    /// Whether this login's refresh token may be sent: only once it is recorded that it may be spent, and not once it
    /// is known to be spent.
    pub(super) fn noted(&self, login: &Login) -> Option<Noted> {
        if self.unsaved().is_none() && self.was_spent(login.refresh_token().as_ref()) {
            return None;
        }
        let no_token = login.refresh_token().is_none();
        // While a renewed login waits to be saved, the entry is about the token in the store.
        let waits = self.unsaved().is_some() && self.begun().is_some();
        (no_token || waits || self.is_suspect(login)).then_some(Noted(()))
    }
}

#[cfg(test)]
mod tests;
