//! `hermesctl clients`: the keys of apps, with the daemon that runs or without one.

pub(in crate::cli) mod render;

use std::io::{self, Read, Write};
use std::path::Path;

use chrono::Local;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::args::{ClientAddFlags, ClientChangeFlags, ClientVerb, Clients, LimitFlags, LimitName};
use super::connection::{Connection, ask};
use super::output::{Exit, Failure, Output};
use super::{screen, text};
use crate::control::protocol::calls;
use crate::control::protocol::{
    ClientAdd, ClientChange, ClientChoice, ClientImport, ClientImportReport, ClientLimit,
    ClientLimits, ImportOutcome, ImportedKey, Key, NewKey,
};

/// No file of another proxy's tokens is larger.
const LARGEST: u64 = 4 * 1024 * 1024;
/// So much of them fits into one request of the control protocol.
const BATCH: usize = 32 * 1024;

/// Does what is asked.
pub(super) async fn clients(clients: Clients, output: &mut Output) -> Result<Exit, Failure> {
    let config = clients.config.as_deref();
    match clients.verb {
        ClientVerb::Add(flags) => add(flags, config, output).await,
        ClientVerb::List => list(config, output).await,
        ClientVerb::Revoke { name } => revoke(name, config, output).await,
        ClientVerb::Rotate { name } => rotate(name, config, output).await,
        ClientVerb::Change(flags) => change(flags, config, output).await,
        ClientVerb::Import { file } => import(&file, config, output).await,
    }
}

async fn add(
    flags: ClientAddFlags,
    config: Option<&Path>,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let client = wanted(flags.name, flags.limits);
    let new = ask(config, async |daemon| {
        daemon.call(calls::ClientAdd(client)).await
    })
    .await?;
    show(&new, false, output)
}

fn wanted(name: String, limits: LimitFlags) -> ClientAdd {
    ClientAdd {
        name,
        providers: limits.providers,
        paths: limits.paths,
        in_flight: limits.in_flight,
        limits: ClientLimits {
            models: limits.models,
            requests_per_minute: limits.requests_per_minute,
            requests_per_day: limits.requests_per_day,
            tokens_per_day: limits.tokens_per_day,
        },
    }
}

async fn change(
    flags: ClientChangeFlags,
    config: Option<&Path>,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let cleared = flags.clear.into_iter().map(|limit| match limit {
        LimitName::Provider => ClientLimit::Providers,
        LimitName::Path => ClientLimit::Paths,
        LimitName::Model => ClientLimit::Models,
        LimitName::InFlight => ClientLimit::InFlight,
        LimitName::RequestsPerMinute => ClientLimit::RequestsPerMinute,
        LimitName::RequestsPerDay => ClientLimit::RequestsPerDay,
        LimitName::TokensPerDay => ClientLimit::TokensPerDay,
    });
    let client = ClientChange {
        set: wanted(flags.name, flags.limits),
        clear: cleared.collect(),
    };
    let changed = ask(config, async |daemon| {
        daemon.call(calls::ClientChange(client)).await
    })
    .await?;
    output.answer(&changed, |changed, style| {
        render::changed(changed, &Local, style)
    })?;
    Ok(Exit::Ok)
}

async fn list(config: Option<&Path>, output: &mut Output) -> Result<Exit, Failure> {
    let clients = ask(config, async |daemon| daemon.call(calls::Clients).await).await?;
    output.answer(&clients, |clients, style| {
        render::list(clients, &Local, style)
    })?;
    Ok(Exit::Ok)
}

async fn revoke(name: String, config: Option<&Path>, output: &mut Output) -> Result<Exit, Failure> {
    let client = ClientChoice { name };
    let revoked = ask(config, async |daemon| {
        daemon.call(calls::ClientRevoke(client)).await
    })
    .await?;
    output.answer(&revoked, render::revoked)?;
    Ok(Exit::Ok)
}

async fn rotate(name: String, config: Option<&Path>, output: &mut Output) -> Result<Exit, Failure> {
    let client = ClientChoice { name };
    let new = ask(config, async |daemon| {
        daemon.call(calls::ClientRotate(client)).await
    })
    .await?;
    show(&new, true, output)
}

/// Shows a key, this once: alone on standard output, and what it is on standard error.
fn show(new: &NewKey, is_new: bool, output: &mut Output) -> Result<Exit, Failure> {
    let shown = output.answer(new, |new, _| key(new));
    shown.map_err(|error| {
        let name = text::inline(&new.client.name);
        Failure::from(error).with_hint(format!(
            "The key was made, but could not be shown. Make another: hermesctl clients rotate \
             {name}"
        ))
    })?;
    if !output.is_json() {
        let line = render::about_key(new, is_new, screen::error_style());
        io::stderr().lock().write_all(line.as_bytes())?;
    }
    Ok(Exit::Ok)
}

/// A key, alone on its line, so that a script has it.
pub(super) fn key(new: &NewKey) -> String {
    new.key.expose().to_owned() + "\n"
}

async fn import(file: &Path, config: Option<&Path>, output: &mut Output) -> Result<Exit, Failure> {
    let tokens = read_tokens(file)?;
    let mut connection = Connection::open(config).await?;
    let mut report = ClientImportReport::default();
    for keys in batches(tokens) {
        match connection
            .client
            .call(calls::ClientImport(ClientImport { keys }))
            .await
        {
            Ok(part) => report.results.extend(part.results),
            Err(error) => return Err(connection.explain(error).await),
        }
    }
    connection.close().await;
    output.answer(&report, render::imported)?;
    let refused = |outcome: &ImportOutcome| *outcome == ImportOutcome::Refused;
    if report.results.iter().any(|one| refused(&one.outcome)) {
        return Ok(Exit::Failed);
    }
    Ok(Exit::Ok)
}

/// Tokens and their labels: of Hermes Agent's proxy (`hermes proxy start --client-keys-file FILE`), an object in a file;
/// or of a folder, where each file has a token and the label as its name, as in a Secret that Kubernetes mounts.
fn read_tokens(place: &Path) -> Result<Vec<ImportedKey>, Failure> {
    let metadata = std::fs::metadata(place).map_err(|error| unreadable(place, &error))?;
    if !metadata.is_dir() {
        return read_object(place);
    }
    let entries = std::fs::read_dir(place).map_err(|error| unreadable(place, &error))?;
    let mut tokens = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(place, &error))?;
        let name = entry.file_name();
        let label = name.to_string_lossy();
        // Kubernetes' own, such as `..data`.
        if label.starts_with('.') {
            continue;
        }
        let text = read_private(&entry.path())?;
        let token = text.trim_end_matches(['\r', '\n']);
        tokens.push(ImportedKey {
            label: label.into_owned(),
            key: Key::new(token.to_owned()),
        });
    }
    if tokens.is_empty() {
        return Err(wrong(place, "it contains no tokens in any file"));
    }
    tokens.sort_by(|one, other| one.label.cmp(&other.label));
    Ok(tokens)
}

fn read_object(file: &Path) -> Result<Vec<ImportedKey>, Failure> {
    let text = read_private(file)?;
    let tokens: Map<String, Value> = serde_json::from_str(&text).map_err(|error| {
        // Its text could repeat a token.
        let what = format!(
            "not a JSON object: line {}, column {}",
            error.line(),
            error.column()
        );
        wrong(file, &what)
    })?;
    if tokens.is_empty() {
        return Err(wrong(file, "it contains no tokens"));
    }
    let token = |(label, token): (String, Value)| {
        let Value::String(token) = token else {
            return Err(wrong(
                file,
                &format!("the token of {label:?} is not a string"),
            ));
        };
        if label.trim().is_empty() {
            return Err(wrong(file, "a label is empty"));
        }
        let key = Key::new(token);
        Ok(ImportedKey { label, key })
    };
    tokens.into_iter().map(token).collect()
}

/// What a file says that nobody else can read.
fn read_private(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let fault = |error: io::Error| unreadable(file, &error);
    // Opening something else, such as a pipe, could take for ever.
    let metadata = std::fs::metadata(file).map_err(fault)?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(wrong(file, "it is not a file of tokens"));
    }
    let opened = std::fs::File::open(file).map_err(fault)?;
    let metadata = opened.metadata().map_err(fault)?;
    if let Some(mode) = platform::open_to_others(&metadata) {
        let name = file.display();
        let message = format!("Other users can read or write {name} (mode {mode:04o}).");
        return Err(Failure::new(message).with_hint(format!(
            "Run `chmod 600 {name}` (in Kubernetes: `defaultMode: 0440` for the Secret's volume); if others could \
             have read it, use new tokens instead."
        )));
    }
    let mut text = Zeroizing::new(String::new());
    let read = opened.take(LARGEST).read_to_string(&mut text);
    read.map_err(|error| {
        if error.kind() == io::ErrorKind::InvalidData {
            wrong(file, "it is not UTF-8 text")
        } else {
            fault(error)
        }
    })?;
    Ok(text)
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{} can't be read: {error}.", file.display()))
}

fn wrong(file: &Path, what: &str) -> Failure {
    let message = format!("{} can't be imported: {what}.", file.display());
    Failure::new(message)
        .with_hint(
            "It must be a client key file of Hermes Agent's proxy, {\"label\": \"token\"}, or a folder with one \
             file for each token, named by its label.",
        )
}

/// As many requests as it takes.
fn batches(tokens: Vec<ImportedKey>) -> Vec<Vec<ImportedKey>> {
    let mut batches: Vec<Vec<_>> = Vec::new();
    let mut room = 0;
    for token in tokens {
        let size = serde_json::to_string(&token).map_or(BATCH, |text| text.len());
        match batches.last_mut() {
            Some(batch) if size <= room => batch.push(token),
            _ => {
                batches.push(vec![token]);
                room = BATCH;
            }
        }
        room = room.saturating_sub(size);
    }
    batches
}

#[cfg(unix)]
mod platform {
    use std::fs::Metadata;
    use std::os::unix::fs::MetadataExt;

    /// The permissions, where they let anybody in but the owner. What root has given to our group to read is for us:
    /// that is how Kubernetes mounts a Secret for a pod (`fsGroup`).
    pub(super) fn open_to_others(metadata: &Metadata) -> Option<u32> {
        let mode = metadata.mode() & 0o7777;
        let is_given = metadata.uid() == 0 && !rustix::process::geteuid().is_root();
        (!is_closed(mode, is_given)).then_some(mode)
    }

    pub(super) fn is_closed(mode: u32, is_given: bool) -> bool {
        let others = if is_given { 0o037 } else { 0o077 };
        mode & others == 0
    }
}

#[cfg(not(unix))]
mod platform {
    use std::fs::Metadata;

    /// Files lie in the user's profile, which nobody else can open.
    pub(super) fn open_to_others(_metadata: &Metadata) -> Option<u32> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_file_of_roots_may_be_our_groups_to_read_and_no_more() {
        for (mode, ours, given) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o440, false, true),
            (0o640, false, true),
            (0o660, false, false),
            (0o444, false, false),
            (0o644, false, false),
            (0o450, false, false),
        ] {
            assert_eq!(platform::is_closed(mode, false), ours, "{mode:o}");
            assert_eq!(platform::is_closed(mode, true), given, "{mode:o}");
        }
    }

    #[test]
    fn many_tokens_take_several_requests_and_none_is_left_out() {
        let token = |number: usize, length: usize| ImportedKey {
            label: number.to_string(),
            key: Key::new("x".repeat(length)),
        };
        let lengths = [10, 20_000, 20_000, 40_000, 1, 32_000, 1000, 1000];
        let tokens = lengths.iter().enumerate();
        let tokens: Vec<_> = tokens
            .map(|(number, length)| token(number, *length))
            .collect();
        let batches = batches(tokens.clone());
        let sizes: Vec<_> = batches.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1, 2, 2]);
        assert_eq!(batches.concat(), tokens);
    }
}
