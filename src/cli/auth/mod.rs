//! `hermesctl auth`: log in and out, with a running daemon or without one.

mod browser;
mod code_screen;
mod letters;
mod login;
mod page_screen;
mod pastes;
mod pools;
mod qr;
pub(super) mod render;
pub(in crate::cli) mod view;
mod waiting;

use std::path::Path;
use std::time::Duration;

use chrono::Local;
use tokio::signal::ctrl_c;
use tokio::time::{sleep, timeout};

#[cfg(test)]
pub(super) use code_screen::{plain, screen};
#[cfg(test)]
pub(super) use page_screen::screen as page;
use view::AuthStatusOutput;

use super::args::{AuthArgs, AuthVerb, LogoutFlags};
use super::connection::{DaemonConnection, ask, finish};
use super::output::{CommandFailure, CommandOutput, Exit};
use super::terminal;
use crate::control::judge;
use crate::control::pools::LoginChoice;
use crate::control::protocol::calls;
use crate::control::protocol::{
    CredentialKind, Finding, FindingCode, ProviderChoice, ProviderStatus, RefreshResult,
};
use crate::doctor;
use crate::files::quoted;

/// A logout that takes longer waits for something.
const AT_ONCE: Duration = Duration::from_secs(1);
/// After this time hermes-proxyd has given up what it was asked for by a connection that was closed.
const ABANDONED_AFTER: Duration = Duration::from_millis(200);

/// Does what is asked.
pub(super) async fn auth(
    auth: AuthArgs,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let config = auth.config.as_deref();
    match auth.verb {
        AuthVerb::Login(flags) => login::login(flags, config, output).await,
        AuthVerb::Logout(flags) => logout(flags, config, output).await,
        AuthVerb::Status => status(config, output).await,
        AuthVerb::List => pools::list(config, output).await,
        AuthVerb::Reset { provider, label } => {
            pools::reset(LoginChoice { provider, label }, config, output).await
        }
        AuthVerb::Refresh { provider, label } => {
            let choice = ProviderChoice {
                provider,
                store: None,
                label,
            };
            refresh(choice, config, output).await
        }
    }
}

/// What is to be forgotten.
#[derive(Debug, Clone, Copy)]
enum LogoutTarget {
    All,
    One,
}

impl LogoutTarget {
    fn of(flags: &LogoutFlags) -> Self {
        if flags.label.is_some() {
            Self::One
        } else {
            Self::All
        }
    }

    fn question(self) -> &'static str {
        match self {
            Self::All => "This also logs Hermes Agent out. Continue?",
            Self::One => "Hermes Agent loses this login too. Continue?",
        }
    }
}

async fn status(config: Option<&Path>, output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    let logins = logins(config).await?;
    output.answer(&logins, |logins, style| {
        render::logins(logins, &Local, style)
    })?;
    Ok(Exit::after(&logins.findings, &logins.providers))
}

async fn refresh(
    choice: ProviderChoice,
    config: Option<&Path>,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let label = choice.label.clone();
    let (outcome, command) = ask(config, async |client| {
        let outcome = client.call(calls::Refresh(choice)).await?;
        let mut command = None;
        if matches!(
            outcome.result,
            RefreshResult::Rejected | RefreshResult::NoLogin
        ) {
            // The daemon knows which of the logins has ended.
            let status = client.call(calls::Status).await.ok();
            let providers = status.into_iter().flat_map(|status| status.providers);
            let mut chosen = providers.filter(|one| one.name == outcome.provider);
            let of_pool = |one: ProviderStatus| one.pool.and_then(|pool| pool.login_command);
            command = chosen
                .next()
                .and_then(|one| one.login_command.clone().or_else(|| of_pool(one)));
        }
        if outcome.result == RefreshResult::NotRenewable {
            command = Some(again(&outcome.provider, label.as_deref()));
        }
        Ok((outcome, command))
    })
    .await?;
    output.answer(&outcome, |outcome, style| {
        render::refresh(outcome, command.as_deref(), &Local, style)
    })?;
    Ok(match outcome.result {
        RefreshResult::Refreshed | RefreshResult::Adopted => Exit::Ok,
        RefreshResult::Rejected | RefreshResult::NoLogin | RefreshResult::NotRenewable => {
            Exit::LoginNeeded
        }
        RefreshResult::Failed | RefreshResult::Other(_) => Exit::Failed,
    })
}

/// The command that logs in again in the place of a login that works.
fn again(provider: &str, label: Option<&str>) -> String {
    // The main login has no label.
    let label = label.filter(|label| *label != "login");
    let label = label.map(|label| format!(" --label {}", quoted(Path::new(label))));
    format!(
        "hermesctl auth login {provider}{} --force",
        label.unwrap_or_default()
    )
}

async fn logout(
    flags: LogoutFlags,
    config: Option<&Path>,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let mut store = None;
    let asked = LogoutTarget::of(&flags);
    if !flags.yes {
        let logins = logins(config).await?;
        let mut chosen = logins.providers.iter().filter(|one| match &flags.provider {
            Some(name) => one.name == *name,
            None => one.default,
        });
        let provider = chosen.next();
        store = provider
            .and_then(|one| one.login.as_ref())
            .map(|login| login.store.clone());
        if let Some(provider) = provider.filter(|one| is_shared(one, &logins.findings)) {
            let answer = if output.is_json() {
                None
            } else {
                terminal::confirmed(asked.question())
            };
            match answer {
                Some(true) => {}
                Some(false) => return Err(CommandFailure::new("Nothing has changed.")),
                None => return Err(unconfirmed(provider)),
            }
        }
    }
    if let Some(label) = flags.label {
        let choice = LoginChoice {
            provider: flags.provider,
            label: Some(label),
        };
        return pools::remove(choice, config, output).await;
    }
    // Asked again: while the person thinks, the daemon ends a silent connection.
    let choice = ProviderChoice {
        provider: flags.provider,
        store,
        label: None,
    };
    let (talks, provider) = (!output.is_json(), choice.provider.clone());
    let report = ask(config, async |client| {
        tokio::select! {
            report = client.call(calls::Logout(choice)) => report.map(Some),
            () = waited_for(config, talks) => Ok(None),
        }
    });
    let Some(report) = report.await? else {
        return Err(given_up(provider.as_deref(), config).await);
    };
    output.answer(&report, render::logout)?;
    Ok(Exit::Ok)
}

/// Tells what a logout waits for, if it waits, until the user gives it up.
async fn waited_for(config: Option<&Path>, talks: bool) {
    let interrupted = async {
        if ctrl_c().await.is_err() {
            // Then Ctrl-C ends hermesctl as it ends any program.
            std::future::pending::<()>().await;
        }
    };
    let telling = async {
        sleep(AT_ONCE).await;
        if talks {
            let lock = doctor::lock_in_use(config).await;
            let what = lock.unwrap_or_else(|| "hermes-proxyd, which is busy".to_owned());
            terminal::say(&format!("Waiting for {what}. Ctrl-C cancels the logout.\n"));
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = interrupted => {}
        () = telling => {}
    }
}

/// How a logout ended that the user has given up: it may have been faster.
async fn given_up(provider: Option<&str>, config: Option<&Path>) -> CommandFailure {
    sleep(ABANDONED_AFTER).await;
    let asked = timeout(AT_ONCE, logins(config)).await;
    let told = asked.ok().and_then(Result::ok);
    let providers = told.iter().flat_map(|told| &told.providers);
    let mut chosen = providers.filter(|one| match provider {
        Some(name) => one.name == name,
        None => one.default,
    });
    let is_gone = |one: &ProviderStatus| {
        let findings = told
            .iter()
            .flat_map(|told| judge::about(&told.findings, &one.name));
        findings
            .into_iter()
            .any(|one| one.code == FindingCode::LoginNeeded)
    };
    let failure = |text| CommandFailure::new(text).with_code(Exit::Interrupted, "interrupted");
    match chosen.next().map(is_gone) {
        Some(true) => failure("You were logged out before the logout could be cancelled."),
        Some(false) => failure("The logout was cancelled. You are still logged in."),
        None => failure("The logout was cancelled.")
            .with_hint("`hermesctl auth status` shows whether you are still logged in."),
    }
}

/// Whether Hermes Agent uses the login; assumed while it is unknown.
fn is_shared(provider: &ProviderStatus, findings: &[Finding]) -> bool {
    let mine = judge::about(findings, &provider.name);
    match &provider.login {
        Some(login) => !login.separate,
        None => {
            ![Some(CredentialKind::ApiKey), Some(CredentialKind::NoKey)]
                .contains(&provider.credential)
                && !mine.iter().any(|one| one.code == FindingCode::LoginNeeded)
        }
    }
}

fn unconfirmed(provider: &ProviderStatus) -> CommandFailure {
    let name = &provider.name;
    CommandFailure::new(format!(
        "Hermes Agent uses the login of {} too and would also be logged out.",
        provider.display_name
    ))
    .with_code(Exit::Failed, "confirmation_needed")
    .with_hint(format!(
        "To log both out, run `hermesctl auth logout {name} --yes`."
    ))
}

async fn logins(config: Option<&Path>) -> Result<AuthStatusOutput, CommandFailure> {
    let connection = DaemonConnection::open(config).await?;
    let running = connection.is_to_daemon();
    let status = finish(connection, async |client| client.call(calls::Status).await).await?;
    Ok(AuthStatusOutput::of(status, running))
}
