//! What is told about connecting an app.

use super::{Style, Tone, inline, printable};
use crate::cli::connect::{Connected, Known};

/// The apps, a line each.
pub(in crate::cli) fn list(known: &Known, style: Style) -> String {
    let apps = &known.apps;
    let names = apps.iter().map(|app| app.app.len());
    let titles = apps.iter().map(|app| app.title.len());
    let width = names.max().unwrap_or_default() + 2;
    let title_width = titles.max().unwrap_or_default() + 2;
    let lines = apps.iter().map(|app| {
        let name = style.paint(Tone::Heading, &format!("{:width$}", app.app));
        format!("{name}{:title_width$}{}\n", app.title, app.what)
    });
    lines.collect::<String>() + "\nThen: hermesctl connect APP\n"
}

/// The files, each below a comment that says which it is.
pub(in crate::cli) fn files(connected: &Connected, style: Style) -> String {
    let files = connected.files.iter().map(|file| {
        let title = format!("# {}: {}", inline(&file.name), inline(&file.about));
        let title = style.paint(Tone::Label, &title);
        format!("{title}\n{}", printable(&file.text))
    });
    files.collect::<Vec<_>>().join("\n")
}

/// What goes wrong easily, a paragraph each.
pub(in crate::cli) fn notes(connected: &Connected) -> String {
    let notes = connected
        .notes
        .iter()
        .map(|note| format!("- {}\n", inline(note)));
    let notes: String = notes.collect();
    format!(
        "\n{} at {}\n{notes}",
        connected.title,
        inline(&connected.base_url)
    )
}
