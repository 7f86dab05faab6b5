//! What users run, and what strangers wrote to find fault: SDKs, Hermes Agent, schemathesis.

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
