//! The texts are true: the documentation, the man pages, the schema, and the house rules.

mod benches;
mod circles;
mod commands;
mod json;
mod manual;
mod monitoring;
mod readme;
mod schema;
mod structure;
mod suite;
mod wording;
