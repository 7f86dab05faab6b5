//! `hermesctl proxy test`: one small request through the port, as an app sends it.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::cli::args::TestFlags;
use crate::cli::connection::connect;
use crate::cli::output::{CommandFailure, CommandOutput, Exit};
use crate::cli::probe::render;
use crate::cli::probe::{self, ProbeEvent, ProbeQuestion};
use crate::control::protocol::IssuedKey;
use crate::control::protocol::calls;

/// Where a key may be instead of in a file.
const KEY_VARIABLE: &str = "HERMES_CLIENT_KEY";
/// No file of one key is larger, in bytes.
const LARGEST_KEY: u64 = 4096;

/// Sends the request and shows what came of it.
pub(in crate::cli) async fn test(
    flags: TestFlags,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let question = ProbeQuestion {
        key: key(flags.key.as_deref())?,
        provider: flags.provider,
        model: flags.model,
        stream: flags.stream,
    };
    let mut client = connect().await?;
    let status = client.call(calls::Status).await?;
    let providers = client.call(calls::Providers).await?;
    if question.stream {
        output.in_lines();
    }
    let mut news = |news: ProbeEvent<'_>| match news {
        ProbeEvent::Asking(asked) if !output.is_json() => {
            let line = render::asking(asked);
            io::stderr().lock().write_all(line.as_bytes())
        }
        ProbeEvent::Words(piece) => output.answer(piece, render::piece),
        ProbeEvent::Asking(_) => Ok(()),
    };
    let report = probe::send(&status, &providers, &question, &mut news).await?;
    output.answer(&report, render::report)?;
    Ok(Exit::Ok)
}

/// The client key in this file, `-` being standard input; else the environment's.
fn key(file: Option<&Path>) -> Result<Option<IssuedKey>, CommandFailure> {
    let mut text = String::new();
    match file {
        None => {
            let variable = std::env::var(KEY_VARIABLE).ok();
            let variable = variable.filter(|key| !key.trim().is_empty());
            return Ok(variable.map(|key| IssuedKey::new(key.trim().to_owned())));
        }
        Some(file) if file == Path::new("-") => {
            let read = io::stdin().take(LARGEST_KEY).read_to_string(&mut text);
            read.map_err(|error| CommandFailure::new(format!("The key can't be read: {error}.")))?;
        }
        Some(file) => {
            let opened = std::fs::File::open(file);
            let read = opened.and_then(|opened| opened.take(LARGEST_KEY).read_to_string(&mut text));
            read.map_err(|error| {
                CommandFailure::new(format!("{} can't be read: {error}.", file.display())).with_hint(
                    "It should have one line: the key that `hermesctl clients add NAME` showed.",
                )
            })?;
        }
    }
    let key = IssuedKey::new(text);
    let line = key.expose().trim();
    if line.is_empty() || line.contains(char::is_whitespace) {
        return Err(CommandFailure::new(
            "The file has no client key in it, or more than one line.",
        )
        .with_hint("It should have one line: the key that `hermesctl clients add NAME` showed."));
    }
    Ok(Some(IssuedKey::new(line.to_owned())))
}
