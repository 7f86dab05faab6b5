//! Hooks: the user's programs and web addresses that are told about changes of a login.
//!
//! - `notice`: a notice and its JSON form.
//! - `command`, `webhook`: the two ways to deliver it.
//!
//! [`HooksHandle::send`] never waits: one task takes the notices from a short queue, in order, and sends
//! each one to all hooks at the same time. A hook that hangs is cut at its limit, so it harms
//! neither the daemon nor, beyond that limit, the next notice.

mod command;
mod notice;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::notice::{HookNotice, QuotaNotice};
pub use crate::config::HookEvent;
use crate::config::{Config, Hook, HookAction, KeySource, ProviderKind};
use crate::files::FileWorker;

/// Notices that wait while hooks are running; what comes then is only logged.
const QUEUE: usize = 32;
/// At shutdown, hooks have this long to finish.
const FAREWELL: Duration = Duration::from_secs(2);

/// The hooks, and the variables that a program must not see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSettings {
    hooks: Vec<Hook>,
    /// Variables of our environment that hold a provider's key.
    hidden: Vec<String>,
}

/// The folder of systemd's credentials for the service; a hook needs none of them.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Hands notices to the hooks.
#[derive(Debug, Clone)]
pub struct HooksHandle {
    queue: mpsc::Sender<HookNotice>,
    settings: Arc<ArcSwap<HookSettings>>,
    /// Whether the loss of a notice was reported since the last one that fitted the queue.
    losing: Arc<AtomicBool>,
}

impl HookSettings {
    /// What the configuration says.
    pub fn new(config: &Config) -> Self {
        let hidden = |kind: &ProviderKind| match kind.api_key()? {
            KeySource::Env(name) => Some(name.clone()),
            KeySource::Credential(_) => Some(CREDENTIALS.to_owned()),
            KeySource::File(_) | KeySource::Unneeded => None,
        };
        let providers = config.providers.values();
        Self {
            hooks: config.hooks.clone(),
            hidden: providers.filter_map(|p| hidden(&p.kind)).collect(),
        }
    }
}

/// Starts the task that calls the hooks. When `stop` is cancelled, pending notices are still
/// delivered, for 2 s at most; `tracker` waits for that.
pub fn start(
    settings: HookSettings,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> HooksHandle {
    let (queue, notices) = mpsc::channel(QUEUE);
    let settings = Arc::new(ArcSwap::from_pointee(settings));
    tracker.spawn(run(notices, settings.clone(), stop));
    HooksHandle {
        queue,
        settings,
        losing: Arc::default(),
    }
}

impl HooksHandle {
    /// Queues a notice for the hooks, without waiting. If the queue is full, the notice is dropped.
    pub fn send(&self, notice: HookNotice) {
        let settings = self.settings.load();
        if !settings
            .hooks
            .iter()
            .any(|hook| hook.events.contains(&notice.event))
        {
            return;
        }
        let event = notice.event.as_str();
        if self.queue.try_send(notice).is_ok() {
            self.losing.store(false, Ordering::Relaxed);
        } else if !self.losing.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                event,
                "the hooks are too slow or stopping: notices are dropped until one has finished"
            );
        }
    }

    /// From now on, notices go to these hooks.
    pub fn replace(&self, settings: HookSettings) {
        self.settings.store(Arc::new(settings));
    }
}

async fn run(
    mut notices: mpsc::Receiver<HookNotice>,
    settings: Arc<ArcSwap<HookSettings>>,
    stop: CancellationToken,
) {
    let work = async {
        // A program on a file system that hangs keeps one thread, and no other hook from starting.
        let mut launchers: Vec<FileWorker> = Vec::new();
        loop {
            let next = tokio::select! {
                notice = notices.recv() => notice,
                () = stop.cancelled(), if !notices.is_closed() => {
                    // What waits already is still received.
                    notices.close();
                    continue;
                }
            };
            let Some(notice) = next else { return };
            let settings = settings.load_full();
            launchers.resize_with(settings.hooks.len(), FileWorker::default);
            tell_all(&settings, &launchers, &notice).await;
        }
    };
    let cut = async {
        stop.cancelled().await;
        sleep(FAREWELL).await;
    };
    tokio::select! {
        () = work => {}
        () = cut => tracing::warn!("hooks that are still running are cut off"),
    }
}

async fn tell_all(settings: &HookSettings, launchers: &[FileWorker], notice: &HookNotice) {
    let json = notice.to_json();
    let hooks = settings.hooks.iter().zip(launchers).enumerate();
    let wanting = hooks.filter(|(_, (hook, _))| hook.events.contains(&notice.event));
    let told = wanting.map(|(index, (hook, launcher))| {
        let started = Started {
            launcher,
            hidden: &settings.hidden,
        };
        tell(index, hook, notice.event, &json, started)
    });
    join_all(told).await;
}

/// How a program is started.
struct Started<'a> {
    launcher: &'a FileWorker,
    hidden: &'a [String],
}

async fn tell(index: usize, hook: &Hook, event: HookEvent, json: &str, started: Started<'_>) {
    let event = event.as_str();
    let (key, result) = match &hook.action {
        HookAction::Command(line) => (
            format!("hooks[{index}].command"),
            command::run(started.launcher, line, json, started.hidden, hook.timeout)
                .await
                .map_err(|fault| fault.to_string()),
        ),
        HookAction::Url(url) => (
            format!("hooks[{index}].url"),
            webhook::post(url, json, hook.timeout)
                .await
                .map_err(|fault| fault.to_string()),
        ),
    };
    match result {
        Ok(()) => tracing::debug!(key, event, "a hook was notified"),
        Err(fault) => tracing::warn!(key, event, "a hook failed: {fault}"),
    }
}
