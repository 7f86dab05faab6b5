//! Texts about a bug report, before it is written and after.

use super::view::Planned;
use crate::cli::text::{Style, inline};

/// The column of the sections' descriptions.
const TITLES: usize = 16;

/// What the report would contain, and where it would be written.
pub(in crate::cli) fn planned(planned: &Planned, style: Style) -> String {
    let mut text = style.prose("The report would contain:");
    for section in &planned.sections {
        let (about, lines) = (section.about, section.lines);
        let about = format!("{about} ({lines} lines)");
        text += &style.row("  ", section.title, TITLES, &about);
    }
    text += &style.prose(
        "Tokens, keys, passwords, e-mail addresses, and the names of you, your machine and your \
         apps are removed.",
    );
    let file = inline(&planned.file.display().to_string());
    text + &style.prose(&format!("It would be written to {file}."))
}

/// The file alone, so that a script can use it.
pub(in crate::cli) fn written(planned: &Planned, _: Style) -> String {
    inline(&planned.file.display().to_string()) + "\n"
}
