//! Accepts the connections of a bound socket, and serves them if there is a slot.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::super::bind::{Acceptor, SocketPath, Wide};
use super::super::handler::IncomingClient;
use super::super::resource_shortage;
use super::super::server::{self, Stop};
use super::super::socket::Socket;
use super::connection_service::ConnectionService;
use super::site::{LOOK, Site};
use crate::config::Listener;
use crate::files::FileWorker;

/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Another socket in place of a Unix socket of ours, once clients don't find that one any more. Never
/// where another process listens there, and nothing for other acceptors.
async fn made_again(path: Option<SocketPath>, site: &Site, look: &Notify) -> Acceptor {
    let Some(path) = path else {
        return std::future::pending().await;
    };
    let desk = FileWorker::default();
    let address = &site.setting.address;
    // Said once while it lasts.
    let mut failed = None;
    loop {
        tokio::select! {
            () = look.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        let looked_at = path.clone();
        // A file system that hangs says nothing about the socket.
        let Ok(is_found) = desk.run(move || looked_at.is_found()).await else {
            continue;
        };
        site.lost.store(!is_found, Ordering::Relaxed);
        if is_found {
            continue;
        }
        let wanted = address.clone();
        let bind = move || Acceptor::bind(&wanted, &Wide::default());
        match desk.run(bind).await.and_then(|bound| bound) {
            Ok(acceptor) => {
                site.lost.store(false, Ordering::Relaxed);
                tracing::info!(%address, "the socket was removed and has been restored");
                return acceptor;
            }
            Err(error) => {
                if failed.replace(error.kind()) != Some(error.kind()) {
                    tracing::warn!(%address, %error, "the socket was removed and can't be restored yet");
                }
            }
        }
    }
}

pub(super) async fn accept(
    mut acceptor: Acceptor,
    site: Site,
    service: ConnectionService,
    stop: CancellationToken,
) {
    let mut failing = false;
    let mut made = pin!(made_again(acceptor.path(), &site, &service.look));
    loop {
        let accepted = tokio::select! {
            biased;
            // A connection that is not accepted waits for the next owner of the service manager's
            // socket.
            () = stop.cancelled() => return,
            accepted = acceptor.accept() => accepted,
            another = &mut made => {
                acceptor = another;
                made.set(made_again(acceptor.path(), &site, &service.look));
                continue;
            }
        };
        let socket = match accepted {
            Ok(socket) => {
                failing = false;
                socket
            }
            Err(error) if resource_shortage::is_of_the_client(&error) => continue,
            Err(error) => {
                // Said once, not twenty times a second, while it lasts.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                if resource_shortage::is_of_descriptors(&error) {
                    service.places.make_room().await;
                } else {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        // Accepted first, so that a quiet listener holds no slot.
        let place = tokio::select! {
            biased;
            // An accepted connection is served if there is a slot for it: no other process can serve it.
            place = service.places.take() => place,
            () = stop.cancelled() => return,
        };
        let site = site.reached_at(&socket);
        let Ok(entry) = entry(&socket, &site.setting) else {
            continue;
        };
        service.gateway.expects_request(entry.provider.as_ref());
        let ends = Stop {
            drain: service.drain.clone(),
            abort: service.abort.clone(),
        };
        let counted = Counted::new(&site.connections);
        let gateway = service.gateway.clone();
        service.tracker.spawn(async move {
            server::serve(socket, gateway, Arc::new(entry), ends, place).await;
            drop(counted);
        });
    }
}

fn entry(socket: &Socket, setting: &Listener) -> io::Result<IncomingClient> {
    let ends = socket.ends()?;
    let from = match ends {
        Some((remote, _)) => remote.ip().to_canonical().to_string(),
        None => "unix socket".to_owned(),
    };
    Ok(IncomingClient {
        ends,
        from: from.into(),
        provider: setting.provider.clone(),
        needs_key: setting.needs_key(),
        peer: OnceLock::new(),
    })
}

/// One open connection, counted until it is dropped, however its task ends.
struct Counted(Arc<AtomicU64>);

impl Counted {
    fn new(connections: &Arc<AtomicU64>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(connections.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
