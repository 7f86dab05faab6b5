//! TCP to a name: all of its addresses are raced, a quarter of a second apart, the families taking
//! turns (Happy Eyeballs, RFC 8305). So an address that swallows packets costs that quarter.

use std::error::Error;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tower_service::Service;

use crate::config;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;
type Connecting = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

/// The next address is tried after this time, or when those before it have failed (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Probes of a silent connection, so that a dead peer is noticed: this long after the last byte,
/// then at this interval, this many.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;
/// The peer's kernel must acknowledge sent bytes within this time. Without a limit of ours Linux
/// waits some 15 minutes.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_mins(1);

/// The name has no address.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct ResolveError(std::io::Error);

/// The name leads away from this network, where plain http would show the world what is asked.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to no private address, and plain http goes to private addresses only")]
struct Public;

/// Opens TCP connections.
#[derive(Debug, Clone)]
pub(super) struct TcpDialer {
    resolver: GaiResolver,
    /// Gets literal addresses only.
    tcp: HttpConnector,
}

impl TcpDialer {
    pub(super) fn new() -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(PROBE_AFTER));
        tcp.set_keepalive_interval(Some(PROBE_INTERVAL));
        tcp.set_keepalive_retries(Some(PROBES));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        let resolver = GaiResolver::new();
        Self { resolver, tcp }
    }

    /// A connection without TLS to what `target` names, in this network alone.
    pub(super) fn call_near(&self, target: Uri) -> Connecting {
        self.connect(target, config::is_private)
    }

    /// A connection to what `target` names, if it may lead there.
    fn connect(&self, target: Uri, may: fn(IpAddr) -> bool) -> Connecting {
        let host = target.host().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse() {
            if !may(address) {
                return Box::pin(async { Err(Public.into()) });
            }
            let connecting = self.tcp.clone().call(target);
            return Box::pin(async move { connecting.await.map_err(Into::into) });
        }
        let encrypted = target.scheme_str() == Some("https");
        let port = target
            .port_u16()
            .unwrap_or(if encrypted { 443 } else { 80 });
        let (dial, name) = (self.clone(), host.parse::<Name>());
        Box::pin(async move { dial.race(name?, port, may).await })
    }

    async fn race(
        mut self,
        name: Name,
        port: u16,
        may: fn(IpAddr) -> bool,
    ) -> Result<TokioIo<TcpStream>, BoxError> {
        let found = self.resolver.call(name).await.map_err(ResolveError)?;
        let mut found = interleaved(found);
        let is_empty = found.is_empty();
        found.retain(|address| may(*address));
        if found.is_empty() && !is_empty {
            return Err(Public.into());
        }
        let mut waiting = found.into_iter();
        let mut running = FuturesUnordered::new();
        let mut failure = None;
        loop {
            if let Some(address) = waiting.next() {
                let target = Uri::try_from(format!("http://{}", SocketAddr::new(address, port)))?;
                running.push(self.tcp.call(target));
            }
            let next_at = Instant::now() + ATTEMPT_DELAY;
            // Until the next address has its turn.
            loop {
                tokio::select! {
                    biased;
                    ended = running.next() => match ended {
                        Some(Ok(stream)) => return Ok(stream),
                        // The first one tells most.
                        Some(Err(error)) => _ = failure.get_or_insert(error),
                        None if waiting.len() > 0 => break,
                        None => return Err(failure.map_or_else(no_address, Into::into)),
                    },
                    () = sleep_until(next_at), if waiting.len() > 0 => break,
                }
            }
        }
    }
}

fn no_address() -> BoxError {
    ResolveError(std::io::Error::other("it has no address")).into()
}

/// The addresses with the families taking turns, the resolver's first one first (RFC 8305 §4).
fn interleaved(found: impl Iterator<Item = SocketAddr>) -> Vec<std::net::IpAddr> {
    let found: Vec<_> = found.map(|address| address.ip()).collect();
    let first_is_v6 = found.first().is_some_and(std::net::IpAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    while first.len() + second.len() > 0 {
        turns.extend(first.next());
        turns.extend(second.next());
    }
    turns
}

impl Service<Uri> for TcpDialer {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Connecting {
        self.connect(target, |_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_take_turns() {
        let found = ["[fd00::1]:0", "[fd00::2]:0", "[fd00::3]:0", "10.0.0.1:0"];
        let turns = interleaved(found.iter().map(|text| text.parse().unwrap()));
        let turns: Vec<_> = turns.iter().map(ToString::to_string).collect();
        assert_eq!(turns, ["fd00::1", "10.0.0.1", "fd00::2", "fd00::3"]);
    }
}
