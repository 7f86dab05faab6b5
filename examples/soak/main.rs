//! Half an hour of everything at once: `cargo run --profile dist --example soak -- --minutes 30`.
//!
//! The daemon runs as a process of its own before three providers: the mock of Nous Portal over
//! HTTP/1.1, another one over TLS and HTTP/2, and one that breaks HTTP. Apps of all kinds use it,
//! over TCP, with client keys and over a Unix socket, while providers, portal, tokens, client keys and
//! configuration fail and change. Every answer is compared with what was sent, and each request
//! counted where it arrives.
//!
//! Limits of time are generous, since a machine can be busy; bytes are not forgiven. It ends with
//! a table and a verdict, and with exit code 1 unless all is well.

#![cfg_attr(
    target_os = "linux",
    expect(
        clippy::print_stdout,
        clippy::indexing_slicing,
        reason = "it is there to be read, and may fail loudly"
    )
)]

#[cfg(target_os = "linux")]
mod apps;
#[cfg(target_os = "linux")]
mod broken;
#[cfg(target_os = "linux")]
mod chaos;
#[cfg(target_os = "linux")]
mod figures;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod wire;
#[cfg(target_os = "linux")]
mod world;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let mut line = std::env::args_os().skip(1).peekable();
    let role = line.next_if(|word| !word.to_string_lossy().starts_with("--"));
    match role.as_ref().and_then(|role| role.to_str()) {
        Some("hermes-proxyd") => hermes_proxy::daemon::main(role.into_iter().chain(line)),
        Some("hermesctl") => hermes_proxy::cli::main(role.into_iter().chain(line)),
        _ => {
            let words: Vec<_> = line
                .map(|word| word.to_string_lossy().into_owned())
                .collect();
            run::run(&words)
        }
    }
}

/// Only Linux tells what a process takes.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::FAILURE
}
