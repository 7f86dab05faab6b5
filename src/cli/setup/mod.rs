//! `hermesctl setup`: from nothing to an app's first answer, step by step; safe to run again.

mod choice;
mod key;
pub(in crate::cli) mod render;
pub(in crate::cli) mod view;

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::args::{AuthArgs, AuthVerb, LoginFlags, SetupFlags};
use super::auth;
use super::config::{append, begin};
use super::connection::{DaemonConnection, connect, finish};
use super::output::{CommandFailure, CommandOutput, Exit};
use super::probe::{self, ProbeQuestion};
use super::service::StepLine;
use super::{service, terminal, text};
use crate::config;
use crate::containers::{self, ListenEndpoint};
use crate::control::judge;
use crate::control::protocol::calls;
use crate::control::protocol::{
    Finding, FindingCode, ListenerStatus, ProviderStatus, Providers, Status,
};
use crate::paths::Environment;
use crate::service::{ServiceError, UserService};

use self::view::SetUp;

/// A login that was just made is in use within this time.
const LOGIN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);

/// For a setup that ended at its login.
pub(super) const AGAIN: &str = "`hermesctl setup` continues from here.";

/// The steps so far, each of which is shown as it is done.
struct SetupProgress<'a> {
    output: &'a mut CommandOutput,
    steps: Vec<StepLine>,
}

impl SetupProgress<'_> {
    fn tell(&mut self, line: StepLine) -> Result<(), CommandFailure> {
        self.output
            .tell(|style| service::render::line(&line, style))?;
        self.steps.push(line);
        Ok(())
    }
}

/// Does it.
pub(super) async fn setup(
    mut flags: SetupFlags,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    output.in_lines();
    let environment = Environment::from_process();
    if let Some(provider) = &flags.provider {
        check_provider(&environment, provider)?;
    } else {
        let is_first = !config_file(&environment)?.exists();
        flags.provider = choice::choose(&flags, is_first, output).await?;
    }
    if !flags.yes {
        agree(&environment, &flags, output)?;
    }
    let mut progress = SetupProgress {
        output,
        steps: Vec::new(),
    };
    let chosen = flags.provider.as_deref();
    let needs_key = key::is_needed(&environment, chosen);
    // No key can be made where the configuration can't be read, as where the provider's table is missing.
    let early = match config::load(None, &environment) {
        Ok(_) => None,
        Err(_) => Some(configuration(&environment, chosen).await?),
    };
    let key = if needs_key { key::first().await? } else { None };
    if let Some(new) = &key {
        let what = format!("client key {}", text::inline(&new.client.name));
        progress.tell(StepLine::done_unless(false, "client key", what))?;
        // What follows may fail, and nothing shows it again.
        let key = text::inline(new.key.expose());
        progress
            .output
            .tell(|style| style.prose(&format!("It is shown only once: {key}")))?;
    }
    let key = key.map(|new| new.key);
    progress.tell(match early {
        Some(line) => line,
        None => configuration(&environment, chosen).await?,
    })?;
    if let Some(exit) = login(&flags, &mut progress).await? {
        return Ok(exit);
    }
    let exit = run(&flags, &environment, &mut progress).await?;
    let (ready, base_url, findings, test) = match connect().await {
        Ok(mut client) => {
            let chosen = flags.provider.as_deref();
            let status = in_use(&mut client, chosen).await?;
            let providers = client.call(calls::Providers).await?;
            let base_url = match chosen {
                Some(name) => {
                    let mut all = providers.providers.iter();
                    let provider = all.find(|one| one.name == name);
                    provider.and_then(|one| one.app_url.clone())
                }
                None => base_url(&status.listeners),
            };
            let question = ProbeQuestion {
                provider: chosen.map(str::to_owned),
                key: key.clone(),
                ..ProbeQuestion::default()
            };
            let test = test(&status, &providers, &question, &mut progress).await?;
            (true, base_url, judge::findings(&status).into_owned(), test)
        }
        Err(failure) if failure.exit == Exit::NotRunning => (false, None, Vec::new(), None),
        Err(failure) => return Err(failure),
    };
    let SetupProgress { output, steps } = progress;
    let outcome = SetUp {
        steps,
        ready,
        base_url,
        key,
        needs_key,
        findings,
        test,
    };
    output.answer(&outcome, render::outcome)?;
    Ok(if ready { Exit::Ok } else { exit })
}

/// Asks the person at the terminal before a first run. If no person can answer, nothing is done except
/// to say what would be and which flag says yes: a program in the user's home and a wait for a login
/// are not for a script that has met the command by chance. Earlier consent, which the configuration
/// shows, continues to hold in either case.
fn agree(
    environment: &Environment,
    flags: &SetupFlags,
    output: &CommandOutput,
) -> Result<(), CommandFailure> {
    let file = config_file(environment)?;
    if file.exists() {
        return Ok(());
    }
    let plan = plan(&file, flags);
    let asked = !output.is_json();
    let answer = if asked {
        terminal::agreed(&format!("{plan}. Continue?"))
    } else {
        None
    };
    match answer {
        Some(true) => Ok(()),
        Some(false) => Err(CommandFailure::new("Nothing has changed.")),
        None => Err(unconfirmed(&plan, flags)),
    }
}

/// What a first run does.
pub(super) fn plan(file: &Path, flags: &SetupFlags) -> String {
    let service = if flags.no_service {
        ""
    } else {
        ", and installs and starts a service for your user"
    };
    let provider = flags.provider.as_deref();
    let others = if provider.is_some() {
        String::new()
    } else {
        let names: Vec<_> = config::login_providers().collect();
        format!(". `--provider` chooses one of: {}", names.join(", "))
    };
    format!(
        "This writes {}, uses Hermes Agent's login for {} or makes a new one{service}{others}",
        file.display(),
        provider.unwrap_or(config::DEFAULT_PROVIDER)
    )
}

/// No person can be asked.
pub(super) fn unconfirmed(plan: &str, flags: &SetupFlags) -> CommandFailure {
    let given = [
        (flags.no_service, " --no-service"),
        (flags.no_browser, " --no-browser"),
    ];
    let given = given.iter().filter(|(given, _)| *given);
    let mut given: String = given.map(|(_, flag)| *flag).collect();
    if let Some(provider) = &flags.provider {
        given.extend([" --provider ", provider.as_str()]);
    }
    CommandFailure::new(format!(
        "{plan}. There is no terminal to ask for confirmation, so nothing has changed."
    ))
    .with_code(Exit::Failed, "confirmation_needed")
    .with_hint(format!("To go ahead, run `hermesctl setup --yes{given}`."))
}

fn config_file(environment: &Environment) -> Result<std::path::PathBuf, CommandFailure> {
    environment.config_file().ok_or_else(|| {
        CommandFailure::new("The folder of the configuration is unknown.").with_hint("Set HOME.")
    })
}

/// Writes the configuration, if there is none, and checks an existing one. Adds the provider's table, if it
/// needs one.
async fn configuration(
    environment: &Environment,
    provider: Option<&str>,
) -> Result<StepLine, CommandFailure> {
    let file = config_file(environment)?;
    let failed =
        |error| CommandFailure::new(format!("{} can't be written: {error}.", file.display()));
    let written = begin(&file, provider).map_err(failed)?;
    let load = || {
        config::load(None, environment).map_err(|error| {
            CommandFailure::new(format!("The configuration is invalid:\n{error}"))
                .with_code(Exit::InvalidConfig, "config_invalid")
                .with_hint("Correct it, then run `hermesctl setup` again.")
        })
    };
    let loaded = load();
    let is_there = |name: &str| {
        let mut names = loaded.iter().flat_map(|one| one.config.providers.keys());
        names.any(|known| known.as_str() == name)
    };
    let table = provider
        .filter(|name| !is_there(name))
        .and_then(config::login_table);
    if let Some(table) = &table {
        // It may be all that is missing.
        let added = append(&file, table).map_err(failed)?;
        if let Err(failure) = load() {
            added.undo();
            return Err(loaded.err().unwrap_or(failure));
        }
    } else {
        loaded?;
    }
    // One that runs knows nothing of it yet.
    let changed = written || table.is_some();
    if changed && let Ok(mut client) = connect().await {
        client.call(calls::Reload).await?;
    }
    let what = format!("configuration {}", file.display());
    Ok(StepLine::done_unless(!changed, "configuration", what))
}

/// A provider that hermesctl can set up, or that the configuration has.
fn check_provider(environment: &Environment, name: &str) -> Result<(), CommandFailure> {
    let loaded = config::load(None, environment).ok();
    let configured = loaded.map(|loaded| loaded.config.providers);
    let configured = configured.iter().flat_map(|all| all.keys());
    let mut names: Vec<&str> = config::login_providers().collect();
    names.extend(configured.map(config::ProviderName::as_str));
    names.sort_unstable();
    names.dedup();
    if names.contains(&name) {
        return Ok(());
    }
    let hint = format!(
        "There are: {}. Any other provider needs a table in the configuration: `hermesctl man \
         hermes-proxyd.toml` shows it.",
        names.join(", ")
    );
    let hint = match config::login_meant(name) {
        Some(meant) => format!("Did you mean {meant}? {hint}"),
        None => hint,
    };
    let name: String = name.chars().take(40).collect();
    Err(
        CommandFailure::new(format!("hermesctl knows no provider {name:?}."))
            .with_code(Exit::Failed, "unknown_provider")
            .with_hint(hint),
    )
}

/// Finds the provider's login or makes one; how hermesctl ends, if there is none then.
async fn login(
    flags: &SetupFlags,
    progress: &mut SetupProgress<'_>,
) -> Result<Option<Exit>, CommandFailure> {
    let connection = DaemonConnection::open(None).await?;
    let status = finish(connection, async |client| client.call(calls::Status).await).await?;
    let chosen = flags.provider.as_deref();
    let is_meant = |one: &&ProviderStatus| chosen.map_or(one.default, |name| one.name == name);
    let Some(provider) = status.providers.iter().find(is_meant) else {
        // One that nothing asks for is not there before it has a login.
        let name = chosen.unwrap_or(config::DEFAULT_PROVIDER);
        return make_login(flags, name, name, progress).await;
    };
    let findings = judge::findings(&status);
    let mine = judge::about(&findings, &provider.name);
    let mut unreadable = mine
        .iter()
        .filter(|one| one.blocks && one.code == FindingCode::StoreUnreadable);
    if let Some(finding) = unreadable.next() {
        return Err(can_not_be_read(finding));
    }
    if !judge::needs_login(&status, &provider.name) {
        let what = render::login(provider);
        progress.tell(StepLine::done_unless(true, "login", what))?;
        return Ok(None);
    }
    make_login(flags, &provider.name, &provider.display_name, progress).await
}

/// Runs a login; `Some` exit code if it failed.
async fn make_login(
    flags: &SetupFlags,
    provider: &str,
    display_name: &str,
    progress: &mut SetupProgress<'_>,
) -> Result<Option<Exit>, CommandFailure> {
    let login = AuthVerb::Login(LoginFlags {
        provider: Some(provider.to_owned()),
        separate: false,
        force: false,
        browser: false,
        label: None,
        no_browser: flags.no_browser,
    });
    let login = AuthArgs {
        config: None,
        verb: login,
    };
    let exit = auth::auth(login, progress.output).await;
    let exit = exit.map_err(begin_again)?;
    if exit != Exit::Ok {
        progress.output.tell(|style| style.prose(AGAIN))?;
        return Ok(Some(exit));
    }
    let what = format!("login of {display_name}");
    progress.tell(StepLine::done_unless(false, "login", what))?;
    Ok(None)
}

/// A failed login, with the command that continues from here, and not only that of the login.
pub(super) fn begin_again(failure: CommandFailure) -> CommandFailure {
    let ended = ["login_denied", "login_expired", "login_failed"];
    if ended.iter().any(|code| failure.is(code)) {
        return failure.with_hint(AGAIN);
    }
    failure.with_more_hint(AGAIN)
}

fn can_not_be_read(finding: &Finding) -> CommandFailure {
    let command = finding.command.as_ref();
    let fix = command.map_or_else(String::new, |command| format!("Run `{command}`. "));
    CommandFailure::new(format!("{}.", finding.text))
        .with_code(Exit::Failed, "store_unusable")
        .with_hint(format!(
            "{fix}`hermesctl auth status` shows when it can be read again."
        ))
}

/// Installs the service and starts it. What hermesctl ends with if nothing runs after that.
async fn run(
    flags: &SetupFlags,
    environment: &Environment,
    progress: &mut SetupProgress<'_>,
) -> Result<Exit, CommandFailure> {
    if flags.no_service {
        let advice = "as requested; `hermesctl proxy start` runs hermes-proxyd";
        progress.tell(StepLine::left("service", "service", advice))?;
        return Ok(Exit::Ok);
    }
    let reached = match UserService::here(environment) {
        Ok(service) => service.state().await.map(|_| service),
        Err(error) => Err(error),
    };
    let service = match reached {
        Ok(service) => service,
        Err(error @ (ServiceError::NoManager { .. } | ServiceError::Unreachable { .. })) => {
            let hint = error.hint().unwrap_or_default();
            progress.tell(StepLine::left(
                "service",
                "service",
                format!("{error}. {hint}"),
            ))?;
            return Ok(Exit::NotRunning);
        }
        Err(error) => return Err(error.into()),
    };
    let (lines, _) = service::set_up(&service, None).await?;
    for line in lines {
        progress.tell(line)?;
    }
    Ok(Exit::NotRunning)
}

/// The daemon's status, once it has taken the login up.
async fn in_use(
    client: &mut crate::control::client::ControlClient,
    chosen: Option<&str>,
) -> Result<Status, CommandFailure> {
    let deadline = Instant::now() + LOGIN;
    loop {
        let status = client.call(calls::Status).await?;
        let is_meant = |one: &&ProviderStatus| chosen.map_or(one.default, |name| one.name == name);
        let mut meant = status.providers.iter().filter(is_meant);
        let waits = meant.any(|one| {
            judge::is_starting(&status, &one.name) || judge::needs_login(&status, &one.name)
        });
        if !waits || Instant::now() > deadline {
            return Ok(status);
        }
        sleep(PAUSE).await;
    }
}

/// What most apps are configured with; the address of a Unix socket where there is nothing else.
fn base_url(listeners: &[ListenerStatus]) -> Option<String> {
    let endpoints: Vec<_> = listeners
        .iter()
        .filter_map(ListenEndpoint::of_status)
        .collect();
    let local = containers::local(&endpoints).map(|target| target.base_url());
    local.or_else(|| listeners.first().map(|one| one.url.clone()))
}

/// Sends a request as an app does.
async fn test(
    status: &Status,
    providers: &Providers,
    question: &ProbeQuestion,
    progress: &mut SetupProgress<'_>,
) -> Result<Option<probe::ProbeReport>, CommandFailure> {
    let what = "test request";
    let sent = probe::send(status, providers, question, &mut |_| Ok(())).await;
    match sent {
        Ok(report) => {
            let model = &report.asked.model;
            progress.tell(StepLine::done_unless(
                false,
                "test",
                format!("{what}: {model} answered in {} ms", report.total_ms.round()),
            ))?;
            Ok(Some(report))
        }
        // Then nothing is wrong; there is only no key to show.
        Err(failure) if failure.is("key_needed") => {
            let advice = "every address needs a client key: `hermesctl clients add NAME`";
            progress.tell(StepLine::left("test", what, advice))?;
            Ok(None)
        }
        Err(failure) if failure.is("invalid_client_key") && question.key.is_none() => {
            let advice = "its apps need a client key: `hermesctl clients add NAME`";
            progress.tell(StepLine::left("test", what, advice))?;
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}
