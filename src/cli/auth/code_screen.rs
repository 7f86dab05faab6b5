//! The screen for entering a code: the address, the code in large letters, and a QR code for the
//! telephone, as far as the terminal has room for it. Pure.

use super::letters;
use super::qr::Qr;
use crate::cli::terminal::TerminalSize;
use crate::cli::text::{Style, TextTone, inline};
use crate::control::human::duration;
use crate::control::protocol::LoginCode;

/// Modules of white around a QR code, the better first: readers want four and can do with two.
const QUIET: [usize; 2] = [4, 2];

const INDENT: usize = 2;
const GAP: usize = 3;

/// For a terminal. Leaves a row for the line that shows the progress.
pub(in crate::cli) fn screen(code: &LoginCode, room: TerminalSize, style: Style) -> String {
    let head = head(code);
    let taken: usize = head
        .iter()
        .map(|(_, line)| line.chars().count().div_ceil(room.columns.max(1)).max(1))
        .sum();
    let left = TerminalSize {
        columns: room.columns.saturating_sub(INDENT),
        rows: room.rows.saturating_sub(taken + 1),
    };
    let mut text = String::new();
    for (tone, line) in &head {
        text += &tone.map_or_else(|| line.clone(), |tone| style.paint(tone, line));
        text.push('\n');
    }
    for line in picture(code, left, style) {
        text += format!("{:INDENT$}{line}", "").trim_end();
        text.push('\n');
    }
    text
}

/// For a pipe: the same in words, the code and the page on lines of their own.
pub(in crate::cli) fn plain(code: &LoginCode) -> String {
    let mut text = String::new();
    for (_, line) in head(code) {
        text += &(line + "\n");
    }
    let life = duration(code.expires_in_seconds);
    text + &format!("The code is valid for {life}. Waiting for the login …\n")
}

fn head(code: &LoginCode) -> Vec<(Option<TextTone>, String)> {
    let (page, then) = match &code.verification_uri_complete {
        Some(page) => (page, "and check that it shows this code:"),
        None => (&code.verification_uri, "and enter this code:"),
    };
    let mut lines = vec![
        (
            None,
            format!(
                "To log in to {}, open this page on any device",
                inline(&code.display_name)
            ),
        ),
        (None, format!("{:INDENT$}{}", "", inline(page))),
        (None, then.to_owned()),
        (
            Some(TextTone::Heading),
            format!("{:INDENT$}{}", "", inline(&code.user_code)),
        ),
    ];
    if !code.trusted_uri {
        let warning = "The page is not on the provider's own host: open it only if you trust it.";
        lines.push((Some(TextTone::Bad), warning.to_owned()));
    }
    lines
}

/// The QR code and the letters beside it; without room for both the letters; otherwise nothing.
fn picture(code: &LoginCode, room: TerminalSize, style: Style) -> Vec<String> {
    let forms = letter_forms(&code.user_code);
    let fits = |rows: &[String], columns: usize| {
        rows.len() <= room.rows && rows.iter().all(|row| row.chars().count() <= columns)
    };
    if let Some(qr) = qr(code) {
        for quiet in QUIET {
            let used = qr.columns(quiet);
            let columns = room.columns.saturating_sub(used + GAP);
            if used > room.columns || used.div_ceil(2) > room.rows {
                continue;
            }
            let rows = qr.rows(quiet, style);
            if let Some(letters) = forms.iter().find(|form| fits(form, columns)) {
                return beside(&rows, letters, style);
            }
            if forms.is_empty() {
                return rows;
            }
        }
    }
    let letters = forms.into_iter().find(|form| fits(form, room.columns));
    let letters = letters.into_iter().flatten();
    letters
        .map(|row| style.paint(TextTone::Heading, &row))
        .collect()
}

fn qr(code: &LoginCode) -> Option<Qr> {
    let page = code.verification_uri_complete.as_ref();
    Qr::of(page.filter(|_| code.trusted_uri)?)
}

/// The code in large letters: in one line, and with a line for each group. None at all when it
/// can't be shown as it is.
fn letter_forms(code: &str) -> Vec<Vec<String>> {
    let groups: Vec<&str> = code.split_inclusive('-').collect();
    let groups: Option<Vec<Vec<String>>> = groups.into_iter().map(letters::large).collect();
    let grouped = groups.map(|groups| groups.join(&String::new()));
    letters::large(code).into_iter().chain(grouped).collect()
}

/// The letters half-way down the right of the QR code.
fn beside(qr: &[String], letters: &[String], style: Style) -> Vec<String> {
    let above = qr.len().saturating_sub(letters.len()) / 2;
    let rows = qr.iter().enumerate().map(|(position, row)| {
        let letters = position.checked_sub(above).and_then(|at| letters.get(at));
        match letters.filter(|letters| !letters.is_empty()) {
            Some(letters) => format!(
                "{row}{:GAP$}{}",
                "",
                style.paint(TextTone::Heading, letters)
            ),
            None => row.clone(),
        }
    });
    rows.collect()
}

#[cfg(test)]
mod tests;
