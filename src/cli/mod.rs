//! hermesctl: one file per noun, one small function per verb.
//!
//! Data goes to stdout, talk to stderr. `hermesctl --help` lists the exit codes.

mod args;
mod auth;
mod bugreport;
mod clients;
mod completions;
mod config;
mod connect;
mod connection;
mod doctor;
mod documents;
mod interrupted;
mod known;
mod logs;
mod man;
mod models;
mod output;
mod probe;
mod programs;
mod proxy;
mod screen;
mod service;
mod setup;
#[cfg(test)]
mod shown;
mod start;
mod status;
mod text;
mod top;
mod usage;
mod version;
mod wire;

use std::ffi::OsString;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::control::client::{Client, ClientError};
use crate::control::endpoint::Endpoint;
use crate::control::life;
use crate::paths::Environment;

use args::{Arguments, Noun, ProxyVerb};
use output::{Exit, Failure, Output};

/// Who we are, for the daemon's log.
const NAME: &str = concat!("hermesctl ", env!("CARGO_PKG_VERSION"));

/// Runs hermesctl with the process's arguments, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line: Vec<_> = arguments.into_iter().collect();
    if let Some(exit) = args::answer_a_shell(&line) {
        return exit.into();
    }
    let arguments = match Arguments::understand(&line) {
        Ok(arguments) => arguments,
        Err(exit) => return exit.into(),
    };
    let mut output = Output::of_process(arguments.json);
    let result = run(arguments.noun, &mut output);
    output.finish(result).into()
}

fn run(noun: Noun, output: &mut Output) -> Result<Exit, Failure> {
    match noun {
        Noun::Proxy(ProxyVerb::Start(flags)) => start::start(&flags),
        Noun::Status(flags) | Noun::Proxy(ProxyVerb::Status(flags)) => {
            block_on(status::status(flags, output))
        }
        Noun::Proxy(ProxyVerb::Providers) => block_on(proxy::providers(output)),
        Noun::Proxy(ProxyVerb::Routes(flags)) => block_on(proxy::routes(flags, output)),
        Noun::Proxy(ProxyVerb::Test(flags)) => block_on(proxy::test(flags, output)),
        Noun::Proxy(ProxyVerb::Reload) => block_on(proxy::reload(output)),
        Noun::Proxy(ProxyVerb::Stop) => block_on(proxy::stop(output)),
        Noun::Proxy(ProxyVerb::Restart) => block_on(proxy::restart(output)),
        Noun::Logs(flags) => block_on(logs::logs(flags, output)),
        Noun::Top(flags) => block_on(top::top(flags, output)),
        Noun::Usage(flags) => block_on(usage::usage(flags, output)),
        Noun::Auth(verb) => block_on(auth::auth(verb, output)),
        Noun::Clients(verb) => block_on(clients::clients(verb, output)),
        Noun::Service(verb) => block_on(service::service(verb, output)),
        Noun::Setup(flags) => block_on(setup::setup(flags, output)),
        Noun::Config(verb) => block_on(config::config(verb, output)),
        Noun::Bugreport(flags) => block_on(bugreport::bugreport(&flags, output)),
        Noun::Completions(flags) => completions::completions(&flags, output),
        Noun::Man(flags) => man::man(&flags, output),
        Noun::Connect(flags) => block_on(connect::connect(flags, output)),
        Noun::Doctor(flags) => block_on(doctor::doctor(flags, output)),
        Noun::Version => block_on(version::version(output)),
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    run_to_its_end(Box::pin(work))
}

/// A runtime's loop is compiled once for each kind of result, and not for each command.
fn run_to_its_end<T>(
    work: Pin<Box<dyn Future<Output = Result<T, Failure>> + '_>>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(format!("The asynchronous runtime didn't start: {error}."))
        })?;
    let result = runtime.block_on(work);
    // What a thread still waits for, such as a name server, does not matter any more.
    runtime.shutdown_background();
    result
}

/// A connection to this user's daemon.
async fn connect() -> Result<Client, Failure> {
    let folders = Environment::from_process().runtime_dirs();
    let mut nobody = None;
    for folder in folders {
        let endpoint = Endpoint::new(folder);
        match Client::connect(&endpoint, NAME).await {
            Err(error @ ClientError::NotRunning { .. }) => {
                nobody.get_or_insert((endpoint, error));
            }
            client => return client.map_err(Failure::from),
        }
    }
    match nobody {
        Some((endpoint, error)) => connect_to_the_living(&endpoint, error).await,
        None => Err(Failure::new("The folder of the control socket is unknown.")
            .with_hint("Set XDG_RUNTIME_DIR or HOME.")),
    }
}

/// A daemon whose socket was removed makes it again within this time.
const AGAIN: Duration = Duration::from_secs(5);

/// Nothing listens, and yet a daemon of this user lives: a second one would use the same logins.
async fn connect_to_the_living(endpoint: &Endpoint, error: ClientError) -> Result<Client, Failure> {
    let state = Environment::from_process().state_dir();
    let Some(pid) = state.and_then(|state| life::daemon(&state)) else {
        return Err(error.into());
    };
    let deadline = Instant::now() + AGAIN;
    while Instant::now() < deadline {
        sleep(Duration::from_millis(100)).await;
        match Client::connect(endpoint, NAME).await {
            Err(ClientError::NotRunning { .. }) => {}
            client => return client.map_err(Failure::from),
        }
    }
    Err(Failure::unreachable(&endpoint.address(), pid))
}
