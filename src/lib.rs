//! hermes-proxyd: the local service that lets every app use the AI subscription you already pay for.
//!
//! In reading order, from what knows nothing of ours to the programs:
//!
//! - [`secret`], [`paths`]: token types that never print; where files lie.
//! - [`config`]: the file, validated into values that are always valid.
//! - [`control`]: the protocol between hermesctl and the daemon.
//! - [`cli`]: hermesctl, the command line.

pub mod cli;
pub mod config;
pub mod control;
pub mod paths;
pub mod secret;
