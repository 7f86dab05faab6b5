//! The port: from a client's connection to the provider and back.
//!
//! One request takes these steps, a file each: `listener` accepts, `server` serves a connection, whose bytes `framing`
//! reads, refusing ambiguous ones (pure), `api_key` finds the key of a request, `guard` and `route` decide (pure),
//! [`crate::credentials`] has the bearer, `headers` builds the outgoing head (pure), `upstream` sends it, on a
//! connection of `pool`, `upload` and `download` pass the bytes, `models` answers `GET /models` from memory. `events`
//! follows an event stream: `sse` splits it into lines, `ending` looks for its end, `choices` for its finished choices
//! (all pure). `record` has a request's facts, `ledger` counts and logs them, `tally` adds them up for monitoring,
//! `trouble` keeps the last failures, `want` handles local shortages. `translation` rewrites bodies for providers that
//! deviate from OpenAI's API, long ones `aside` from the serving thread; `error` is the one place that turns errors
//! into HTTP.

#[doc(hidden)]
pub mod api_key;
mod aside;
mod bind;
mod buffers;
mod choices;
mod dial;
mod download;
mod egress;
mod ending;
pub mod error;
mod error_events;
mod events;
mod flights;
pub mod framing;
mod gateway;
pub mod guard;
mod handler;
#[doc(hidden)]
pub mod headers;
mod interface;
mod json;
mod keep_alive;
mod ledger;
mod listener;
mod local;
#[doc(hidden)]
pub mod model_field;
mod models;
mod outgoing;
mod own_names;
mod page;
mod peer;
mod places;
mod pool;
mod record;
mod refusals;
pub mod route;
mod server;
mod socket;
mod tally;
mod translation;
mod trouble;
mod upload;
mod upstream;
mod want;

pub use self::bind::Inherited;
pub use self::flights::{First, Flights, InFlight, Look, Minute};
pub use self::gateway::{Gateway, Rules, Upstream, draw_mark};
pub use self::ledger::{Counters, Counts, Ledger};
pub use self::listener::{Bound, CannotBind, Port, Service, bind_all, open};
pub use self::local::{Exporter, Judge, Judgement, Trouble};
pub use self::models::{Shelf, know_models};
pub use self::own_names::own_names;
pub use self::page::{Page, Pages, Reader};
pub use self::peer::is_ours;
pub use self::places::Places;
pub use self::refusals::Refusals;
#[cfg(unix)]
#[doc(hidden)]
pub use self::server::serve_alone;
#[doc(hidden)]
pub use self::server::{BodyError, RequestBody};
pub use self::tally::{Amounts, PathCounters, Traffic};
pub use self::translation::{Bridge, bridges};
pub use self::trouble::{Failure, Failures, Mishap, Mishaps};
pub use self::upstream::Client;
