//! The terminal that standard output is, if it is one.

use std::io::{self, IsTerminal};

use console::Term;

use super::text::{Style, USUAL};

/// How standard output is read: coloured where a person looks and does not mind, as wide as the
/// terminal.
pub(super) fn style() -> Style {
    style_of(&io::stdout(), &Term::stdout())
}

/// The same for standard error, but that no line is broken in a pipe: logs are searched.
pub(super) fn error_style() -> Style {
    let style = style_of(&io::stderr(), &Term::stderr());
    if io::stderr().is_terminal() {
        style
    } else {
        style.in_columns(usize::MAX)
    }
}

/// Whether a person reads standard output.
pub(super) fn is_read_by_a_person() -> bool {
    io::stdout().is_terminal()
}

/// Rows and columns of standard output, if it is a terminal that can move its cursor.
pub(super) fn size() -> Option<(usize, usize)> {
    if !io::stdout().is_terminal() || is_simple() {
        return None;
    }
    let size = Term::stdout().size_checked();
    let known = size.filter(|(rows, columns)| *rows > 0 && *columns > 0);
    let (rows, columns) = known?;
    Some((rows.into(), columns.into()))
}

fn style_of(stream: &impl IsTerminal, term: &Term) -> Style {
    let is_terminal = stream.is_terminal();
    let style = if is_terminal && !is_simple() && !is_set("NO_COLOR") {
        Style::COLOURED
    } else {
        Style::PLAIN
    };
    let size = is_terminal.then(|| term.size_checked()).flatten();
    let columns = size.map(|(_, columns)| columns.into());
    let columns = columns.filter(|columns| *columns > 0).or_else(asked);
    style.in_columns(columns.unwrap_or(USUAL))
}

/// What `COLUMNS` says.
fn asked() -> Option<usize> {
    let columns = std::env::var("COLUMNS").ok()?.parse().ok()?;
    Some(columns).filter(|columns| *columns > 0)
}

/// Whether the terminal knows text only.
fn is_simple() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}
