//! The port: from a client's connection to the provider and back.
//!
//! One request takes these steps, a file each: `listener` accepts, `server` serves a connection, whose bytes `framing`
//! reads, refusing ambiguous ones, and whose `fields` stay in its buffer (both pure), `api_key` finds the key of a request, `guard` and `route` decide (pure),
//! [`crate::credentials`] has the bearer, `headers` builds the outgoing head (pure), `upstream` sends it, on a
//! connection of `connection_pool`, `upload` and `download` pass the bytes, `models` answers `GET /models` from memory. `events`
//! follows an event stream: `sse` splits it into lines, `ending` looks for its end, `finish_reasons` for its finished choices
//! (all pure). `record` has a request's facts, `ledger` counts and logs them, `tally` adds them up for monitoring,
//! `recent_failures` keeps the last failures, `resource_shortage` handles local shortages. `translation` rewrites bodies for providers that
//! deviate from OpenAI's API, long ones away from the serving thread (`blocking`); `error` is the one place that turns errors
//! into HTTP.

mod admission;
mod answer_body;
#[doc(hidden)]
pub mod api_key;
mod bind;
mod blocking;
mod buffers;
mod connection_pool;
mod connector;
mod dial;
mod download;
mod ending;
pub mod error;
mod error_events;
mod events;
#[doc(hidden)]
pub mod fields;
mod finish_reasons;
pub mod framing;
mod gateway;
pub mod guard;
mod handler;
#[doc(hidden)]
pub mod headers;
mod in_flight;
mod interface;
mod json;
mod judge;
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
mod recent_failures;
mod record;
mod refusal_log;
mod resource_shortage;
pub mod route;
mod server;
mod socket;
mod tally;
mod translation;
mod upload;
mod upstream;

pub use self::admission::ConnectionSlots;
pub use self::bind::Inherited;
pub use self::gateway::{Gateway, GatewayRules, Upstream, draw_mark};
pub use self::in_flight::{First, InFlight, InFlightRequests, InFlightSnapshot, Minute};
pub use self::judge::{Exporter, Judge, Judgement, ProviderTrouble};
pub use self::ledger::Ledger;
pub use self::listener::{Bound, CannotBind, ConnectionService, Port, bind_all, open};
pub use self::models::{ModelListCache, know_models};
pub use self::own_names::own_names;
pub use self::page::{PageReader, Pages, StatusPage};
pub use self::peer::is_ours;
pub use self::recent_failures::{FailureTally, Failures, Mishap, RecentFailure};
pub use self::refusal_log::Refusals;
#[cfg(unix)]
#[doc(hidden)]
pub use self::server::standalone::serve_alone;
#[doc(hidden)]
pub use self::server::{BodyError, RequestBody};
pub use self::tally::{Amounts, Counters, PathCounters, ProviderCounts, Traffic};
pub use self::translation::{PathTranslation, path_translations};
pub use self::upstream::UpstreamClient;
