//! Texts about connecting an app.

use super::view::{ConnectListing, ConnectOutput};
use crate::cli::text::{Style, TextTone, inline, printable};

/// The narrowest column for wrapped text, in characters.
const NARROW: usize = 24;

/// The apps, one per line.
pub(in crate::cli) fn list(known: &ConnectListing, style: Style) -> String {
    let apps = &known.apps;
    let names = apps.iter().map(|app| app.app.len());
    let titles = apps.iter().map(|app| app.title.len());
    let width = names.max().unwrap_or_default() + 2;
    let title_width = titles.max().unwrap_or_default() + 2;
    let longest = apps.iter().map(|app| app.what.chars().count()).max();
    // Next to the names, only a word would fit on each line.
    let room = style.columns().saturating_sub(width + title_width);
    let is_narrow = room < longest.unwrap_or_default().min(NARROW);
    let lines = apps.iter().map(|app| {
        if is_narrow {
            let name = style.paint(TextTone::Heading, app.app);
            let head = style.prose(&format!("{name}  {}", app.title));
            return head + &style.beside("  ", app.what);
        }
        let name = style.paint(TextTone::Heading, &format!("{:width$}", app.app));
        let head = format!("{name}{:title_width$}", app.title);
        style.beside(&head, app.what)
    });
    lines.collect::<String>() + "\nThen: hermesctl connect APP\n"
}

/// The files, each under a comment with its name.
pub(in crate::cli) fn files(connected: &ConnectOutput, style: Style) -> String {
    let files = connected.files.iter().map(|file| {
        let title = format!("{}: {}", inline(&file.name), inline(&file.about));
        comment(&title, style) + &printable(&file.text)
    });
    files.collect::<Vec<_>>().join("\n")
}

fn comment(text: &str, style: Style) -> String {
    let sign = "# ";
    let lines = style.in_columns(style.columns().saturating_sub(sign.len()));
    let lines = lines.prose(text);
    let lines = lines.lines();
    let painted = lines.map(|line| style.paint(TextTone::Label, &format!("{sign}{line}")) + "\n");
    painted.collect()
}

/// What the user must know first, one paragraph each.
pub(in crate::cli) fn lead(lead: &[String], style: Style) -> String {
    let lead = lead.iter().map(|text| style.prose(&inline(text)) + "\n");
    lead.collect()
}

/// Common mistakes, one paragraph each.
pub(in crate::cli) fn notes(connected: &ConnectOutput, style: Style) -> String {
    let notes = connected
        .notes
        .iter()
        .map(|note| style.point(&inline(note)));
    let title = format!("{} at {}", connected.title, inline(&connected.base_url));
    let notes: String = notes.collect();
    format!("\n{}{notes}", style.prose(&title))
}
