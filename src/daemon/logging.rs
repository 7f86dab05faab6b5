//! The log: to a file where one was named, to the journal when systemd started us, else to standard
//! error.
//!
//! In the journal our fields are called `HERMES_…`, so that they are nobody else's. A notice's
//! `message_id` stands there as `MESSAGE_ID` too, which is the journal's own field.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use super::log_file::{self, LogFile};
use crate::config::{Log, LogFormat};

/// The target of notices: lines with a `message_id`.
pub(super) const NOTICES: &str = "hermes_proxy::notice";

type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

/// Changes the level while the daemon runs.
#[derive(Debug)]
pub(super) struct LogLevel(reload::Handle<Targets, Registry>);

/// The log can't be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    /// The level is none.
    #[error("`log.level` = {level:?} is not a level; try \"info\"")]
    Level {
        /// As it was given.
        level: String,
    },
    /// journald was asked for and is not there.
    #[error("the journal can't be reached ({0}); set `log.format` to \"pretty\" or \"json\"")]
    Journal(std::io::Error),
    /// The process has a log already.
    #[error("the log was started twice")]
    Twice,
}

impl LogLevel {
    /// Logs from this level on.
    pub(super) fn set(&self, level: &str) -> Result<(), LogError> {
        self.0.reload(targets(level)?).map_err(|_| LogError::Twice)
    }
}

/// Starts the process's log, in this file if there is one. A file that can't be opened is no reason
/// not to serve: then the log is where it would be without it, and begins with a warning.
pub(super) fn start(log: &Log, file: Option<&Path>) -> Result<LogLevel, LogError> {
    let (filter, handle) = reload::Layer::new(targets(&log.level)?);
    let opened = file.map(|path| LogFile::open(path, log_file::LARGEST));
    let (file, fault) = match opened {
        Some(Ok(file)) => (Some(file), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let in_journal = file.is_none() && started_by_journal();
    let output = match log.format {
        LogFormat::Json => json(place(file)),
        LogFormat::Journald => journald().map_err(LogError::Journal)?,
        LogFormat::Auto if in_journal => journald().unwrap_or_else(|_| pretty(None)),
        LogFormat::Auto | LogFormat::Pretty => pretty(file),
    };
    let registry = tracing_subscriber::registry().with(output.with_filter(filter));
    registry.try_init().map_err(|_| LogError::Twice)?;
    if let Some(error) = fault {
        tracing::warn!(
            %error,
            "the file that --log-file names can't be written; the log stays here"
        );
    }
    Ok(LogLevel(handle))
}

fn targets(level: &str) -> Result<Targets, LogError> {
    level.parse().map_err(|_| LogError::Level {
        level: level.to_owned(),
    })
}

fn place(file: Option<LogFile>) -> BoxMakeWriter {
    match file {
        Some(file) => BoxMakeWriter::new(Mutex::new(file)),
        None => BoxMakeWriter::new(std::io::stderr),
    }
}

fn json(place: BoxMakeWriter) -> Boxed {
    fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(place)
        .boxed()
}

fn pretty(file: Option<LogFile>) -> Boxed {
    let person = file.is_none() && std::io::stderr().is_terminal();
    fmt::layer()
        .with_ansi(person && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .with_writer(place(file))
        .boxed()
}

#[cfg(target_os = "linux")]
fn journald() -> std::io::Result<Boxed> {
    Ok(journal::Journal::new()?.boxed())
}

#[cfg(target_os = "linux")]
mod journal {
    use std::fmt::Debug;

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Subscriber};
    use tracing_subscriber::layer::{Context, Layer};
    use tracing_subscriber::registry::LookupSpan;

    /// The journal, with a `MESSAGE_ID` on notices.
    pub(super) struct Journal(tracing_journald::Layer);

    impl Journal {
        pub(super) fn new() -> std::io::Result<Self> {
            Ok(Self(plain()?))
        }
    }

    fn plain() -> std::io::Result<tracing_journald::Layer> {
        Ok(tracing_journald::layer()?
            .with_field_prefix(Some("HERMES".to_owned()))
            .with_syslog_identifier("hermes-proxyd".to_owned()))
    }

    /// The layer for one notice: only a layer's own fields are without the prefix. They are rare.
    fn with_id(event: &Event<'_>) -> Option<tracing_journald::Layer> {
        let mut id = MessageId(None);
        event.record(&mut id);
        let layer = plain().ok()?;
        Some(layer.with_custom_fields([("MESSAGE_ID", id.0?)]))
    }

    // Spans are only the first layer's: each one would want to keep its fields in the same place.
    impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Journal {
        fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
            self.0.on_new_span(attributes, id, context);
        }

        fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
            self.0.on_record(id, values, context);
        }

        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            let is_notice = event.metadata().target() == super::NOTICES;
            match is_notice.then(|| with_id(event)).flatten() {
                Some(layer) => layer.on_event(event, context),
                None => self.0.on_event(event, context),
            }
        }
    }

    struct MessageId(Option<String>);

    impl Visit for MessageId {
        fn record_str(&mut self, field: &Field, value: &str) {
            if field.name() == "message_id" {
                self.0 = Some(value.to_owned());
            }
        }

        fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
    }
}

#[cfg(not(target_os = "linux"))]
fn journald() -> std::io::Result<Boxed> {
    Err(std::io::Error::new(
        std::io::ErrorKind::Unsupported,
        "this system has no journald",
    ))
}

/// Whether standard error is the journal's stream: systemd names its device and inode.
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
