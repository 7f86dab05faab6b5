//! Several providers in one daemon: no output contains a secret, and no token goes to a host that is not its
//! provider's.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

pub(super) mod elsewhere;
mod secrets;
