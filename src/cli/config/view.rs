//! What `hermesctl config check` and `config init` tell.

use std::path::PathBuf;

use serde::Serialize;

/// A configuration without a mistake.
#[derive(Serialize)]
pub(in crate::cli) struct Valid {
    pub(in crate::cli) valid: bool,
    /// The file; `None` where there is none.
    pub(in crate::cli) file: Option<PathBuf>,
}

/// The file that was made.
#[derive(Serialize)]
pub(in crate::cli) struct WrittenConfig {
    pub(in crate::cli) file: PathBuf,
    /// The backup of the former file.
    pub(in crate::cli) backup: Option<PathBuf>,
}
