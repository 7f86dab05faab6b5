//! How many connections there are, and how long each of them may be silent or idle.

use std::time::Duration;

/// Idle connections are closed after this time, before the provider's edge closes them, which could cost a request.
pub(in crate::proxy) const IDLE: Duration = Duration::from_secs(20);
/// HTTP/1.1: the fewest idle connections kept, even without recent use.
pub(in crate::proxy) const HTTP1_KEPT: usize = 64;
/// HTTP/2: the most connections per origin.
pub(in crate::proxy) const HTTP2_CONNECTIONS: usize = 256;
/// The most dials at once: HTTP/1.1, HTTP/2.
pub(in crate::proxy) const DIALS: (usize, usize) = (64, 8);
/// HTTP/2: a connection that was silent for this long is probed before use.
pub(in crate::proxy) const SILENCE: Duration = Duration::from_secs(1);
/// HTTP/2: without an answer to the probe for this long, another connection is opened.
pub(in crate::proxy) const SUSPICION: Duration = Duration::from_millis(250);
/// HTTP/1.1: a request that must not be sent twice takes no connection that was idle for longer. Small servers close
/// theirs after 5 s, and proxies may close an unused one as soon. HTTP/2: a new connection needs no probe for this
/// long.
pub(in crate::proxy) const FRESH: Duration = Duration::from_secs(4);
/// HTTP/2: the peer's settings should have arrived by then.
pub(in crate::proxy) const SETTLED: Duration = Duration::from_secs(1);
/// Pause after a failed dial, while living connections will have capacity again.
pub(in crate::proxy) const PAUSE: Duration = Duration::from_secs(1);
/// The most interim answers (1xx) per request. A provider that sends one every ten seconds until
/// `timeouts.response_head` stays below; a flood of them would keep the whole service busy.
pub(in crate::proxy) const MOST_INTERIM: usize = 100;
/// The most bytes read from a connection before other tasks get their turn. A hundred small heads take a millisecond.
pub(in crate::proxy) const TURN: usize = 16 * 1024;
/// The largest head of an answer in bytes, over either protocol.
pub(in crate::proxy) const HEAD: usize = 128 * 1024;
