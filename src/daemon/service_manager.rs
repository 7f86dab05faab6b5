//! Messages to the service manager (`sd_notify(3)`), and the sockets that it hands over
//! (`sd_listen_fds(3)`; `launch_activate_socket(3)`). Without one, nothing happens.

#[cfg(target_os = "linux")]
mod systemd {
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{self, Receiver, SyncSender};
    use std::sync::{Arc, OnceLock};
    use std::thread;
    use std::time::Duration;

    use sd_notify::NotifyState;
    use tokio::time::{sleep, timeout};

    /// How many messages wait for a manager that does not read: those of this many reloads and a
    /// stop.
    const QUEUE: usize = 32;
    /// A thread that sends needs little.
    const STACK: usize = 128 * 1024;
    /// How long the end waits for the last message.
    const FAREWELL: Duration = Duration::from_millis(200);
    /// How often a message under way is checked.
    const LOOK: Duration = Duration::from_millis(2);

    /// The connection to the service manager. Its socket blocks when the manager does not read, so a
    /// separate thread sends.
    #[derive(Debug)]
    struct ManagerNotifier {
        messages: SyncSender<String>,
        /// Messages that are not sent yet.
        waiting: Arc<AtomicUsize>,
    }

    static TELLER: OnceLock<Option<ManagerNotifier>> = OnceLock::new();

    impl ManagerNotifier {
        fn start() -> io::Result<Self> {
            let (messages, queue) = mpsc::sync_channel(QUEUE);
            let waiting = Arc::new(AtomicUsize::new(0));
            let sent = waiting.clone();
            thread::Builder::new()
                .name("notify".to_owned())
                .stack_size(STACK)
                .spawn(move || tell(&queue, &sent))?;
            Ok(Self { messages, waiting })
        }

        /// Whether the message has found a place.
        fn send(&self, message: String) -> bool {
            self.waiting.fetch_add(1, Ordering::AcqRel);
            let found = self.messages.try_send(message).is_ok();
            if !found {
                self.waiting.fetch_sub(1, Ordering::AcqRel);
                tracing::debug!(
                    "the service manager does not read its socket, so it could not be notified"
                );
            }
            found
        }

        fn is_idle(&self) -> bool {
            self.waiting.load(Ordering::Acquire) == 0
        }
    }

    fn tell(queue: &Receiver<String>, waiting: &AtomicUsize) {
        while let Ok(message) = queue.recv() {
            let state = NotifyState::Custom(message.trim_end());
            if let Err(error) = sd_notify::notify(&[state]) {
                tracing::debug!(%error, "the service manager could not be notified");
            }
            waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// `None` without a service manager.
    fn teller() -> Option<&'static ManagerNotifier> {
        let start = || {
            let started = listens().then(ManagerNotifier::start)?;
            let failed = |error| tracing::warn!(%error, "the service manager can't be notified");
            started.map_err(failed).ok()
        };
        TELLER.get_or_init(start).as_ref()
    }

    fn text(states: &[NotifyState<'_>]) -> String {
        let lines = states.iter().map(|state| format!("{state}\n"));
        lines.collect()
    }

    /// Required messages, in order.
    fn notify(states: &[NotifyState<'_>]) {
        if let Some(teller) = teller() {
            teller.send(text(states));
        }
    }

    /// A message that is true only now: it is dropped while another one still waits. Returns
    /// whether it was sent.
    fn notify_now(state: &NotifyState<'_>) -> bool {
        teller()
            .is_none_or(|teller| teller.is_idle() && teller.send(text(std::slice::from_ref(state))))
    }

    pub(in crate::daemon) fn ready(status: &str) {
        notify(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Whether there is a service manager to tell.
    pub(in crate::daemon) fn listens() -> bool {
        std::env::var_os("NOTIFY_SOCKET").is_some()
    }

    /// Whether it was sent.
    pub(in crate::daemon) fn status(text: &str) -> bool {
        notify_now(&NotifyState::Status(text))
    }

    pub(in crate::daemon) fn reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
    }

    /// Waits a moment until it is sent, since the process may end right after.
    pub(in crate::daemon) async fn stopping() {
        notify(&[NotifyState::Stopping]);
        let Some(teller) = teller() else { return };
        let sent = async {
            while !teller.is_idle() {
                sleep(LOOK).await;
            }
        };
        timeout(FAREWELL, sent).await.ok();
    }

    /// A sign of life is sent at once or never: a late one would be out of date.
    pub(in crate::daemon) fn alive() {
        notify_now(&NotifyState::Watchdog);
    }

    /// The interval of signs of life: half of the watchdog's limit.
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

    pub(in crate::daemon) fn status(_text: &str) -> bool {
        true
    }

    pub(in crate::daemon) fn reloading() {}

    pub(in crate::daemon) async fn stopping() {}

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

    /// Every stream socket that was handed over; other kinds are skipped, with a log line.
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
        // Without such an entry, or if launchd did not start us, there is none.
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
