//! Sets up the log: a file if one is given, the journal if systemd started this process, else standard error.
//!
//! In the journal, our fields are named `HERMES_…` to avoid collisions. A notice's `message_id` also appears as
//! `MESSAGE_ID`, the journal's own field.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::callsite::rebuild_interest_cache;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Filter, Layer, Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

use super::log_file::{self, LogFile};
use super::log_form::{LineLayer, LogForm};
use super::log_lines::{LogLines, WriteProgress};
use super::log_queue::{Flush, LogQueue, LogSink, Taken};
use crate::config::{Log, LogFormat};
use crate::control::protocol::{LogPlace, LogTail};

type Boxed = Box<dyn Layer<Layered<Levels, Registry>> + Send + Sync>;

/// Which lines are logged, by level and module. tracing caches the decision per call site until the filter changes.
#[derive(Debug, Clone)]
struct Levels(Arc<ArcSwap<Targets>>);

/// The process's log.
#[derive(Debug)]
pub(super) struct Logging {
    levels: Levels,
    queue: LogQueue,
    place: LogPlace,
}

/// The last lines of the log, for hermesctl.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    queue: LogQueue,
    place: LogPlace,
}

/// Why the log can't be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    /// The level is unknown.
    #[error("`log.level` = {level:?} is not a level; try \"info\"")]
    Level {
        /// The level as given.
        level: String,
    },
    /// journald was requested but is not available.
    #[error("the journal can't be reached ({0}); set `log.format` to \"pretty\" or \"json\"")]
    Journal(io::Error),
    #[error("the log's thread can't be started: {0}")]
    Thread(io::Error),
    /// The process already has a log.
    #[error("the log was started twice")]
    Twice,
}

impl Logging {
    /// Sets the lowest level that is logged.
    pub(super) fn set_level(&self, level: &str) -> Result<(), LogError> {
        self.levels.0.store(Arc::new(targets(level)?));
        rebuild_interest_cache();
        Ok(())
    }

    pub(super) fn tail(&self) -> Tail {
        Tail {
            queue: self.queue.clone(),
            place: self.place.clone(),
        }
    }

    /// Opens the log file again, because it may have been moved.
    pub(super) fn reopen(&self) {
        self.queue.reopen();
    }
}

impl Levels {
    fn has(&self, metadata: &Metadata<'_>) -> bool {
        self.0
            .load()
            .would_enable(metadata.target(), metadata.level())
    }
}

impl<S: Subscriber> Layer<S> for Levels {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.has(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.has(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Filter::<S>::max_level_hint(&**self.0.load())
    }
}

impl Tail {
    /// How many lines were lost since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.queue.dropped_ever()
    }

    /// The lines from this number on; if a reply can't hold all of them, the latest.
    pub(super) fn since(&self, from: u64) -> LogTail {
        /// The most bytes in a reply.
        const LARGEST: usize = 512 * 1024;
        let recent = self.queue.recent(from);
        let next = recent.as_ref().map_or(from, |recent| recent.next);
        let kept = recent.map(|recent| recent.lines).unwrap_or_default();
        let mut room = LARGEST;
        let mut lines = Vec::new();
        for line in kept.iter().rev() {
            let line = String::from_utf8_lossy(line).into_owned();
            // JSON escapes a control character as six bytes.
            let escaped = line.bytes().filter(u8::is_ascii_control).count() * 5;
            let Some(left) = room.checked_sub(line.len() * 2 + escaped) else {
                break;
            };
            room = left;
            lines.push(line);
        }
        lines.reverse();
        LogTail {
            place: self.place.clone(),
            next,
            lines,
        }
    }
}

/// Starts the process's log, in `file` if one is given. If that can't be opened, the daemon still serves: the log goes
/// to the default destination and starts with a warning.
///
/// The log has a thread of its own; dropping the returned [`Flush`] waits for its last lines.
pub(super) fn start(log: &Log, file: Option<&Path>) -> Result<(Logging, Flush), LogError> {
    let levels = Levels(Arc::new(ArcSwap::from_pointee(targets(&log.level)?)));
    let opened = file.map(|path| in_file(path).map(|queue| (queue, path)));
    let (file, fault) = match opened {
        Some(Ok(file)) => (Some(file), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let in_journal = file.is_none() && started_by_journal();
    let wants_journal = match log.format {
        LogFormat::Journald => true,
        LogFormat::Auto => in_journal,
        LogFormat::Json | LogFormat::Pretty => false,
    };
    let journal = if wants_journal {
        match journal() {
            Err(error) if log.format == LogFormat::Journald => return Err(error),
            journal => journal.ok(),
        }
    } else {
        None
    };
    let (queue, place, output) = match (journal, file) {
        (Some((queue, output)), _) => (queue, LogPlace::Journal, output),
        (None, Some((queue, path))) => {
            let output = lines(log.format, &queue, false);
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            (queue, LogPlace::File(path), output)
        }
        (None, None) => {
            let queue = on_standard_error().map_err(LogError::Thread)?;
            let person = !in_journal && io::stderr().is_terminal();
            let output = lines(log.format, &queue, person);
            // Standard error leads to the journal, which keeps the text.
            let place = if in_journal {
                LogPlace::Journal
            } else {
                LogPlace::StandardError
            };
            (queue, place, output)
        }
    };
    let registry = tracing_subscriber::registry().with(levels.clone());
    let registry = registry.with(output);
    registry.try_init().map_err(|_| LogError::Twice)?;
    let flush = queue.flush_at_end();
    if let Some(error) = fault {
        warn_of_file(&error);
    }
    let logging = Logging {
        levels,
        queue,
        place,
    };
    Ok((logging, flush))
}

fn warn_of_file(error: &io::Error) {
    tracing::warn!(
        %error,
        "the file of --log-file can't be written; logging continues here"
    );
}

fn targets(level: &str) -> Result<Targets, LogError> {
    level.parse().map_err(|_| LogError::Level {
        level: level.to_owned(),
    })
}

/// Opens a log file. If that is slow, only the log's lines wait.
fn in_file(path: &Path) -> io::Result<LogQueue> {
    let path = path.to_owned();
    let open = move || Ok(Box::new(LogFile::open(&path, log_file::LARGEST)?) as Box<dyn LogSink>);
    let instead = |error| {
        warn_of_file(&error);
        Box::new(StandardError::new()) as Box<dyn LogSink>
    };
    LogQueue::start(open, instead, true)
}

fn on_standard_error() -> io::Result<LogQueue> {
    LogQueue::start_open(StandardError::new(), true)
}

/// A layer for lines; text is coloured if a `person` reads it.
fn lines(format: LogFormat, queue: &LogQueue, person: bool) -> Boxed {
    let queue = queue.clone();
    let form = if format == LogFormat::Json {
        LogForm::Json
    } else {
        LogForm::Text
    };
    if form == LogForm::Text && person && std::env::var_os("NO_COLOR").is_none() {
        let layer = fmt::layer().log_internal_errors(false);
        return layer.with_target(false).with_writer(queue).boxed();
    }
    LineLayer { form, queue }.boxed()
}

/// Standard error, written without its lock: the messages of start and end must not wait for the log.
#[derive(Debug)]
struct StandardError {
    progress: WriteProgress,
    was_terminal: bool,
}

impl StandardError {
    fn new() -> Self {
        Self {
            progress: WriteProgress::default(),
            was_terminal: io::stderr().is_terminal(),
        }
    }

    /// Whether the destination is gone for good: a pipe whose reader has left, or a closed terminal.
    fn is_gone(&self, error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::BrokenPipe
            || (self.was_terminal && !io::stderr().is_terminal())
    }
}

impl LogSink for StandardError {
    fn write(&mut self, lines: LogLines<'_>) -> Taken {
        let attempt = self.progress.write(lines, write_to_standard_error);
        let Some(error) = attempt.error else {
            return Taken::all(lines);
        };
        let lost = if self.is_gone(&error) {
            self.progress = WriteProgress::default();
            lines.count() - attempt.lines
        } else {
            0
        };
        Taken {
            done: attempt.lines + lost,
            lost,
            takes_more: false,
        }
    }
}

#[cfg(unix)]
fn write_to_standard_error(bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(io::stderr(), bytes)?)
}

#[cfg(not(unix))]
fn write_to_standard_error(bytes: &[u8]) -> io::Result<usize> {
    io::Write::write(&mut io::stderr(), bytes)
}

/// The journal. `journalctl` shows its lines, so they are not kept in memory.
#[cfg(target_os = "linux")]
fn journal() -> Result<(LogQueue, Boxed), LogError> {
    use super::journal::{JournalLayer, JournalSocket};
    let journal = JournalSocket::open().map_err(LogError::Journal)?;
    let queue = LogQueue::start_open(journal, false).map_err(LogError::Thread)?;
    let layer = JournalLayer(queue.clone()).boxed();
    Ok((queue, layer))
}

#[cfg(not(target_os = "linux"))]
fn journal() -> Result<(LogQueue, Boxed), LogError> {
    let absent = io::Error::new(io::ErrorKind::Unsupported, "this system has no journald");
    Err(LogError::Journal(absent))
}

/// Whether standard error goes to the journal: systemd passes the stream's device and inode.
#[cfg(target_os = "linux")]
fn started_by_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else {
        return false;
    };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

#[cfg(not(target_os = "linux"))]
fn started_by_journal() -> bool {
    false
}

/// For tests: sends this thread's events to `subscriber` until the guard is dropped. A second subscriber that accepts
/// everything always exists beside it: with a single one, tracing caches the answer of the first thread that reaches a
/// call site, so another test's thread could silence it for all.
#[cfg(test)]
pub(super) fn heard_by(
    subscriber: impl tracing::Subscriber + Send + Sync,
) -> tracing::subscriber::DefaultGuard {
    use std::sync::LazyLock;

    use tracing::Dispatch;

    static ALL: LazyLock<Dispatch> =
        LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));
    LazyLock::force(&ALL);
    tracing::subscriber::set_default(subscriber)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::process::Command;

    use tokio::task::JoinSet;

    use super::*;

    const DIES: &str = "daemon::logging::tests::dies";
    const LINES: usize = 2000;

    /// Logs and exits, in a process of its own.
    #[test]
    #[ignore = "started by the test below"]
    fn dies() {
        let (Some(file), Ok(way)) = (
            std::env::var_os("HERMES_TEST_LOG"),
            std::env::var("HERMES_TEST_WAY"),
        ) else {
            return;
        };
        let log = crate::config::Config::default().log;
        let (_log, flush) = start(&log, Some(Path::new(&file))).unwrap();
        super::super::process::log_defects();
        let work = async move {
            let mut tasks = JoinSet::new();
            tasks.spawn(async {
                for number in 0..LINES {
                    tracing::info!(number, "a line");
                }
                panic!("in a task");
            });
            assert!(tasks.join_next().await.unwrap().is_err());
            tracing::info!("goes on");
            assert_ne!(way, "panics", "at its end");
        };
        let end = catch_unwind(AssertUnwindSafe(|| {
            let _flush = flush;
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.build().unwrap().block_on(work);
        }));
        if let Err(panic) = end {
            resume_unwind(panic);
        }
    }

    #[test]
    fn a_panic_in_a_task_or_at_the_end_loses_no_line() {
        let folder = tempfile::tempdir().unwrap();
        for (way, code, defects) in [("ends", 0, 1), ("panics", 101, 2)] {
            let file = folder.path().join(way);
            let output = Command::new(std::env::current_exe().unwrap())
                .args([DIES, "--exact", "--ignored", "--nocapture"])
                .env("HERMES_TEST_LOG", &file)
                .env("HERMES_TEST_WAY", way)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(code), "{output:?}");
            let text = std::fs::read_to_string(&file).unwrap();
            let numbers = text
                .lines()
                .filter_map(|line| line.split_once("a line number=")?.1.parse::<usize>().ok());
            assert!(numbers.eq(0..LINES), "{text}");
            assert_eq!(text.matches("a defect in hermes-proxyd").count(), defects);
            assert_eq!(text.matches(" INFO goes on").count(), 1);
        }
    }
}
