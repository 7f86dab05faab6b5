//! Files that hermesctl generates: printed one by one, or written into folders.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output::{Exit, Failure, Output};
use super::text::{Style, inline};
use crate::manual::GeneratedFile;

#[derive(Serialize)]
struct Printed {
    name: String,
    text: String,
}

/// The files that were made.
#[derive(Serialize)]
pub(super) struct Written {
    pub(super) files: Vec<PathBuf>,
}

/// Prints one.
pub(super) fn print(document: GeneratedFile, output: &mut Output) -> Result<Exit, Failure> {
    let printed = Printed {
        name: document.name,
        text: document.text,
    };
    output.answer(&printed, |printed, _| printed.text.clone())?;
    Ok(Exit::Ok)
}

/// Writes each into its folder, which is made where it lacks, and names the files.
pub(super) fn write(
    documents: impl Iterator<Item = (PathBuf, GeneratedFile)>,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let mut files = Vec::new();
    for (folder, document) in documents {
        let file = folder.join(&document.name);
        std::fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
        std::fs::write(&file, &document.text).map_err(|error| unwritable(&file, &error))?;
        files.push(file);
    }
    output.answer(&Written { files }, made)?;
    Ok(Exit::Ok)
}

/// Files that were made, a line each.
pub(super) fn made(written: &Written, _: Style) -> String {
    let lines = written.files.iter();
    let lines = lines.map(|file| inline(&file.display().to_string()) + "\n");
    lines.collect()
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{} can't be written: {error}.", path.display()))
        .with_hint("Name another folder with --dir.")
}
