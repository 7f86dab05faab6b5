//! Several providers in one daemon: no output tells a secret of any of them, and no token leaves for a host that is
//! not its provider's.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

pub(super) mod elsewhere;
mod secrets;
