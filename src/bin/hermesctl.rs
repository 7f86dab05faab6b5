//! hermesctl, the command line of hermes-proxyd.

use std::process::ExitCode;

fn main() -> ExitCode {
    hermes_proxy::cli::main(std::env::args_os())
}
