//! The line that shows the state of a login, with the remaining time.

use std::io;
use std::iter::Cycle;
use std::str::Chars;
use std::time::Duration;

use console::Term;
use tokio::time::Instant;

use crate::cli::terminal::{StderrReader, say};
use crate::cli::text::inline;

/// Columns for the spinner before the text, and for what a terminal adds after it.
const MARGIN: usize = 5;

const FRAMES: &str = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";

/// The line, on the terminal, or its news as lines of their own in a pipe.
#[derive(Debug)]
pub(super) struct Waiting {
    line: Option<WaitingLine>,
    talks: bool,
    ends: Instant,
    note: Option<String>,
}

impl Waiting {
    /// Begins with a code's life, in seconds.
    pub(super) fn new(reader: StderrReader, seconds: u64) -> Self {
        let line = reader.room().map(|(room, _)| WaitingLine {
            term: Term::buffered_stderr(),
            columns: room.columns.saturating_sub(MARGIN),
            frames: FRAMES.chars().cycle(),
        });
        let mut waiting = Self {
            line,
            talks: reader == StderrReader::Pipe,
            ends: Instant::now(),
            note: None,
        };
        waiting.news(seconds, None);
        waiting
    }

    /// What the daemon tells: the seconds that are left, and what holds it up.
    pub(super) fn news(&mut self, seconds: u64, note: Option<String>) {
        let now = Instant::now();
        self.ends = now.checked_add(Duration::from_secs(seconds)).unwrap_or(now);
        let new = note
            .as_ref()
            .filter(|note| self.note.as_ref() != Some(note));
        if let Some(new) = new.filter(|_| self.talks) {
            say(&format!("{}.\n", inline(new)));
        }
        self.note = note;
    }

    /// Says something once, where lines are read.
    pub(super) fn say(&self, text: &str) {
        if self.talks {
            say(&format!("{}\n", inline(text)));
        }
    }

    /// Redraws the line.
    pub(super) fn tick(&mut self) {
        let left = self
            .ends
            .saturating_duration_since(Instant::now())
            .as_secs();
        let note = self.note.as_deref().map(inline);
        self.draw(&format!(
            "Waiting for the login · {}:{:02} left · {}",
            left / 60,
            left % 60,
            note.as_deref().unwrap_or("Ctrl-C cancels")
        ));
    }

    /// Draws that the login is being given up.
    pub(super) fn cancelling(&mut self) {
        self.draw("Cancelling …");
    }

    fn draw(&mut self, message: &str) {
        if let Some(line) = &mut self.line {
            // There is no other place to report a failed write.
            line.draw(message).ok();
        }
    }
}

/// Takes the line away.
impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.clear().ok();
        }
    }
}

/// One line of a terminal, drawn over and over.
#[derive(Debug)]
struct WaitingLine {
    term: Term,
    columns: usize,
    frames: Cycle<Chars<'static>>,
}

impl WaitingLine {
    /// Cut off before the edge: a line that wraps can't be taken away, also if it does so by the
    /// `^C` that the terminal adds.
    fn draw(&mut self, message: &str) -> io::Result<()> {
        let frame = self.frames.next().unwrap_or(' ');
        let message: String = message.chars().take(self.columns).collect();
        self.term.clear_line()?;
        self.term.write_str(&format!("{frame} {message}"))?;
        self.term.flush()
    }

    fn clear(&self) -> io::Result<()> {
        self.term.clear_line()?;
        self.term.flush()
    }
}
