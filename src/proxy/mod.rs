//! The port: from a client's connection to the provider and back.
//!
//! One request takes these steps, a file each: `listener` accepts, `guard` and `route` decide
//! (pure), [`crate::credentials`] has the bearer, `headers` builds what goes out (pure),
//! `upstream` sends it, `upload` and `download` pass the bytes, `outcome` writes the one log
//! line. `error` is the one place that turns errors into HTTP.

mod dial;
mod download;
mod egress;
pub mod error;
mod gateway;
pub mod guard;
mod handler;
mod headers;
mod life;
mod listener;
mod local;
mod outcome;
mod patience;
pub mod route;
mod upload;
mod upstream;

pub use self::gateway::{Gateway, Rules, Upstream, draw_mark};
pub use self::listener::{Bound, Port, bind};
pub use self::outcome::{Counters, Counts};
pub use self::upstream::Client;
