//! What the tasks of one listener share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::super::bind;
use super::super::socket::Socket;
use crate::config::{ListenAddress, Listener};

/// How often to check for an address that may come or go, and for a Unix socket.
pub(super) const LOOK: Duration = Duration::from_secs(3);

/// What a listener's tasks share.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) setting: Arc<Listener>,
    /// The TCP addresses that it is bound to now.
    pub(super) bound: Arc<Mutex<Vec<SocketAddr>>>,
    pub(super) connections: Arc<AtomicU64>,
    /// Its Unix socket was removed and is not made again yet.
    pub(super) lost: Arc<AtomicBool>,
    /// The listeners whose connections come by this one's socket, which has all addresses.
    pub(super) within: Arc<OnceLock<Vec<Site>>>,
}

impl Site {
    pub(super) fn url(&self) -> String {
        match (&self.setting.address, self.bound().first()) {
            (ListenAddress::Unix { .. }, _) => self.setting.address.to_string(),
            (_, Some(address)) => url(*address),
            (address, None) => format!("http://{address}/v1"),
        }
    }

    /// Whose a connection is that came by this one's socket: who has the address that was reached.
    pub(super) fn reached_at(&self, socket: &Socket) -> &Self {
        let within = self.within.get().map_or(&[][..], |sites| sites);
        if within.is_empty() {
            return self;
        }
        let Ok(Some((_, local))) = socket.ends() else {
            return self;
        };
        let local = bind::canonical(local);
        let has = |site: &&Self| site.bound().contains(&local);
        within.iter().find(has).unwrap_or(self)
    }

    pub(super) fn bound(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn url(address: SocketAddr) -> String {
    format!("http://{address}/v1")
}
