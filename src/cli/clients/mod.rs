//! `hermesctl clients`: the keys of apps, with or without a running daemon.

pub(in crate::cli) mod render;
mod tokens;

use std::io::{self, Write};
use std::path::Path;

use chrono::Local;

use super::args::{
    ClientAddFlags, ClientChangeFlags, ClientVerb, ClientsArgs, LimitFlags, LimitName,
};
use super::connection::{DaemonConnection, ask};
use super::output::{CommandFailure, CommandOutput, Exit};
use super::{screen, text};
use crate::control::protocol::calls;
use crate::control::protocol::{
    ClientAdd, ClientChange, ClientChoice, ClientImport, ClientImportReport, ClientLimit,
    ClientLimits, ImportOutcome, ImportedKey, NewKey,
};

/// How many bytes of tokens go into one request of the control protocol, well below its limit.
const BATCH: usize = 32 * 1024;

pub(super) async fn clients(
    clients: ClientsArgs,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
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
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
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
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
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

async fn list(config: Option<&Path>, output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    let clients = ask(config, async |daemon| daemon.call(calls::Clients).await).await?;
    output.answer(&clients, |clients, style| {
        render::list(clients, &Local, style)
    })?;
    Ok(Exit::Ok)
}

async fn revoke(
    name: String,
    config: Option<&Path>,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let client = ClientChoice { name };
    let revoked = ask(config, async |daemon| {
        daemon.call(calls::ClientRevoke(client)).await
    })
    .await?;
    output.answer(&revoked, render::revoked)?;
    Ok(Exit::Ok)
}

async fn rotate(
    name: String,
    config: Option<&Path>,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let client = ClientChoice { name };
    let new = ask(config, async |daemon| {
        daemon.call(calls::ClientRotate(client)).await
    })
    .await?;
    show(&new, true, output)
}

/// Shows a new key, once: the key alone on standard output, its description on standard error.
fn show(new: &NewKey, is_new: bool, output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    let shown = output.answer(new, |new, _| key(new));
    shown.map_err(|error| {
        let name = text::inline(&new.client.name);
        CommandFailure::from(error).with_hint(format!(
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

/// The key alone on its line, for scripts.
pub(super) fn key(new: &NewKey) -> String {
    new.key.expose().to_owned() + "\n"
}

async fn import(
    file: &Path,
    config: Option<&Path>,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let (tokens, refused) = tokens::read(file)?;
    let mut report = ClientImportReport::default();
    if !tokens.is_empty() {
        let mut connection = DaemonConnection::open(config).await?;
        for keys in batches(tokens) {
            let call = calls::ClientImport(ClientImport { keys });
            match connection.client.call(call).await {
                Ok(part) => report.results.extend(part.results),
                Err(error) => return Err(connection.explain(error).await),
            }
        }
        connection.close().await;
    }
    report.results.extend(refused);
    output.answer(&report, render::imported)?;
    let refused = |outcome: &ImportOutcome| *outcome == ImportOutcome::Refused;
    if report.results.iter().any(|one| refused(&one.outcome)) {
        return Ok(Exit::Failed);
    }
    Ok(Exit::Ok)
}

/// Splits the tokens into as few requests as their size allows.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::IssuedKey;

    #[test]
    fn many_tokens_take_several_requests_and_none_is_left_out() {
        let token = |number: usize, length: usize| ImportedKey {
            label: number.to_string(),
            key: IssuedKey::new("x".repeat(length)),
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
