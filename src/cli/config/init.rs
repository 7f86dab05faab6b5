//! `hermesctl config init`: a file to start from.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::super::args::InitFlags;
use super::super::output::{CommandFailure, CommandOutput, Exit};
use super::super::programs;
use super::place::ConfigLocation;
use super::render;
use super::view::WrittenConfig;
use crate::config;
use crate::files::{self, FileAccess};

const STARTER: &str = include_str!("starter.toml");

/// Where packages put the schema, seen from the folder above that of our program.
const SCHEMA: &str = "share/hermes-proxyd/hermes-proxyd.schema.json";

/// Writes the file.
pub(super) async fn init(
    flags: InitFlags,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let file = match flags.file {
        Some(file) => file,
        None => ConfigLocation::find(None).await?.file,
    };
    let text = if flags.full {
        with_schema(config::EXAMPLE)
    } else {
        begun()
    };
    let backup = write(&file, &text, flags.force)?;
    output.answer(&WrittenConfig { file, backup }, render::written)?;
    Ok(Exit::Ok)
}

fn begun() -> String {
    with_schema(STARTER)
}

fn with_schema(text: &str) -> String {
    schema().map_or_else(String::new, |line| line + "\n") + text
}

/// A line that leads editors to the schema, where that is installed.
fn schema() -> Option<String> {
    // Beside the link to our program, which an update keeps, or otherwise beside the program.
    let ctl = programs::ctl()?;
    let installed = |program: &Path| {
        let schema = program.parent()?.parent()?.join(SCHEMA);
        schema.is_file().then_some(schema)
    };
    let schema = installed(&ctl).or_else(|| installed(&ctl.canonicalize().ok()?))?;
    let url = url::Url::from_file_path(schema).ok()?;
    Some(format!("#:schema {url}\n"))
}

/// Writes the file for its user alone. An existing one stays, or is kept as a backup.
fn write(file: &Path, text: &str, force: bool) -> Result<Option<PathBuf>, CommandFailure> {
    let failed = |error: io::Error| {
        let name = file.display();
        if error.kind() == ErrorKind::AlreadyExists {
            return CommandFailure::new(format!("{name} already exists and was not changed."))
                .with_hint("`hermesctl config init --force` replaces it and keeps a backup.");
        }
        CommandFailure::new(format!("{name} can't be written: {error}."))
            .with_hint("Name another file: hermesctl config init FILE")
    };
    let backup = if force {
        put_aside(file).map_err(failed)?
    } else {
        None
    };
    create(file, text).map_err(failed)?;
    Ok(backup)
}

/// Writes the file to begin with, if there is none, for this provider if it is named; whether it had to be written.
pub(in crate::cli) fn begin(file: &Path, provider: Option<&str>) -> io::Result<bool> {
    let table = provider.and_then(|name| Some((name, config::login_table(name)?)));
    let text = match table {
        Some((name, table)) if name != config::DEFAULT_PROVIDER => {
            let default =
                format!("\n# The provider that is served at /v1.\ndefault_provider = {name:?}\n\n");
            format!("{}\n{table}", begun().replacen("\n\n", &default, 1))
        }
        Some(_) | None => begun(),
    };
    match create(file, &text) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The text after a file's end.
pub(in crate::cli) struct Appended {
    file: fs::File,
    /// How long it was.
    before: u64,
}

impl Appended {
    /// Takes it away again.
    pub(in crate::cli) fn undo(self) {
        self.file.set_len(self.before).ok();
    }
}

/// Writes a table at the file's end.
pub(in crate::cli) fn append(file: &Path, table: &str) -> io::Result<Appended> {
    let text = fs::read_to_string(file)?;
    let gap = if text.is_empty() || text.ends_with('\n') {
        "\n"
    } else {
        "\n\n"
    };
    let mut opened = FileAccess::of_itself(file)?.open_to_append()?;
    let before = opened.metadata()?.len();
    opened.write_all(format!("{gap}{table}").as_bytes())?;
    files::sync(&opened)?;
    Ok(Appended {
        file: opened,
        before,
    })
}

fn create(file: &Path, text: &str) -> io::Result<()> {
    let mut new = FileAccess::of_itself(file)?.create()?;
    new.write_all(text.as_bytes())?;
    files::sync(&new)
}

/// Gives an existing file an unused name.
fn put_aside(file: &Path) -> io::Result<Option<PathBuf>> {
    if fs::symlink_metadata(file).is_err() {
        return Ok(None);
    }
    let place = FileAccess::of_itself(file)?;
    let names = std::iter::once(String::from(".bak")).chain((1..).map(|n| format!(".bak{n}")));
    for end in names.take(1000) {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(&end);
        let backup = file.with_file_name(&name);
        if fs::symlink_metadata(&backup).is_err() {
            place.act(|path| fs::rename(path, path.with_file_name(&name)))?;
            return Ok(Some(backup));
        }
    }
    Err(io::Error::other("it has too many backups already"))
}
