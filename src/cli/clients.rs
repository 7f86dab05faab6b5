//! `hermesctl clients`: the keys of apps, with the daemon that runs or without one.

use std::io::{self, Read, Write};
use std::path::Path;

use chrono::Local;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::args::{ClientAddFlags, ClientVerb, Clients};
use super::connection::{Connection, ask};
use super::output::{Exit, Failure, Output};
use super::{render, screen};
use crate::control::protocol::{
    ClientAdd, ClientChoice, ClientImport, ClientImportReport, ImportOutcome, ImportedKey, Key,
    NewKey,
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
        ClientVerb::Import { file } => import(&file, config, output).await,
    }
}

async fn add(
    flags: ClientAddFlags,
    config: Option<&Path>,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let client = ClientAdd {
        name: flags.name,
        providers: flags.providers,
        paths: flags.paths,
        in_flight: flags.in_flight,
    };
    let new = ask(config, async |daemon| daemon.client_add(client).await).await?;
    show(&new, false, output)
}

async fn list(config: Option<&Path>, output: &mut Output) -> Result<Exit, Failure> {
    let clients = ask(config, async |daemon| daemon.clients().await).await?;
    output.answer(&clients, |clients, style| {
        render::clients::list(clients, &Local, style)
    })?;
    Ok(Exit::Ok)
}

async fn revoke(name: String, config: Option<&Path>, output: &mut Output) -> Result<Exit, Failure> {
    let client = ClientChoice { name };
    let revoked = ask(config, async |daemon| daemon.client_revoke(client).await).await?;
    output.answer(&revoked, render::clients::revoked)?;
    Ok(Exit::Ok)
}

async fn rotate(name: String, config: Option<&Path>, output: &mut Output) -> Result<Exit, Failure> {
    let client = ClientChoice { name };
    let new = ask(config, async |daemon| daemon.client_rotate(client).await).await?;
    show(&new, true, output)
}

/// Shows a key, this once: alone on standard output, and what it is on standard error.
fn show(new: &NewKey, is_new: bool, output: &mut Output) -> Result<Exit, Failure> {
    let shown = output.answer(new, |new, _| key(new));
    shown.map_err(|error| {
        let name = render::inline(&new.client.name);
        Failure::from(error).with_hint(format!(
            "The key was made, but could not be shown. Make another: hermesctl clients rotate \
             {name}"
        ))
    })?;
    if !output.is_json() {
        let line = render::clients::about_key(new, is_new, screen::error_style());
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
        match connection.client.client_import(ClientImport { keys }).await {
            Ok(part) => report.results.extend(part.results),
            Err(error) => return Err(connection.explain(error).await),
        }
    }
    connection.close().await;
    output.answer(&report, render::clients::imported)?;
    let refused = |outcome: &ImportOutcome| *outcome == ImportOutcome::Refused;
    if report.results.iter().any(|one| refused(&one.outcome)) {
        return Ok(Exit::Failed);
    }
    Ok(Exit::Ok)
}

/// The tokens of Hermes Agent's proxy (`hermes proxy start --client-keys-file FILE`): an object of
/// labels and tokens, in a file that only its owner can use.
fn read_tokens(file: &Path) -> Result<Vec<ImportedKey>, Failure> {
    let name = file.display();
    let unreadable = |error: io::Error| Failure::new(format!("{name} can't be read: {error}."));
    // Opening something else, such as a pipe, could take for ever.
    let metadata = std::fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(wrong(file, "it is not a file of tokens"));
    }
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    let metadata = opened.metadata().map_err(unreadable)?;
    if let Some(mode) = platform::open_to_others(&metadata) {
        let message = format!("Other users can read or write {name} (mode {mode:04o}).");
        return Err(Failure::new(message).with_hint(format!(
            "Run `chmod 600 {name}`; if others could have read it, use new tokens instead."
        )));
    }
    let mut text = Zeroizing::new(String::new());
    let read = opened.take(LARGEST).read_to_string(&mut text);
    read.map_err(unreadable)?;
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

fn wrong(file: &Path, what: &str) -> Failure {
    let message = format!("{} can't be imported: {what}.", file.display());
    Failure::new(message)
        .with_hint("It must be a client key file of Hermes Agent's proxy: {\"label\": \"token\"}.")
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

    /// The permissions, where they let anybody in but the owner.
    pub(super) fn open_to_others(metadata: &Metadata) -> Option<u32> {
        let mode = metadata.mode() & 0o7777;
        (mode & 0o077 != 0).then_some(mode)
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
