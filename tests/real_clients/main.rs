//! The users' programs, and third-party tests: SDKs, Hermes Agent, schemathesis.

mod codex;
mod corpus;
mod hermes_store;
mod page;
mod rotations;
#[cfg(unix)]
mod routes;
mod sdks;
mod suites;
mod turns;
