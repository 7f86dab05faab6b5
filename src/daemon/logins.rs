//! Logins, logouts and renewals on behalf of hermesctl.
//!
//! A login is a task. hermesctl polls it in short calls, and it is cancelled when the calls stop. The user enters a
//! code on another device, or logs in on a page that sends the browser back here (`visit`, `redirect`).

mod paste;
mod redirect;
mod session;
mod visit;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::paste::PasteReceiver;
use self::redirect::RedirectAnswer;
use self::session::{LoginTarget, Session, SessionState, SessionWork, WAIT, lock};
use self::visit::PendingRedirect;
use super::login_error::{
    cancelled, ended, failed, gone, no_label_apart, no_page, no_room, no_such, not_supported,
    of_no_use, removed, stopping, too_old, unusable,
};
use super::login_state::refresh_result;
use super::pools::{self};
use super::providers::ProviderReport;
use super::view::View;
use crate::clock::{self, Clock};
use crate::config::ProviderName;
use crate::control::protocol::{
    ControlError, ExistingLogin, LoginBegin, LoginBegun, LoginCancelled, LoginCode, LoginDone,
    LoginPage, LoginPaste, LoginPasteTaken, LoginPending, LoginProgress, LoginSession, LoginWay,
    RefreshOutcome, Timestamp,
};
use crate::credentials::{
    Added, AvailabilityKind, CredentialHandle, LoginDestination, RenewalResult,
};
use crate::provider::{
    self, Adapter, BrowserLogin, DeviceCode, DeviceError, DeviceLogin, Grant, Layout, PAGE_LIFE,
    Poll, PollPace,
};

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
        pastes: PasteReceiver,
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

    fn open(&self, life: Duration, pastes: Option<PasteReceiver>) -> Arc<Session> {
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
            LoginMethod::Page(visit) => visit.granted(&self.tasks, &work, &mut arrival).await,
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
        result: refresh_result(refreshed.result),
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
    if handle.status().standing == AvailabilityKind::Expired {
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
    let works = matches!(
        status.standing,
        AvailabilityKind::Ready | AvailabilityKind::Expired
    );
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
