//! Figures, and how they are shown.

use std::fmt::{self, Display, Write};
use std::time::Duration;

/// A figure with its unit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Figure {
    /// The system does not tell; only Linux does.
    Unknown,
    Microseconds(f64),
    /// A difference.
    MoreMicroseconds(f64),
    Milliseconds(f64),
    Kibibytes(f64),
    Megabytes(f64),
    Ratio(f64),
}

/// Rows of figures below a title.
pub(crate) struct Table(String);

impl Figure {
    pub(crate) fn milliseconds(time: Duration) -> Self {
        Self::Milliseconds(time.as_secs_f64() * 1e3)
    }

    pub(crate) fn megabytes(bytes: Option<u64>) -> Self {
        bytes.map_or(Self::Unknown, |bytes| Self::Megabytes(float(bytes) / 1e6))
    }

    /// The share of each of `parts`.
    pub(crate) fn kibibytes_each(bytes: Option<u64>, parts: usize) -> Self {
        bytes.map_or(Self::Unknown, |bytes| {
            Self::Kibibytes(float(bytes) / float(parts as u64) / 1024.0)
        })
    }

    fn value(self) -> Option<f64> {
        match self {
            Self::Unknown => None,
            Self::Microseconds(value)
            | Self::MoreMicroseconds(value)
            | Self::Milliseconds(value)
            | Self::Kibibytes(value)
            | Self::Megabytes(value)
            | Self::Ratio(value) => Some(value),
        }
    }
}

impl Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Unknown => "(Linux only)".to_owned(),
            Self::Microseconds(value) => format!("{value:.1} µs"),
            Self::MoreMicroseconds(value) => format!("{value:+.1} µs"),
            Self::Milliseconds(value) => format!("{value:.1} ms"),
            Self::Kibibytes(value) => format!("{value:.1} KiB"),
            Self::Megabytes(value) => format!("{value:.1} MB"),
            Self::Ratio(value) => format!("{value:.2}"),
        };
        f.pad(&text)
    }
}

impl Table {
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        if columns.is_empty() {
            return Self(title.to_owned());
        }
        let mut text = format!("{title:<LABEL$}");
        for column in columns {
            write!(text, "{column:>COLUMN$}").expect("a string");
        }
        Self(text)
    }

    /// The expectation is for the last figure.
    pub(crate) fn row(&mut self, label: &str, figures: &[Figure], at_most: Option<Figure>) {
        let label = format!("  {label}");
        write!(self.0, "\n{label:<LABEL$}").expect("a string");
        for figure in figures {
            write!(self.0, "{figure:>COLUMN$}").expect("a string");
        }
        let Some(limit) = at_most else { return };
        let last = figures.last().and_then(|figure| figure.value());
        let verdict = match last.zip(limit.value()) {
            None => "",
            Some((value, limit)) if value <= limit => "ok",
            Some(_) => "MISSED",
        };
        write!(self.0, "   ≤ {limit}  {verdict}").expect("a string");
    }

    /// A time through the daemon beside the one straight to the cloud.
    pub(crate) fn compare(
        &mut self,
        label: &str,
        [through, straight]: [Option<Duration>; 2],
        most: Option<Figure>,
    ) {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let Some((through, straight)) = through.map(micros).zip(straight.map(micros)) else {
            return self.row(label, &[Figure::Unknown], None);
        };
        let figures = [
            Figure::Microseconds(through),
            Figure::Microseconds(straight),
            Figure::Ratio(through / straight),
            Figure::MoreMicroseconds(through - straight),
        ];
        self.row(label, &figures, most);
    }

    pub(crate) fn print(&self) {
        println!("{}\n", self.0);
    }
}

const LABEL: usize = 44;
const COLUMN: usize = 12;

/// The middle one; zero of none.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "bytes of one machine's memory")]
fn float(number: u64) -> f64 {
    number as f64
}
