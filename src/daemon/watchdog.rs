//! Whether all essential parts live. If one does not, the service manager gets no sign of life, and
//! restarts us.
//!
//! The sign comes from a separate task, so it also shows that the runtime still runs tasks and
//! timers: a reload may wait for a refresh for longer than the watchdog does.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::service_manager;
use super::view::View;
use crate::proxy::Port;

/// What is watched.
pub(super) struct Watchdog {
    pub(super) view: Arc<ArcSwap<View>>,
    pub(super) ports: Vec<Port>,
    /// From then on no port has to accept.
    pub(super) drain: CancellationToken,
}

impl Watchdog {
    /// Gives signs of life until `stop`, as long as all essential parts live. Ends at once if no
    /// service manager asks for them.
    pub(super) async fn run(self, stop: CancellationToken) {
        let Some(interval) = service_manager::watchdog() else {
            return;
        };
        let mut said = false;
        while !stop.is_cancelled() {
            match self.ailing() {
                None => {
                    said = false;
                    service_manager::alive();
                }
                Some(what) if !std::mem::replace(&mut said, true) => tracing::error!(
                    what,
                    "a part of hermes-proxyd hangs or has died: watchdog notifications stop, so \
                     the service manager will restart it"
                ),
                Some(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(interval) => {}
            }
        }
    }

    /// The first part that does not live.
    fn ailing(&self) -> Option<String> {
        let view = self.view.load();
        let keepers = view.reports.iter().map(|report| &report.upstream);
        for upstream in keepers {
            if !upstream.credentials.is_well() {
                return Some(format!("the keeper of {}", upstream.name));
            }
        }
        let draining = self.drain.is_cancelled();
        let deaf = self.ports.iter().find(|port| !port.is_accepting());
        let deaf = deaf.filter(|_| !draining);
        deaf.map(|port| format!("the port {}", port.setting().address))
    }
}
