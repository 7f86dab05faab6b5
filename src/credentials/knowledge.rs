//! What is known of a provider's login, and how each event changes it. Pure.
//!
//! The store may know less than we do: that a token was sent, that its successor is not on disk, that
//! a token was spent long ago. Losing one of these facts loses the login, so they change in
//! [`Knowledge::on`] alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::grant;
use super::journal::{Chore, JournalEntry, RefreshJournal, UnsavedLogin};
use super::spent_tokens::{Claim, Spent};
use crate::clock;
use crate::provider::Login;
use crate::secret::Secret;

/// So many spent refresh tokens are remembered: weeks of them.
const REMEMBERED: usize = 256;
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

/// Which of the login in use and the store's is newer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum LoginState {
    /// There is no login, or nothing has been read yet.
    #[default]
    None,
    /// It is the store's.
    Held,
    /// It is the store's, and a refresh that spends a token of it was begun whose end is not known.
    Suspect(JournalEntry),
    /// It was renewed, and is not known to be saved.
    Unsaved(Unsaved),
    /// It has ended; why.
    Ended(Arc<str>),
}

/// A renewed login that is not in the store.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unsaved {
    pub(super) renewed: Renewed,
    /// A refresh that was begun; while it waits, that is the one of the token in the store.
    begun: Option<JournalEntry>,
    /// The user was notified that it is in memory only.
    told: bool,
}

/// A renewed login and what it replaces.
#[derive(Debug, Clone)]
pub(super) struct Renewed {
    pub(super) login: Login,
    /// The refresh tokens that must not be used any more: the one that was spent, and the store's
    /// at that time.
    spent: Vec<Option<Secret>>,
}

/// The file that holds the login in use.
#[derive(Debug, Clone)]
pub(super) struct LoginFile {
    pub(super) file: PathBuf,
    /// Ours alone, not shared with Hermes Agent.
    pub(super) own: bool,
    pub(super) journal: RefreshJournal,
    /// Its journal was read, so that it is known which token may be spent.
    entered: bool,
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

/// The events that change what is known.
#[derive(Debug)]
pub(super) enum LoginEvent<'e> {
    /// The login in use is in this file.
    Found(LoginFile),
    /// Its journal has an unfinished refresh.
    Entered(Option<JournalEntry>),
    /// There is no login, or none that can be used; `None` if there is no file of it either.
    NoLogin(Option<&'e str>),
    /// The login can't be used with the current settings.
    Elsewhere(&'e str),
    /// This login of the store, or that waits for it, is in use from now on.
    Taken {
        login: &'e Login,
        now: DateTime<Utc>,
        /// How long a grant lasts.
        life: Duration,
    },
    /// A refresh token is about to be sent: it may be spent from now on.
    Begun(JournalEntry),
    /// What was begun is known to have ended: the token was not spent, or its successor is on disk.
    Settled,
    /// Another login has replaced the one whose refresh was begun: if it was obtained after that, the token counts
    /// as spent.
    Overtaken { obtained_at: Option<DateTime<Utc>> },
    /// The provider has said of these tokens that they were used before.
    Reused(&'e [Secret]),
    /// `login` was granted for `spent` tokens, or found as the answer to them.
    Granted {
        login: Login,
        spent: [Option<Secret>; 2],
    },
    /// The renewed login was saved.
    Saved,
    /// The user was notified that the renewed login is not saved.
    ToldUnsaved,
    /// Someone has renewed the login that waits to be saved, or made another one.
    Superseded,
    /// The store was put back to a spent token: the newer login waits to be saved again.
    PutBack,
    /// The provider calls the tokens dead.
    Refused,
    /// The user has taken all logins out of this file.
    Forgotten,
    /// The user has made another login in this file. Those in rows of the pool stay.
    Replaced,
    /// A renewed login is kept beside this journal now.
    KeptBeside,
    /// The journal was tidied.
    Tidied,
}

/// Whether both are the same token, or both are missing.
pub(super) fn same(one: Option<&Secret>, other: Option<&Secret>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.same(other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl PartialEq for Renewed {
    fn eq(&self, other: &Self) -> bool {
        let mut both = self.spent.iter().zip(&other.spent);
        self.login == other.login
            && self.spent.len() == other.spent.len()
            && both.all(|(one, other)| same(one.as_ref(), other.as_ref()))
    }
}

impl Renewed {
    /// A login just granted. `spent` is the token that it was granted for and the store's; the
    /// tokens that `former` replaced stay spent.
    fn new(login: Login, spent: [Option<Secret>; 2], former: Option<Self>) -> Self {
        let current = login.refresh_token();
        let mut spent: Vec<_> = spent.into_iter().collect();
        spent.extend(former.map(|former| former.spent).unwrap_or_default());
        spent.retain(|token| !same(token.as_ref(), current.as_ref()));
        spent.truncate(REMEMBERED);
        Self { login, spent }
    }

    /// Whether `stored` is still the login that it replaces, or already the new one: there was no
    /// other renewal or login since.
    pub(super) fn still_stands(&self, stored: &Login) -> bool {
        // Another account's row, or a login that the user has made since, says nothing about this
        // one.
        let row = self.login.row();
        if row.is_some() && row != stored.row() {
            return true;
        }
        let stored = stored.refresh_token();
        self.is_spent(stored.as_ref()) || same(self.login.refresh_token().as_ref(), stored.as_ref())
    }

    /// In the form that is kept beside the journal.
    pub(super) fn to_keep(&self) -> UnsavedLogin {
        let replaces = self.spent.iter().flatten().map(Secret::fingerprint);
        UnsavedLogin {
            login: self.login.clone(),
            replaces: replaces.collect(),
        }
    }

    /// The fingerprints of its refresh token and of those that it replaces.
    pub(super) fn tokens(&self) -> Vec<String> {
        let current = self.login.refresh_token();
        let tokens = self.spent.iter().flatten().chain(&current);
        tokens.map(Secret::fingerprint).collect()
    }

    /// Whether this refresh token is one that it replaces.
    pub(super) fn is_spent(&self, token: Option<&Secret>) -> bool {
        self.spent.iter().any(|spent| same(spent.as_ref(), token))
    }
}

impl LoginFile {
    /// The file, whose journal was not read yet.
    pub(super) fn new(file: &Path, own: bool, journal: RefreshJournal) -> Self {
        Self {
            file: file.to_owned(),
            own,
            journal,
            entered: false,
        }
    }
}

impl LoginState {
    /// The refresh that was begun.
    fn begun(&self) -> Option<&JournalEntry> {
        match self {
            Self::Suspect(begun) => Some(begun),
            Self::Unsaved(unsaved) => unsaved.begun.as_ref(),
            Self::None | Self::Held | Self::Ended(_) => None,
        }
    }

    /// The same login with a different unfinished refresh.
    fn with_begun(self, begun: Option<JournalEntry>) -> Self {
        match (self, begun) {
            (Self::Unsaved(unsaved), begun) => Self::Unsaved(Unsaved { begun, ..unsaved }),
            (_, Some(begun)) => Self::Suspect(begun),
            (Self::Suspect(_), None) => Self::Held,
            (state @ (Self::None | Self::Held | Self::Ended(_)), None) => state,
        }
    }

    /// What was renewed does not wait any more.
    fn without_unsaved(self) -> Self {
        match self {
            Self::Unsaved(unsaved) => Self::Held.with_begun(unsaved.begun),
            state @ (Self::None | Self::Held | Self::Suspect(_) | Self::Ended(_)) => state,
        }
    }

    /// The settings don't allow its use, and others may: what waits for the store keeps waiting.
    fn elsewhere(self, why: &str) -> Self {
        match self {
            state @ (Self::Suspect(_) | Self::Unsaved(_)) => state,
            Self::None | Self::Held | Self::Ended(_) => Self::Ended(why.into()),
        }
    }
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

    /// Which of the login in use and the store's is newer.
    #[cfg(test)]
    pub(super) fn state(&self) -> &LoginState {
        &self.state
    }

    /// The file that holds the login in use.
    pub(super) fn seat(&self) -> Option<&LoginFile> {
        self.seat.as_ref()
    }

    /// The journal of the login in use.
    pub(super) fn journal(&self) -> Option<&RefreshJournal> {
        Some(&self.seat.as_ref()?.journal)
    }

    /// Whether the login in use is ours alone.
    pub(super) fn is_own(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| seat.own)
    }

    /// Whether the journal of the login in use could not be read yet.
    pub(super) fn is_unentered(&self) -> bool {
        self.seat.as_ref().is_some_and(|seat| !seat.entered)
    }

    /// When the user logged in.
    pub(super) fn since(&self) -> Option<LoggedInSince> {
        self.since
    }

    /// From now on, spent tokens are known from here too.
    pub(super) fn know_spent(&mut self, spent: Spent) {
        self.spent = spent;
    }

    /// The provider's spent refresh tokens.
    pub(super) fn spent(&self) -> &Spent {
        &self.spent
    }

    /// What of the journal is to be removed.
    pub(super) fn chores(&self) -> &[Chore] {
        &self.chores
    }

    /// The renewed login that waits to be saved.
    pub(super) fn unsaved(&self) -> Option<&Renewed> {
        match &self.state {
            LoginState::Unsaved(unsaved) => Some(&unsaved.renewed),
            LoginState::None | LoginState::Held | LoginState::Suspect(_) | LoginState::Ended(_) => {
                None
            }
        }
    }

    /// Whether the user was notified that it waits.
    pub(super) fn is_unsaved_told(&self) -> bool {
        matches!(&self.state, LoginState::Unsaved(unsaved) if unsaved.told)
    }

    /// The last login that was granted or adopted.
    pub(super) fn latest(&self) -> Option<&Renewed> {
        self.latest.as_ref()
    }

    /// The refresh that was begun and whose end is not known.
    pub(super) fn begun(&self) -> Option<&JournalEntry> {
        self.state.begun()
    }

    /// Whether a refresh of this login's token was begun, and its end is not known.
    pub(super) fn is_suspect(&self, login: &Login) -> bool {
        let token = login.refresh_token();
        let about =
            |entry: &JournalEntry| token.as_ref().is_some_and(|token| entry.is_about(token));
        self.begun().is_some_and(about)
    }

    /// Whether this refresh token is known to be spent, by us or by a rotation that we adopted, now or before a restart.
    pub(super) fn was_spent(&self, token: Option<&Secret>) -> bool {
        let latest = self.latest.as_ref();
        let by_latest = || latest.is_some_and(|latest| latest.is_spent(token));
        token.is_some_and(|token| by_latest() || self.spent.holds(token))
    }

    /// Whether someone has put the store back to an older version of this login, such as a backup: its
    /// token is spent, and showing it again would end the login. The newer one is known.
    pub(super) fn is_put_back(&self, stored: &Login) -> bool {
        let (Some(latest), None) = (&self.latest, self.unsaved()) else {
            return false;
        };
        let token = stored.refresh_token();
        let (lineage, its) = (grant::login_at(stored), grant::login_at(&latest.login));
        if latest.is_spent(token.as_ref()) && token.is_some() {
            return lineage.is_none() || lineage == its;
        }
        // Of what was spent longer ago, it must be plain whose it was.
        let same_login = match lineage {
            Some(_) => lineage == its,
            None => its.is_none() && same_subject(stored, &latest.login),
        };
        same_login && self.was_spent(token.as_ref())
    }

    /// Whether this login is an older version of one whose newer version is unknown: its refresh token is spent, so it
    /// serves while its access token lives and is not renewed. While its journal can't be read, the newer one may be
    /// kept beside that.
    pub(super) fn is_stale(&self, login: &Login) -> bool {
        let is_known = self.unsaved().is_none() && !self.is_unentered();
        is_known && self.was_spent(login.refresh_token().as_ref())
    }
}

fn same_subject(one: &Login, other: &Login) -> bool {
    let subject = one.subject();
    subject.is_some() && subject == other.subject()
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
mod tests {
    use serde_json::json;

    use super::*;
    use crate::credentials::tests::layout;

    fn token(name: &str) -> Secret {
        Secret::new(name.to_owned())
    }

    fn login(name: &str) -> Login {
        let fields = json!({"access_token": "a", "refresh_token": name});
        Login::new(fields.as_object().cloned().unwrap(), layout())
    }

    fn entry(name: &str) -> JournalEntry {
        JournalEntry {
            token: token(name).fingerprint(),
            started_at: DateTime::default(),
        }
    }

    fn seat(file: &str) -> LoginFile {
        let file = Path::new(file);
        LoginFile::new(
            file,
            false,
            RefreshJournal::new(Path::new("/journal"), layout(), file),
        )
    }

    fn granted(name: &str, spent: &str) -> LoginEvent<'static> {
        LoginEvent::Granted {
            login: login(name),
            spent: [Some(token(spent)), None],
        }
    }

    /// A login whose journal is read and empty.
    fn held() -> Knowledge {
        let mut known = Knowledge::default();
        known.on(LoginEvent::Found(seat("/auth.json")));
        known.on(LoginEvent::Entered(None));
        taken(&mut known, &login("r0"));
        assert_eq!(*known.state(), LoginState::Held);
        known
    }

    fn taken(known: &mut Knowledge, login: &Login) {
        let (now, life) = (DateTime::default(), Duration::from_hours(1));
        known.on(LoginEvent::Taken { login, now, life });
    }

    /// The names of the states, so that a row of the table is one line.
    fn name(state: &LoginState) -> &'static str {
        match state {
            LoginState::None => "none",
            LoginState::Held => "held",
            LoginState::Suspect(_) => "suspect",
            LoginState::Unsaved(unsaved) if unsaved.begun.is_some() => "unsaved, begun",
            LoginState::Unsaved(_) => "unsaved",
            LoginState::Ended(_) => "ended",
        }
    }

    #[test]
    fn each_event_leads_from_one_state_to_the_next() {
        use LoginEvent::{
            Begun, Elsewhere, Entered, Forgotten, Found, NoLogin, PutBack, Refused, Saved, Settled,
            Superseded,
        };
        for (what, events, expected) in [
            ("a refresh", vec![Begun(entry("r0"))], "suspect"),
            ("not spent", vec![Begun(entry("r0")), Settled], "held"),
            (
                "an answer",
                vec![Begun(entry("r0")), granted("r1", "r0")],
                "unsaved, begun",
            ),
            (
                "saved, and known to be",
                vec![Begun(entry("r0")), granted("r1", "r0"), Saved, Settled],
                "held",
            ),
            (
                "a key was minted, and saved",
                vec![Begun(entry("r0")), granted("r0", "r0"), Saved],
                "suspect",
            ),
            (
                "someone logged in meanwhile",
                vec![Begun(entry("r0")), granted("r1", "r0"), Superseded],
                "suspect",
            ),
            (
                "a backup",
                vec![granted("r1", "r0"), Saved, PutBack],
                "unsaved",
            ),
            ("a backup of nothing that is known", vec![PutBack], "held"),
            (
                "refused",
                vec![Settled, Refused, NoLogin(Some("ended"))],
                "ended",
            ),
            (
                "not for these settings",
                vec![granted("r1", "r0"), Elsewhere("x")],
                "unsaved",
            ),
            ("gone", vec![NoLogin(None)], "none"),
            (
                "unusable, and maybe spent",
                vec![Begun(entry("r0")), NoLogin(Some("x"))],
                "suspect",
            ),
            (
                "gone, and maybe spent",
                vec![Begun(entry("r0")), NoLogin(None)],
                "none",
            ),
            ("a logout", vec![granted("r1", "r0"), Forgotten], "held"),
            (
                "another file",
                vec![granted("r1", "r0"), Found(seat("/own.json"))],
                "held",
            ),
            (
                "the same file",
                vec![granted("r1", "r0"), Found(seat("/auth.json"))],
                "unsaved",
            ),
            ("after a crash", vec![Entered(Some(entry("r0")))], "suspect"),
        ] {
            let mut known = held();
            for event in events {
                known.on(event);
            }
            assert_eq!(name(known.state()), expected, "{what}");
        }
    }

    #[test]
    fn a_token_may_be_sent_only_once_it_is_noted() {
        let mut known = held();
        assert!(known.noted(&login("r0")).is_none());
        known.on(LoginEvent::Begun(entry("r0")));
        assert!(known.noted(&login("r0")).is_some());
        assert!(known.noted(&login("another")).is_none());
        known.on(granted("r1", "r0"));
        // The store has the spent one still, and the entry is about that.
        assert!(known.noted(&login("r1")).is_some());
        known.on(LoginEvent::Saved);
        known.on(LoginEvent::Settled);
        assert!(known.noted(&login("r1")).is_none());
    }

    #[test]
    fn what_was_spent_stays_known_over_all_rotations() {
        let mut known = held();
        for number in 0..5 {
            known.on(granted(&format!("r{}", number + 1), &format!("r{number}")));
            known.on(LoginEvent::Saved);
        }
        let spent = |known: &Knowledge, name: &str| known.was_spent(Some(&token(name)));
        assert!(spent(&known, "r0") && spent(&known, "r4") && !spent(&known, "r5"));
        assert!(known.is_put_back(&login("r2")) && !known.is_put_back(&login("r5")));
        known.on(LoginEvent::PutBack);
        assert_eq!(name(known.state()), "unsaved");
        assert!(spent(&known, "r0") && known.unsaved().unwrap().still_stands(&login("r2")));
    }

    #[test]
    fn the_user_is_told_once_that_a_login_is_not_saved() {
        let mut known = held();
        known.on(granted("r1", "r0"));
        assert!(!known.is_unsaved_told());
        known.on(LoginEvent::ToldUnsaved);
        known.on(granted("r2", "r1"));
        assert!(known.is_unsaved_told(), "it is the same trouble");
        known.on(LoginEvent::Saved);
        known.on(granted("r3", "r2"));
        assert!(!known.is_unsaved_told());
    }

    #[test]
    fn what_a_journal_does_not_need_any_more_is_removed_unless_it_is_written_again() {
        let mut known = held();
        known.on(LoginEvent::Begun(entry("r0")));
        known.on(granted("r1", "r0"));
        known.on(LoginEvent::Saved);
        known.on(LoginEvent::Settled);
        let ends = |known: &Knowledge| {
            let ends = |chore: &&Chore| matches!(chore, Chore::End(..));
            known.chores().iter().filter(ends).count()
        };
        assert_eq!((known.chores().len(), ends(&known)), (2, 1));
        known.on(LoginEvent::Begun(entry("r1")));
        assert_eq!(
            (known.chores().len(), ends(&known)),
            (1, 0),
            "the new entry stays"
        );
        known.on(LoginEvent::KeptBeside);
        assert!(known.chores().is_empty());
    }

    #[test]
    fn what_waits_beside_the_journal_goes_with_a_login_that_ended_and_stays_under_other_settings() {
        let kept = |end: LoginEvent<'_>| {
            let mut knowledge = Knowledge::default();
            knowledge.on(LoginEvent::Found(seat("/auth.json")));
            knowledge.on(granted("r1", "r0"));
            knowledge.on(end);
            knowledge.chores().is_empty()
        };
        assert!(!kept(LoginEvent::NoLogin(Some("it has ended"))));
        assert!(kept(LoginEvent::Elsewhere("another issuer")));
    }
}
