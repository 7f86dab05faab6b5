//! hermes-proxyd: the composition root, and the process around it.
//!
//! - [`args`]: the command line.
//! - `logging`: the log; `log_form` and `journal` make its lines, and `log_queue` takes them, many at once (`log_lines`), on
//!   a separate thread to `log_file`, the journal or standard error.
//! - `process`, `descriptors`, `signals`, `service_manager`, `port_holder`: the process and its
//!   surroundings.
//! - `watchdog`: whether all essential parts live; `status_line`: the state in one line, for the
//!   service manager.
//! - `providers`: the configured providers, each with its keepers.
//! - `config_source`: the configuration, and whether the daemon can start with it; `start_error`: why it did not.
//! - `run`: build, run and drain, in that order.
//! - `control`, `logins`, `logout`, `clients`, `usage`: the answers to hermesctl, from the current `view`; `login_error`,
//!   `login_state` and `provider_status` put them in the protocol's words.
//! - `metrics`: the page for monitoring.
//! - `bridge`, `bridge_slots`, `answer_end`: a sidecar that carries connections to a daemon's socket, how its clients
//!   share them, and which of them are idle.
//! - `stdio`: hermesctl's own helper without a daemon.
//! - `notices`: news of a login for the log and the hooks; `quotas`: how much of its quota is used.

#[cfg(unix)]
mod answer_end;
pub mod args;
#[cfg(unix)]
mod bridge;
#[cfg(unix)]
mod bridge_slots;
mod clients;
mod config_source;
mod control;
mod descriptors;
mod in_flight;
#[cfg(target_os = "linux")]
mod journal;
mod log_file;
mod log_form;
mod log_lines;
mod log_queue;
mod logging;
mod login_error;
mod login_state;
mod logins;
mod logout;
mod metrics;
mod notices;
mod page;
mod pools;
mod port_holder;
mod process;
mod provider_status;
mod providers;
mod quotas;
mod run;
mod service_manager;
mod signals;
mod start_error;
mod status_line;
mod stdio;
mod usage;
mod view;
mod watchdog;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use self::args::Args;
use self::config_source::ConfigSource;
use self::control::StopKind;
use self::providers::FleetError;
use self::start_error::StartError;
use crate::causes::with_causes;
use crate::paths::Environment;

/// The command line is wrong, as clap has it.
const EXIT_USAGE: u8 = 2;
/// The configuration is invalid (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// Runs the daemon until it is told to stop.
///
/// Exit codes: 0 it was stopped, 1 it could not start, 2 the command line is wrong, 78 the
/// configuration is invalid.
pub fn main(line: impl IntoIterator<Item = OsString>) -> ExitCode {
    process::close();
    signals::survive_size_limits();
    let args = match Args::try_parse_from(line) {
        Ok(args) => args,
        Err(message) => {
            // There is no other place to report a failed write.
            message.print().ok();
            return u8::try_from(message.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    // `--check` and hermesctl print their own next step.
    let is_start = !args.check && !args.control_stdio;
    let file = args.config.clone();
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("hermes-proxyd: {}", with_causes(&error)));
            let is_mistake = matches!(
                error,
                StartError::Config(_) | StartError::Provider(_) | StartError::Loop(_)
            );
            let lacks_keys = matches!(error, StartError::Provider(FleetError::NoClientKeys { .. }));
            if is_start && is_mistake && !lacks_keys {
                let file = file.map(|file| format!(" {}", file.display()));
                let file = file.unwrap_or_default();
                say(&format!(
                    "Correct it, then run `hermesctl config check{file}`."
                ));
            }
            match error {
                StartError::Config(_)
                | StartError::Provider(_)
                | StartError::NoKeys { .. }
                | StartError::Loop(_) => ExitCode::from(EXIT_CONFIG),
                StartError::Override(_) => ExitCode::from(EXIT_USAGE),
                StartError::Clients(_)
                | StartError::Control(_)
                | StartError::NoHome
                | StartError::NoRuntimeFolder
                | StartError::Listen { .. }
                | StartError::Bridge { .. }
                | StartError::Signals(_)
                | StartError::Restart(_)
                | StartError::Runtime(_)
                | StartError::Logging(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn start(args: Args) -> Result<(), StartError> {
    if let Some(bridge) = args.bridge {
        return start_bridge(bridge);
    }
    let origin = ConfigSource {
        environment: Environment::from_process(),
        file: args.config,
        overrides: args.overrides,
    };
    let loaded = origin.load()?;
    if args.check {
        config_source::check(&origin, &loaded)?;
        let files = config_source::store_files(&origin.environment, &loaded.config)?;
        let variables = crate::config::Variables::read(files.home());
        let kinds = loaded.config.kinds();
        let faults = crate::provider::environment_faults(kinds).into_iter();
        for fault in faults.chain(crate::provider::file_faults(&variables)) {
            say(&format!("warning: {fault}"));
        }
        for (key, fault) in loaded.config.routing_warnings() {
            let within = format!("{key}.");
            let lines = loaded
                .lines
                .iter()
                .filter(|(known, _)| **known == key || known.starts_with(&within));
            let line = lines.map(|(_, line)| *line).min().unwrap_or_default();
            say(&format!("warning: line {line}: {key}: {fault}"));
        }
        say("the configuration is valid");
        return Ok(());
    }
    if args.control_stdio {
        return run_to_end(stdio::serve(origin, loaded));
    }
    let file = args.log_file.as_deref();
    let (log, flush) = logging::start(&loaded.config.log, file).map_err(StartError::Logging)?;
    process::log_defects();
    descriptors::raise();
    let end = run_to_end(run::run(origin, loaded, log))?;
    drop(flush);
    match end {
        StopKind::Stop => Ok(()),
        StopKind::Restart => process::start_again().map_err(StartError::Restart),
    }
}

#[cfg(unix)]
fn start_bridge(bridge: args::BridgeArgs) -> Result<(), StartError> {
    let log = crate::config::Config::default().log;
    let (_log, _flush) = logging::start(&log, None).map_err(StartError::Logging)?;
    descriptors::raise();
    run_to_end(bridge::run(bridge))
}

#[cfg(not(unix))]
#[expect(clippy::needless_pass_by_value, reason = "the same shape as on Unix")]
fn start_bridge(bridge: args::BridgeArgs) -> Result<(), StartError> {
    Err(StartError::Bridge {
        address: bridge.listen,
        reason: "there are no Unix sockets on this system".to_owned(),
    })
}

fn run_to_end<T>(work: impl Future<Output = Result<T, StartError>>) -> Result<T, StartError> {
    // One thread serves everything: a request costs microseconds, and a second thread would
    // only add memory and wake-ups. File work and name look-ups go to short-lived ones.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // What hangs for a while must not keep the others waiting.
        .max_blocking_threads(128)
        .build()
        .map_err(StartError::Runtime)?;
    let result = runtime.block_on(work);
    // A name look-up that hangs must not hold up the end; all that matters has been waited for.
    runtime.shutdown_background();
    result
}

/// One line for the program that started us, before the log exists or after it failed. It is not
/// awaited forever: a pipe may be full, a terminal stopped.
fn say(line: &str) {
    const LIMIT: Duration = Duration::from_secs(1);
    let text = format!("{line}\n");
    let (done, said) = std::sync::mpsc::channel();
    let saying = std::thread::Builder::new().spawn(move || {
        std::io::stderr().lock().write_all(text.as_bytes()).ok();
        done.send(()).ok();
    });
    if saying.is_ok() {
        said.recv_timeout(LIMIT).ok();
    }
}
