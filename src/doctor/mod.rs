//! `hermesctl doctor`: checks everything that can be wrong, and says what is and how to fix it.
//!
//! It never changes anything, renews no token, spends nothing and shows no secret. The checks run
//! side by side, each with a limit, with a running daemon or without one.
//!
//! - `examination`: the checks, side by side.
//! - `facts`: the configuration, the running daemon and the files, gathered for all checks.
//! - one file for each group of checks; a check makes [`DoctorFinding`]s.
//! - `judged`: the running daemon's own findings, which the checks complete.
//! - `system`: facts that only one platform offers.

mod blocking_check;
mod configuration;
mod containers;
mod examination;
mod facts;
mod finding;
mod judged;
mod login;
mod machine;
mod neighbours;
mod network;
mod pending;
mod ports;
mod program;
mod service;
mod store;
mod system;

pub use self::containers::surroundings;
pub use self::examination::{Questions, examine, lock_in_use};
pub use self::facts::restart;
pub use self::finding::{
    DoctorExit, DoctorFinding, DoctorReport, FindingGroup, FindingVerdict, Fix,
};
pub use self::pending::{is_same_file, listens_otherwise, pending, with_flags};
pub use self::system::QUESTION;
