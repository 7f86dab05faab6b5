//! Where one request in a client's bytes ends and the next begins, and whether every reader would agree. The same for a
//! provider's answer ([`AnswerReader`]). Pure.
//!
//! A port that grants access to a subscription has to be strict: a request that two programs could read differently is
//! refused. A [`RequestReader`] receives the connection's bytes as they arrive and returns heads and pieces of bodies,
//! which share its buffer, for any number of requests (RFC 9112).
//!
//! `Host`, `Origin` and the path are judged in [`super::guard`] and [`super::route`].

mod answer;
mod body;
mod buffer;
mod head;
mod lines;
mod message;
mod request_reader;
mod reuse;
#[cfg(test)]
mod tests;
mod violation;

pub use self::answer::{AnswerHead, AnswerReader};
pub use self::buffer::ROOM;
pub(super) use self::head::is_target;
pub use self::message::{BodyPiece, Head, Length, MOST_FIELDS, RequestHead};
pub use self::request_reader::RequestReader;
pub(super) use self::reuse::{give_back, name};
pub use self::violation::Violation;
