//! The tokens of another proxy's apps, as `hermesctl clients import` reads them. One that can't be read keeps no other from
//! being imported.

use std::io::{self, Read};
use std::path::Path;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::cli::output::CommandFailure;
use crate::cli::platform;
use crate::control::protocol::{ClientImportResult, ImportOutcome, ImportedKey, IssuedKey};
use crate::files::quoted;

/// No file of another proxy's tokens is larger.
const LARGEST: u64 = 4 * 1024 * 1024;
/// What some editors begin a file of UTF-8 text with.
const MARK: char = '\u{feff}';

/// The tokens, and those that can't be read.
pub(super) type Tokens = (Vec<ImportedKey>, Vec<ClientImportResult>);

/// What is wrong with a file, and the command that repairs it.
struct Fault {
    what: String,
    command: Option<String>,
}

/// Tokens and their labels: of Hermes Agent's proxy (`hermes proxy start --client-keys-file FILE`), an object in a file;
/// or of a folder, where each file has a token and the label as its name, as in a Secret that Kubernetes mounts.
///
/// # Errors
/// When there is nothing to read them from.
pub(super) fn read(place: &Path) -> Result<Tokens, CommandFailure> {
    let metadata = std::fs::metadata(place).map_err(|error| unreadable(place, &error))?;
    let (mut tokens, mut refused) = if metadata.is_dir() {
        read_folder(place).map_err(|error| unreadable(place, &error))?
    } else {
        read_object(place)?
    };
    if tokens.is_empty() && refused.is_empty() {
        let what = if metadata.is_dir() {
            "it contains no tokens in any file"
        } else {
            "it contains no tokens"
        };
        return Err(wrong(place, what));
    }
    tokens.sort_by(|one, other| one.label.cmp(&other.label));
    refused.sort_by(|one, other| one.label.cmp(&other.label));
    Ok((tokens, refused))
}

fn read_folder(folder: &Path) -> io::Result<Tokens> {
    let (mut tokens, mut refused) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let label = name.to_string_lossy();
        // Kubernetes' own, such as `..data`.
        if label.starts_with('.') {
            continue;
        }
        match read_token(&entry.path()) {
            Ok(token) => tokens.push(ImportedKey {
                label: label.into_owned(),
                key: IssuedKey::new(token.to_string()),
            }),
            Err(fault) => refused.push(refusal(&label, fault.in_words())),
        }
    }
    Ok((tokens, refused))
}

/// The token that a file has.
fn read_token(file: &Path) -> Result<Zeroizing<String>, Fault> {
    let text = read_private(file)?;
    let token = text.trim_end_matches(['\r', '\n']);
    if token.is_empty() {
        let command = format!("rm {}", quoted(file));
        return Err(Fault::of("it is empty", command));
    }
    Ok(Zeroizing::new(token.to_owned()))
}

fn read_object(file: &Path) -> Result<Tokens, CommandFailure> {
    let text = read_private(file).map_err(|fault| fault.of_all(file))?;
    let object: Map<String, Value> = serde_json::from_str(&text).map_err(|error| {
        // Its text could repeat a token.
        let what = format!(
            "not a JSON object: line {}, column {}",
            error.line(),
            error.column()
        );
        wrong(file, &what)
    })?;
    let (mut tokens, mut refused) = (Vec::new(), Vec::new());
    for (label, token) in object {
        match token {
            Value::String(token) if !label.trim().is_empty() => tokens.push(ImportedKey {
                label,
                key: IssuedKey::new(token),
            }),
            Value::String(_) => refused.push(refusal(&label, "its label is empty".to_owned())),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => {
                refused.push(refusal(&label, "its token is not a string".to_owned()));
            }
        }
    }
    Ok((tokens, refused))
}

fn refusal(label: &str, why: String) -> ClientImportResult {
    ClientImportResult {
        label: label.to_owned(),
        name: None,
        outcome: ImportOutcome::Refused,
        detail: Some(why),
    }
}

/// The text of a private file.
fn read_private(file: &Path) -> Result<Zeroizing<String>, Fault> {
    // Opening something else, such as a pipe, could take for ever.
    let metadata = std::fs::metadata(file).map_err(|error| Fault::unreadable(file, &error))?;
    if metadata.is_dir() {
        let command = format!("hermesctl clients import {}", quoted(file));
        return Err(Fault::of("it is a folder of its own", command));
    }
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(Fault::of("it is not a file of tokens", None));
    }
    let opened = std::fs::File::open(file).map_err(|error| Fault::unreadable(file, &error))?;
    let metadata = opened
        .metadata()
        .map_err(|error| Fault::unreadable(file, &error))?;
    if let Some(mode) = platform::open_to_others(&metadata) {
        let what = format!(
            "other users can read or write it (mode {mode:04o}; in Kubernetes, give the Secret's volume \
             `defaultMode: 0440`). If others could have read it, use new tokens; otherwise make it private"
        );
        return Err(Fault::of(what, format!("chmod 600 {}", quoted(file))));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let read = opened.take(LARGEST).read_to_end(&mut bytes);
    read.map_err(|error| Fault::unreadable(file, &error))?;
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Err(Fault::not_text(file, &bytes));
    };
    Ok(Zeroizing::new(
        text.strip_prefix(MARK).unwrap_or(text).to_owned(),
    ))
}

impl Fault {
    fn of(what: impl Into<String>, command: impl Into<Option<String>>) -> Self {
        Self {
            what: what.into(),
            command: command.into(),
        }
    }

    fn unreadable(file: &Path, error: &io::Error) -> Self {
        let kind = error.kind();
        let command = if kind == io::ErrorKind::PermissionDenied {
            platform::mend_reading(file)
        } else {
            // A link to nothing.
            let is_gone = kind == io::ErrorKind::NotFound;
            is_gone.then(|| format!("rm {}", quoted(file)))
        };
        Self::of(format!("it can't be read: {error}"), command)
    }

    fn not_text(file: &Path, bytes: &[u8]) -> Self {
        let name = quoted(file);
        match bytes {
            // As Windows writes it.
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
                let command = format!("iconv -f UTF-16 -t UTF-8 -o {name} {name}");
                Self::of("it is UTF-16 and not UTF-8 text", command)
            }
            _ => Self::of(
                "it is not UTF-8 text, so write the token again, or make a new key",
                "hermesctl clients add NAME".to_owned(),
            ),
        }
    }

    fn in_words(self) -> String {
        match self.command {
            Some(command) => format!("{}: `{command}`", self.what),
            None => self.what,
        }
    }

    /// Where there is no other file.
    fn of_all(self, file: &Path) -> CommandFailure {
        let failure = wrong(file, &self.what);
        match self.command {
            Some(command) => failure.with_hint(format!("Run `{command}`.")),
            None => failure,
        }
    }
}

fn unreadable(place: &Path, error: &io::Error) -> CommandFailure {
    CommandFailure::new(format!("{} can't be read: {error}.", place.display()))
}

fn wrong(file: &Path, what: &str) -> CommandFailure {
    let message = format!("{} can't be imported: {what}.", file.display());
    CommandFailure::new(message)
        .with_hint(
            "It must be a client key file of Hermes Agent's proxy, {\"label\": \"token\"}, or a folder with one \
             file for each token, named by its label.",
        )
}
