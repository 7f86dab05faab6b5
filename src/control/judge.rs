//! What is wrong with a daemon: the one judgement, which every surface renders and none makes itself.
//! Pure.
//!
//! The daemon's answer carries it. hermesctl judges what no daemon can tell: that none runs, and what
//! the running one has not applied of its file; and the status of a daemon that is too old to judge.

use std::borrow::Cow;

use super::human::{count, distance, duration};
use super::protocol::{
    Finding, FindingCode, ListenerStatus, ProviderState, ProviderStatus, RequestFailures, Severity,
    Status, Timestamp,
};

/// This many consecutive failures are not an accident.
const NO_ACCIDENT: u64 = 3;
/// How long a failure is news, in seconds.
const NEWS: i64 = 3600;
/// How long a refused client is news, in seconds: a machine has stray visitors.
const REFUSED: i64 = 600;
/// A clock that differs from others by more than this is wrong, in seconds: tokens are renewed minutes
/// before they expire.
pub const WRONG_CLOCK: i64 = 300;
/// Looks at more than a status tells.
pub const DIAGNOSIS: &str = "hermesctl doctor";

/// Shows each of several logins.
const LIST: &str = "hermesctl auth list";

/// Why a daemon's configuration file and what it runs with differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigDrift {
    /// The file has mistakes: the next start fails.
    Broken,
    /// The file does not exist any more: the next start has the default settings.
    Gone,
    /// Only a restart applies these keys.
    Restart(Vec<String>),
    /// A reload applies the file.
    Reload,
}

/// What a service manager says of a service that does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleService<'a> {
    /// Whether there is one.
    pub installed: bool,
    /// How it failed last.
    pub last_failure: Option<&'a str>,
}

/// What is wrong by this status, the worst first; empty where all is well.
pub fn judge(status: &Status) -> Vec<Finding> {
    let providers = status.providers.iter();
    let mut findings: Vec<_> = providers
        .flat_map(|provider| troubles(provider, provider.default, status.now))
        .collect();
    findings.extend(listening(&status.listeners));
    let of_listeners = keys(status);
    if of_listeners.is_some() {
        // Without any key no provider has one either.
        findings.retain(|one| one.code != FindingCode::NoClientKeys);
    }
    findings.extend(of_listeners);
    findings.extend(key_file(status));
    findings.extend(clock(&status.providers));
    findings.extend(usage(status));
    let daemon = &status.daemon;
    if !daemon.needs_restart.is_empty() {
        findings.push(restart(&daemon.needs_restart, daemon.managed));
    }
    findings.extend(refused(status));
    worst_first(&mut findings);
    findings
}

/// The faults for apps whose `/v1` means this provider, whatever the default one.
pub fn judge_for(status: &Status, provider: &str) -> Vec<Finding> {
    let mut providers = status.providers.iter();
    let found = providers.find(|one| one.name == provider);
    let mut findings = found.map_or_else(Vec::new, |one| troubles(one, true, status.now));
    worst_first(&mut findings);
    findings
}

/// What the daemon finds, or what an old one would.
pub fn findings(status: &Status) -> Cow<'_, [Finding]> {
    match &status.findings {
        Some(findings) => Cow::Borrowed(findings),
        None => Cow::Owned(judge(status)),
    }
}

/// The findings about one provider.
pub fn about<'f>(findings: &'f [Finding], provider: &str) -> Vec<&'f Finding> {
    let mine = |one: &&Finding| one.provider.as_deref() == Some(provider);
    findings.iter().filter(mine).collect()
}

/// The findings about logins, and not about requests.
pub fn of_logins(findings: &[Finding]) -> Vec<Finding> {
    let others = [
        FindingCode::RequestsFail,
        FindingCode::NoClientKeys,
        FindingCode::QuotaSpent,
    ];
    let of_login = |one: &&Finding| one.provider.is_some() && !others.contains(&one.code);
    findings.iter().filter(of_login).cloned().collect()
}

/// Whether a provider lacks its login or its API key, and nothing else helps.
pub fn needs_login(status: &Status, provider: &str) -> bool {
    has(status, provider, &FindingCode::LoginNeeded)
}

/// Whether a provider's login was not read yet.
pub fn is_starting(status: &Status, provider: &str) -> bool {
    has(status, provider, &FindingCode::Starting)
}

fn has(status: &Status, provider: &str, code: &FindingCode) -> bool {
    let findings = findings(status);
    let mine = about(&findings, provider);
    mine.iter().any(|one| one.code == *code)
}

/// The worst that is wrong with a provider's login, and not with its requests.
pub fn of_login(status: &Status, provider: &str) -> Option<Finding> {
    let findings = of_logins(&findings(status));
    about(&findings, provider).first().copied().cloned()
}

/// Whether a provider has a login or an API key that can be read.
pub fn is_logged_in(status: &Status, provider: &str) -> bool {
    let findings = findings(status);
    let missing = [
        FindingCode::LoginNeeded,
        FindingCode::Starting,
        FindingCode::StoreUnreadable,
    ];
    let mine = about(&findings, provider);
    !mine
        .iter()
        .any(|one| one.blocks && missing.contains(&one.code))
}

/// The same with what only hermesctl knows, which takes the place of what the daemon says of it.
pub fn with(status: &Status, more: Option<Finding>) -> Vec<Finding> {
    let mut findings = findings(status).into_owned();
    let Some(more) = more else {
        return findings;
    };
    findings.retain(|one| one.code != more.code);
    findings.push(more);
    worst_first(&mut findings);
    findings
}

/// That no daemon runs.
pub fn not_running(service: Option<IdleService<'_>>) -> Finding {
    let starts = |service: IdleService<'_>| {
        // Starting one that failed would fail again.
        let command = match service.last_failure {
            // `EX_CONFIG`
            Some("exited with 78") => "hermesctl config check",
            Some(_) => DIAGNOSIS,
            None => "hermesctl service start",
        };
        service.installed.then(|| command.to_owned())
    };
    let text = "hermes-proxyd is not running".to_owned();
    let command = service.and_then(starts);
    blocking(bad(FindingCode::NotRunning, text, command))
}

/// That a daemon did not answer as it should.
pub fn no_answer(message: &str) -> Finding {
    let text = message.trim_end_matches('.').to_owned();
    bad(FindingCode::NoAnswer, text, None)
}

/// What a daemon has not applied of its file. `is_service`: whether it is the installed service.
pub fn of_file(pending: &ConfigDrift, is_service: bool) -> Finding {
    match pending {
        ConfigDrift::Broken => {
            let text = "The configuration file can't be used, so the next start will fail";
            let command = "hermesctl config check".to_owned();
            attention(FindingCode::ConfigBroken, text.to_owned(), Some(command))
        }
        ConfigDrift::Gone => {
            let text = "The configuration file is gone, so the next start will use the defaults; \
                        the earlier settings are in use";
            attention(FindingCode::ConfigMissing, text.to_owned(), None)
        }
        ConfigDrift::Restart(keys) => restart(keys, is_service),
        ConfigDrift::Reload => {
            let text = "The configuration file has changed since hermes-proxyd read it";
            let command = "hermesctl proxy reload".to_owned();
            attention(FindingCode::ConfigChanged, text.to_owned(), Some(command))
        }
    }
}

fn restart(keys: &[String], is_service: bool) -> Finding {
    let text = format!("Changed settings need a restart: {}", keys.join(", "));
    let command = if is_service {
        "hermesctl service restart"
    } else {
        "hermesctl proxy restart"
    };
    attention(FindingCode::RestartNeeded, text, Some(command.to_owned()))
}

/// A refusal is over, so whatever lasts goes before it.
fn worst_first(findings: &mut [Finding]) {
    findings.sort_by_key(|one| {
        (
            one.severity != Severity::Bad,
            one.code == FindingCode::RequestsRefused,
        )
    });
}

/// How long ago an event was, in seconds. One in the future, since a clock was set, counts as now.
fn age(at: Timestamp, now: Timestamp) -> i64 {
    (now.0 - at.0).num_seconds().max(0)
}

/// An app that was turned away a moment ago.
fn refused(status: &Status) -> Option<Finding> {
    let refused = status.refused_apps.as_ref()?;
    let age = age(refused.at, status.now);
    if age > REFUSED {
        return None;
    }
    let from = refused.from.as_deref().unwrap_or("an app");
    let (when, code) = (distance(-age), &refused.code);
    let about = refused.about.as_deref();
    let about = about.map_or_else(String::new, |about| format!(" ({about})"));
    let text = format!("A request from {from} was refused {when}, {code}{about}");
    let command = format!("hermesctl logs --request {}", refused.request_id);
    Some(attention(FindingCode::RequestsRefused, text, Some(command)))
}

fn listening(listeners: &[ListenerStatus]) -> Option<Finding> {
    if listeners.iter().all(|one| one.waiting) {
        let text = "hermes-proxyd is not listening on any address".to_owned();
        let finding = bad(FindingCode::ListensNowhere, text, None);
        return Some(blocking(finding));
    }
    let first = listeners.iter().find(|one| one.waiting)?;
    let address = &first.address;
    let finding = if first.is_unix() {
        let text = format!("The socket {address} was removed and can't be restored yet");
        let command = Some("hermesctl logs --errors".to_owned());
        attention(FindingCode::SocketMissing, text, command)
    } else {
        let text = format!("Waiting for the address {address}");
        attention(FindingCode::AddressMissing, text, None)
    };
    Some(of_listener(finding, first))
}

/// A listener that rejects everyone.
fn keys(status: &Status) -> Option<Finding> {
    let open = || status.listeners.iter().filter(|one| !one.waiting);
    let first = open().find(|one| one.needs_key)?;
    if status.client_keys != Some(0) {
        return None;
    }
    let text = format!(
        "{} requires a client key, but none exists, so it rejects everyone",
        first.address
    );
    let code = FindingCode::NoClientKeys;
    let command = Some("hermesctl clients add my-app".to_owned());
    let finding = if open().all(|one| one.needs_key) {
        bad(code, text, command)
    } else {
        attention(code, text, command)
    };
    Some(of_listener(finding, first))
}

/// Keys that a restart would not have.
fn key_file(status: &Status) -> Option<Finding> {
    let reason = reason(status.client_keys_fault.as_ref()?);
    let text = format!(
        "The client keys can't be read, so the next start will fail; the earlier ones are in use: \
         {reason}"
    );
    let code = FindingCode::ClientKeysUnreadable;
    let command = status.client_keys_command.clone();
    Some(attention(
        code,
        text,
        Some(command.unwrap_or_else(diagnosis)),
    ))
}

/// Counts of usage that can't be saved.
fn usage(status: &Status) -> Option<Finding> {
    let reason = reason(status.usage_fault.as_ref()?);
    let text = format!("Usage can't be saved: {reason}");
    let command = Some("hermesctl usage".to_owned());
    Some(attention(FindingCode::UsageUnsaved, text, command))
}

/// The machine's clock, by that of the provider that differs most.
fn clock(providers: &[ProviderStatus]) -> Option<Finding> {
    let ahead = |one: &ProviderStatus| one.clock_ahead_seconds.map_or(0, i64::unsigned_abs);
    let worst = providers.iter().max_by_key(|one| ahead(one))?;
    let ahead = worst.clock_ahead_seconds?;
    if ahead.unsigned_abs() <= WRONG_CLOCK.unsigned_abs() {
        return None;
    }
    let (by, side) = (
        duration(ahead.unsigned_abs()),
        if ahead > 0 { "ahead of" } else { "behind" },
    );
    let text = format!("This machine's clock is {by} {side} that of {}", worst.name);
    Some(attention(FindingCode::ClockWrong, text, Some(diagnosis())))
}

/// What is wrong with one provider. Without the one that `/v1` means, an app that names none gets
/// nothing.
fn troubles(provider: &ProviderStatus, is_meant: bool, now: Timestamp) -> Vec<Finding> {
    let mut troubles: Vec<_> = state(provider, is_meant).into_iter().collect();
    // If the state has the reason, that comes first.
    let told = provider.failing.as_ref().filter(|_| troubles.is_empty());
    troubles.extend(told.map(|one| failing(provider, one, is_meant, now)));
    troubles.extend(unkept(provider));
    troubles.extend(pool(provider, is_meant, now));
    troubles.extend(quota(provider));
    troubles.extend(unreachable(provider, is_meant));
    troubles.extend(warnings(provider));
    for trouble in &mut troubles {
        trouble.provider = Some(provider.name.clone());
    }
    troubles
}

/// Why requests can't be served, now or once the token in use expires.
fn state(provider: &ProviderStatus, is_meant: bool) -> Option<Finding> {
    let name = &provider.name;
    let of = if is_meant {
        String::new()
    } else {
        format!(" for {name}")
    };
    let login = provider.login_command.clone();
    let finding = match &provider.state {
        ProviderState::Ready | ProviderState::Refreshing | ProviderState::Other(_) => {
            let unreadable = UnreadableFile::of(provider).filter(|one| !one.is_served);
            let unreadable = unreadable.map(|unreadable| unreadable.finding(&of));
            unreadable.or_else(|| unsavable(provider, &of))?
        }
        ProviderState::StoreUnreadable => UnreadableFile::of(provider)?.finding(&of),
        ProviderState::LoginNeeded if login.is_some() => {
            bad(FindingCode::LoginNeeded, format!("Login needed{of}"), login)
        }
        // With a fixed key there is no command; `last_error` says what to do.
        ProviderState::LoginNeeded => {
            let error = provider.last_error.as_ref();
            let reason = error.map(|error| reason(&error.message));
            let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            let text = format!("There is no usable API key{of}{reason}");
            bad(FindingCode::LoginNeeded, text, Some(diagnosis()))
        }
        ProviderState::Unavailable => {
            let why = if provider.last_error.is_some() {
                "can't be renewed"
            } else {
                "has not been renewed yet"
            };
            let text = format!("The token has expired and {why}{of}");
            let told = provider.unsavable.as_ref();
            let command = told.and_then(|told| told.command.clone());
            let command = command.unwrap_or_else(diagnosis);
            bad(FindingCode::Unavailable, text, Some(command))
        }
        ProviderState::Starting => {
            let text = format!("Starting{of}");
            return Some(blocking(attention(FindingCode::Starting, text, None)));
        }
    };
    let severity = if is_meant {
        Severity::Bad
    } else {
        Severity::Attention
    };
    Some(blocking(Finding {
        severity,
        ..finding
    }))
}

/// A login that works until its token expires.
fn unsavable(provider: &ProviderStatus, of: &str) -> Option<Finding> {
    let told = provider.unsavable.as_ref()?;
    let text = format!("The login can't be renewed{of}: {}", reason(&told.reason));
    let command = told.command.clone().unwrap_or_else(diagnosis);
    Some(bad(FindingCode::StoreUnusable, text, Some(command)))
}

/// A fault without its advice.
fn reason(message: &str) -> &str {
    let reason = message
        .rsplit_once("; ")
        .map_or(message, |(first, _)| first);
    reason.trim_end_matches('.')
}

/// A login whose file can't be read.
struct UnreadableFile<'p> {
    name: &'p str,
    reason: &'p str,
    command: Option<&'p str>,
    /// A copy of it serves and is kept fresh.
    is_served: bool,
}

impl<'p> UnreadableFile<'p> {
    fn of(provider: &'p ProviderStatus) -> Option<Self> {
        let name = &provider.name;
        let blocks = provider.state == ProviderState::StoreUnreadable;
        if let Some(told) = &provider.unreadable {
            return Some(Self {
                name,
                reason: &told.reason,
                command: told.command.as_deref(),
                is_served: told.copied && !blocks,
            });
        }
        // An old daemon reports it in another way, without whether a copy serves.
        let error = provider.last_error.as_ref();
        let error = error.filter(|error| blocks || error.code == "store_unreadable");
        if error.is_none() && !blocks {
            return None;
        }
        Some(Self {
            name,
            reason: error.map_or("the reason is unknown", |error| error.message.as_str()),
            command: None,
            is_served: !blocks,
        })
    }

    fn finding(&self, of: &str) -> Finding {
        let reason = self.reason.trim_end_matches('.');
        let text = format!("The login can't be read{of}: {reason}");
        bad(FindingCode::StoreUnreadable, text, Some(self.command()))
    }

    fn served(&self) -> Finding {
        let reason = self.reason.trim_end_matches('.');
        let text = format!(
            "The login of {} works, but its file can't be read: {reason}",
            self.name
        );
        attention(FindingCode::StoreUnreadable, text, Some(self.command()))
    }

    fn command(&self) -> String {
        self.command.unwrap_or(DIAGNOSIS).to_owned()
    }
}

/// Requests that the provider fails, up to now.
fn failing(
    provider: &ProviderStatus,
    failing: &RequestFailures,
    is_meant: bool,
    now: Timestamp,
) -> Finding {
    let (name, code) = (&provider.name, &failing.code);
    let age = age(failing.at, now);
    let when = distance(-age);
    let text = match failing.count {
        1 => format!("The last request to {name} failed {when}: {code}"),
        more => format!(
            "The last {} requests to {name} failed, the last one {when}: {code}",
            count(more)
        ),
    };
    let code = FindingCode::RequestsFail;
    if is_meant && failing.count >= NO_ACCIDENT && age <= NEWS {
        bad(code, text, Some(diagnosis()))
    } else {
        attention(code, text, Some(diagnosis()))
    }
}

/// Logins of several that are not used for now, or any more.
fn pool(provider: &ProviderStatus, is_meant: bool, now: Timestamp) -> Vec<Finding> {
    let Some(pool) = &provider.pool else {
        return Vec::new();
    };
    let (name, list) = (&provider.name, || Some(LIST.to_owned()));
    let mut troubles = Vec::new();
    if let Some(at) = pool.used_again_at {
        let when = distance((at.0 - now.0).num_seconds());
        let text = format!("All logins of {name} are cooling down; the first is used again {when}");
        let code = FindingCode::LoginsCoolingDown;
        let finding = if is_meant {
            bad(code, text, list())
        } else {
            attention(code, text, list())
        };
        troubles.push(blocking(finding));
    } else if !pool.cooling_down.is_empty() {
        let text = format!(
            "Cooling down: {} ({} of {} logins of {name})",
            pool.cooling_down.join(", "),
            pool.cooling_down.len(),
            pool.logins
        );
        troubles.push(attention(FindingCode::LoginCoolingDown, text, list()));
    }
    let serves = provider.state != ProviderState::LoginNeeded;
    if serves && !pool.ended.is_empty() {
        let text = pool.told_of_ended(name);
        let command = pool.login_command.clone().or_else(list);
        troubles.push(attention(FindingCode::LoginEnded, text, command));
    }
    troubles
}

/// A used-up quota of the only login. With several logins, those without quota cool down.
fn quota(provider: &ProviderStatus) -> Option<Finding> {
    if provider.pool.as_ref().is_some_and(|pool| pool.logins > 1) {
        return None;
    }
    let windows = provider.quota.iter().flat_map(|quota| &quota.windows);
    let spent = windows.filter(|window| window.used_percent >= 100);
    let last = spent.max_by_key(|window| window.resets_in_seconds)?;
    let again = last.resets_in_seconds.map(distance);
    let again = again.map_or_else(String::new, |when| format!("; it begins again {when}"));
    let text = format!(
        "The quota of {} ({}) is used up{again}",
        provider.name, last.name
    );
    let command = Some("hermesctl proxy status".to_owned());
    Some(attention(FindingCode::QuotaSpent, text, command))
}

/// A provider that serves apps with a client key alone, and no key is for it.
fn unreachable(provider: &ProviderStatus, is_meant: bool) -> Option<Finding> {
    if provider.client_keys != Some(0) {
        return None;
    }
    let name = &provider.name;
    let text = format!("{name} serves only apps with a client key, and no client key is for it");
    let command = Some(format!("hermesctl clients add my-app --provider {name}"));
    let code = FindingCode::NoClientKeys;
    Some(blocking(if is_meant {
        bad(code, text, command)
    } else {
        attention(code, text, command)
    }))
}

/// A login that works now and can't be kept fresh.
fn unkept(provider: &ProviderStatus) -> Option<Finding> {
    let serves = matches!(
        provider.state,
        ProviderState::Ready | ProviderState::Refreshing
    );
    let error = provider.last_error.as_ref().filter(|_| serves);
    if let Some(unreadable) = UnreadableFile::of(provider) {
        return (serves && unreadable.is_served).then(|| unreadable.served());
    }
    let error = error.filter(|_| provider.unsavable.is_none())?;
    let renewed = provider.last_refresh.as_ref();
    if renewed.is_some_and(|refresh| refresh.at > error.at) {
        return None;
    }
    let name = &provider.name;
    if error.code == "login_stale" {
        let text = format!(
            "The stored login of {name} is an older copy and is not renewed, because its refresh token was used before"
        );
        return Some(attention(
            FindingCode::LoginTrouble,
            text,
            login_again(provider),
        ));
    }
    let code = match error.code.as_str() {
        "store" => "its file or the lock beside it can't be used",
        code => code,
    };
    let text = format!("The login of {name} works, but can't be kept fresh: {code}");
    Some(attention(
        FindingCode::LoginTrouble,
        text,
        Some(diagnosis()),
    ))
}

fn warnings(provider: &ProviderStatus) -> Vec<Finding> {
    let mut warnings = Vec::new();
    let name = &provider.name;
    if provider.unsaved {
        let text = format!(
            "The renewed login of {name} could not be saved and is lost when hermes-proxyd stops"
        );
        warnings.push(attention(FindingCode::Unsaved, text, Some(diagnosis())));
    }
    let Some(login) = &provider.login else {
        return warnings;
    };
    let again = login_again(provider);
    if login.ends_soon {
        let when = login.ends_in_seconds.map(distance);
        let when = when.unwrap_or_else(|| "soon".to_owned());
        let verb = if login.ends_in_seconds.is_some_and(|left| left <= 0) {
            "ended"
        } else {
            "ends"
        };
        let text = format!("The login of {name} {verb} {when}");
        let code = FindingCode::LoginEndsSoon;
        warnings.push(attention(code, text, again.clone()));
    }
    if login.may_be_spent {
        let text = format!("The login of {name} may be lost after an interrupted renewal");
        let code = FindingCode::LoginMayBeSpent;
        warnings.push(attention(code, text, again));
    }
    warnings
}

/// The command that takes the place of a login that serves.
fn login_again(provider: &ProviderStatus) -> Option<String> {
    let login = provider.login.as_ref()?;
    let separate = if login.separate { " --separate" } else { "" };
    Some(format!(
        "hermesctl auth login {}{separate} --force",
        provider.name
    ))
}

fn diagnosis() -> String {
    DIAGNOSIS.to_owned()
}

fn bad(code: FindingCode, text: String, command: Option<String>) -> Finding {
    Finding {
        severity: Severity::Bad,
        ..attention(code, text, command)
    }
}

fn attention(code: FindingCode, text: String, command: Option<String>) -> Finding {
    Finding {
        code,
        severity: Severity::Attention,
        text,
        command,
        provider: None,
        listener: None,
        blocks: false,
    }
}

fn blocking(finding: Finding) -> Finding {
    Finding {
        blocks: true,
        ..finding
    }
}

fn of_listener(finding: Finding, listener: &ListenerStatus) -> Finding {
    Finding {
        listener: Some(listener.address.clone()),
        ..finding
    }
}

#[cfg(test)]
mod tests;
