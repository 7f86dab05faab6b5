//! The logins: whether one exists, and when its token and its grant end. From a running daemon,
//! otherwise from the files.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::blocking_check::on_a_thread;
use super::facts::{DoctorFacts, ServedProvider};
use super::finding::sentence;
use super::{DoctorFinding, FindingGroup, FindingVerdict, Fix, judged};
use crate::control::judge;
use crate::control::pools::PoolStatus;
use crate::control::protocol::{CredentialKind, Finding, FindingCode, ProviderStatus};
use crate::credentials::StoreFiles;
use crate::credentials::inspection::{self, LoginLook};
use crate::files::quoted;
use crate::provider::{Adapter, Assessment, Remedy, Renewal};

const GROUP: FindingGroup = FindingGroup::Login;
const FIXED_KEY: &str = "It has a fixed API key.";
const NO_KEY: &str = "Its server asks for no API key.";

pub(super) async fn examine(facts: Arc<DoctorFacts>) -> Vec<DoctorFinding> {
    let told = facts.running().map(|answers| {
        let found = judge::of_logins(&judged::found(&facts));
        let providers = answers.status.providers.iter();
        let findings = providers.flat_map(|provider| of_daemon(provider, &found, facts.now));
        findings.collect::<Vec<_>>()
    });
    on_a_thread(facts, |facts| {
        let mut findings = told.unwrap_or_else(|| {
            let providers = facts.providers.iter();
            providers
                .flat_map(|served| of_files(served, facts))
                .collect()
        });
        findings.extend(leftovers(facts));
        findings.extend(kept(facts));
        findings
    })
    .await
}

/// Whether a provider of the configuration keeps its login under this key.
fn is_used(facts: &DoctorFacts, name: &str, key: &str) -> bool {
    let mut served = facts.providers.iter();
    served.any(|served| match &served.built {
        Ok((adapter, _)) => adapter.layout().is_some_and(|layout| layout.key() == key),
        // The network group says why.
        Err(_) => served.name.as_str() == name,
    })
}

/// Renewed logins that could not be saved, of providers that are not configured any more.
fn kept(facts: &DoctorFacts) -> Vec<DoctorFinding> {
    let kept = facts.files.as_ref().map(inspection::kept_logins);
    let kept = kept.into_iter().flatten();
    let findings = kept.filter_map(|(key, file)| {
        let name = crate::provider::named(&key)?;
        if is_used(facts, name.as_str(), &key) {
            return None;
        }
        let text = format!(
            "A renewed login of {name}, which the configuration does not use, could not be saved and waits in {}. It is used \
             once {name} is configured again.",
            file.display()
        );
        let finding = GROUP.finds(format!("renewed login of {name}"), FindingVerdict::Warn, text);
        Some(finding.run(format!("rm {}", quoted(&file))))
    });
    findings.collect()
}

/// Logins in our own store that no provider of the configuration uses.
fn leftovers(facts: &DoctorFacts) -> Vec<DoctorFinding> {
    let keys = facts.files.as_ref().map(inspection::own_keys);
    let owners = keys.into_iter().flatten();
    let owners = owners.filter_map(|key| Some((crate::provider::owner(&key)?, key)));
    let left = owners.filter(|(name, key)| !is_used(facts, name.as_str(), key));
    left.map(|(name, _)| {
        let text = format!(
            "hermes-proxyd's own store still has a login of {name}, which the configuration does not use."
        );
        let finding = GROUP.finds(format!("login of {name}"), FindingVerdict::Warn, text);
        finding.run(format!("hermesctl auth logout {name}"))
    })
    .collect()
}

/// What the daemon finds wrong with a provider's login, else that it works.
fn of_daemon(
    provider: &ProviderStatus,
    found: &[Finding],
    now: DateTime<Utc>,
) -> Vec<DoctorFinding> {
    let name = provider.name.as_str();
    let mine = judge::about(found, name);
    let (ends, others): (Vec<_>, Vec<_>) = mine
        .into_iter()
        .partition(|one| one.code == FindingCode::LoginEndsSoon);
    let others = others.into_iter();
    let mut findings: Vec<_> = others.map(|one| of_judge(one, provider)).collect();
    if findings.iter().all(|one| one.name != name) {
        findings.insert(0, works(provider, now));
    }
    if let Some(login) = &provider.login {
        let end = LoginExpiry {
            at: login.ends_at.map(|at| at.0),
            soon: !ends.is_empty(),
            is_final: is_final(provider),
        };
        findings.extend(grant(name, login.separate, &end, now));
    }
    findings
}

fn works(provider: &ProviderStatus, now: DateTime<Utc>) -> DoctorFinding {
    let text = if provider.credential == Some(CredentialKind::ApiKey) {
        FIXED_KEY.to_owned()
    } else if provider.credential == Some(CredentialKind::NoKey) {
        NO_KEY.to_owned()
    } else {
        let token = provider
            .expires_at
            .map(|at| token(at.0, is_final(provider), now));
        format!("The login works.{}", token.unwrap_or_default())
    };
    GROUP.finds(provider.name.as_str(), FindingVerdict::Ok, text)
}

/// One of the daemon's, with why, and more of what helps.
fn of_judge(found: &Finding, provider: &ProviderStatus) -> DoctorFinding {
    let mut finding = judged::finding(found, GROUP, judged::name(found));
    let error = provider.last_error.as_ref();
    let error = error.map(|error| error.message.trim_end_matches('.'));
    let is = |code: FindingCode| found.code == code;
    if is(FindingCode::LoginNeeded) && provider.login_command.is_none() {
        let advice = error.and_then(|error| error.rsplit_once("; "));
        let advice = advice.map_or("See its API key in the configuration", |(_, advice)| advice);
        return finding.advice(sentence(advice));
    }
    if let Some(why) =
        error.filter(|error| finding.name == provider.name && !found.text.contains(error))
    {
        finding.text = format!("{} {}", finding.text, sentence(why));
    }
    if is(FindingCode::StoreUnusable) || provider.unsavable.is_some() {
        finding.advice("See the groups store and machine for the cause.")
    } else if is(FindingCode::StoreUnreadable) {
        finding.advice("See the group store for the cause.")
    } else if is(FindingCode::LoginTrouble) {
        finding.run("hermesctl proxy status").run("hermesctl logs")
    } else if is(FindingCode::Unavailable) {
        finding.run("hermesctl auth refresh")
    } else if is(FindingCode::Unsaved) {
        finding.advice(
            "Free some space and make the store's folder writable: see the groups store and \
             machine. Don't stop hermes-proxyd before that.",
        )
    } else {
        finding
    }
}

/// The command that logs in again in the store of the login in use.
fn again(name: &str, separate: bool) -> String {
    let separate = if separate { " --separate" } else { "" };
    format!("hermesctl auth login {name}{separate} --force")
}

fn of_files(served: &ServedProvider, facts: &DoctorFacts) -> Vec<DoctorFinding> {
    let name = served.name.as_str();
    let Ok((adapter, _)) = &served.built else {
        // The network group says why.
        return Vec::new();
    };
    let bad = if facts.is_default(&served.name) {
        FindingVerdict::Fail
    } else {
        FindingVerdict::Warn
    };
    let files = facts.files.as_ref();
    let inspection = files.and_then(|files| inspection::inspect(files, &**adapter, facts.now));
    let Some(inspection) = inspection else {
        return vec![of_key(name, &**adapter, bad, facts.now)];
    };
    let Some(login) = &inspection.login else {
        let text = if inspection.suppressed {
            "There is no login: it was removed with `hermes auth remove`, so only a new login brings it \
             back."
        } else {
            "There is no login."
        };
        let finding = GROUP.finds(name, bad, text).code(FindingCode::LoginNeeded);
        return vec![finding.fix(fix(&**adapter, false))];
    };
    let mut findings = vec![of_login(name, login, &**adapter, bad, facts.now)];
    if matches!(login.assessment, Assessment::Login { .. }) {
        let end = LoginExpiry {
            at: login.ends_at,
            soon: login.ends_soon,
            is_final: cannot_be_renewed(&login.assessment),
        };
        findings.extend(grant(name, login.own, &end, facts.now));
        findings.extend(files.and_then(|files| ended(name, files, &**adapter)));
    }
    findings
}

/// Logins that have ended, other than the one in use.
fn ended(name: &str, files: &StoreFiles, adapter: &dyn Adapter) -> Option<DoctorFinding> {
    let ended = inspection::ended_logins(files, adapter)?;
    let told = PoolStatus {
        logins: ended.of as u64,
        ended: ended.labels,
        ..PoolStatus::default()
    };
    let text = sentence(&told.told_of_ended(name));
    let called = ended.called.map(|called| quoted(Path::new(&called)));
    let command = match called {
        Some(called) => format!("hermesctl auth login {name} --label {called}"),
        None => "hermesctl auth list".to_owned(),
    };
    let finding = GROUP.finds(
        format!("ended logins of {name}"),
        FindingVerdict::Warn,
        text,
    );
    Some(finding.code(FindingCode::LoginEnded).run(command))
}

/// A provider whose key is outside the stores.
fn of_key(
    name: &str,
    adapter: &dyn Adapter,
    bad: FindingVerdict,
    now: DateTime<Utc>,
) -> DoctorFinding {
    match adapter.assess(&crate::provider::Login::none(), now) {
        Assessment::Login { credential, .. } => {
            let kind = credential.map(|credential| credential.kind);
            let none = kind == Some(crate::provider::BearerKind::NO_KEY);
            let text = if none { NO_KEY } else { FIXED_KEY };
            GROUP.finds(name, FindingVerdict::Ok, text)
        }
        Assessment::NoLogin { reason } => GROUP
            .finds(name, bad, format!("It can't be used here: {reason}."))
            .code(FindingCode::LoginNeeded)
            .fix(fix(adapter, false)),
    }
}

/// What gives the provider a credential.
fn fix(adapter: &dyn Adapter, separate: bool) -> Fix {
    match (adapter.remedy().command(separate), adapter.remedy()) {
        (Some(command), _) => Fix::Run(command),
        (None, Remedy::Advice(text) | Remedy::Run(text) | Remedy::RunAsItIs(text)) => {
            Fix::Advice(sentence(&text))
        }
    }
}

fn of_login(
    name: &str,
    look: &LoginLook,
    adapter: &dyn Adapter,
    bad: FindingVerdict,
    now: DateTime<Utc>,
) -> DoctorFinding {
    let login = fix(adapter, look.own);
    let store = look.store.display();
    match &look.assessment {
        Assessment::NoLogin { reason } => {
            let text = format!("A login is needed: {reason}.");
            let finding = GROUP.finds(name, bad, text).fix(login);
            finding.code(FindingCode::LoginNeeded)
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
                let finding = GROUP.finds(name, bad, text).fix(login);
                return finding.code(FindingCode::LoginNeeded);
            }
            if look.is_older_copy {
                let text = format!(
                    "The login in {store} is an older copy and is not renewed, because its refresh token was used \
                     before."
                );
                let (verdict, code, fix) = if lives {
                    let again = Fix::Run(again(name, look.own));
                    (FindingVerdict::Warn, FindingCode::LoginTrouble, again)
                } else {
                    (bad, FindingCode::LoginNeeded, login)
                };
                return GROUP.finds(name, verdict, text).fix(fix).code(code);
            }
            let is_final = *renewal == Renewal::Never;
            let token = expiry.map(|end| token(end, is_final, now));
            let token = token.unwrap_or_default();
            let text = format!("There is a login in {store}.{token}");
            GROUP.finds(name, FindingVerdict::Ok, text)
        }
    }
}

/// When the login in use ends.
struct LoginExpiry {
    at: Option<DateTime<Utc>>,
    soon: bool,
    /// With its token, which nothing renews.
    is_final: bool,
}

/// Whether the login ends with its token.
fn is_final(provider: &ProviderStatus) -> bool {
    let login = provider.login.as_ref();
    let end = login.and_then(|login| login.ends_at);
    end.is_some() && end == provider.expires_at
}

fn cannot_be_renewed(assessment: &Assessment) -> bool {
    match assessment {
        Assessment::Login { renewal, .. } => *renewal == Renewal::Never,
        Assessment::NoLogin { .. } => false,
    }
}

fn token(end: DateTime<Utc>, is_final: bool, now: DateTime<Utc>) -> String {
    let distance = distance(end, now);
    if is_final && end > now {
        format!(" Its token expires in {distance} and can't be renewed.")
    } else if end > now {
        format!(" Its token expires in {distance} and is renewed before then.")
    } else {
        format!(" Its token expired {distance} ago; hermes-proxyd renews it.")
    }
}

fn grant(
    name: &str,
    separate: bool,
    ends: &LoginExpiry,
    now: DateTime<Utc>,
) -> Option<DoctorFinding> {
    let end = ends.at?;
    let label = format!("end of {name}");
    let (day, distance) = (end.format("%Y-%m-%d"), distance(end, now));
    if end <= now {
        let text = format!("The login ended {distance} ago ({day}), as far as is known.");
        let finding = GROUP.finds(label, FindingVerdict::Warn, text);
        let finding = finding.code(FindingCode::LoginEndsSoon);
        return Some(finding.run(again(name, separate)));
    }
    let why = if ends.is_final {
        "because the provider gave no refresh token"
    } else {
        "even if its token is renewed"
    };
    let text = format!("The login ends in {distance} ({day}), {why}.");
    if ends.soon {
        let finding = GROUP.finds(label, FindingVerdict::Warn, text);
        let finding = finding.code(FindingCode::LoginEndsSoon);
        return Some(finding.run(again(name, separate)));
    }
    Some(GROUP.finds(label, FindingVerdict::Ok, text))
}

/// The largest unit that says something.
fn distance(one: DateTime<Utc>, other: DateTime<Utc>) -> String {
    let seconds = (one - other).num_seconds().unsigned_abs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
