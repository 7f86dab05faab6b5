//! The variables that providers honour: the process's own, and two that Hermes Agent also reads from `.env`
//! in its home. That file holds its user's secrets, so nothing else is taken from it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::files::{self, FileAccess, FileFlaw};

/// What is read from the file, each with the names of the process's that win over it.
const OF_FILE: [(&str, &[&str]); 2] = [
    ("NOUS_INFERENCE_BASE_URL", &["NOUS_INFERENCE_BASE_URL"]),
    (
        "HERMES_PORTAL_BASE_URL",
        &["HERMES_PORTAL_BASE_URL", "NOUS_PORTAL_BASE_URL"],
    ),
];
/// A larger file is not read.
const LARGEST: u64 = 1024 * 1024;

/// The environment's variables for providers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables {
    file: Option<PathBuf>,
    of_file: BTreeMap<&'static str, String>,
    fault: Option<String>,
}

impl Variables {
    /// The process's alone.
    pub fn of_process() -> Self {
        Self::default()
    }

    /// The process's, and what `.env` in Hermes Agent's home adds. Blocks for as long as the file system
    /// does.
    pub fn read(home: &Path) -> Self {
        let file = home.join(".env");
        let (of_file, fault) = match text_of(&file) {
            Ok(Some(text)) => (taken(&String::from_utf8_lossy(&text)), None),
            Ok(None) => (BTreeMap::new(), None),
            Err(fault) => (BTreeMap::new(), Some(fault)),
        };
        Self {
            file: Some(file),
            of_file,
            fault,
        }
    }

    /// Hermes Agent's home, where the file was read.
    pub fn home(&self) -> Option<&Path> {
        self.file.as_deref()?.parent()
    }

    /// A variable's value; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<String> {
        of_process(name).or_else(|| self.in_file(name).cloned())
    }

    /// The file that a variable's value comes from, where the process has none.
    pub fn file_of(&self, name: &str) -> Option<&Path> {
        self.in_file(name)?;
        self.file.as_deref()
    }

    /// The names that the file has a value for.
    pub fn names_in_file(&self) -> impl Iterator<Item = &'static str> {
        let names = self.of_file.keys().copied();
        names.filter(|name| self.in_file(name).is_some())
    }

    /// Why the file is not read, with its name.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    fn in_file(&self, name: &str) -> Option<&String> {
        let (_, winning) = OF_FILE.iter().find(|(of_file, _)| *of_file == name)?;
        let wins = |name: &&str| of_process(name).is_some();
        if winning.iter().any(wins) {
            return None;
        }
        self.of_file.get(name)
    }
}

/// The value of an environment variable, without the blanks and quotes around it that shells, unit
/// files and `.env` files leave there; `None` if nothing remains.
pub fn unquoted(value: &str) -> Option<&str> {
    let value = value.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
    (!value.is_empty()).then_some(value)
}

fn of_process(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    unquoted(&value).is_some().then_some(value)
}

/// The file's content; `None` if it does not exist. Its values say where a login is sent, so only its
/// user may have written it.
fn text_of(file: &Path) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, String> {
    let unreadable = |error: std::io::Error| format!("{} can't be read ({error})", file.display());
    let opened = FileAccess::of(file).and_then(|place| Ok((place.open()?, place)));
    let (handle, place) = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let metadata = handle.metadata().map_err(unreadable)?;
    match place.flaw(&handle, &metadata) {
        Some(FileFlaw::Foreign { .. }) => {
            return Err(format!("{} belongs to another user", file.display()));
        }
        Some(FileFlaw::Writable { .. }) => {
            return Err(format!(
                "everyone on this machine can write {0}; run `chmod 600 {0}`",
                file.display()
            ));
        }
        None => {}
    }
    files::read_opened(handle, LARGEST)
        .map(Some)
        .map_err(unreadable)
}

/// The values of the two names; of several lines the last one counts.
fn taken(text: &str) -> BTreeMap<&'static str, String> {
    let mut taken = BTreeMap::new();
    let mut open: Option<char> = None;
    for line in text.trim_start_matches('\u{feff}').lines() {
        // Inside of a quoted value of several lines nothing is a name.
        if let Some(quote) = open {
            if closes(line, quote) {
                open = None;
            }
            continue;
        }
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let assigned = line.split_once('=').filter(|_| !line.starts_with('#'));
        let Some((name, value)) = assigned else {
            continue;
        };
        let value = value.trim();
        let quote = value.chars().next().filter(|first| "\"'".contains(*first));
        let value = match quote {
            Some(quote) => {
                let rest = value.get(1..).unwrap_or_default();
                if !closes(rest, quote) {
                    open = Some(quote);
                    continue;
                }
                rest.split(quote).next().unwrap_or_default()
            }
            None => value
                .split_once(" #")
                .map_or(value, |(value, _)| value.trim_end()),
        };
        let name = OF_FILE.iter().find(|(of_file, _)| *of_file == name.trim());
        let Some((name, _)) = name else {
            continue;
        };
        match unquoted(value) {
            Some(value) => drop(taken.insert(*name, value.to_owned())),
            None => drop(taken.remove(name)),
        }
    }
    taken
}

/// Whether a quoted value ends in this text; an escaped quote is part of it.
fn closes(text: &str, quote: char) -> bool {
    let mut escaped = false;
    text.chars().any(|letter| {
        let ends = letter == quote && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_are_taken_and_nothing_else() {
        let text = "\u{feff}# NOUS_INFERENCE_BASE_URL=http://commented\n\
            OPENAI_API_KEY=sk-secret\n\
            KEY=\"-----BEGIN\nNOUS_INFERENCE_BASE_URL=http://inside\n-----END\"\n\
            export HERMES_PORTAL_BASE_URL = 'https://p.example' # staging\n\
            NOUS_PORTAL_BASE_URL=http://other\n\
            NOUS_INFERENCE_BASE_URL=http://first\n\
            NOUS_INFERENCE_BASE_URL=https://i.example/v1 # last\n\
            NOUS_INFERENCE_BASE_URL_2=x\nnonsense\n";
        let expected = [
            ("HERMES_PORTAL_BASE_URL", "https://p.example".to_owned()),
            ("NOUS_INFERENCE_BASE_URL", "https://i.example/v1".to_owned()),
        ];
        assert_eq!(taken(text), BTreeMap::from(expected));
        assert_eq!(
            taken("NOUS_INFERENCE_BASE_URL=http://a\nNOUS_INFERENCE_BASE_URL=\n").len(),
            0
        );
        assert_eq!(taken("NOUS_INFERENCE_BASE_URL=\"http://a").len(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_write_or_that_is_none_is_not_read() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let none = Variables::read(home.path());
        assert_eq!((none.fault(), none.names_in_file().count()), (None, 0));
        let file = home.path().join(".env");
        std::fs::write(&file, "NOUS_INFERENCE_BASE_URL=http://a\n").unwrap();
        let mode = |mode| {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            Variables::read(home.path())
        };
        assert_eq!(mode(0o600).of_file.len(), 1);
        let open = mode(0o666);
        assert_eq!(open.of_file.len(), 0);
        assert!(open.fault().unwrap().contains("chmod 600"));
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        let folder = Variables::read(home.path());
        assert!(folder.fault().unwrap().contains("can't be read"));
    }
}
