//! Why a service manager did not do what was asked.

use std::path::PathBuf;

use crate::tools::ToolError;

/// Why the manager did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is no service.
    #[error("no service manager for users is available: {reason}")]
    NoManager {
        /// The programs that were tried.
        reason: String,
    },
    /// There is a manager, but this user can't reach it now.
    #[error("this user's service manager can't be reached: {said}")]
    Unreachable {
        /// What its program said.
        said: String,
        /// The command that starts it.
        hint: String,
    },
    /// There is no home folder to install into.
    #[error("there is no home folder")]
    NoHome,
    /// The manager can't do it.
    #[error("{what}")]
    Unsupported {
        /// What, as a sentence.
        what: &'static str,
    },
    /// Nothing is installed.
    #[error("the service is not installed")]
    NotInstalled,
    /// Its program can't be run, or took too long.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Its program refused.
    #[error("`{line}` failed: {said}")]
    Refused {
        /// What was run.
        line: String,
        /// What it said.
        said: String,
    },
    /// A file can't be read, written or removed.
    #[error("{} can't be used: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ServiceError {
    /// How to fix it, where something does.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoManager { .. } => {
                Some("Run it in the foreground instead: `hermesctl proxy start`.".to_owned())
            }
            Self::Unreachable { hint, .. } => Some(hint.clone()),
            Self::NoHome => Some("Set HOME.".to_owned()),
            Self::NotInstalled => Some("Install it with `hermesctl service install`.".to_owned()),
            Self::Tool(error @ ToolError::TooLong { .. }) => Some(format!(
                "{} `hermesctl service status` shows how it ended.",
                error.hint()
            )),
            Self::Tool(error) => Some(error.hint()),
            Self::Unsupported { .. } | Self::Refused { .. } | Self::File { .. } => None,
        }
    }
}
