//! `docs/configuration.md`: every key of the file, for people who read it on the web; pure.

use crate::config::{ReferenceEntry, notation, tables};

const HEAD: &str = "\
# Configuration

[Back to the README](../README.md)

`hermes-proxyd` needs no configuration. A key that the file omits has its default.

- `hermesctl config path` says which file is read, usually `~/.config/hermes-proxyd/config.toml`.
- `hermesctl config init` writes a starter file, `hermesctl config init --full` one with every key.
- `hermesctl config check` reports every mistake with its line, and a required client key that is
  missing.
- `hermesctl config show --origin` shows all settings in effect and where each comes from. It shows
  the whole file, including secrets in a hook's address.
- `hermesctl proxy reload` applies a change; a changed listener needs a restart.
- `hermesctl config schema` prints a JSON schema for editors. `hermesctl config init` points them to
  it if a package has installed it.

This page is generated from the program's list of keys and the comments in `config.example.toml`.
";

/// The page.
pub fn configuration() -> String {
    let mut text = HEAD.to_owned();
    text.extend(["\n", &notation(), "\n"]);
    for table in tables() {
        if table.pattern.is_empty() {
            text += "\n## Top level\n";
        } else {
            let heading = heading(&table.pattern);
            text.extend(["\n## `", &heading, "`\n\n", &table.text, "\n"]);
        }
        keys(&mut text, &table.keys);
    }
    text
}

fn keys(text: &mut String, entries: &[ReferenceEntry]) {
    for entry in entries {
        let default = entry.default.as_ref();
        let default = default.map_or_else(
            || "No default".to_owned(),
            |value| format!("Default: `{value}`"),
        );
        let takes = entry.key.takes.describe();
        text.extend(["\n### `", entry.name(), "`\n\n"]);
        text.extend([&entry.text, "\n\n", &default, "; ", &takes, ".\n"]);
    }
}

/// The line that opens the table.
pub(super) fn heading(pattern: &str) -> String {
    pattern.strip_suffix("[]").map_or_else(
        || format!("[{pattern}]"),
        |pattern| format!("[[{pattern}]]"),
    )
}
