//! The way to the providers: proxy, name, TLS, answer and clock, by the same path as the daemon's
//! requests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hyper::Method;
use tokio::time::timeout;
use url::{Host, Url};

use super::configuration::correct;
use super::facts::{DoctorFacts, ServedProvider, Trust};
use super::system::quoted;
use super::{DoctorFinding, FindingGroup, FindingVerdict, Fix, QUESTION, judged};
use crate::clock::{Clock, SystemClock};
use crate::control::human::duration;
use crate::control::judge;
use crate::control::protocol::FindingCode;
use crate::credentials::inspection;
use crate::provider::probe::{self, CertificateFault, ProbeAnswer, ProbeTarget, Unreachable};
use crate::provider::{Login, Proxies, environment_faults, file_faults};
use crate::tools::ProgramCall;

const GROUP: FindingGroup = FindingGroup::Network;
/// Longer than a name look-up takes on the worst network that is usable.
const NAME_LIMIT: Duration = Duration::from_secs(4);
/// The same for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);
/// A clock is read to the second, and the answer is some time under way.
const TOLERATED: i64 = 30;

pub(super) async fn examine(facts: Arc<DoctorFacts>) -> Vec<DoctorFinding> {
    let mut findings = proxies(&facts);
    for served in &facts.providers {
        findings.extend(trust(served, &facts));
    }
    let targets = targets(facts.clone()).await;
    let names: BTreeSet<_> = targets
        .iter()
        .filter_map(|(_, address)| name_to_resolve(&address.url))
        .collect();
    let names = join_all(names.into_iter().map(resolve));
    let asked = targets.into_iter().filter_map(|(number, address)| {
        let served = facts.providers.get(number)?;
        Some(ask(served, address))
    });
    let answers = join_all(asked);
    let (names, answers) = tokio::join!(names, answers);
    let lost: Vec<_> = names
        .iter()
        .filter(|finding| finding.verdict == FindingVerdict::Fail)
        .map(|finding| finding.name.clone())
        .collect();
    findings.extend(names);
    let mut clocks = Vec::new();
    for (place, finding, clock) in answers.into_iter().flatten() {
        let is_lost = finding.verdict == FindingVerdict::Fail && lost.contains(&name_label(&place));
        findings.push(if is_lost {
            let text = format!("Without the name {place} no provider can be reached.");
            GROUP.finds(finding.name, FindingVerdict::Skip, text)
        } else {
            finding
        });
        clocks.extend(clock);
    }
    findings.push(clock(&clocks).await);
    findings
}

/// What is asked, with its provider's number. Reads files, which may hang.
async fn targets(facts: Arc<DoctorFacts>) -> Vec<(usize, ProbeTarget)> {
    let found = tokio::task::spawn_blocking(move || {
        let served = facts.providers.iter().enumerate();
        served
            .flat_map(|(number, served)| {
                let addresses = addresses(served, &facts).into_iter();
                addresses.map(move |address| (number, address))
            })
            .collect()
    });
    found.await.unwrap_or_default()
}

/// The name in a URL that we have to resolve ourselves: behind a proxy that is the proxy's part.
fn name_to_resolve(url: &str) -> Option<String> {
    if probe::proxy_for(url).is_some() {
        return None;
    }
    match Url::parse(url).ok()?.host()? {
        Host::Domain("localhost") | Host::Ipv4(_) | Host::Ipv6(_) => None,
        Host::Domain(name) => Some(name.to_owned()),
    }
}

/// Where the provider is reached; the running daemon knows best where requests go.
fn addresses(served: &ServedProvider, facts: &DoctorFacts) -> Vec<ProbeTarget> {
    let Ok((adapter, _)) = &served.built else {
        return Vec::new();
    };
    let files = facts.files.as_ref();
    let inspection = files.and_then(|files| inspection::inspect(files, &**adapter, facts.now));
    let login = inspection.and_then(|inspection| inspection.login);
    let login = login.map_or_else(Login::none, |look| look.login);
    let mut addresses = adapter.addresses(&login);
    let in_use = facts.running().and_then(|answers| {
        let mut providers = answers.status.providers.iter();
        let provider = providers.find(|provider| provider.name == served.name.as_str())?;
        provider.base_url.clone()
    });
    if let (Some(url), Some(inference)) = (
        in_use,
        addresses
            .iter_mut()
            .find(|address| address.what == "inference"),
    ) {
        inference.url = url;
    }
    addresses
}

/// `host:port` of a URL, which may hold a password before them.
fn place(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or("?");
    match url.as_ref().and_then(Url::port) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn proxies(facts: &DoctorFacts) -> Vec<DoctorFinding> {
    let named = Proxies::from_env();
    let mut findings = named_proxies(facts, named.named());
    let faults = environment_faults(facts.config.kinds());
    findings.extend(faults.iter().map(|fault| {
        let text = format!("In this shell {fault}");
        GROUP.finds("environment", FindingVerdict::Warn, text)
    }));
    findings.extend(
        file_faults(&facts.variables)
            .into_iter()
            .map(|fault| GROUP.finds("environment", FindingVerdict::Warn, fault)),
    );
    findings
}

fn named_proxies(facts: &DoctorFacts, here: &BTreeMap<String, String>) -> Vec<DoctorFinding> {
    let list = |proxies: &BTreeMap<String, String>| {
        let named = proxies.iter().map(|(name, via)| format!("{name} is {via}"));
        named.collect::<Vec<_>>().join(", ")
    };
    let Some(answers) = facts.running() else {
        if here.is_empty() {
            return Vec::new();
        }
        let text = format!(
            "In this shell {}; a service has its own environment.",
            list(here)
        );
        let finding = GROUP.finds("proxy", FindingVerdict::Info, text);
        return vec![finding.fixes(carry(facts))];
    };
    let there = &answers.status.daemon.proxies;
    if here == there {
        let text = format!("{}, here and in hermes-proxyd.", list(here));
        let finding = GROUP.finds("proxy", FindingVerdict::Info, text);
        return [finding].into_iter().filter(|_| !here.is_empty()).collect();
    }
    if here.is_empty() {
        let text = format!("In hermes-proxyd {}; this shell has none.", list(there));
        return vec![GROUP.finds("proxy", FindingVerdict::Info, text)];
    }
    let theirs = if there.is_empty() {
        "hermes-proxyd has none".to_owned()
    } else {
        format!("in hermes-proxyd {}", list(there))
    };
    let text = format!("In this shell {}, and {theirs}.", list(here));
    let finding = GROUP.finds("proxy", FindingVerdict::Warn, text);
    vec![finding.fixes(carry(facts)).fixes(facts.restart())]
}

/// An installation takes the variables of this shell along.
fn carry(facts: &DoctorFacts) -> Option<Fix> {
    let installed = facts.installed().is_some();
    installed.then(|| Fix::Run("hermesctl service install".to_owned()))
}

fn trust(served: &ServedProvider, facts: &DoctorFacts) -> Option<DoctorFinding> {
    let name = format!("trust of {}", served.name);
    let Trust { file, named_by } = &served.trust;
    match (&served.built, file) {
        (Err(error), Some(file)) => {
            let text = format!("{}.", error.trim_end_matches('.'));
            let finding = GROUP.finds(name, FindingVerdict::Fail, text).stops_start();
            Some(finding.advice(format!(
                "{} is named by {named_by}: correct it there.",
                file.display()
            )))
        }
        (Err(error), None) => {
            let text = format!("{}.", error.trim_end_matches('.'));
            let finding = GROUP.finds(name, FindingVerdict::Fail, text).stops_start();
            let file = facts.loaded.as_ref().ok();
            let file = file.and_then(|loaded| loaded.file.as_deref());
            Some(finding.fixes(correct(file, 0)))
        }
        (Ok(_), Some(file)) => {
            let text = format!(
                "{} is trusted in addition to the system's certificates, as {named_by} says.",
                file.display()
            );
            Some(GROUP.finds(name, FindingVerdict::Info, text))
        }
        (Ok(_), None) => None,
    }
}

fn name_label(name: &str) -> String {
    format!("name {name}")
}

async fn resolve(name: String) -> DoctorFinding {
    let label = name_label(&name);
    let found = timeout(NAME_LIMIT, tokio::net::lookup_host((name.as_str(), 0))).await;
    let why = match found {
        Ok(Ok(addresses)) => {
            let addresses: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
            if let Some(first) = addresses.first() {
                let text = match addresses.len() - 1 {
                    0 => format!("It is {first}."),
                    more => format!("It is {first} (and {more} more)."),
                };
                return GROUP.finds(label, FindingVerdict::Ok, text);
            }
            "it has no address".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", NAME_LIMIT.as_secs()),
    };
    let text = format!("The name can't be resolved: {why}.");
    GROUP
        .finds(label, FindingVerdict::Fail, text)
        .run(format!("getent hosts {name}"))
        .advice(
            "If that prints nothing either, the machine is offline, or its DNS server does not \
             answer.",
        )
}

/// How far the other side's clock is ahead of ours, in seconds.
struct Offset {
    host: String,
    seconds: i64,
}

async fn ask(
    served: &ServedProvider,
    address: ProbeTarget,
) -> Option<(String, DoctorFinding, Option<Offset>)> {
    let (_, tls) = served.built.as_ref().ok()?;
    let host = place(&address.url);
    let before = SystemClock.now();
    let list = list_of_models(served, &address);
    // Some servers support GET and not HEAD.
    let (method, url) = match &list {
        Some(list) => (Method::GET, list.as_str()),
        None => (Method::HEAD, address.url.as_str()),
    };
    let answer = probe::probe(method, url, tls.clone(), ANSWER_LIMIT).await;
    let took = SystemClock.now() - before;
    let via = probe::proxy_for(&address.url);
    let via = via.map(|via| format!(" through the proxy {via}"));
    let via = via.unwrap_or_default();
    let (finding, offset) = match answer {
        Ok(seen) => {
            let middle = before.checked_add_signed(took / 2).unwrap_or(before);
            let offset = seen.date.map(|theirs| Offset {
                host: host.clone(),
                seconds: theirs.signed_duration_since(middle).num_seconds(),
            });
            let text = format!("{host}{via} answers in {} ms", took.num_milliseconds());
            (
                judge(served, &address, list.as_deref(), &text, &seen),
                offset,
            )
        }
        Err(error) => {
            let text = format!("{host} can't be reached{via}: {error}.");
            let label = label_of(served, &address);
            let finding = GROUP.finds(label, FindingVerdict::Fail, text);
            (advise(finding, &error, served, &address), None)
        }
    };
    let name = Url::parse(&address.url).ok()?.host_str()?.to_owned();
    Some((name, finding, offset))
}

/// The list of models of a server that the operator names: every such server knows the path, with a
/// credential or without.
fn list_of_models(served: &ServedProvider, address: &ProbeTarget) -> Option<String> {
    let (adapter, _) = served.built.as_ref().ok()?;
    let has_list = || {
        adapter
            .allowed_paths()
            .iter()
            .any(|one| one.path == "/models")
    };
    let is_meant = address.what == "inference" && adapter.is_elsewhere() && has_list();
    is_meant.then(|| format!("{}/models", address.url.trim_end_matches('/')))
}

fn label_of(served: &ServedProvider, address: &ProbeTarget) -> String {
    format!("{} {}", served.name, address.what)
}

/// What the answer of an address says about it; `list` is what was asked for instead, if anything.
fn judge(
    served: &ServedProvider,
    address: &ProbeTarget,
    list: Option<&str>,
    text: &str,
    seen: &ProbeAnswer,
) -> DoctorFinding {
    const SIGN_IN: &str = "A network that requires a sign-in does this: open a web page first.";

    let (label, key) = (label_of(served, address), address.setting);
    if let Some(host) = &seen.redirected_to {
        let text = format!("{text}, but redirects to {host}.");
        let finding = GROUP
            .finds(label, FindingVerdict::Warn, text)
            .advice(SIGN_IN);
        return finding.advice(format!(
            "If the provider has moved there, name its new address as `{key}` under \
             [providers.{}]; hermes-proxyd does not follow redirects with your login.",
            served.name
        ));
    }
    match seen.status {
        407 => GROUP
            .finds(
                label,
                FindingVerdict::Fail,
                format!("{text}: the proxy requires a password."),
            )
            .advice("Put user and password into HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT."),
        // RFC 6585 §6.
        511 => {
            let text = format!("{text}: the network requires you to sign in.");
            GROUP
                .finds(label, FindingVerdict::Fail, text)
                .advice(SIGN_IN)
        }
        404 | 405 if list.is_some() => {
            let list = list.unwrap_or_default();
            let text = format!("{text}, but has no {}.", asked(list));
            GROUP.finds(label, FindingVerdict::Warn, text).advice(format!(
                "`{key}` under [providers.{}] looks wrong: many servers want one that ends in /v1.",
                served.name
            ))
        }
        500..=599 => {
            let text = format!("{text}, with an error of its own ({}).", seen.status);
            let finding = GROUP.finds(label, FindingVerdict::Warn, text);
            finding.advice("This can't be fixed on this machine; hermes-proxyd keeps trying.")
        }
        _ => GROUP.finds(label, FindingVerdict::Ok, format!("{text}.")),
    }
}

fn advise(
    finding: DoctorFinding,
    error: &Unreachable,
    served: &ServedProvider,
    address: &ProbeTarget,
) -> DoctorFinding {
    let (name, host, key) = (&served.name, place(&address.url), address.setting);
    match error {
        Unreachable::Certificate { fault, .. } => match fault {
            CertificateFault::Expired | CertificateFault::NotYetValid => finding
                .run("date")
                .advice("If the clock is right, the other side must renew its certificate."),
            CertificateFault::WrongName => finding.advice(format!(
                "Something else answers in place of {host}: a proxy, a network that requires a \
                 sign-in, or a wrong `{key}` under [providers.{name}]."
            )),
            CertificateFault::UnknownIssuer | CertificateFault::Other => {
                if served.trust.file.is_some() {
                    return finding.advice(
                        "The certificate is signed by neither the system's authorities nor the \
                         file above; see the trust above.",
                    );
                }
                finding
                    .advice(
                        "If your company's proxy inspects TLS, trust its certificate in the \
                         configuration; if no certificates are installed, install the package \
                         ca-certificates:",
                    )
                    .fix(Fix::Configure(vec![
                        format!("[providers.{name}]"),
                        "ca_file = \"~/company-ca.pem\"".to_owned(),
                    ]))
            }
        },
        // Not TLS at all.
        Unreachable::Tls(what) if what.contains("corrupt message") => finding.advice(format!(
            "{host} may speak http instead of https: correct `{key}` under [providers.{name}]."
        )),
        Unreachable::Connect(_) | Unreachable::Tls(_) | Unreachable::TimedOut(_) => {
            finding.run(format!("curl -sSI {}", asked(&address.url)))
        }
    }
}

/// A URL quoted for a shell, without a password or other possible secrets.
fn asked(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return place(url);
    };
    // Only a URL without a host has no place for them.
    url.set_username("").ok();
    url.set_password(None).ok();
    url.set_query(None);
    url.set_fragment(None);
    quoted(Path::new(url.as_str()))
}

async fn clock(offsets: &[Offset]) -> DoctorFinding {
    let name = judged::CLOCK;
    let Some(worst) = offsets.iter().max_by_key(|offset| offset.seconds.abs()) else {
        let text = "No host answered with the time.";
        return GROUP.finds(name, FindingVerdict::Skip, text);
    };
    let skew = worst.seconds.abs();
    // Two of them that disagree can't both be right.
    let agreed = offsets
        .iter()
        .all(|one| (one.seconds - worst.seconds).abs() <= TOLERATED);
    if skew <= TOLERATED {
        let text = format!("It agrees with {}.", worst.host);
        return GROUP.finds(name, FindingVerdict::Ok, text);
    }
    let side = if worst.seconds > 0 {
        "behind"
    } else {
        "ahead of"
    };
    let mut text = format!(
        "It is {} {side} that of {}.",
        duration(worst.seconds.unsigned_abs()),
        worst.host
    );
    if !agreed {
        text.push_str(" The others disagree, so that host's clock may be the wrong one.");
    }
    let verdict = if skew > judge::WRONG_CLOCK && agreed {
        FindingVerdict::Fail
    } else {
        FindingVerdict::Warn
    };
    let arguments = ["show", "--property=NTP", "--property=NTPSynchronized"];
    let synchronised = ProgramCall::new("timedatectl", arguments).within(QUESTION);
    let mut finding = GROUP.finds(name, verdict, text);
    finding.code = (skew > judge::WRONG_CLOCK).then_some(FindingCode::ClockWrong);
    match synchronised.success().await {
        Some(text) if text.contains("NTP=no") => finding.run("sudo timedatectl set-ntp true"),
        Some(_) => finding.run("timedatectl timesync-status"),
        None => match SET_CLOCK.filter(|_| !cfg!(target_os = "linux") || is_booted_by_systemd()) {
            Some(command) => finding.run(command),
            None => finding.advice("Set the machine's clock, or switch its synchronisation on."),
        },
    }
}

/// What sets the clock by the network's.
const SET_CLOCK: Option<&str> = if cfg!(target_os = "linux") {
    Some("sudo timedatectl set-ntp true")
} else if cfg!(target_os = "macos") {
    Some("sudo sntp -sS time.apple.com")
} else if cfg!(windows) {
    Some("w32tm /resync")
} else {
    None
};

/// As `sd_booted(3)` has it.
fn is_booted_by_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}
