//! The port: from a client's connection to the provider and back.
//!
//! One request takes these steps, a file each: `listener` accepts, `connection` serves what comes
//! over one, `framing` refuses what can be read in two ways (pure), `guard` and `route` decide (pure), [`crate::credentials`] has the bearer, `headers`
//! builds what goes out (pure), `upstream` sends it, `upload` and `download` pass the bytes,
//! `outcome` writes the one log line. `error` is the one place that turns errors into HTTP.

mod bind;
mod connection;
mod download;
mod egress;
pub mod error;
pub mod framing;
mod gateway;
pub mod guard;
mod handler;
#[doc(hidden)]
pub mod headers;
mod interface;
mod listener;
mod local;
mod outcome;
mod parting;
mod patience;
mod peer;
mod places;
pub mod route;
mod socket;
mod upload;
mod upstream;

pub use self::bind::Inherited;
pub use self::gateway::{Gateway, Rules, Upstream};
pub use self::listener::{Bound, Port, Service, adopt, bind};
pub use self::outcome::{Counters, Counts};
pub use self::places::Places;
pub use self::upstream::Client;
