//! Where the log comes from: `journalctl`, or a file.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, ReadBuf};
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::entry::Entry;
use crate::cli::args::Logs;
use crate::cli::output::{Exit, Failure};
use crate::paths::{self, Environment};

/// How often a file is looked at for more.
const PAUSE: Duration = Duration::from_millis(250);

type Lines = BufReader<Box<dyn AsyncRead + Send + Unpin>>;

/// A log that is read to its end, and then on.
pub(super) struct Source {
    lines: Lines,
    place: Place,
    /// What is there of a line.
    begun: Vec<u8>,
    /// Whether the rest of a line is waited for.
    follows: bool,
}

enum Place {
    /// With what it is asked for, and where it was read to.
    Journal {
        process: Box<Child>,
        matches: Vec<String>,
        cursor: Option<String>,
        following: bool,
    },
    File(PathBuf),
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
            Ok(mut process) => Ok(Self {
                lines: lines(&mut process),
                place: Place::Journal {
                    process: Box::new(process),
                    matches,
                    cursor: None,
                    following: false,
                },
                begun: Vec::new(),
                follows: flags.follow,
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let file = Environment::from_process().home().map(service_file);
                match file.filter(|file| file.is_file()) {
                    Some(file) => Self::file(&file, flags.follow),
                    None => Err(nowhere()),
                }
            }
            Err(error) => Err(Failure::new(format!("journalctl can't be run: {error}."))),
        }
    }

    fn file(path: &Path, follows: bool) -> Result<Self, Failure> {
        let file = File::open(path)
            .map_err(|error| Failure::new(format!("{} can't be read: {error}.", path.display())))?;
        Ok(Self {
            lines: BufReader::new(Box::new(Plain(file))),
            place: Place::File(path.to_owned()),
            begun: Vec::new(),
            follows,
        })
    }

    /// Its name for people.
    pub(super) fn place(&self) -> String {
        match &self.place {
            Place::Journal { .. } => "the journal".to_owned(),
            Place::File(path) => path.display().to_string(),
        }
    }

    /// The next entry of those that are there.
    pub(super) async fn next_old(&mut self) -> Result<Option<Entry>, Failure> {
        while let Some(line) = self.line().await? {
            if let Some(entry) = self.read(&line) {
                return Ok(Some(entry));
            }
        }
        if let Place::Journal { process, .. } = &mut self.place {
            // What it had to say about itself stands on standard error.
            process.wait().await.ok();
        }
        Ok(None)
    }

    /// The next entry of those that are still to come; `None` when there will be none.
    pub(super) async fn next_new(&mut self) -> Result<Option<Entry>, Failure> {
        self.follow()?;
        loop {
            match self.line().await? {
                Some(line) => {
                    if let Some(entry) = self.read(&line) {
                        return Ok(Some(entry));
                    }
                }
                None if matches!(self.place, Place::File(_)) => sleep(PAUSE).await,
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
        let again = journalctl(&arguments, matches);
        **process =
            again.map_err(|error| Failure::new(format!("journalctl can't be run: {error}.")))?;
        *following = true;
        self.lines = lines(process);
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

    async fn line(&mut self) -> Result<Option<String>, Failure> {
        let count = self.lines.read_until(b'\n', &mut self.begun).await;
        count.map_err(|error| Failure::new(format!("The log can't be read: {error}.")))?;
        let grows = self.follows && matches!(self.place, Place::File(_));
        if grows && !self.begun.ends_with(b"\n") {
            return Ok(None);
        }
        let line = std::mem::take(&mut self.begun);
        let line = String::from_utf8_lossy(&line).into_owned();
        Ok((!line.is_empty()).then_some(line))
    }
}

/// A file that is read in place: hermesctl has nothing else to do meanwhile.
struct Plain(File);

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.0.read(buffer.initialize_unfilled())?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

fn journalctl(arguments: &[String], matches: &[String]) -> io::Result<Child> {
    Command::new("journalctl")
        .args(["--no-pager", "--quiet", "--output=json", "--all"])
        .args(arguments)
        .args(matches)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

fn lines(process: &mut Child) -> Lines {
    match process.stdout.take() {
        Some(stdout) => BufReader::new(Box::new(stdout)),
        None => BufReader::new(Box::new(tokio::io::empty())),
    }
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
