//! The core against a model of its surroundings: files, journal, token endpoint, another program,
//! crashes. Every sequence of events up to a bound is played with every way in which a deed can fail, and
//! the invariants are checked at each step. No file, no task, no time passes.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;

use super::super::attempt::RenewalEvent;
use super::super::attempt::{
    Commit, Leftovers, RenewalAction, RenewalCause, RenewalOutcome, RenewalStep,
};
use super::super::journal::{Chore, RefreshJournal};
use super::super::knowledge::{LoginFile, LoginState};
use super::super::spent_tokens::Spent;
use super::super::store::Change;
use super::super::timing::{Doubt, Proof, RefusalAction};
use super::*;
use crate::config::{AllowedPath, ProviderName};
use crate::provider::{BaseUrl, BearerKind, Grant, Layout, TokenError};

const LIFE: Duration = Duration::from_hours(1);

/// Parsed once: it would be a tenth of all the work here.
static BASE_URL: LazyLock<BaseUrl> =
    LazyLock::new(|| BaseUrl::new(&"http://127.0.0.1:1".parse().unwrap()).unwrap());

/// Numbered tokens, and a mirror; the higher number is the fresher one.
#[derive(Debug)]
struct Numbered;

impl Layout for Numbered {
    fn key(&self) -> &'static str {
        "test"
    }

    fn mirror_file(&self) -> Option<&'static str> {
        Some("test_auth.json")
    }

    fn merge_mirror(&self, login: &mut Login, mirror: &Login, _now: DateTime<Utc>) -> Merge {
        match number(mirror).cmp(&number(login)) {
            std::cmp::Ordering::Equal => Merge::Same,
            std::cmp::Ordering::Less => Merge::MirrorBehind,
            std::cmp::Ordering::Greater => {
                for (key, value) in mirror.clone().into_fields() {
                    login.set(&key, value);
                }
                Merge::Taken
            }
        }
    }

    fn mirror(&self, login: &Login, _now: DateTime<Utc>) -> Option<Login> {
        number(login)?;
        let mut mirror = login.clone();
        mirror.remove("hermes_proxyd");
        Some(mirror)
    }
}

/// Of the refresh token `r7`, the seven.
fn number(login: &Login) -> Option<u64> {
    token_number(login.text("refresh_token")?)
}

fn token_number(token: &str) -> Option<u64> {
    token.get(1..)?.parse().ok()
}

fn login(number: u64, now: DateTime<Utc>) -> Login {
    let fields = json!({
        "access_token": format!("a{number}"),
        "refresh_token": format!("r{number}"),
        "obtained_at": now.to_rfc3339(),
        "expires_at": clock::after(now, LIFE).to_rfc3339(),
    });
    Login::new(fields.as_object().cloned().unwrap(), &Numbered)
}

/// What tokens mean. The core asks no network.
#[derive(Debug)]
struct Rules(ProviderName);

#[async_trait]
impl Adapter for Rules {
    fn name(&self) -> &ProviderName {
        &self.0
    }

    fn display_name(&self) -> &'static str {
        "Model"
    }

    fn allowed_paths(&self) -> &[AllowedPath] {
        &[]
    }

    fn remedy(&self) -> Remedy {
        Remedy::Run("log in".to_owned())
    }

    fn layout(&self) -> Option<&'static dyn Layout> {
        Some(&Numbered)
    }

    fn grant_lifetime(&self) -> Option<Duration> {
        Some(Duration::from_hours(24 * 30))
    }

    fn assess(&self, login: &Login, _now: DateTime<Utc>) -> Assessment {
        let Some(bearer) = login.secret("access_token") else {
            return Assessment::NoLogin {
                reason: "the login has ended".to_owned(),
            };
        };
        Assessment::Login {
            credential: Some(Credential {
                authorization: bearer.authorization("Bearer").unwrap(),
                bearer,
                base_url: BASE_URL.clone(),
                kind: BearerKind::new("test", Renewal::Refresh),
                issued_at: login.time("obtained_at"),
                expires_at: login.time("expires_at"),
                headers: Vec::new(),
            }),
            renewal: Renewal::Refresh,
        }
    }

    async fn renew(&self, _login: &Login, _renewal: Renewal) -> Result<Grant, TokenError> {
        panic!("the shell asks")
    }

    fn apply(&self, login: &mut Login, grant: Grant, now: DateTime<Utc>) {
        for (key, value) in grant.into_answer() {
            login.set(&key, value);
        }
        login.set("obtained_at", now.to_rfc3339());
        login.set("expires_at", clock::after(now, LIFE).to_rfc3339());
    }
}

/// What happens to a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happens {
    /// The token expires.
    Due,
    /// The provider refuses it.
    Refused,
    /// A person asks for another one.
    ByHand,
    /// Another program renews it under the locks.
    PeerRotates,
    /// Another program writes an older login into the mirror.
    MirrorBehind,
    /// The store is put back to the version before, as from a backup.
    PutBack,
    /// The configuration changes: the keeper gets other terms.
    Reload,
    /// The daemon is killed, and another one starts.
    Crash,
    /// The user logs out.
    Logout,
}

const ALL: [Happens; 9] = [
    Happens::Due,
    Happens::Refused,
    Happens::ByHand,
    Happens::PeerRotates,
    Happens::MirrorBehind,
    Happens::PutBack,
    Happens::Reload,
    Happens::Crash,
    Happens::Logout,
];

/// Which branch is taken if there are several: a script's, then the first one.
#[derive(Debug, Default)]
struct Choices {
    script: Vec<usize>,
    taken: Vec<(usize, usize)>,
    /// So many more deeds may fail.
    troubles: usize,
    dice: Option<fastrand::Rng>,
}

impl Choices {
    /// One of this many branches.
    fn pick(&mut self, ways: usize) -> usize {
        let at = self.taken.len();
        let choice = match &mut self.dice {
            Some(dice) => dice.usize(..ways),
            None => self.script.get(at).copied().unwrap_or(0),
        };
        self.taken.push((choice, ways));
        choice
    }

    /// No fault (0), or one of this many.
    fn trouble(&mut self, kinds: usize) -> usize {
        if self.troubles == 0 {
            return 0;
        }
        let rolls = self.dice.as_mut();
        if rolls.is_some_and(|dice| dice.u8(..4) > 0) {
            return 0;
        }
        let choice = self.pick(kinds + 1);
        self.troubles -= usize::from(choice > 0);
        choice
    }

    /// The script of the next run; `None` after the last one.
    fn next(self) -> Option<Vec<usize>> {
        let mut taken = self.taken;
        loop {
            let (choice, ways) = taken.pop()?;
            if choice + 1 < ways {
                let mut script: Vec<_> = taken.into_iter().map(|(choice, _)| choice).collect();
                script.push(choice + 1);
                return Some(script);
            }
        }
    }
}

/// The daemon was killed.
#[derive(Debug)]
struct Killed;

struct World {
    core: Core,
    now: DateTime<Utc>,
    // The files.
    store: Option<Login>,
    mirror: Option<Login>,
    entry: Option<JournalEntry>,
    kept: Option<UnsavedLogin>,
    /// A complete new version beside the store, which was not renamed. A start looks for it if the journal
    /// records the refresh.
    temporary: Option<Login>,
    temporary_noted: bool,
    /// The ledger of spent tokens.
    ledger: Vec<String>,
    /// The logins that this or an earlier process has written to the store.
    landed: BTreeSet<u64>,
    // The provider: one token is good, and the one before gets the same answer again.
    current: u64,
    spent: BTreeSet<u64>,
    /// The bearer that was published last, and whether the provider took it.
    published: Option<u64>,
    taken: bool,
    /// The journal's entry could not be written, and the refresh continued.
    unnoted: bool,
    backup: Option<Login>,
    choices: Choices,
    /// What happened, for a failure's message.
    story: Vec<String>,
    wrong: Vec<String>,
}

fn core() -> Core {
    let habits = KeeperOptions {
        lead: Duration::from_mins(5),
        initiative: Initiative::Keeps,
        optional: false,
        has_others: false,
    };
    let name = ProviderName::new("test").unwrap();
    Core::new(Arc::new(Rules(name)), habits, true)
}

fn journal() -> RefreshJournal {
    RefreshJournal::new(
        Path::new("/state/journal"),
        &Numbered,
        Path::new("/home/auth.json"),
    )
}

fn seat(_: &StoreContents) -> LoginFile {
    LoginFile::new(Path::new("/home/auth.json"), false, journal())
}

fn io_error() -> StoreError {
    StoreError::Write {
        file: "/home/auth.json".into(),
        source: std::io::ErrorKind::StorageFull.into(),
    }
}

impl World {
    fn new(choices: Choices) -> Self {
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        let mut world = Self {
            core: core(),
            now,
            store: Some(login(0, now)),
            mirror: None,
            entry: None,
            kept: None,
            temporary: None,
            temporary_noted: false,
            ledger: Vec::new(),
            landed: BTreeSet::new(),
            current: 0,
            spent: BTreeSet::new(),
            published: None,
            taken: true,
            unnoted: false,
            backup: None,
            choices: Choices::default(),
            story: Vec::new(),
            wrong: Vec::new(),
        };
        world.look();
        world.choices = choices;
        world
    }

    fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    fn found(&self) -> Option<StoreContents> {
        Some(StoreContents {
            login: self.store.clone()?,
            mirror: self.mirror.clone(),
            source: "/home/auth.json".into(),
            rows: Vec::new(),
            broken: None,
        })
    }

    /// Whether this login is on disk in a place that a start reads, or in memory.
    fn is_known(&self, wanted: u64) -> bool {
        let is = |login: &Option<Login>| login.as_ref().and_then(number) == Some(wanted);
        let kept = self.kept.as_ref().and_then(|kept| number(&kept.login));
        let memory = [self.core.knowledge.unsaved(), self.core.knowledge.latest()];
        let memory = memory.into_iter().flatten();
        is(&self.store)
            || is(&self.mirror)
            || is(&self.temporary) && self.temporary_noted
            || kept == Some(wanted)
            || memory
                .filter_map(|renewed| number(&renewed.login))
                .any(|known| known == wanted)
    }

    /// What was published is on disk or waits to be saved.
    fn effects(&mut self) {
        for effect in self.core.effects() {
            let Effect::Publish(publication) = effect else {
                continue;
            };
            let Availability::Credential(credential) = publication.standing else {
                continue;
            };
            let bearer = token_number(credential.bearer.expose());
            let is = |login: Option<&Login>| login.and_then(number) == bearer;
            let unsaved = self.core.knowledge.unsaved().map(|unsaved| &unsaved.login);
            let again = bearer == self.published;
            if !again && !is(self.store.as_ref()) && !is(self.mirror.as_ref()) && !is(unsaved) {
                self.wrong(format!("a{bearer:?} is published and nowhere"));
            }
            self.published = bearer;
            self.taken = true;
        }
    }

    fn tidy(&mut self) {
        self.ledger = self.core.knowledge.spent().written();
        for chore in self.core.knowledge.chores().to_vec() {
            match chore {
                Chore::End(_, entry) => {
                    if self
                        .entry
                        .as_ref()
                        .is_some_and(|now| now.token == entry.token)
                    {
                        self.entry = None;
                    }
                }
                Chore::Forget(_, tokens) => {
                    let token = self
                        .kept
                        .as_ref()
                        .and_then(|kept| kept.login.refresh_token());
                    let meant = tokens.zip(token);
                    if meant.is_none_or(|(tokens, token)| tokens.contains(&token.fingerprint())) {
                        self.kept = None;
                    }
                }
            }
        }
        self.core.knowledge.on(LoginEvent::Tidied);
    }

    /// Reads without a lock, as the shell does.
    fn look(&mut self) {
        let found = self.found();
        match found {
            None => self.core.found_none(false, NO_LOGIN, self.now),
            Some(found) => {
                self.core.knowledge.on(LoginEvent::Found(seat(&found)));
                let mut kept = None;
                if self.core.knowledge.is_unentered() {
                    self.tidy();
                    if self.choices.trouble(1) == 0 {
                        self.core.entered(Ok(self.entry.clone()));
                        kept = self.kept.clone();
                    }
                }
                self.core.found(&found, kept, self.now);
            }
        }
        self.effects();
        self.tidy();
    }

    fn proof(&self) -> Proof {
        let bearer = self.core.bearer();
        Proof {
            granted_at: bearer.and_then(|bearer| self.core.timing.granted_at(&bearer)),
            taken: self.taken,
        }
    }

    /// Asks the token endpoint.
    fn ask(&mut self, login: &Login) -> Result<Grant, TokenError> {
        let token = login.refresh_token();
        let shown = number(login).unwrap();
        self.story.push(format!("r{shown} is sent"));
        let noted = self.entry.as_ref().zip(token);
        let noted = noted.is_some_and(|(entry, token)| entry.is_about(&token));
        let waits = self.core.knowledge.unsaved().is_some();
        if !noted && !waits && !self.unnoted {
            self.wrong(format!("r{shown} is sent, and the journal does not know"));
        }
        if self.spent.contains(&shown) && self.is_known(shown + 1) {
            self.wrong(format!("r{shown} is known to be spent and sent again"));
        }
        let is_in_ledger = login.refresh_token();
        let is_in_ledger =
            is_in_ledger.is_some_and(|token| self.core.knowledge.spent().holds(&token));
        if is_in_ledger || self.landed.contains(&(shown + 1)) && !self.unnoted {
            self.wrong(format!("r{shown} was replaced durably and is sent again"));
        }
        let transient = |may_be_spent| TokenError::Transient {
            may_be_spent,
            what: "an outage".to_owned(),
            retry_after: None,
        };
        match self.choices.trouble(3) {
            1 => return Err(transient(false)),
            2 => return Err(transient(true)),
            3 => {
                self.spend(shown);
                return Err(TokenError::Lost {
                    what: "a lost answer".to_owned(),
                    retry_after: None,
                });
            }
            _ => {}
        }
        match self.spend(shown) {
            Some(next) => {
                let answer = json!({
                    "access_token": format!("a{next}"), "refresh_token": format!("r{next}"),
                });
                Ok(Grant::new(
                    answer.as_object().cloned().unwrap(),
                    Renewal::Refresh,
                ))
            }
            None => Err(TokenError::Rejected {
                code: "invalid_grant".to_owned(),
                description: "spent".to_owned(),
            }),
        }
    }

    fn spend(&mut self, shown: u64) -> Option<u64> {
        if shown == self.current {
            self.spent.insert(shown);
            self.current += 1;
        }
        (shown + 1 == self.current).then_some(self.current)
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let new = number(&commit.login);
        for (file, now) in [("store", &self.store), ("mirror", &self.mirror)] {
            let now = now.as_ref().and_then(number);
            let quarantined = commit.change == Change::Quarantined;
            if now > new && !quarantined {
                let what = format!("{now:?} in the {file} is overwritten by {new:?}");
                self.wrong.push(what);
            }
        }
        let trouble = self.choices.trouble(2);
        if trouble == 1 {
            return Err(io_error());
        }
        if commit.change == Change::Quarantined {
            self.mirror = None;
        } else if let Some(mirror) = &commit.mirror {
            self.mirror = Some(mirror.clone());
        }
        if trouble == 2 {
            return Err(io_error());
        }
        self.store = Some(commit.login.clone());
        self.temporary = None;
        if commit.change == Change::Rotated {
            self.landed.extend(new);
        }
        Ok(())
    }

    /// Nothing takes no time.
    fn pass(&mut self) {
        self.now = clock::after(self.now, Duration::from_millis(1));
    }

    fn leftovers(&mut self, unfinished: bool) -> RenewalEvent {
        let begun = self.temporary.clone().filter(|_| unfinished);
        RenewalEvent::Leftovers(match self.choices.trouble(1) {
            0 => Ok(Leftovers {
                kept: self.kept.clone(),
                begun: None,
                logins: begun.into_iter().collect(),
                mirrors: Vec::new(),
            }),
            _ => Err(io_error()),
        })
    }

    fn perform(&mut self, deed: RenewalAction) -> Result<RenewalEvent, Killed> {
        self.story.push(name(&deed).to_owned());
        self.pass();
        // The daemon may be killed before or after each deed, while the store is written, and between the ledger and
        // the end of the journal's entry.
        let thrice = matches!(deed, RenewalAction::Commit(_) | RenewalAction::Tidy);
        let killed = self.choices.trouble(if thrice { 3 } else { 2 });
        if let (3, RenewalAction::Tidy) = (killed, &deed) {
            self.ledger = self.core.knowledge.spent().written();
            return Err(Killed);
        }
        if killed == 1 {
            return Err(Killed);
        }
        if let (3, RenewalAction::Commit(commit)) = (killed, &deed) {
            self.temporary = Some(commit.login.clone());
            self.temporary_noted = self.entry.is_some();
            return Err(Killed);
        }
        let came = match deed {
            RenewalAction::LookForStore => RenewalEvent::StoreMissing(Ok(self.store.is_none())),
            RenewalAction::ReadJournal => {
                self.tidy();
                RenewalEvent::JournalRead(match self.choices.trouble(1) {
                    0 => Ok(self.entry.clone()),
                    _ => Err(io_error()),
                })
            }
            RenewalAction::ReadLeftovers { unfinished } => self.leftovers(unfinished),
            RenewalAction::KeepBeside(kept) => {
                if self.choices.trouble(1) == 0 {
                    self.kept = Some(kept);
                }
                RenewalEvent::KeptBeside
            }
            RenewalAction::Prepare => RenewalEvent::Prepared(match self.choices.trouble(1) {
                0 => {
                    self.temporary = None;
                    Ok(())
                }
                _ => Err(io_error()),
            }),
            RenewalAction::Note(token, started_at) => {
                RenewalEvent::Noted(match self.choices.trouble(2) {
                    0 => {
                        let token = token.fingerprint();
                        self.entry = Some(JournalEntry { token, started_at });
                        self.unnoted = false;
                        Ok(())
                    }
                    // Its folder is full, and the refresh continues.
                    1 => {
                        self.unnoted = true;
                        Ok(())
                    }
                    // It hangs.
                    _ => Err(io_error()),
                })
            }
            RenewalAction::Ask(ticket) => {
                RenewalEvent::Answered(self.ask(ticket.login()), self.proof())
            }
            RenewalAction::Commit(commit) => {
                self.backup = self.store.clone().or(self.backup.take());
                RenewalEvent::Committed(self.commit(&commit), self.found())
            }
            RenewalAction::ReadAgain(_) => RenewalEvent::ReadAgain(Ok(()), self.found()),
            RenewalAction::Tidy => {
                self.tidy();
                RenewalEvent::Tidied
            }
        };
        if killed == 2 { Err(Killed) } else { Ok(came) }
    }

    fn attempt(
        &mut self,
        cause: RenewalCause,
    ) -> Result<Result<RenewalOutcome, RenewalFailure>, Killed> {
        drop(self.core.begin(cause));
        let mut event = RenewalEvent::Locked(self.found().ok_or(NO_LOGIN));
        for _ in 0..100 {
            let step = self.core.on(event, seat, self.now);
            self.effects();
            match step {
                RenewalStep::Do(deed) => event = self.perform(deed)?,
                RenewalStep::End(result) => {
                    if let Err(RenewalFailure::Defect) = &result {
                        self.wrong("a deed and what came of it don't fit".to_owned());
                    }
                    return Ok(result);
                }
            }
        }
        self.wrong("an attempt has no end".to_owned());
        Err(Killed)
    }

    fn renew(&mut self, cause: RenewalCause) -> Result<(), Killed> {
        let mirror_at = self.core.timing.take_mirror();
        let mut result = self.attempt(cause.clone())?;
        if let Err(RenewalFailure::AnswerLost { .. }) = &result {
            let answer_lost = true;
            result = self.attempt(RenewalCause {
                answer_lost,
                ..cause
            })?;
        }
        match result {
            Ok(outcome) => self.core.finished(outcome.result, self.now),
            Err(trouble) => {
                self.core.timing.put_mirror_back(mirror_at);
                self.core.troubled(&trouble, self.now);
            }
        }
        self.effects();
        Ok(())
    }

    /// What the keeper's loop does.
    fn turn(&mut self) -> Result<(), Killed> {
        for _ in 0..4 {
            if !self.core.timing.is_due(self.core.task(), self.now) {
                break;
            }
            self.renew(RenewalCause::default())?;
        }
        Ok(())
    }

    fn happen(&mut self, event: Happens) -> Result<(), Killed> {
        match event {
            Happens::Due => self.now = clock::after(self.now, LIFE * 2),
            Happens::Refused => {
                // A request asks a second time while renewals are paced.
                let (timing, proof) = (&self.core.timing, self.proof());
                let renews = [Doubt::Once, Doubt::Twice]
                    .map(|doubt| timing.refused(doubt, proof, self.now))
                    .contains(&RefusalAction::Renew);
                if let Some(refused) = self.core.bearer()
                    && renews
                {
                    let refused = Some(refused);
                    self.renew(RenewalCause {
                        refused,
                        ..RenewalCause::default()
                    })?;
                }
            }
            Happens::ByHand => {
                self.look();
                if self.core.why_no_login().is_none() {
                    let refused = self.core.bearer();
                    self.renew(RenewalCause {
                        refused,
                        by_hand: true,
                        ..RenewalCause::default()
                    })?;
                }
            }
            Happens::PeerRotates => {
                let freshest = [&self.store, &self.mirror].into_iter().flatten();
                let freshest = freshest.filter_map(number).max();
                let Some(store) = self.store.clone() else {
                    return Ok(());
                };
                let (Some(freshest), Some(_)) = (freshest, number(&store)) else {
                    return Ok(());
                };
                if freshest == self.current {
                    self.pass();
                    let next = self.spend(freshest).unwrap();
                    let mut renewed = store.clone();
                    for (key, value) in login(next, self.now).into_fields() {
                        renewed.set(&key, value);
                    }
                    if self.mirror.is_some() {
                        self.mirror = Some(login(next, self.now));
                    }
                    self.backup = self.store.replace(renewed);
                }
                self.look();
            }
            Happens::MirrorBehind => {
                let last = self.mirror.as_ref().and_then(number);
                if let Some(before) = last.and_then(|last| last.checked_sub(1)) {
                    self.mirror = Some(login(before, self.now));
                }
                self.look();
            }
            Happens::PutBack => {
                if self.store.is_some() {
                    self.store = self.backup.clone().or(self.store.take());
                }
                self.look();
            }
            Happens::Reload => {
                self.core.go_on(self.now);
                self.effects();
                self.look();
            }
            Happens::Crash => return Err(Killed),
            Happens::Logout => {
                (self.store, self.mirror, self.temporary) = (None, None, None);
                self.core.forget_login();
                self.core.start_anew();
                self.look();
            }
        }
        self.turn()
    }

    /// The daemon starts with the current disk.
    fn start(&mut self) {
        self.story.push("the daemon is killed".to_owned());
        self.core = core();
        self.core.knowledge.know_spent(Spent::knowing(&self.ledger));
        self.published = None;
        self.look();
    }

    fn play(&mut self, event: Happens) {
        self.story.push(format!("{event:?}"));
        if self.happen(event).is_err() {
            self.start();
        }
    }

    /// The login is stored, current and served, and nothing is left beside it.
    fn is_whole(&self) -> bool {
        self.store.as_ref().and_then(number) == Some(self.current)
            && *self.core.knowledge.state() == LoginState::Held
            && self.core.credential().is_some()
            && self.entry.is_none()
            && self.kept.is_none()
    }

    /// All is well again: the login must be whole before long.
    fn recover(&mut self, events: &[Happens]) {
        self.choices.troubles = 0;
        self.now = clock::after(self.now, LIFE * 2);
        for _ in 0..6 {
            let deeds = self.story.len();
            self.now = clock::after(self.now, Duration::from_mins(6));
            self.look();
            self.turn().unwrap();
            // Nothing is left to do, and nothing was done: the random sequences all run for the
            // whole half hour.
            let is_idle = self.story.len() == deeds && self.is_whole();
            if is_idle && self.choices.dice.is_none() {
                break;
            }
        }
        if events.contains(&Happens::Logout) {
            if self.store.is_some() || self.kept.is_some() {
                self.wrong("something is left after a logout".to_owned());
            }
            return;
        }
        // A daemon that was killed can't know that a backup is spent.
        let killed = self.story.iter().any(|line| line.contains("killed"));
        if killed && events.contains(&Happens::PutBack) {
            return;
        }
        let stored = self.store.as_ref().and_then(number);
        if stored != Some(self.current) {
            self.wrong(format!(
                "{stored:?} is stored for good, {} is current",
                self.current
            ));
        }
        if *self.core.knowledge.state() != LoginState::Held {
            self.wrong(format!("it ends as {:?}", self.core.knowledge.state()));
        }
        if self.core.credential().is_none() {
            self.wrong("nothing serves in the end".to_owned());
        }
        // What was about to be removed when it was killed may stay; it is about tokens that are gone.
        if self.entry.is_some() || self.kept.is_some() && !killed {
            self.wrong("something is left beside the journal".to_owned());
        }
    }
}

fn name(deed: &RenewalAction) -> &'static str {
    match deed {
        RenewalAction::LookForStore => "look for the store",
        RenewalAction::ReadJournal => "read the journal",
        RenewalAction::ReadLeftovers { .. } => "read what is left",
        RenewalAction::KeepBeside(_) => "keep it beside the journal",
        RenewalAction::Prepare => "prepare",
        RenewalAction::Note(..) => "note",
        RenewalAction::Ask(_) => "ask",
        RenewalAction::Commit(_) => "commit",
        RenewalAction::ReadAgain(_) => "read again",
        RenewalAction::Tidy => "tidy",
    }
}

/// Plays one row; what went wrong, and the choices that were taken.
fn play(events: &[Happens], choices: Choices) -> (Vec<String>, Choices) {
    let mut world = World::new(choices);
    for event in events {
        world.play(*event);
    }
    world.recover(events);
    let mut wrong = world.wrong;
    if !wrong.is_empty() {
        wrong.extend(world.story);
    }
    (wrong, world.choices)
}

/// All sequences of this many events, with up to this many faults, at every place.
fn play_all(of: &[Happens], length: u32, troubles: usize) -> (usize, Vec<String>) {
    let (mut runs, mut wrong) = (0, Vec::new());
    let rows = of.len().pow(length);
    for row in 0..rows {
        let at = |place: u32| of[row / of.len().pow(place) % of.len()];
        let events: Vec<_> = (0..length).map(at).collect();
        let mut script = Some(Vec::new());
        while let Some(taken) = script {
            let choices = Choices {
                script: taken,
                troubles,
                ..Choices::default()
            };
            let (found, choices) = play(&events, choices);
            runs += 1;
            if !found.is_empty() && wrong.len() < 3 {
                wrong.push(format!("{events:?}: {found:#?}"));
            }
            script = choices.next();
        }
    }
    (runs, wrong)
}

#[test]
fn every_row_of_three_events_with_one_thing_that_goes_wrong_keeps_the_login() {
    use Happens::{Crash, Due, PeerRotates, PutBack, Refused, Reload};
    let of = [Due, Refused, PeerRotates, PutBack, Reload, Crash];
    let (runs, wrong) = play_all(&of, 3, 1);
    assert!(wrong.is_empty(), "{runs} runs: {}", wrong.join("\n"));
    println!("{runs} runs");
    assert!(runs > 4000, "{runs}");
}

#[test]
fn every_two_events_with_two_things_that_go_wrong_do() {
    use Happens::{Crash, Due, MirrorBehind, PeerRotates, Refused, Reload};
    let of = [Due, Refused, PeerRotates, MirrorBehind, Reload, Crash];
    let (runs, wrong) = play_all(&of, 2, 2);
    assert!(wrong.is_empty(), "{runs} runs: {}", wrong.join("\n"));
    println!("{runs} runs");
    assert!(runs > 4000, "{runs}");
}

#[test]
fn long_rows_with_many_things_that_go_wrong_do() {
    for seed in 0..300 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let events: Vec<_> = (0..10).map(|_| ALL[dice.usize(..ALL.len() - 1)]).collect();
        let choices = Choices {
            troubles: 6,
            dice: Some(dice),
            ..Choices::default()
        };
        let (wrong, _) = play(&events, choices);
        assert!(wrong.is_empty(), "{seed}, {events:?}: {wrong:#?}");
    }
}
