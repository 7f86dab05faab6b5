//! A login on a page: from the page to the tokens. The code comes from the browser or is pasted, whichever is first.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use super::super::login_error::{ended, stopping};
use super::paste::PasteReceiver;
use super::redirect::{self, LoginResult, RedirectAnswer, RedirectListener};
use super::session::{SessionState, SessionWork};
use crate::provider::{
    AuthorizationPage, BrowserAttempt, BrowserLogin, Callback, DeviceError, Grant, Poll,
};

/// Delay before the token request is retried after a failure that left the code unused; it doubles each time.
const AGAIN: Duration = Duration::from_millis(250);
/// The longest such delay, even if the endpoint asks for more: a code is valid for a few minutes.
const LATEST: Duration = Duration::from_secs(20);

/// A login that waits for the browser.
pub(super) struct PendingRedirect {
    pub(super) page: AuthorizationPage,
    /// Why the browser can't be received, as a sentence.
    pub(super) deaf: Option<String>,
    attempt: Arc<BrowserAttempt>,
    door: Option<RedirectListener>,
    sender: mpsc::Sender<RedirectAnswer>,
    arrivals: mpsc::Receiver<RedirectAnswer>,
}

impl RedirectAnswer {
    /// Shows the browser the outcome.
    pub(super) fn tell(
        browser: Option<oneshot::Sender<LoginResult>>,
        end: &SessionState,
        provider: &str,
    ) {
        let Some(browser) = browser else {
            return;
        };
        let told = match end {
            SessionState::Done(_) => LoginResult::Done(provider.to_owned()),
            SessionState::Failed(error) => LoginResult::Failed(error.message.clone()),
            SessionState::Pending(_) | SessionState::Saving(_) => return,
        };
        // The browser may have left.
        drop(browser.send(told));
    }
}

impl PendingRedirect {
    /// Opens the redirect listener and builds the page's URL.
    pub(super) async fn begin(
        browser: &dyn BrowserLogin,
    ) -> Result<(Self, PasteReceiver), DeviceError> {
        let redirect = browser.redirect();
        let way_back = redirect::open(&redirect).await;
        let way_back = way_back.map_err(|error| DeviceError::Unreachable {
            what: format!("no port on 127.0.0.1 can be opened for the browser's way back: {error}"),
        })?;
        let attempt = Arc::new(BrowserAttempt::new(way_back.uri)?);
        let page = browser.page(&attempt).await?;
        let (sender, arrivals) = mpsc::channel(1);
        let pastes = PasteReceiver {
            attempt: attempt.clone(),
            sender: sender.clone(),
        };
        let visit = Self {
            page,
            deaf: way_back.deaf,
            attempt,
            door: way_back.door,
            sender,
            arrivals,
        };
        Ok((visit, pastes))
    }

    /// Where the provider sends the browser afterwards.
    pub(super) fn redirect_uri(&self) -> String {
        self.attempt.redirect_uri().to_string()
    }

    /// Waits for the provider's answer and exchanges its code. `browser` receives the browser that brought it.
    pub(super) async fn granted(
        self,
        tasks: &TaskTracker,
        work: &SessionWork,
        browser: &mut Option<oneshot::Sender<LoginResult>>,
    ) -> Result<Grant, SessionState> {
        let Self {
            attempt,
            door,
            sender,
            mut arrivals,
            ..
        } = self;
        let listening = async {
            match door {
                Some(door) => door.answer(&attempt, &sender, tasks).await,
                None => std::future::pending().await,
            }
        };
        let arriving = async {
            tokio::select! {
                () = sleep_until(work.session.deadline) => None,
                () = listening => None,
                arrival = arrivals.recv() => arrival,
            }
        };
        let Some(arrival) = work.session.unless_given_up(arriving).await? else {
            return Err(SessionState::Failed(ended(
                work.adapter.name(),
                &DeviceError::Expired,
            )));
        };
        *browser = arrival.browser;
        match arrival.callback {
            Callback::Refused(no) => {
                let error = match work.adapter.browser_login() {
                    Some(provider) => provider.refused(no).await,
                    None => no.error,
                };
                Err(SessionState::Failed(ended(work.adapter.name(), &error)))
            }
            Callback::Code(code) => {
                let Some(provider) = work.adapter.browser_login() else {
                    return Err(SessionState::Failed(stopping()));
                };
                let mut pause = AGAIN;
                loop {
                    work.session.asks().map_err(|state| *state)?;
                    let poll = provider.exchange(&attempt, &code).await;
                    let poll = poll.map_err(|error| {
                        SessionState::Failed(ended(work.adapter.name(), &error))
                    })?;
                    let (what, wait) = match poll {
                        Poll::Granted(grant) => return Ok(grant),
                        Poll::Busy { what, retry_after } => (what, retry_after),
                        Poll::Pending | Poll::SlowDown => ("the code waits".to_owned(), None),
                    };
                    if Instant::now() >= work.session.deadline {
                        return Err(SessionState::Failed(ended(
                            work.adapter.name(),
                            &DeviceError::Unreachable { what },
                        )));
                    }
                    let note = format!("{what}; still trying");
                    work.session.waits(Some(note));
                    let wait = sleep(wait.unwrap_or(pause).clamp(pause, LATEST));
                    work.session.unless_given_up(wait).await?;
                    pause = pause.saturating_mul(2).min(LATEST);
                }
            }
        }
    }
}
