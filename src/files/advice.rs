//! Paths in a shell command, and the commands that give a file back to its user, in one wording.

use std::path::Path;

/// A path as a shell takes it, on one line.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%~".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Closes a file to all but its owner.
pub fn chmod_private(file: &Path) -> String {
    format!("chmod 600 {}", quoted(file))
}

/// Makes the user `uid` the owner of a file, a folder or a link, but not of a link's target.
pub fn chown_to(uid: u32, path: &Path) -> String {
    format!("sudo chown -h {uid} {}", quoted(path))
}
