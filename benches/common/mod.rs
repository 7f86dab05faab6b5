//! What the benches share: processes, and what the system says of them.

#![expect(clippy::expect_used, reason = "a measurement may fail loudly")]

pub(crate) mod cloud;
pub(crate) mod daemon;
pub(crate) mod process;
