//! What the service manager is told (`sd_notify(3)`). Without one, nothing happens.

#[cfg(target_os = "linux")]
mod systemd {
    use std::time::Duration;

    use sd_notify::NotifyState;

    fn notify(states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!(%error, "the service manager was not told");
        }
    }

    pub(in crate::daemon) fn ready(status: &str) {
        notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    pub(in crate::daemon) fn reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
    }

    pub(in crate::daemon) fn stopping() {
        notify(&[NotifyState::Stopping]);
    }

    pub(in crate::daemon) fn alive() {
        notify(&[NotifyState::Watchdog]);
    }

    /// How often the watchdog wants a sign of life: half of what it was given.
    pub(in crate::daemon) fn watchdog() -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|limit| limit / 2)
    }
}

#[cfg(not(target_os = "linux"))]
mod systemd {
    use std::time::Duration;

    pub(in crate::daemon) fn ready(_status: &str) {}

    pub(in crate::daemon) fn reloading() {}

    pub(in crate::daemon) fn stopping() {}

    pub(in crate::daemon) fn alive() {}

    pub(in crate::daemon) fn watchdog() -> Option<Duration> {
        None
    }
}

pub(super) use systemd::{alive, ready, reloading, stopping, watchdog};
