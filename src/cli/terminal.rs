//! The reader of standard error: a person or a program.

use std::io::{self, IsTerminal, Write};

use console::Term;

use super::screen;
use super::text::Style;

/// Rows and columns of a terminal that does not tell.
const USUAL: (u16, u16) = (24, 80);

/// So often a question is asked.
const TRIES: usize = 5;

/// How large a terminal is.
#[derive(Debug, Clone, Copy)]
pub(super) struct TerminalSize {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// Who reads standard error, and so what is said there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StderrReader {
    /// A person before a terminal that can move its cursor.
    Terminal {
        columns: usize,
        rows: usize,
        style: Style,
    },
    /// A file, a pipe or a simple terminal: lines.
    Pipe,
    /// A program that reads JSON from standard output; nothing is said.
    Program,
}

impl StderrReader {
    /// Who reads this process's.
    pub(super) fn of_process(json: bool) -> Self {
        let simple = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if json {
            return Self::Program;
        }
        if simple || !io::stderr().is_terminal() {
            return Self::Pipe;
        }
        let size = Term::stderr().size_checked();
        let known = size.filter(|(rows, columns)| *rows > 0 && *columns > 0);
        let (rows, columns) = known.unwrap_or(USUAL);
        Self::Terminal {
            columns: columns.into(),
            rows: rows.into(),
            style: screen::error_style(),
        }
    }

    /// In separate lines instead of one that is redrawn.
    pub(super) fn in_lines(self) -> Self {
        match self {
            Self::Terminal { .. } | Self::Pipe => Self::Pipe,
            Self::Program => Self::Program,
        }
    }

    /// The terminal's size and colours.
    pub(super) fn room(self) -> Option<(TerminalSize, Style)> {
        match self {
            Self::Terminal {
                columns,
                rows,
                style,
            } => Some((TerminalSize { columns, rows }, style)),
            Self::Pipe | Self::Program => None,
        }
    }
}

/// Writes to standard error; there is no other place to report a failure.
pub(super) fn say(text: &str) {
    let _said = io::stderr().lock().write_all(text.as_bytes());
}

/// A person's yes or no; no if there is no person, which is `None`.
pub(super) fn confirmed(question: &str) -> Option<bool> {
    decided(&format!("{question} [y/N] "), false)
}

/// The same where Enter means yes.
pub(super) fn agreed(question: &str) -> Option<bool> {
    decided(&format!("{question} [Y/n] "), true)
}

/// Asks until the answer is valid; after this many others it counts as no.
fn decided(question: &str, enter: bool) -> Option<bool> {
    for _ in 0..TRIES {
        match meant(&asked(question)?, enter) {
            Some(decided) => return Some(decided),
            None => say("Please answer y or n.\n"),
        }
    }
    Some(false)
}

/// What a person picks out of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    /// This one, counted from 0.
    One(usize),
    /// None of them.
    Nothing,
    /// No person can be asked.
    Unasked,
}

/// Has a person pick one of `count`, by its number in this list; Enter means `enter`.
pub(super) fn picked(list: &str, count: usize, enter: usize) -> Pick {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Pick::Unasked;
    }
    say(list);
    for _ in 0..TRIES {
        let Some(answer) = asked(&format!("Number [{}]: ", enter + 1)) else {
            return Pick::Unasked;
        };
        if answer.is_empty() {
            return Pick::One(enter);
        }
        if ["no", "n", "q", "quit"].contains(&answer.as_str()) {
            return Pick::Nothing;
        }
        let number = answer.parse::<usize>().ok();
        match number.and_then(|number| number.checked_sub(1)) {
            Some(at) if at < count => return Pick::One(at),
            Some(_) | None => say(&format!("Please answer with a number from 1 to {count}.\n")),
        }
    }
    Pick::Nothing
}

/// Yes or no; `None` for anything else.
fn meant(answer: &str, enter: bool) -> Option<bool> {
    match answer {
        "" => Some(enter),
        "y" | "yes" => Some(true),
        "n" | "no" => Some(false),
        _ => None,
    }
}

/// What a person answers; a closed input is a no.
fn asked(question: &str) -> Option<String> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let text = screen::error_style().prose(question);
    say(&format!("{} ", text.trim_end()));
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    if !matches!(read, Ok(1..)) {
        say("\n");
        return Some("no".to_owned());
    }
    Some(answer.trim().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_or_a_no_is_an_answer() {
        for (answer, meant_yes) in [
            ("", Some(true)),
            ("y", Some(true)),
            ("yes", Some(true)),
            ("n", Some(false)),
            ("no", Some(false)),
            ("what?", None),
            ("yep", None),
        ] {
            assert_eq!(meant(answer, true), meant_yes, "{answer}");
        }
        assert_eq!(meant("", false), Some(false));
    }
}
