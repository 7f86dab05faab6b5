//! What apps meet at the port: requests, answers, and who is let in; and the provider behind it.

mod answers;
mod client_keys;
mod conversations;
mod egress;
mod extra_paths;
mod forms;
mod forwarding;
mod hostile;
mod keyless;
mod listeners;
mod messages;
mod metrics;
mod models;
mod page;
mod rates;
mod reloads;
mod replays;
mod routes;
mod routes_told;
mod shares;
mod streams;
mod translated;
mod translated_ends;
mod upstream;
mod usage;
mod verdicts;
