//! The port: from a client's connection to the provider and back.
//!
//! One request takes these steps, a file each: `listener` accepts, `connection` serves what comes
//! over one, `guard` and `route` decide (pure), [`crate::credentials`] has the bearer, `headers`
//! builds what goes out (pure), `upstream` sends it, `upload` and `download` pass the bytes, `events`
//! knows where an event stream stands (pure), `presence` whether the client is still there,
//! `outcome` writes the one log line. `error` is the one place that turns errors into HTTP.

mod connection;
mod download;
mod egress;
pub mod error;
mod events;
mod gateway;
pub mod guard;
mod handler;
mod headers;
mod listener;
mod local;
mod outcome;
mod patience;
mod presence;
pub mod route;
mod socket;
mod upload;
mod upstream;

pub use self::gateway::{Gateway, Rules, Upstream};
pub use self::listener::{Bound, Port, bind};
pub use self::outcome::{Counters, Counts};
pub use self::upstream::Client;
