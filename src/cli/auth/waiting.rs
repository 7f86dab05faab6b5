//! The line that tells how a login goes, with the time that is left.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::terminal::{Reader, say};
use crate::cli::render::inline;

/// The line, on the terminal, or its news as lines of their own in a pipe.
#[derive(Debug)]
pub(super) struct Waiting {
    line: Option<ProgressBar>,
    talks: bool,
    ends: Instant,
    note: Option<String>,
}

impl Waiting {
    /// Begins with a code's life, in seconds.
    pub(super) fn new(reader: Reader, seconds: u64) -> Self {
        let line = matches!(reader, Reader::Terminal { .. }).then(|| {
            let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            // Cut off at the terminal's edge: a line that wraps can't be taken away.
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            line.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        let mut waiting = Self {
            line,
            talks: reader == Reader::Pipe,
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

    /// Draws the line anew.
    pub(super) fn tick(&self) {
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
    pub(super) fn cancelling(&self) {
        self.draw("Cancelling …");
    }

    fn draw(&self, message: &str) {
        if let Some(line) = &self.line {
            line.set_message(message.to_owned());
            line.tick();
        }
    }
}

/// Takes the line away.
impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}
