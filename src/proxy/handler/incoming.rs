//! The client's listener, and what is known about the connection.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use hyper::Method;

use super::super::api_key::Presented;
use super::super::error::{ErrorKind, ProxyError};
use super::super::framing::Head;
use super::super::guard::{Peer, RequestContext};
use super::super::{peer, resource_shortage};
use crate::config::ProviderName;

/// The client's listener, and what the system reports about it.
#[derive(Debug)]
pub(in crate::proxy) struct IncomingClient {
    /// Both ends of a TCP connection: the client's address and ours.
    pub(in crate::proxy) ends: Option<(SocketAddr, SocketAddr)>,
    /// The client's address as text, or `unix socket`.
    pub(in crate::proxy) from: Arc<str>,
    /// The provider that `/v1` means there.
    pub(in crate::proxy) provider: Option<ProviderName>,
    /// Whether a client key is needed there.
    pub(in crate::proxy) needs_key: bool,
    /// Whose process the client is, once it was asked for.
    pub(in crate::proxy) peer: OnceLock<Peer>,
}

impl IncomingClient {
    /// What the guard needs to know of a request of this connection. A probe needs no key.
    ///
    /// # Errors
    /// 503 where it can't be found out right now.
    pub(super) fn arrival(
        &self,
        peer_check: bool,
        presented: Presented,
        head: &Head,
    ) -> Result<RequestContext, ProxyError> {
        let has_key = presented == Presented::Valid;
        let peer = match self.ends {
            Some((remote, local)) if peer_check && !has_key => self.peer(remote, local)?,
            _ => Peer::Ours,
        };
        Ok(RequestContext {
            local: self.ends.map(|(_, local)| local.ip().to_canonical()),
            peer,
            needs_key: self.needs_key && !is_probe(presented, head),
            presented,
        })
    }

    /// Whose process the client is. The answer is kept; where there is none, the connection's next
    /// request asks again.
    fn peer(&self, remote: SocketAddr, local: SocketAddr) -> Result<Peer, ProxyError> {
        if let Some(peer) = self.peer.get() {
            return Ok(*peer);
        }
        let Some(peer) = peer::of_connection(remote, local) else {
            return Err(resource_shortage::error(
                "the owner of the client program can't be looked up",
            ));
        };
        if peer != Peer::Untold {
            self.peer.set(peer).ok();
        }
        Ok(peer)
    }
}

/// Whether a supervisor asks how the service is: it has no key, as Kubernetes' kubelet can send none that is secret. It
/// gets a word and nothing else.
fn is_probe(presented: Presented, head: &Head) -> bool {
    presented == Presented::Nothing
        && matches!(head.method, Method::GET | Method::HEAD)
        && matches!(head.uri.path(), "/livez" | "/readyz")
}

/// The error with what it is about, where only the connection knows it.
pub(super) fn about_peer<'e>(error: &'e ProxyError, entry: &IncomingClient) -> Cow<'e, ProxyError> {
    match entry.peer.get() {
        Some(Peer::Stranger(Some(uid))) if error.kind == ErrorKind::PeerNotAllowed => {
            Cow::Owned(error.clone().about(&format!("uid {uid}")))
        }
        _ => Cow::Borrowed(error),
    }
}

/// Whether an app may miss the refused answer. Automatic requests of a browser or a monitor are not
/// missed, and a web page that is not listed is not the user's app.
pub(super) fn matters(head: &Head, kind: ErrorKind, is_listed_page: bool) -> bool {
    let has = |name: &str| head.headers.has(name);
    let is_page = has("origin") || has("sec-fetch-site");
    let is_of_path = matches!(
        kind,
        ErrorKind::PathNotAllowed | ErrorKind::UnknownProvider | ErrorKind::MethodNotAllowed
    );
    // Every base URL of an app ends in `/v1`; browsers look for icons, scanners for anything.
    let is_stray = is_of_path
        && head.method == Method::GET
        && !head.uri.path().split('/').any(|segment| segment == "v1");
    let is_foreign_page = is_page && !is_listed_page;
    !(head.method == Method::HEAD || is_stray || is_foreign_page)
}
