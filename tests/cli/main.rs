//! hermesctl as a user runs it.

mod auth;
mod auth_stdio;
mod bugreport;
mod config;
mod connect;
mod home;
mod logs;
mod probe;
mod proxy;
mod routes;
mod setup;
mod start;
mod top;
mod verdicts;
