//! hermes-proxyd, the local service for the AI subscription you pay for.

use std::process::ExitCode;

fn main() -> ExitCode {
    hermes_proxy::daemon::main(std::env::args_os())
}
