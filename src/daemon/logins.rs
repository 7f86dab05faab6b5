//! Logins, logouts and renewals on behalf of hermesctl.
//!
//! A login is a task. hermesctl polls it in short calls, and it is cancelled when the calls stop. The user enters a
//! code on another device, or logs in on a page that sends the browser back here (`visit`, `redirect`).

mod redirect;
mod visit;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::visit::{PendingRedirect, RedirectAnswer};
use super::control::View;
use super::pools::{self, NewLogin};
use super::providers::ProviderReport;
use crate::clock::{self, Clock};
use crate::config::ProviderName;
use crate::control::protocol::{
    ControlError, ErrorCode, ExistingLogin, LoginBegin, LoginBegun, LoginCancelled, LoginCode,
    LoginDone, LoginPage, LoginPaste, LoginPasteTaken, LoginPending, LoginProgress, LoginSession,
    LoginWay, LogoutReport, RefreshOutcome, Timestamp,
};
use crate::credentials::{
    self, Added, CredentialHandle, Extent, LoginDestination, RenewalResult, StandingKind,
    StoreError, StoreFiles, UnreadableStore, remedy,
};
use crate::files::Desk;
use crate::provider::{
    self, Adapter, BearerKind, BrowserLogin, DeviceCode, DeviceError, DeviceLogin, Grant, Layout,
    PAGE_LIFE, Poll, PollPace,
};

/// The longest wait within one call.
const WAIT: Duration = Duration::from_secs(2);
/// The same, while the caller may have pasted text to pass on.
const SHORT_WAIT: Duration = Duration::from_millis(250);
/// A login that hermesctl has not asked about for this long is cancelled.
const UNATTENDED: Duration = Duration::from_mins(1);
/// How many logins are remembered, ended ones included.
const SESSIONS: usize = 16;
/// Pause between attempts to save a login; with [`SAVE_TRIES`], five minutes in all.
const SAVE_AGAIN: Duration = Duration::from_secs(3);
const SAVE_TRIES: usize = 100;

/// The logins in progress.
#[derive(Debug)]
pub(super) struct LoginSessions {
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    /// The tasks that may still be granted a login.
    open: TaskTracker,
    stop: CancellationToken,
    /// The current providers: a reload may replace a login's keeper.
    view: Arc<ArcSwap<View>>,
    sessions: Mutex<BTreeMap<u64, Arc<Session>>>,
}

#[derive(Debug)]
struct Session {
    state: watch::Sender<SessionState>,
    expires_at: DateTime<Utc>,
    /// `expires_at` on the monotonic clock.
    deadline: Instant,
    cancel: CancellationToken,
    asked_at: Mutex<Instant>,
    /// Receives pasted addresses, for a login on a page.
    pastes: Option<visit::PasteReceiver>,
}

#[derive(Debug, Clone)]
enum SessionState {
    Pending(Option<String>),
    /// The provider is being asked for the tokens or has issued them, so the login can't be cancelled any more. The
    /// text gives the reason for a delay, for people.
    Saving(Option<String>),
    Done(LoginDone),
    Failed(ControlError),
}

/// The input of a session's task.
struct SessionWork {
    adapter: Arc<dyn Adapter>,
    target: LoginTarget,
    session: Arc<Session>,
}

/// Where a login will be saved.
struct LoginTarget {
    place: LoginDestination,
    /// Set if the login is added to the provider's others.
    added: Option<NewLogin>,
}

/// How the user logs in.
enum LoginMethod {
    Code(DeviceCode),
    Page(PendingRedirect),
}

impl LoginSessions {
    /// No logins yet. Their tasks run on `tasks` and end with `stop`.
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        tasks: TaskTracker,
        stop: &CancellationToken,
        view: Arc<ArcSwap<View>>,
    ) -> Self {
        Self {
            clock,
            tasks,
            open: TaskTracker::new(),
            stop: stop.child_token(),
            view,
            sessions: Mutex::default(),
        }
    }

    /// Cancels the logins that wait for the user. A login whose tokens have been requested is completed and saved
    /// first, so the providers' keepers must still be running.
    pub(super) async fn end(&self) {
        self.stop.cancel();
        self.open.close();
        self.open.wait().await;
    }

    /// Begins a login, unless a working one exists.
    pub(super) async fn begin(
        self: &Arc<Self>,
        report: &ProviderReport,
        wanted: &LoginBegin,
    ) -> Result<LoginBegun, ControlError> {
        let handle = report.upstream.credentials.block().clone();
        let offered = offered(report, wanted.way)?;
        if !wanted.separate {
            handle.look().await;
            if let Some(unreadable) = handle.status().unreadable {
                return Err(no_room(report, &unreadable));
            }
        }
        let mut added = None;
        if let Some(label) = &wanted.label {
            if wanted.separate {
                return Err(no_label_apart());
            }
            added = Some(pools::vacancy(report, label, wanted.force)?);
        } else if !wanted.force
            && let Some(existing) = existing(report, wanted.separate).await
        {
            return Ok(LoginBegun::Existing(existing));
        }
        let layout = report.adapter.layout();
        let is_ours = layout.is_some_and(Layout::is_ours_alone);
        let place = if wanted.separate || is_ours {
            LoginDestination::Own
        } else {
            LoginDestination::Shared
        };
        let target = LoginTarget { place, added };
        // Before the user is sent anywhere, check that the login can be saved.
        let room = handle.make_room(place).await;
        if let Err(error) = room.ok_or_else(|| gone(&handle))? {
            return Err(unusable("saved", error).await);
        }
        match offered {
            Offered::Code(device) => {
                let code = device.begin().await;
                let code = code.map_err(|error| failed(report, &error))?;
                Ok(LoginBegun::Code(self.show_code(report, code, target)))
            }
            Offered::Page(browser) => {
                let begun = PendingRedirect::begin(browser).await;
                let (visit, pastes) = begun.map_err(|error| failed(report, &error))?;
                Ok(LoginBegun::Page(
                    self.show_page(report, visit, pastes, target),
                ))
            }
        }
    }

    fn show_code(
        self: &Arc<Self>,
        report: &ProviderReport,
        code: DeviceCode,
        target: LoginTarget,
    ) -> LoginCode {
        let session = self.open(code.expires_in, None);
        let shown = LoginCode {
            session: self.add(session.clone()),
            provider: report.upstream.name.to_string(),
            display_name: report.upstream.display_name.clone(),
            verification_uri: code.verification_uri.clone(),
            verification_uri_complete: code.verification_uri_complete.clone(),
            user_code: code.user_code.clone(),
            expires_in_seconds: code.expires_in.as_secs(),
            trusted_uri: code.trusted_uri,
        };
        self.go_on(report, LoginMethod::Code(code), target, session);
        shown
    }

    fn show_page(
        self: &Arc<Self>,
        report: &ProviderReport,
        visit: PendingRedirect,
        pastes: visit::PasteReceiver,
        target: LoginTarget,
    ) -> LoginPage {
        let session = self.open(PAGE_LIFE, Some(pastes));
        let shown = LoginPage {
            session: self.add(session.clone()),
            provider: report.upstream.name.to_string(),
            display_name: report.upstream.display_name.clone(),
            url: visit.page.url.to_string(),
            redirect_uri: visit.redirect_uri(),
            deaf: visit.deaf.clone(),
            expires_in_seconds: PAGE_LIFE.as_secs(),
            trusted_uri: visit.page.trusted,
        };
        self.go_on(report, LoginMethod::Page(visit), target, session);
        shown
    }

    fn open(&self, life: Duration, pastes: Option<visit::PasteReceiver>) -> Arc<Session> {
        Arc::new(Session {
            state: watch::Sender::new(SessionState::Pending(None)),
            expires_at: clock::after(self.clock.now(), life),
            deadline: Instant::now() + life,
            cancel: self.stop.child_token(),
            asked_at: Mutex::new(Instant::now()),
            pastes,
        })
    }

    fn go_on(
        self: &Arc<Self>,
        report: &ProviderReport,
        way: LoginMethod,
        target: LoginTarget,
        session: Arc<Session>,
    ) {
        let work = SessionWork {
            adapter: report.adapter.clone(),
            target,
            session,
        };
        let logins = self.clone();
        let run = self
            .open
            .track_future(async move { logins.run(work, way).await });
        self.tasks.spawn(run);
    }

    /// Accepts the address that the user has pasted from the browser.
    pub(super) fn paste(&self, paste: &LoginPaste) -> Result<LoginPasteTaken, ControlError> {
        let login = LoginSession {
            session: paste.session,
        };
        let session = self.session(login)?;
        session.touch();
        let waits = matches!(*session.state.borrow(), SessionState::Pending(_));
        let pastes = session.pastes.as_ref().filter(|_| waits);
        pastes.ok_or_else(|| no_such(login))?.take(&paste.text)?;
        Ok(LoginPasteTaken {})
    }

    /// Waits a moment for a login.
    pub(super) async fn wait(&self, login: LoginSession) -> Result<LoginProgress, ControlError> {
        let session = self.session(login)?;
        session.touch();
        let mut changes = session.state.subscribe();
        let ended = changes.wait_for(|state| !state.is_open());
        // A timeout is reported as pending.
        drop(timeout(session.patience(), ended).await);
        session.touch();
        let state = session.state.borrow().clone();
        let note = match &state {
            SessionState::Pending(note) | SessionState::Saving(note) => note.clone(),
            SessionState::Done(_) | SessionState::Failed(_) => None,
        };
        match state {
            SessionState::Pending(_) | SessionState::Saving(_) => {
                let left = clock::until(session.expires_at, self.clock.now());
                Ok(LoginProgress::Pending(LoginPending {
                    expires_in_seconds: left.as_secs(),
                    note,
                }))
            }
            SessionState::Done(done) => Ok(LoginProgress::Done(done)),
            SessionState::Failed(error) => Err(error),
        }
    }

    /// Cancels a login, unless it has been granted. While the provider is being asked, its answer decides.
    pub(super) async fn cancel(&self, login: LoginSession) -> Result<LoginCancelled, ControlError> {
        let session = self.session(login)?;
        let mut changes = session.state.subscribe();
        let answered = changes.wait_for(|state| !matches!(state, SessionState::Saving(_)));
        // The state below decides, with or without a timeout.
        drop(timeout(WAIT, answered).await);
        if !session.turn_to(SessionState::Failed(cancelled())) {
            return Err(no_such(login));
        }
        session.cancel.cancel();
        Ok(LoginCancelled {})
    }

    fn add(&self, session: Arc<Session>) -> u64 {
        let mut sessions = lock(&self.sessions);
        let number = sessions
            .last_key_value()
            .map_or(1, |(number, _)| number + 1);
        sessions.insert(number, session);
        while sessions.len() > SESSIONS {
            if let Some((_, oldest)) = sessions.pop_first() {
                oldest.cancel.cancel();
            }
        }
        number
    }

    fn session(&self, login: LoginSession) -> Result<Arc<Session>, ControlError> {
        let session = lock(&self.sessions).get(&login.session).cloned();
        session.ok_or_else(|| no_such(login))
    }

    /// Runs a login until the user has decided, its time is up, or hermesctl has stopped asking. A request to the
    /// provider is always awaited: its answer may be the grant.
    async fn run(&self, work: SessionWork, way: LoginMethod) {
        let session = work.session.clone();
        let mut arrival = None;
        let granted = match way {
            LoginMethod::Code(code) => self.poll(&work, &code).await,
            LoginMethod::Page(visit) => visit.granted(self, &work, &mut arrival).await,
        };
        let end = match granted {
            Ok(grant) => self.save(&work, grant).await,
            Err(state) => state,
        };
        RedirectAnswer::tell(arrival, &end, work.adapter.display_name());
        if session.state.borrow().is_open() {
            session.state.send_replace(end);
        }
    }

    async fn poll(&self, work: &SessionWork, code: &DeviceCode) -> Result<Grant, SessionState> {
        let Some(device) = work.adapter.device_login() else {
            return Err(SessionState::Failed(stopping()));
        };
        let mut pace = PollPace::of(code);
        let mut pause = pace.first();
        loop {
            work.session.unless_given_up(sleep(pause)).await?;
            if Instant::now() >= work.session.deadline {
                return Err(SessionState::Failed(ended(
                    work.adapter.name(),
                    &DeviceError::Expired,
                )));
            }
            work.session.asks().map_err(|state| *state)?;
            let poll = device.poll(code).await;
            let poll =
                poll.map_err(|error| SessionState::Failed(ended(work.adapter.name(), &error)))?;
            pause = pace.after(&poll);
            let note = match poll {
                Poll::Granted(grant) => return Ok(grant),
                Poll::Pending | Poll::SlowDown => None,
                Poll::Busy { what, .. } => Some(format!("{what}; still trying")),
            };
            work.session.waits(note);
        }
    }

    /// Saves a grant. Waits while the store is locked or the disk is full, because the user should not have to log in
    /// twice.
    async fn save(&self, work: &SessionWork, grant: Grant) -> SessionState {
        if let Some(flaw) = provider::flaw(&*work.adapter, &grant, self.clock.now()) {
            return SessionState::Failed(of_no_use(&*work.adapter, &flaw));
        }
        let mut problem = stopping();
        for _ in 0..SAVE_TRIES {
            match self.handle(&*work.adapter) {
                Some(handle) => match work.write(&handle, grant.clone()).await {
                    Some(Ok(added)) => {
                        self.forget_models(work.adapter.name());
                        return Self::saved(work, &handle, added);
                    }
                    Some(Err(error)) => problem = unusable("saved", error).await,
                    // A reload has replaced the keeper.
                    None => {}
                },
                None => return SessionState::Failed(removed(work.adapter.name())),
            }
            let note = format!("{} It is tried again.", problem.message);
            work.session
                .state
                .send_replace(SessionState::Saving(Some(note)));
            tokio::select! {
                () = self.stop.cancelled() => return SessionState::Failed(problem),
                () = sleep(SAVE_AGAIN) => {}
            }
        }
        SessionState::Failed(problem)
    }

    fn saved(work: &SessionWork, handle: &CredentialHandle, added: Added) -> SessionState {
        let store = added.file;
        let provider = work.adapter.name().to_string();
        work.adapter.forget_limit();
        tracing::info!(provider, store = %store.display(), "the user has logged in");
        let login = handle.status().login;
        SessionState::Done(LoginDone {
            provider,
            display_name: work.adapter.display_name().to_owned(),
            store,
            separate: work.target.place == LoginDestination::Own,
            ends_at: login.and_then(|login| login.ends_at).map(Timestamp),
            label: added.label,
            same_account_as: added.same_account_as,
        })
    }

    /// Another account may offer other models.
    fn forget_models(&self, name: &ProviderName) {
        let view = self.view.load();
        let mut reports = view.reports.iter();
        if let Some(report) = reports.find(|report| report.upstream.name == *name) {
            report.upstream.models.empty();
        }
    }

    /// The provider's current keeper, if the authority that granted this login still applies. A reload may have changed
    /// it, and another authority must not receive its tokens.
    fn handle(&self, begun: &dyn Adapter) -> Option<CredentialHandle> {
        let view = self.view.load();
        let mut reports = view.reports.iter();
        let report = reports.find(|report| report.upstream.name == *begun.name())?;
        let is_same = report.adapter.grantor() == begun.grantor();
        is_same.then(|| report.upstream.credentials.block().clone())
    }
}

impl SessionWork {
    /// Saves the grant; `None` if the keeper has ended.
    async fn write(
        &self,
        handle: &CredentialHandle,
        grant: Grant,
    ) -> Option<Result<Added, StoreError>> {
        if let Some(NewLogin { label, replaces }) = &self.target.added {
            let replaces = replaces.as_ref();
            return handle.add(grant, label.clone(), replaces).await;
        }
        let file = match handle.install(grant, self.target.place).await? {
            Ok(file) => file,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(Added {
            file,
            label: None,
            same_account_as: handle.same_account_as().await,
        }))
    }
}

impl SessionState {
    fn is_open(&self) -> bool {
        matches!(self, Self::Pending(_) | Self::Saving(_))
    }
}

impl Session {
    /// Changes the state if the login still waits for the user; returns whether it did.
    fn turn_to(&self, state: SessionState) -> bool {
        self.state.send_if_modified(|now| {
            let waits = matches!(now, SessionState::Pending(_));
            if waits {
                *now = state;
            }
            waits
        })
    }

    /// Marks the start of a request to the provider; from here on its answer decides.
    ///
    /// # Errors
    /// The login's outcome, if it was cancelled before.
    fn asks(&self) -> Result<(), Box<SessionState>> {
        let note = match &*self.state.borrow() {
            SessionState::Pending(note) => note.clone(),
            SessionState::Saving(_) | SessionState::Done(_) | SessionState::Failed(_) => None,
        };
        let asks = self.turn_to(SessionState::Saving(note));
        asks.then_some(())
            .ok_or_else(|| Box::new(SessionState::Failed(cancelled())))
    }

    /// Marks the login as waiting again: the provider has not granted it yet.
    fn waits(&self, note: Option<String>) {
        self.state.send_replace(SessionState::Pending(note));
    }

    /// The result of `wait`, unless the login is cancelled first.
    async fn unless_given_up<T>(&self, wait: impl Future<Output = T>) -> Result<T, SessionState> {
        tokio::select! {
            () = self.cancel.cancelled() => Err(SessionState::Failed(cancelled())),
            () = self.unattended() => Err(SessionState::Failed(cancelled())),
            value = wait => Ok(value),
        }
    }

    /// How long one call waits for this login.
    fn patience(&self) -> Duration {
        if self.pastes.is_some() {
            SHORT_WAIT
        } else {
            WAIT
        }
    }

    fn touch(&self) {
        *lock(&self.asked_at) = Instant::now();
    }

    /// Completes once hermesctl has not asked about the login for a while.
    async fn unattended(&self) {
        loop {
            let left = UNATTENDED.saturating_sub(lock(&self.asked_at).elapsed());
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

/// A login method that the provider offers.
enum Offered<'a> {
    Code(&'a dyn DeviceLogin),
    Page(&'a dyn BrowserLogin),
}

/// The login method that the caller's choice selects.
fn offered(report: &ProviderReport, way: LoginWay) -> Result<Offered<'_>, ControlError> {
    let code = report.adapter.device_login().map(Offered::Code);
    let page = report.adapter.browser_login().map(Offered::Page);
    match (way, code, page) {
        (_, None, None) => Err(not_supported(report)),
        (LoginWay::Code | LoginWay::Any, Some(code), _) => Ok(code),
        (LoginWay::Any | LoginWay::Browser, _, Some(page)) => Ok(page),
        (LoginWay::Code, None, Some(_)) => Err(too_old(report)),
        (LoginWay::Browser, Some(_), None) => Err(no_page(report)),
    }
}

/// Removes the login from its files.
pub(super) async fn logout(
    report: &ProviderReport,
    meant: Option<PathBuf>,
) -> Result<LogoutReport, ControlError> {
    if report.adapter.layout().is_none() {
        return Err(not_supported(report));
    }
    log_out(report, meant, Extent::All).await
}

/// Removes the provider's own login from its file; the additional logins of its pool stay.
pub(super) async fn logout_of_main(report: &ProviderReport) -> Result<LogoutReport, ControlError> {
    log_out(report, None, Extent::Main).await
}

async fn log_out(
    report: &ProviderReport,
    meant: Option<PathBuf>,
    extent: Extent,
) -> Result<LogoutReport, ControlError> {
    let handle = report.upstream.credentials.block();
    let removed = handle.logout(meant, extent).await;
    let removed = removed.ok_or_else(|| gone(handle))?;
    let removed = match removed {
        Ok(removed) => removed,
        Err(error) => return Err(unusable("removed", error).await),
    };
    let provider = report.upstream.name.to_string();
    tracing::info!(provider, "the user has logged out");
    Ok(LogoutReport {
        provider,
        removed_from: removed.files,
        shared_with_hermes: removed.shared,
        still_logged_in: removed.next,
        copies: removed.copies,
        logins: (removed.logins > 1).then_some(removed.logins as u64),
    })
}

/// Removes what our store still holds of a provider that is no longer configured, or no longer with a login.
pub(super) async fn remove_leftover(
    files: &StoreFiles,
    name: &str,
    now: DateTime<Utc>,
) -> Result<Option<LogoutReport>, ControlError> {
    let Some(name) = ProviderName::new(name) else {
        return Ok(None);
    };
    let layout = provider::own_layout(&name);
    let removed = match credentials::remove_leftover(files, layout, now).await {
        Ok(removed) => removed,
        Err(error) => return Err(unusable("removed", error).await),
    };
    Ok(removed.map(|removed| {
        tracing::info!(provider = %name, "a login of a provider that is not configured was removed");
        LogoutReport {
            provider: name.to_string(),
            removed_from: removed.files,
            shared_with_hermes: false,
            still_logged_in: None,
            copies: removed.copies,
            logins: None,
        }
    }))
}

pub(super) async fn refresh(
    report: &ProviderReport,
    label: Option<&str>,
) -> Result<RefreshOutcome, ControlError> {
    if report.adapter.layout().is_none() {
        return Err(not_supported(report));
    }
    let credentials = &report.upstream.credentials;
    let (handle, refreshed) = if let Some(label) = label {
        credentials.block().look_unless_renewing().await;
        let called = pools::called(report, label)?;
        (called.login().clone(), called.refresh().await)
    } else {
        let handle = credentials.login();
        let refreshed = handle.refresh().await;
        (handle, refreshed)
    };
    let refreshed = refreshed.ok_or_else(|| gone(&handle))?;
    Ok(RefreshOutcome {
        provider: report.upstream.name.to_string(),
        result: super::control::refresh_result(refreshed.result),
        detail: refreshed.detail,
        expires_at: refreshed.expires_at.map(Timestamp),
    })
}

/// The existing login, if it works. One that only the mirror still holds is adopted.
async fn existing(report: &ProviderReport, separate: bool) -> Option<ExistingLogin> {
    // Only the provider's own login counts, not the pool's additional ones.
    let handle = report.upstream.credentials.block();
    handle.look().await;
    // After a logout, only a real login shares it with Hermes Agent again.
    if !separate && handle.is_suppressed().await {
        return None;
    }
    let adopted = !handle.is_authenticated();
    if adopted {
        if separate || !handle.import().await.unwrap_or_default() {
            return None;
        }
        let refreshed = handle.refresh().await?;
        if !matches!(
            refreshed.result,
            RenewalResult::Refreshed | RenewalResult::Adopted | RenewalResult::NotRenewable
        ) {
            return None;
        }
    }
    if handle.status().standing == StandingKind::Expired {
        // It may have been revoked long ago without anyone noticing.
        let refreshed = handle.refresh().await?;
        if matches!(
            refreshed.result,
            RenewalResult::Rejected | RenewalResult::NoLogin
        ) {
            return None;
        }
    }
    let status = handle.status();
    let login = status.login?;
    let works = matches!(status.standing, StandingKind::Ready | StandingKind::Expired);
    if !works || separate && !login.own {
        return None;
    }
    let same_account_as = if adopted {
        handle.same_account_as().await
    } else {
        None
    };
    Some(ExistingLogin {
        provider: report.upstream.name.to_string(),
        display_name: report.upstream.display_name.clone(),
        store: login.store,
        separate: login.own,
        adopted,
        same_account_as,
    })
}

/// Our own store holds one login per provider.
fn no_label_apart() -> ControlError {
    let message = "A separate login can't have a label.";
    let hint = "Leave out either --separate or --label.";
    ControlError::new(ErrorCode::NotSupported, message).with_hint(hint)
}

fn no_such(login: LoginSession) -> ControlError {
    let message = format!("Login number {} is not waiting.", login.session);
    ControlError::new(ErrorCode::NoSuchSession, message)
        .with_hint("Start again: hermesctl auth login")
}

/// The grant is unusable. The stored login stays unchanged.
fn of_no_use(adapter: &dyn Adapter, flaw: &str) -> ControlError {
    let (name, display_name) = (adapter.name(), adapter.display_name());
    let message =
        format!("{display_name} granted a login that can't be used: {flaw}. Nothing was saved.");
    ControlError::new(ErrorCode::LoginFailed, message).with_hint(format!(
        "Check [providers.{name}] and what is registered for it at the provider, then run: hermesctl auth login {name}"
    ))
}

/// A reload removed the provider during the login.
fn removed(provider: &ProviderName) -> ControlError {
    let message = format!(
        "The login was not saved, because the configuration of the provider {provider} changed meanwhile: it was removed, or its logins now come from another authority."
    );
    ControlError::new(ErrorCode::UnknownProvider, message).with_hint(format!(
        "Check [providers.{provider}] in the configuration, then run: hermesctl auth login {provider}"
    ))
}

fn stopping() -> ControlError {
    ControlError::new(ErrorCode::ShuttingDown, "The daemon is stopping.")
}

/// The keeper did not answer: it was stopped, or it failed.
fn gone(handle: &CredentialHandle) -> ControlError {
    if handle.has_ended() {
        return stopping();
    }
    let message = "A defect in hermes-proxyd stopped this; see its log. Please report it.";
    ControlError::new(ErrorCode::Internal, message).with_hint("hermesctl bugreport")
}

/// A file that can't be read can't take a new login either.
fn no_room(report: &ProviderReport, unreadable: &UnreadableStore) -> ControlError {
    let message = format!("The login can't be saved: {}.", unreadable.reason);
    let then = format!("hermesctl auth login {}", report.upstream.name);
    let hint = match &unreadable.command {
        Some(command) => format!("Run `{command}`, then `{then}`."),
        None => format!("`hermesctl doctor` shows more; then run `{then}`."),
    };
    ControlError::new(ErrorCode::StoreUnusable, message).with_hint(hint)
}

fn cancelled() -> ControlError {
    let message = "The login was cancelled; nothing has changed.";
    ControlError::new(ErrorCode::LoginFailed, message)
}

pub(super) fn not_supported(report: &ProviderReport) -> ControlError {
    let name = &report.upstream.name;
    let kind = report.upstream.credentials.status().kind;
    let (has, hint) = if kind == Some(BearerKind::NO_KEY) {
        let hint = format!(
            "It needs no login; `hermesctl proxy test {name}` tests it. If it wants a key, name that in \
             `providers.{name}.api_key_file` instead of `auth = \"none\"`."
        );
        ("neither an API key nor a login (`auth = \"none\"`)", hint)
    } else {
        let hint = format!(
            "Change the key in the place that `providers.{name}.api_key_file`, `api_key_env` or \
             `api_key_credential` names."
        );
        ("a fixed API key and no login", hint)
    };
    let message = format!("The provider {name} has {has}.");
    ControlError::new(ErrorCode::NotSupported, message).with_hint(hint)
}

fn no_page(report: &ProviderReport) -> ControlError {
    let name = &report.upstream.name;
    let message = format!("The provider {name} has no login in a browser, only with a code.");
    ControlError::new(ErrorCode::NotSupported, message)
        .with_hint(format!("Run: hermesctl auth login {name}"))
}

fn too_old(report: &ProviderReport) -> ControlError {
    let message = format!(
        "The provider {} has a login in a browser only, which this hermesctl does not know.",
        report.upstream.name
    );
    ControlError::new(ErrorCode::NotSupported, message)
        .with_hint("Use the hermesctl of the same release as hermes-proxyd.")
}

pub(super) async fn unusable(what: &str, error: StoreError) -> ControlError {
    let message = format!("The login can't be {what}: {}.", error.cause());
    let hint = hint(&error);
    // Looking up a file's owner may block on a file system that hangs.
    let asked = Desk::default().run(move || remedy(&error, None)).await;
    let hint = match asked.ok().flatten() {
        Some(command) => format!("Run `{command}`, then try again."),
        None => hint.to_owned(),
    };
    ControlError::new(ErrorCode::StoreUnusable, message).with_hint(hint)
}

fn hint(error: &StoreError) -> &'static str {
    match error {
        StoreError::LockHeld { .. } | StoreError::Restless { .. } | StoreError::RowGone { .. } => {
            "Try again when the other program has finished."
        }
        StoreError::Parse { .. } => "Fix or remove the file, then try again.",
        StoreError::Moved { .. } => "See `hermesctl auth status`, then try again.",
        StoreError::Foreign { .. }
        | StoreError::Writable { .. }
        | StoreError::Waiting
        | StoreError::Stopping => "Then try again.",
        StoreError::Read { .. } | StoreError::Lock { .. } | StoreError::Write { .. } => {
            "Make the file and its folder readable and writable for you, then try again."
        }
    }
}

fn failed(report: &ProviderReport, error: &DeviceError) -> ControlError {
    let again = format!("hermesctl auth login {}", report.upstream.name);
    let hint = match error {
        DeviceError::Unreachable { .. } => {
            format!("`hermesctl doctor` checks the network; then try again: {again}")
        }
        DeviceError::Denied | DeviceError::Expired | DeviceError::Refused { .. } => {
            format!("Try again: {again}")
        }
    };
    ended(&report.upstream.name, error).with_hint(hint)
}

/// A failed login as an error for hermesctl.
fn ended(provider: &ProviderName, error: &DeviceError) -> ControlError {
    let code = match error {
        DeviceError::Denied => ErrorCode::LoginDenied,
        DeviceError::Expired => ErrorCode::LoginExpired,
        DeviceError::Refused { .. } | DeviceError::Unreachable { .. } => ErrorCode::LoginFailed,
    };
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    let message = format!("{}{}.", first.unwrap_or_default(), letters.as_str());
    let hint = format!("Start again: hermesctl auth login {provider}");
    ControlError::new(code, message).with_hint(hint)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
