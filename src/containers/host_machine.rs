//! Where engines and firewalls are looked for.

use std::path::PathBuf;

/// Where to look.
#[derive(Debug, Clone, Default)]
pub struct HostMachine {
    /// What stands for `/`.
    pub root: PathBuf,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// The user's runtime folder.
    pub runtime: Option<PathBuf>,
    /// The folders of `PATH`.
    pub programs: Vec<PathBuf>,
    /// Whether the user is root.
    pub is_root: bool,
}
