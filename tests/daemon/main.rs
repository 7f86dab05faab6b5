//! The daemon as a process: start, reload, shutdown, hooks, logs and service managers.

mod hooks;
mod journal;
mod process;
mod quotas;
mod service;
