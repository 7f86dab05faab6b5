//! Texts about the configuration's file.

use std::path::Path;

use super::place::ConfigLocation;
use super::view::{Valid, WrittenConfig};
use crate::cli::text::{Style, inline};

/// The file that counts, alone, so that a script can use it.
pub(in crate::cli) fn place(place: &ConfigLocation, _: Style) -> String {
    name(&place.file) + "\n"
}

/// That there is no mistake.
pub(in crate::cli) fn valid(valid: &Valid, style: Style) -> String {
    style.prose(&valid.file.as_deref().map_or_else(
        || "There is no file; the defaults are valid.".to_owned(),
        |file| format!("{} is valid.", name(file)),
    ))
}

/// That there is a file now.
pub(in crate::cli) fn written(written: &WrittenConfig, style: Style) -> String {
    let backup = written.backup.as_deref().map(name);
    let backup =
        backup.map(|backup| style.prose(&format!("The previous file is kept as {backup}.")));
    let text = format!("{} was written.", name(&written.file));
    style.prose(&text) + &backup.unwrap_or_default()
}

fn name(file: &Path) -> String {
    inline(&file.display().to_string())
}
