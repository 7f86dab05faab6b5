//! `hermesctl bugreport`: one readable file for a helper, without secrets.

mod collect;
mod logs;
pub(super) mod render;
mod shape;
mod store;
pub(in crate::cli) mod view;

pub(super) use self::collect::without_secrets;
use self::view::ReportSection;
pub(super) use self::view::{Contents, Planned};

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::args::BugReport;
use super::output::{CommandFailure, CommandOutput, Exit};
use super::{platform, screen, terminal, text};

/// Says what the report would contain, asks, and writes it.
pub(super) async fn bugreport(
    flags: &BugReport,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let sections = collect::sections().await;
    let contents = sections.iter().map(|section| Contents {
        title: section.title,
        about: section.about,
        lines: section.text.lines().count(),
    });
    let planned = Planned {
        file: flags.output.clone().unwrap_or_else(free_name),
        sections: contents.collect(),
    };
    if !output.is_json() {
        let said = render::planned(&planned, screen::error_style());
        io::stderr().lock().write_all(said.as_bytes())?;
    }
    if !flags.yes {
        let question = "Write it? Read it before you send it to anyone.";
        match terminal::confirmed(question).filter(|_| !output.is_json()) {
            Some(true) => {}
            Some(false) => return Err(CommandFailure::new("Nothing was written.")),
            None => {
                return Err(CommandFailure::new(
                    "Nothing was written: no terminal to ask for confirmation.",
                )
                .with_code(Exit::Failed, "confirmation_needed")
                .with_hint("To write it without confirmation, run `hermesctl bugreport --yes`."));
            }
        }
    }
    write(&planned.file, &text(&sections))?;
    output.answer(&planned, render::written)?;
    Ok(Exit::Ok)
}

fn text(sections: &[ReportSection]) -> String {
    let mut text = String::from("hermes-proxyd bug report\n");
    for section in sections {
        text.extend(["\n== ", section.title, " ==\n", &section.text]);
    }
    text::printable(&text)
}

/// A name in this folder that no file has.
fn free_name() -> PathBuf {
    let later = (2..1000).map(|number| format!("hermes-proxyd-report-{number}.txt"));
    let mut names = std::iter::once("hermes-proxyd-report.txt".to_owned()).chain(later);
    let free = names.find(|name| !Path::new(name).exists());
    free.map_or_else(|| PathBuf::from("hermes-proxyd-report.txt"), PathBuf::from)
}

fn write(file: &Path, text: &str) -> Result<(), CommandFailure> {
    let written = platform::create_private(file).and_then(|mut new| new.write_all(text.as_bytes()));
    written.map_err(|error| {
        CommandFailure::new(format!("{} can't be written: {error}.", file.display()))
            .with_hint("Use --output to name a file that does not exist yet.")
    })
}
