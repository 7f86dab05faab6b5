//! A key or secret that the user keeps in a file, in a variable, or with systemd: how it is read,
//! and what is rejected.

use std::env::VarError;
use std::io;
use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

use crate::config::KeySource;
use crate::files::{self, FileAccess, FileFlaw};
use crate::secret::Secret;

/// The longest key; a longer file does not hold one.
const LONGEST_KEY: u64 = 16 * 1024;
/// The folder of a service's credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Why there is no key, as a clause.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum NoKey {
    #[error("{0}")]
    Missing(String),
    /// It exists and can't be read.
    #[error("{0}")]
    Unread(String),
    /// Its content can't be a key.
    #[error("{0}")]
    Unfit(String),
}

/// The key from its configured source. Blocks for as long as the file system does.
pub(super) fn read(source: &KeySource) -> Result<Secret, NoKey> {
    let variable = match source {
        KeySource::File(file) => return read_file(file),
        KeySource::Env(variable) => variable,
        KeySource::Credential(name) => return read_credential(name),
        KeySource::Unneeded => return Ok(Secret::new(String::new())),
    };
    let text = match std::env::var(variable) {
        Ok(text) => Zeroizing::new(text),
        Err(VarError::NotPresent) => {
            let reason = format!("the environment variable {variable} is not set");
            return Err(NoKey::Missing(reason));
        }
        Err(VarError::NotUnicode(_)) => {
            let reason = format!("the environment variable {variable} is not UTF-8 text");
            return Err(NoKey::Unfit(reason));
        }
    };
    found(&text, || format!("the environment variable {variable}"))
}

/// A credential that systemd has put into the service's own folder (`LoadCredential=`, systemd.exec(5)).
fn read_credential(name: &str) -> Result<Secret, NoKey> {
    let folder = std::env::var_os(CREDENTIALS).filter(|folder| !folder.is_empty());
    let Some(folder) = folder else {
        return Err(NoKey::Missing(format!(
            "systemd gave hermes-proxyd no credentials ({CREDENTIALS} is not set)"
        )));
    };
    read_file(&Path::new(&folder).join(name))
}

/// The key in a file.
pub(super) fn read_file(file: &Path) -> Result<Secret, NoKey> {
    let text = Zeroizing::new(text_of(file)?);
    found(&text, || format!("the key file {}", file.display()))
}

/// The key in a text that comes from a place.
fn found(text: &str, place: impl Fn() -> String) -> Result<Secret, NoKey> {
    match bare(text) {
        Ok(key) => Ok(Secret::new(key.to_owned())),
        Err(None) => Err(NoKey::Missing("the API key is empty".to_owned())),
        Err(Some(what)) => Err(NoKey::Unfit(format!("{} {what}", place()))),
    }
}

fn text_of(file: &Path) -> Result<String, NoKey> {
    let shown = file.display();
    let unread = |error: io::Error| {
        let reason = format!("the key file {shown} can't be read: {error}");
        if error.kind() == io::ErrorKind::NotFound {
            NoKey::Missing(reason)
        } else {
            NoKey::Unread(reason)
        }
    };
    let spot = FileAccess::of(file).map_err(unread)?;
    let opened = spot.open().map_err(unread)?;
    // Another user's key would send the user's prompts to that account.
    match spot.flaw(&opened, &opened.metadata().map_err(unread)?) {
        Some(FileFlaw::Foreign { owner, ours }) => {
            return Err(NoKey::Unfit(format!(
                "the key file {shown} belongs to uid {owner} and hermes-proxyd runs as uid {ours}; \
                 run `sudo chown -h {ours} {shown}`"
            )));
        }
        Some(FileFlaw::Writable { mode }) => {
            return Err(NoKey::Unfit(format!(
                "the key file {shown} can be written by everyone on this machine (mode \
                 {mode:04o}); check that the key is yours, then run `chmod 600 {shown}`"
            )));
        }
        None => {}
    }
    let mut bytes = files::read_opened(opened, LONGEST_KEY).map_err(unread)?;
    String::from_utf8(std::mem::take(&mut *bytes)).map_err(|error| {
        error.into_bytes().zeroize();
        NoKey::Unfit(format!(
            "the key file {shown} is not UTF-8 text; save it as UTF-8"
        ))
    })
}

/// The key in the text of a file or variable: its first line that is not blank, without a byte order
/// mark. `None` without any; otherwise what is wrong, as a clause that reveals nothing of the key.
fn bare(text: &str) -> Result<&str, Option<&'static str>> {
    const QUOTES: [char; 7] = [
        '"', '\'', '`', '\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}',
    ];
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = text.lines().map(str::trim);
    let key = lines.find(|line| !line.is_empty()).ok_or(None)?;
    let assigns = key.split_once('=').is_some_and(|(name, value)| {
        let name = name.strip_prefix("export ").unwrap_or(name).trim_end();
        let byte = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        // Base64 ends with such signs.
        let has_value = !value.trim_start_matches('=').is_empty();
        has_value && !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(byte)
    });
    let what = if key.starts_with(QUOTES) || key.ends_with(QUOTES) {
        "has the key in quotes; remove them"
    } else if assigns {
        "reads NAME=value; leave only the value, which is the key"
    } else if key.starts_with('#') {
        "starts with a comment; leave only the key"
    } else if key
        .get(..7)
        .is_some_and(|start| start.eq_ignore_ascii_case("bearer "))
    {
        "starts with `Bearer`; leave only the key after it"
    } else if key.contains('\0') {
        "is UTF-16 text; save it as UTF-8"
    } else if key.contains(char::is_whitespace) {
        "has spaces within the key; leave only the key"
    } else if !key.bytes().all(|b| b.is_ascii_graphic()) {
        "has characters that API keys can't have; copy the key again"
    } else {
        return Ok(key);
    };
    Err(Some(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_and_blank_lines_are_no_part_of_a_key() {
        for text in [
            "sk-abc",
            "sk-abc\n",
            "\u{feff}sk-abc\r\n",
            "\n\r\n  sk-abc \n\n",
            "\u{feff}\nsk-abc\nwritten down in May\n",
        ] {
            assert_eq!(bare(text), Ok("sk-abc"), "{text:?}");
        }
        for key in ["c2VjcmV0=", "c2VjcmV0==", "a=b-c:d", "hf_x.y/z+w="] {
            let expected = if key == "a=b-c:d" { None } else { Some(key) };
            assert_eq!(bare(key).ok(), expected, "{key}");
        }
        for text in ["", "\n", "\u{feff}", " \t\r\n"] {
            assert_eq!(bare(text), Err(None), "{text:?}");
        }
    }

    #[test]
    fn what_can_not_be_a_key_is_an_error_that_says_what_to_do() {
        for (text, word) in [
            ("\"sk-abc\"", "quotes"),
            ("'sk-abc'\n", "quotes"),
            ("\u{201c}sk-abc\u{201d}", "quotes"),
            ("\nOPENAI_API_KEY=sk-abc", "NAME=value"),
            ("export KEY=\"sk-abc\"", "quotes"),
            ("export KEY=sk-abc", "NAME=value"),
            ("KEY = sk-abc", "NAME=value"),
            ("Bearer sk-abc", "Bearer"),
            ("# my key\nsk-abc", "comment"),
            ("sk abc", "spaces"),
            ("sk-\u{200b}abc", "characters"),
            ("sk-ab\u{439}", "characters"),
            ("s\0k\0-\0", "UTF-16"),
        ] {
            let what = bare(text).unwrap_err().unwrap_or_default();
            assert!(what.contains(word), "{text:?}: {what}");
            assert!(!what.contains("abc"), "{what}");
        }
    }
}
