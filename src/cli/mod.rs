//! hermesctl: a folder for each noun with its verbs, what they tell (`view.rs`) and the text of that (`render.rs`).
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
mod known;
mod logs;
mod man;
mod models;
mod output;
mod platform;
mod probe;
mod programs;
mod proxy;
mod runtime;
mod screen;
mod service;
mod setup;
#[cfg(test)]
mod shown;
mod status;
mod terminal;
mod text;
mod top;
mod usage;
mod version;
mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

use args::{Arguments, Noun, ProxyVerb};
use output::{CommandFailure, CommandOutput, Exit};
use runtime::block_on;

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
    let mut output = CommandOutput::of_process(arguments.json);
    let result = run(arguments.noun, &mut output);
    output.finish(result).into()
}

fn run(noun: Noun, output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    match noun {
        Noun::Proxy(ProxyVerb::Start(flags)) => proxy::start(&flags),
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
