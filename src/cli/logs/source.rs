//! Where the log comes from: `journalctl`, or a file.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::time::sleep;

use super::entry::Entry;
use crate::cli::args::Logs;
use crate::cli::output::{Exit, Failure};
use crate::paths::{self, Environment};
use crate::tools::{Call, Stream, ToolError};

/// How often a file is looked at for more.
const PAUSE: Duration = Duration::from_millis(250);

/// A log that is read to its end, and then on.
pub(super) struct Source {
    place: Place,
    /// What is there of a line.
    begun: Vec<u8>,
    /// Whether the rest of a line is waited for.
    follows: bool,
}

enum Place {
    /// With what it is asked for, and where it was read to.
    Journal {
        process: Box<Stream>,
        matches: Vec<String>,
        cursor: Option<String>,
        following: bool,
    },
    /// Read in place: hermesctl has nothing else to do meanwhile.
    File {
        path: PathBuf,
        lines: BufReader<File>,
    },
}

impl Source {
    /// The file that is asked for, else the journal, else the service's file.
    pub(super) fn open(flags: &Logs, since: Option<DateTime<Utc>>) -> Result<Self, Failure> {
        if let Some(file) = &flags.file {
            return Self::file(file, flags.follow);
        }
        let matches = matches(flags);
        let mut arguments = Vec::new();
        arguments.extend(since.map(|since| format!("--since=@{}", since.timestamp())));
        match journalctl(&arguments, &matches) {
            Ok(process) => Ok(Self {
                place: Place::Journal {
                    process: Box::new(process),
                    matches,
                    cursor: None,
                    following: false,
                },
                begun: Vec::new(),
                follows: flags.follow,
            }),
            Err(error) if error.is_absence() => {
                let file = Environment::from_process().home().map(service_file);
                match file.filter(|file| file.is_file()) {
                    Some(file) => Self::file(&file, flags.follow),
                    None => Err(nowhere()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    fn file(path: &Path, follows: bool) -> Result<Self, Failure> {
        let file = File::open(path)
            .map_err(|error| Failure::new(format!("{} can't be read: {error}.", path.display())))?;
        Ok(Self {
            place: Place::File {
                path: path.to_owned(),
                lines: BufReader::new(file),
            },
            begun: Vec::new(),
            follows,
        })
    }

    /// Its name for people.
    pub(super) fn place(&self) -> String {
        match &self.place {
            Place::Journal { .. } => "the journal".to_owned(),
            Place::File { path, .. } => path.display().to_string(),
        }
    }

    /// The next entry of those that are there.
    pub(super) async fn next_old(&mut self) -> Result<Option<Entry>, Failure> {
        while let Some(line) = self.line(false).await? {
            if let Some(entry) = self.read(&line) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The next entry of those that are still to come; `None` when there will be none.
    pub(super) async fn next_new(&mut self) -> Result<Option<Entry>, Failure> {
        self.follow()?;
        loop {
            match self.line(true).await? {
                Some(line) => {
                    if let Some(entry) = self.read(&line) {
                        return Ok(Some(entry));
                    }
                }
                None if matches!(self.place, Place::File { .. }) => sleep(PAUSE).await,
                None => return Ok(None),
            }
        }
    }

    /// Goes on where the journal was read to.
    fn follow(&mut self) -> Result<(), Failure> {
        let Place::Journal {
            process,
            matches,
            cursor,
            following,
        } = &mut self.place
        else {
            return Ok(());
        };
        if *following {
            return Ok(());
        }
        let mut arguments = vec!["--follow".to_owned()];
        match cursor {
            Some(cursor) => {
                arguments.push(format!("--after-cursor={cursor}"));
                arguments.push("--lines=all".to_owned());
            }
            None => arguments.push("--lines=0".to_owned()),
        }
        **process = journalctl(&arguments, matches)?;
        *following = true;
        Ok(())
    }

    fn read(&mut self, line: &str) -> Option<Entry> {
        let Place::Journal { cursor, .. } = &mut self.place else {
            return Entry::of_line(line);
        };
        let object: Option<Value> = serde_json::from_str(line).ok();
        let here = object.as_ref().and_then(|object| object.get("__CURSOR"));
        if let Some(here) = here.and_then(Value::as_str) {
            *cursor = Some(here.to_owned());
        }
        Entry::of_journal(line)
    }

    /// The next line; one that `waits` may never come.
    async fn line(&mut self, waits: bool) -> Result<Option<String>, Failure> {
        match &mut self.place {
            Place::Journal { process, .. } => {
                process.read_line(&mut self.begun, waits).await?;
            }
            Place::File { path, lines } => {
                let count = lines.read_until(b'\n', &mut self.begun);
                count.map_err(|error| {
                    Failure::new(format!("{} can't be read: {error}.", path.display()))
                })?;
                if self.follows && !self.begun.ends_with(b"\n") {
                    return Ok(None);
                }
            }
        }
        let line = std::mem::take(&mut self.begun);
        let line = String::from_utf8_lossy(&line).into_owned();
        Ok((!line.is_empty()).then_some(line))
    }
}

fn journalctl(arguments: &[String], matches: &[String]) -> Result<Stream, ToolError> {
    let all = ["--no-pager", "--quiet", "--output=json", "--all"];
    let more = arguments.iter().chain(matches).map(String::as_str);
    Call::new("journalctl", all.into_iter().chain(more)).stream()
}

/// This user's entries of hermes-proxyd, as a unit or not, and systemd's words on the unit.
fn matches(flags: &Logs) -> Vec<String> {
    let mut and = vec![format!("_UID={}", paths::user())];
    for (name, value) in [
        ("PROVIDER", &flags.provider),
        ("CLIENT", &flags.client),
        ("ID", &flags.request),
    ] {
        and.extend(value.iter().map(|value| format!("HERMES_{name}={value}")));
    }
    let whose = [
        "SYSLOG_IDENTIFIER=hermes-proxyd",
        "_COMM=hermes-proxyd",
        "_SYSTEMD_USER_UNIT=hermes-proxyd.service",
        "USER_UNIT=hermes-proxyd.service",
    ];
    let terms = whose.map(|whose| [and.clone(), vec![whose.to_owned()]].concat());
    terms.join(&"+".to_owned())
}

/// Where launchd writes what an agent says.
fn service_file(home: &Path) -> PathBuf {
    home.join("Library/Logs/hermes-proxyd.log")
}

fn nowhere() -> Failure {
    Failure::new("There is no journal here, and no file that a service logs to.")
        .with_code(Exit::Failed, "no_log")
        .with_hint(
            "Write the log into a file, `hermes-proxyd 2> FILE`, and read it with \
             `hermesctl logs --file FILE`.",
        )
}
