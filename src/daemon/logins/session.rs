//! One login in progress: its state, and what its task works with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::login_error::cancelled;
use super::super::pools::NewLogin;
use super::paste::PasteReceiver;
use crate::control::protocol::{ControlError, LoginDone};
use crate::credentials::{Added, CredentialHandle, LoginDestination, StoreError};
use crate::provider::{Adapter, Grant};

/// The longest wait within one call.
pub(super) const WAIT: Duration = Duration::from_secs(2);

/// The same, while the caller may have pasted text to pass on.
const SHORT_WAIT: Duration = Duration::from_millis(250);

/// A login that hermesctl has not asked about for this long is cancelled.
const UNATTENDED: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Session {
    pub(super) state: watch::Sender<SessionState>,
    pub(super) expires_at: DateTime<Utc>,
    /// `expires_at` on the monotonic clock.
    pub(super) deadline: Instant,
    pub(super) cancel: CancellationToken,
    pub(super) asked_at: Mutex<Instant>,
    /// Receives pasted addresses, for a login on a page.
    pub(super) pastes: Option<PasteReceiver>,
}

#[derive(Debug, Clone)]
pub(super) enum SessionState {
    Pending(Option<String>),
    /// The provider is being asked for the tokens or has issued them, so the login can't be cancelled any more. The
    /// text gives the reason for a delay, for people.
    Saving(Option<String>),
    Done(LoginDone),
    Failed(ControlError),
}

/// The input of a session's task.
pub(super) struct SessionWork {
    pub(super) adapter: Arc<dyn Adapter>,
    pub(super) target: LoginTarget,
    pub(super) session: Arc<Session>,
}

/// Where a login will be saved.
pub(super) struct LoginTarget {
    pub(super) place: LoginDestination,
    /// Set if the login is added to the provider's others.
    pub(super) added: Option<NewLogin>,
}

impl SessionWork {
    /// Saves the grant; `None` if the keeper has ended.
    pub(super) async fn write(
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
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Pending(_) | Self::Saving(_))
    }
}

impl Session {
    /// Changes the state if the login still waits for the user; returns whether it did.
    pub(super) fn turn_to(&self, state: SessionState) -> bool {
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
    pub(super) fn asks(&self) -> Result<(), Box<SessionState>> {
        let note = match &*self.state.borrow() {
            SessionState::Pending(note) => note.clone(),
            SessionState::Saving(_) | SessionState::Done(_) | SessionState::Failed(_) => None,
        };
        let asks = self.turn_to(SessionState::Saving(note));
        asks.then_some(())
            .ok_or_else(|| Box::new(SessionState::Failed(cancelled())))
    }

    /// Marks the login as waiting again: the provider has not granted it yet.
    pub(super) fn waits(&self, note: Option<String>) {
        self.state.send_replace(SessionState::Pending(note));
    }

    /// The result of `wait`, unless the login is cancelled first.
    pub(super) async fn unless_given_up<T>(
        &self,
        wait: impl Future<Output = T>,
    ) -> Result<T, SessionState> {
        tokio::select! {
            () = self.cancel.cancelled() => Err(SessionState::Failed(cancelled())),
            () = self.unattended() => Err(SessionState::Failed(cancelled())),
            value = wait => Ok(value),
        }
    }

    /// How long one call waits for this login.
    pub(super) fn patience(&self) -> Duration {
        if self.pastes.is_some() {
            SHORT_WAIT
        } else {
            WAIT
        }
    }

    pub(super) fn touch(&self) {
        *lock(&self.asked_at) = Instant::now();
    }

    /// Completes once hermesctl has not asked about the login for a while.
    pub(super) async fn unattended(&self) {
        loop {
            let left = UNATTENDED.saturating_sub(lock(&self.asked_at).elapsed());
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
