//! The logins: whether there is one, and when its token and its grant end. From the daemon where one
//! runs, else from the files.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::facts::{Facts, Served};
use super::{Finding, Fix, Group, Verdict, on_a_thread, sentence};
use crate::control::protocol::{CredentialKind, LoginStatus, ProviderState, ProviderStatus};
use crate::credentials::inspection::{self, LoginLook};
use crate::provider::{Adapter, Assessment, Remedy, Renewal};

const GROUP: Group = Group::Login;

pub(super) async fn examine(facts: Arc<Facts>) -> Vec<Finding> {
    if let Some(answers) = facts.running() {
        let providers = answers.status.providers.iter();
        return providers
            .flat_map(|provider| of_daemon(provider, facts.now))
            .collect();
    }
    on_a_thread(facts, |facts| {
        facts
            .providers
            .iter()
            .flat_map(|served| of_files(served, facts))
            .collect()
    })
    .await
}

fn of_daemon(provider: &ProviderStatus, now: DateTime<Utc>) -> Vec<Finding> {
    let mut findings = vec![state(provider, now)];
    let name = &provider.name;
    if provider.unsaved {
        let text = "The renewed login could not be saved and is lost when hermes-proxyd stops.";
        let finding = GROUP.finds(format!("saving {name}"), Verdict::Fail, text);
        findings.push(finding.advice(
            "Free some space and make the store's folder writable: see the groups store and \
             machine. Don't stop hermes-proxyd before that.",
        ));
    }
    let Some(login) = &provider.login else {
        return findings;
    };
    let separate = login.separate;
    let end = (login.ends_at.map(|at| at.0), login.ends_soon);
    findings.extend(grant(name, separate, end, now));
    if login.may_be_spent {
        findings.push(spent(name, login));
    }
    findings
}

fn spent(name: &str, login: &LoginStatus) -> Finding {
    let text = "A renewal was interrupted and may have spent the refresh token.";
    GROUP
        .finds(format!("last renewal of {name}"), Verdict::Warn, text)
        .run(again(name, login.separate))
}

/// The command that logs in anew where the login in use lies.
fn again(name: &str, separate: bool) -> String {
    let separate = if separate { " --separate" } else { "" };
    format!("hermesctl auth login {name}{separate} --force")
}

fn state(provider: &ProviderStatus, now: DateTime<Utc>) -> Finding {
    let name = provider.name.clone();
    let bad = if provider.default {
        Verdict::Fail
    } else {
        Verdict::Warn
    };
    let why = provider.last_error.as_ref();
    let why = why.map(|error| format!(" {}.", error.message.trim_end_matches('.')));
    let why = why.unwrap_or_default();
    match &provider.state {
        ProviderState::Ready if provider.credential == Some(CredentialKind::ApiKey) => {
            GROUP.finds(name, Verdict::Ok, "It has a fixed API key.")
        }
        ProviderState::Ready | ProviderState::Refreshing if provider.is_unreadable() => {
            let text = format!("It serves, but the login can't be read.{why}");
            let finding = GROUP.finds(name, Verdict::Fail, text);
            finding.advice("See the group store for the cause.")
        }
        ProviderState::Ready | ProviderState::Refreshing if provider.is_hindered() => {
            let text = format!("The login works, but can't be renewed.{why}");
            let finding = GROUP.finds(name, Verdict::Fail, text);
            finding.advice("See the groups store and machine for the cause.")
        }
        ProviderState::Unavailable if provider.is_hindered() => {
            let text = format!("The token has expired and can't be renewed.{why}");
            let finding = GROUP.finds(name, bad, text);
            finding.advice("See the groups store and machine for the cause.")
        }
        ProviderState::Ready | ProviderState::Refreshing if is_in_trouble(provider) => {
            let text = format!("The login works, but can't be kept fresh.{why}");
            let finding = GROUP.finds(name, Verdict::Warn, text);
            finding.run("hermesctl proxy status").run("hermesctl logs")
        }
        ProviderState::Ready | ProviderState::Refreshing => {
            let token = provider.expires_at.map(|at| token(at.0, now));
            let text = format!("The login works.{}", token.unwrap_or_default());
            GROUP.finds(name, Verdict::Ok, text)
        }
        ProviderState::LoginNeeded if provider.login_command.is_none() => {
            let error = provider.last_error.as_ref();
            let message = error.map_or("not found", |error| error.message.as_str());
            let (reason, advice) = message.rsplit_once("; ").unwrap_or((message, message));
            let text = format!("It needs its API key: {reason}.");
            GROUP.finds(name, bad, text).advice(sentence(advice))
        }
        ProviderState::LoginNeeded => {
            let text = format!("A login is needed.{why}");
            let command = provider.login_command.clone();
            GROUP.finds(name, bad, text).fixes(command.map(Fix::Run))
        }
        ProviderState::Unavailable => {
            let text = format!("The token has expired, and the portal does not renew it.{why}");
            GROUP.finds(name, bad, text).run("hermesctl auth refresh")
        }
        ProviderState::StoreUnreadable => {
            let text = format!("The store can't be read.{why}");
            let finding = GROUP.finds(name, bad, text);
            finding.advice("See the group store for the cause.")
        }
        ProviderState::Starting => GROUP.finds(
            name,
            Verdict::Info,
            "hermes-proxyd has just started; try again.",
        ),
        ProviderState::Other(state) => {
            GROUP.finds(name, Verdict::Info, format!("Its state is {state}."))
        }
    }
}

/// Whether something went wrong since the last renewal.
fn is_in_trouble(provider: &ProviderStatus) -> bool {
    let renewed = provider.last_refresh.as_ref().map(|refresh| refresh.at);
    let error = provider.last_error.as_ref();
    error.is_some_and(|error| renewed.is_none_or(|renewed| renewed <= error.at))
}

fn of_files(served: &Served, facts: &Facts) -> Vec<Finding> {
    let name = served.name.as_str();
    let Ok((adapter, _)) = &served.built else {
        // The group network tells why.
        return Vec::new();
    };
    let bad = if facts.is_default(&served.name) {
        Verdict::Fail
    } else {
        Verdict::Warn
    };
    let files = facts.files.as_ref();
    let inspection = files.and_then(|files| inspection::inspect(files, &**adapter, facts.now));
    let Some(inspection) = inspection else {
        return vec![of_key(name, &**adapter, (bad, facts.now))];
    };
    let Some(login) = &inspection.login else {
        let text = "There is no login.";
        let finding = GROUP.finds(name, bad, text);
        return vec![finding.fix(fix(&**adapter, false))];
    };
    let mut findings = vec![of_login(name, login, &**adapter, (bad, facts.now))];
    if matches!(login.assessment, Assessment::Login { .. }) {
        let end = (login.ends_at, login.ends_soon);
        findings.extend(grant(name, login.own, end, facts.now));
    }
    findings
}

/// A provider whose key lies outside the stores.
fn of_key(name: &str, adapter: &dyn Adapter, (bad, now): (Verdict, DateTime<Utc>)) -> Finding {
    match adapter.assess(&crate::provider::Login::default(), now) {
        Assessment::Login { .. } => GROUP.finds(name, Verdict::Ok, "It has a fixed API key."),
        Assessment::NoLogin { reason } => GROUP
            .finds(name, bad, format!("It can't be used here: {reason}."))
            .fix(fix(adapter, false)),
    }
}

/// What gives the provider a credential.
fn fix(adapter: &dyn Adapter, separate: bool) -> Fix {
    match (adapter.remedy().command(separate), adapter.remedy()) {
        (Some(command), _) => Fix::Run(command),
        (None, Remedy::Advice(text) | Remedy::Run(text)) => Fix::Advice(sentence(&text)),
    }
}

fn of_login(
    name: &str,
    look: &LoginLook,
    adapter: &dyn Adapter,
    (bad, now): (Verdict, DateTime<Utc>),
) -> Finding {
    let login = fix(adapter, look.own);
    let store = look.store.display();
    match &look.assessment {
        Assessment::NoLogin { reason } => {
            let text = format!("A login is needed: {reason}.");
            GROUP.finds(name, bad, text).fix(login)
        }
        Assessment::Login {
            credential,
            renewal,
        } => {
            let expiry = credential
                .as_ref()
                .and_then(|credential| credential.expires_at);
            let lives = credential.is_some() && expiry.is_none_or(|end| end > now);
            if !lives && *renewal == Renewal::Never {
                let text = format!("The login in {store} has expired and can't be renewed.");
                return GROUP.finds(name, bad, text).fix(login);
            }
            let token = expiry.map(|end| token(end, now)).unwrap_or_default();
            let text = format!("There is a login in {store}.{token}");
            GROUP.finds(name, Verdict::Ok, text)
        }
    }
}

fn token(end: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let distance = distance(end, now);
    if end > now {
        format!(" Its token expires in {distance} and is renewed before then.")
    } else {
        format!(" Its token expired {distance} ago; hermes-proxyd renews it.")
    }
}

fn grant(
    name: &str,
    separate: bool,
    (ends_at, ends_soon): (Option<DateTime<Utc>>, bool),
    now: DateTime<Utc>,
) -> Option<Finding> {
    let end = ends_at?;
    let label = format!("end of {name}");
    let (day, distance) = (end.format("%Y-%m-%d"), distance(end, now));
    if end <= now {
        let text = format!("The login ended {distance} ago ({day}), as far as is known.");
        let finding = GROUP.finds(label, Verdict::Warn, text);
        return Some(finding.run(again(name, separate)));
    }
    let text = format!("The login ends in {distance} ({day}), even if its token is renewed.");
    if ends_soon {
        let finding = GROUP.finds(label, Verdict::Warn, text);
        return Some(finding.run(again(name, separate)));
    }
    Some(GROUP.finds(label, Verdict::Ok, text))
}

/// The largest unit that says something.
pub(super) fn distance(one: DateTime<Utc>, other: DateTime<Utc>) -> String {
    let seconds = (one - other).num_seconds().unsigned_abs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
