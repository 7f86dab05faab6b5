//! What the service manager is told (`sd_notify(3)`), and the sockets that it hands over
//! (`sd_listen_fds(3)`; `launch_activate_socket(3)`). Without one, nothing happens.

#[cfg(target_os = "linux")]
mod systemd {
    use std::time::Duration;

    use sd_notify::NotifyState;

    fn notify(states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!(%error, "the service manager could not be notified");
        }
    }

    pub(in crate::daemon) fn ready(status: &str) {
        notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Whether there is somebody to tell.
    pub(in crate::daemon) fn listens() -> bool {
        std::env::var_os("NOTIFY_SOCKET").is_some()
    }

    pub(in crate::daemon) fn status(text: &str) {
        notify(&[NotifyState::Status(text)]);
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

    pub(in crate::daemon) fn listens() -> bool {
        false
    }

    pub(in crate::daemon) fn status(_text: &str) {}

    pub(in crate::daemon) fn reloading() {}

    pub(in crate::daemon) fn stopping() {}

    pub(in crate::daemon) fn alive() {}

    pub(in crate::daemon) fn watchdog() -> Option<Duration> {
        None
    }
}

pub(super) use systemd::{alive, listens, ready, reloading, status, stopping, watchdog};

#[cfg(target_os = "linux")]
mod activation {
    use listenfd::ListenFd;

    use crate::proxy::Inherited;

    /// Every stream socket that was handed over; another kind is left alone, with a word.
    pub(in crate::daemon) fn sockets() -> Vec<Inherited> {
        let mut handed_over = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..handed_over.len() {
            if let Ok(Some(listener)) = handed_over.take_tcp_listener(index) {
                sockets.push(Inherited::Tcp(listener));
            } else if let Ok(Some(listener)) = handed_over.take_unix_listener(index) {
                sockets.push(Inherited::Unix(listener));
            } else {
                tracing::warn!(
                    index,
                    "the service manager passed a socket of an unsupported kind"
                );
            }
        }
        sockets
    }
}

#[cfg(target_os = "macos")]
mod activation {
    use service_binding::{Binding, Listener};

    use crate::proxy::Inherited;

    /// The socket that the agent's `Sockets` calls `api`.
    const SOCKET: &str = "xpc://api";

    pub(in crate::daemon) fn sockets() -> Vec<Inherited> {
        // Without such an entry, or when launchd did not start us, there is none.
        let Ok(binding) = Binding::try_from(SOCKET) else {
            return Vec::new();
        };
        match Listener::try_from(binding) {
            Ok(Listener::Tcp(listener)) => vec![Inherited::Tcp(listener)],
            Ok(Listener::Unix(listener)) => vec![Inherited::Unix(listener)],
            Ok(_) | Err(_) => Vec::new(),
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod activation {
    use crate::proxy::Inherited;

    pub(in crate::daemon) fn sockets() -> Vec<Inherited> {
        Vec::new()
    }
}

pub(super) use activation::sockets;
