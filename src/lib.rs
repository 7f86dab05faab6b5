//! hermes-proxyd: the local service that lets every app use the AI subscription you already pay for.
//!
//! In reading order, from the independent rooms to the programs:
//!
//! - [`clock`], [`backoff`], [`secret`], [`paths`], [`files`], [`tools`]: wall time, delays, token
//!   types that never print, locations, replacing private files, programs that are run for their
//!   output.
//! - `causes`, `suggest`, `redact`: an error with its causes, "did you mean", texts without secrets.
//! - `sse`: the tokenizer of event streams.
//! - [`translate`]: the two wires of OpenAI's API, translated into each other.
//! - [`config`]: the file, validated into values that are always valid.
//! - [`provider`]: the adapter contract and the providers.
//! - [`control`]: the protocol between hermesctl and the daemon.
//! - [`credentials`]: the store shared with Hermes Agent, and the one task that owns a provider's
//!   tokens.
//! - [`clients`]: client keys, their limits and their use.
//! - [`usage`]: counts of tokens and requests.
//! - [`metrics`]: histograms, and the page that Prometheus reads.
//! - [`containers`]: engines, their networks, and the ways from a container to the port.
//! - [`hooks`]: programs and web addresses that are told about changes of a login.
//! - [`service`]: hermes-proxyd as a user service, with systemd, launchd and Windows.
//! - [`page`]: the status page for browsers, and its JSON for dashboards.
//! - [`proxy`]: the port, from a client's connection to the provider and back.
//! - [`daemon`]: hermes-proxyd, put together from all of these.
//! - [`manual`]: man pages and completions of both programs.
//! - [`doctor`]: diagnosis: what can be wrong, what is, and how to fix it.
//! - [`cli`]: hermesctl, the command line.

pub mod backoff;
mod causes;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod config;
pub mod containers;
pub mod control;
pub mod credentials;
pub mod daemon;
pub mod doctor;
pub mod files;
pub mod hooks;
pub mod manual;
pub mod metrics;
pub mod page;
pub mod paths;
pub mod provider;
pub mod proxy;
mod redact;
pub mod secret;
pub mod service;
mod sse;
mod suggest;
pub mod tools;
pub mod translate;
pub mod usage;

/// The request field that shows a request of hermesctl's own. It never goes upstream.
pub const OWN_REQUEST: &str = "x-hermes-own";

/// How this program names itself to providers.
pub const USER_AGENT: &str = concat!("hermes-proxyd/", env!("CARGO_PKG_VERSION"));
