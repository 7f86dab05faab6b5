//! The source of the log: the running daemon, `journalctl`, or a file.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::entry::LogEntry;
use super::file::LogReader;
use crate::cli::args::Logs;
use crate::cli::connection::connect;
use crate::cli::output::{CommandFailure, Exit};
use crate::control::client::ControlClient;
use crate::control::protocol::LogFrom;
use crate::control::protocol::LogPlace;
use crate::control::protocol::calls;
use crate::paths::{self, Environment};
use crate::tools::{ProgramCall, ProgramStream, ToolError};

/// A daemon that does not say in time where it logs is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a file or the daemon is polled.
const PAUSE: Duration = Duration::from_millis(250);

/// A log that is read to its end, and then on.
pub(super) struct LogSource {
    place: LogPosition,
    /// Whether the rest of a line is waited for.
    follows: bool,
}

enum LogPosition {
    /// With what it is asked for, and where it was read to.
    Journal {
        process: Box<ProgramStream>,
        matches: Vec<String>,
        cursor: Option<String>,
        following: bool,
    },
    File(LogReader),
    /// A daemon that logs to its terminal, whose last lines it keeps itself.
    Daemon {
        client: Box<ControlClient>,
        lines: VecDeque<String>,
        /// The number of the next line.
        next: u64,
    },
}

impl LogSource {
    /// The file that is asked for, else where the running daemon logs to, else the journal, else the
    /// service's file.
    pub(super) async fn open(
        flags: &Logs,
        since: Option<DateTime<Utc>>,
    ) -> Result<Self, CommandFailure> {
        if let Some(file) = &flags.file {
            return Self::file(file, LogReader::open(file), flags.follow);
        }
        if let Some(source) = Self::of_daemon(flags).await {
            return Ok(source);
        }
        let matches = matches(flags);
        let mut arguments = Vec::new();
        arguments.extend(since.map(|since| format!("--since=@{}", since.timestamp())));
        match journalctl(&arguments, &matches) {
            Ok(process) => Ok(Self {
                place: LogPosition::Journal {
                    process: Box::new(process),
                    matches,
                    cursor: None,
                    following: false,
                },
                follows: flags.follow,
            }),
            Err(error) if error.is_absence() => {
                let file = Environment::from_process().service_log();
                match file.filter(|file| file.is_file()) {
                    Some(file) => Self::file(&file, LogReader::with_older(&file), flags.follow),
                    None => Err(nowhere()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Of a daemon that does not log to the journal; `None` where none runs, or it is an old one.
    async fn of_daemon(flags: &Logs) -> Option<Self> {
        let asking = async {
            let mut client = connect().await.ok()?;
            let tail = client.call(calls::Log(LogFrom { from: 0 })).await.ok()?;
            Some((client, tail))
        };
        let (client, tail) = timeout(PATIENCE, asking).await.ok()??;
        if let LogPlace::File(path) = &tail.place
            && path.is_file()
            && let Ok(file) = LogReader::with_older(path)
        {
            return Some(Self {
                place: LogPosition::File(file),
                follows: flags.follow,
            });
        }
        // The journal has more, but where it has no fields it can't find a request by its id.
        let is_asked_by_id = flags.request.is_some() && !tail.lines.is_empty();
        if tail.place == LogPlace::Journal && !is_asked_by_id {
            return None;
        }
        Some(Self {
            place: LogPosition::Daemon {
                client: Box::new(client),
                lines: tail.lines.into(),
                next: tail.next,
            },
            follows: flags.follow,
        })
    }

    fn file(
        path: &Path,
        opened: io::Result<LogReader>,
        follows: bool,
    ) -> Result<Self, CommandFailure> {
        let opened = opened.map_err(|error| unreadable(path, &error))?;
        Ok(Self {
            place: LogPosition::File(opened),
            follows,
        })
    }

    /// Its name for people.
    pub(super) fn place(&self) -> String {
        match &self.place {
            LogPosition::Journal { .. } => "the journal".to_owned(),
            LogPosition::File(file) => file.path().display().to_string(),
            LogPosition::Daemon { client, .. } => {
                format!(
                    "the memory of hermes-proxyd (process {})",
                    client.daemon().pid
                )
            }
        }
    }

    /// The next available entry.
    pub(super) async fn next_old(&mut self) -> Result<Option<LogEntry>, CommandFailure> {
        while let Some(line) = self.line(false).await? {
            if let Some(entry) = self.read(&line) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The next entry of those that are still to come; `None` when there will be none.
    pub(super) async fn next_new(&mut self) -> Result<Option<LogEntry>, CommandFailure> {
        self.follow()?;
        loop {
            match self.line(true).await? {
                Some(line) => {
                    if let Some(entry) = self.read(&line) {
                        return Ok(Some(entry));
                    }
                }
                None if matches!(self.place, LogPosition::Journal { .. }) => return Ok(None),
                None => sleep(PAUSE).await,
            }
        }
    }

    /// Goes on where the journal was read to.
    fn follow(&mut self) -> Result<(), CommandFailure> {
        let LogPosition::Journal {
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

    fn read(&mut self, line: &str) -> Option<LogEntry> {
        let LogPosition::Journal { cursor, .. } = &mut self.place else {
            return LogEntry::of_line(line);
        };
        let object: Option<Value> = serde_json::from_str(line).ok();
        let here = object.as_ref().and_then(|object| object.get("__CURSOR"));
        if let Some(here) = here.and_then(Value::as_str) {
            *cursor = Some(here.to_owned());
        }
        LogEntry::of_journal(line)
    }

    /// The next line; one that `waits` may never come.
    async fn line(&mut self, waits: bool) -> Result<Option<String>, CommandFailure> {
        let mut line = Vec::new();
        match &mut self.place {
            LogPosition::Journal { process, .. } => {
                process.read_line(&mut line, waits).await?;
            }
            LogPosition::File(file) => {
                let read = file.line(self.follows);
                let read = read.map_err(|error| unreadable(file.path(), &error))?;
                line = read.unwrap_or_default();
            }
            LogPosition::Daemon {
                client,
                lines,
                next,
            } => {
                if lines.is_empty() && waits {
                    let tail = client.call(calls::Log(LogFrom { from: *next })).await?;
                    *next = tail.next;
                    lines.extend(tail.lines);
                }
                line = lines.pop_front().unwrap_or_default().into();
            }
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        Ok((!line.is_empty()).then_some(line))
    }
}

fn unreadable(path: &Path, error: &io::Error) -> CommandFailure {
    CommandFailure::new(format!("{} can't be read: {error}.", path.display()))
}

fn journalctl(arguments: &[String], matches: &[String]) -> Result<ProgramStream, ToolError> {
    let all = ["--no-pager", "--quiet", "--output=json", "--all"];
    let more = arguments.iter().chain(matches).map(String::as_str);
    ProgramCall::new("journalctl", all.into_iter().chain(more)).stream()
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

pub(in crate::cli) fn nowhere() -> CommandFailure {
    CommandFailure::new("This machine has neither a journal nor a log file of the service.")
        .with_code(Exit::Failed, "no_log")
        .with_hint(
            "Write the log to a file, `hermes-proxyd 2> FILE`, and read it with \
             `hermesctl logs --file FILE`.",
        )
}
