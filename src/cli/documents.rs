//! Files that hermesctl generates: printed one by one, or written into folders.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output::{CommandFailure, CommandOutput, Exit};
use super::text::{Style, inline};
use crate::manual::GeneratedFile;

#[derive(Serialize)]
struct PrintedFile {
    name: String,
    text: String,
}

/// The files that were made.
#[derive(Serialize)]
pub(super) struct WrittenFiles {
    pub(super) files: Vec<PathBuf>,
}

/// Prints one.
pub(super) fn print(
    document: GeneratedFile,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let printed = PrintedFile {
        name: document.name,
        text: document.text,
    };
    output.answer(&printed, |printed, _| printed.text.clone())?;
    Ok(Exit::Ok)
}

/// Writes each into its folder, which is made where it lacks, and names the files.
pub(super) fn write(
    documents: impl Iterator<Item = (PathBuf, GeneratedFile)>,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let mut files = Vec::new();
    for (folder, document) in documents {
        let file = folder.join(&document.name);
        std::fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
        std::fs::write(&file, &document.text).map_err(|error| unwritable(&file, &error))?;
        files.push(file);
    }
    output.answer(&WrittenFiles { files }, made)?;
    Ok(Exit::Ok)
}

/// Files that were made, a line each.
pub(super) fn made(written: &WrittenFiles, _: Style) -> String {
    let lines = written.files.iter();
    let lines = lines.map(|file| inline(&file.display().to_string()) + "\n");
    lines.collect()
}

fn unwritable(path: &Path, error: &std::io::Error) -> CommandFailure {
    CommandFailure::new(format!("{} can't be written: {error}.", path.display()))
        .with_hint("Name another folder with --dir.")
}
