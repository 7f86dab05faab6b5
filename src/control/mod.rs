//! The control protocol between hermesctl and the daemon.
//!
//! JSON, one value per line, over a Unix socket (Windows: a named pipe) that only its user can
//! open. To speak it by hand:
//!
//! 1. Connect to `$XDG_RUNTIME_DIR/hermes-proxyd/control.sock`.
//! 2. Send `{"hello":{"protocol":1,"client":"me 1.0"}}`. The daemon answers
//!    `{"hello":{"protocol":1,"version":"0.1.0","pid":4242}}`, or `{"error":{…}}` and closes.
//! 3. Send `{"id":1,"op":"status"}`. The daemon answers `{"id":1,"ok":{…}}` or
//!    `{"id":1,"error":{"code":"…","message":"…","hint":"…"}}`. Repeat at will.
//!
//! A request with arguments is an object: `{"id":2,"op":{"refresh":{"provider":"nous"}}}`.
//!
//! Where no daemon runs, hermesctl starts `hermes-proxyd --control-stdio` for its own needs, and
//! speaks the same over that process's standard input and output.
//!
//! # Compatibility
//!
//! Within one protocol version fields, operations, states and error codes are only ever added; a
//! reader skips what it doesn't know. Anything else raises [`protocol::VERSION`], and two sides of
//! different versions refuse each other. Every message has a golden file in `tests/golden/control`
//! and stays readable.
//!
//! No message carries a secret towards the client, with one exception: a client key that was just
//! made ([`protocol::NewKey`]). It is kept nowhere, so its user can only see it in that answer.
//!
//! - [`protocol`]: the messages; [`pools`]: those about several logins of a provider.
//! - [`usage`]: those about who used how much.
//! - [`in_flight`]: those about requests in flight.
//! - [`chat_apis`]: which APIs for chats a provider serves.
//! - [`judge`]: what is wrong, of a status: the one judgement that every surface lays out.
//! - [`human`]: numbers and times in its words.
//! - [`codec`]: a message to a line and back, with a ceiling on its size.
//! - [`endpoint`]: the socket or pipe, and the lock that decides which daemon lives.
//! - [`daemon_lock`]: a lock that tells whether a daemon lives whose socket is not found.
//! - [`server`], [`client`]: the two sides.

pub mod chat_apis;
pub mod client;
pub mod codec;
pub mod daemon_lock;
pub mod endpoint;
pub mod human;
pub mod in_flight;
pub mod judge;
pub mod pools;
pub mod protocol;
pub mod server;
pub mod usage;
