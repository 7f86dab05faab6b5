//! News that the user should hear at once.

use chrono::{DateTime, Utc};

use crate::provider::Remedy;

/// The receiver of notices.
pub trait Audience: std::fmt::Debug + Send + Sync {
    /// Takes a notice. Called by the task that owns a login, so it must not wait.
    fn hear(&self, notice: LoginNotice);
}

/// Something about a login that the user should hear of. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginNotice {
    /// When.
    pub at: DateTime<Utc>,
    /// Whose login: the name in paths and on the command line.
    pub provider: String,
    /// The provider's name for people.
    pub display_name: String,
    /// The command that logs in, if one does.
    pub login_command: Option<String>,
    /// Whether other logins of the provider serve requests.
    pub others_serve: bool,
    /// What.
    pub what: NoticeKind,
}

/// What a notice is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeKind {
    /// Requests can't be served until the user logs in.
    Ended {
        /// Why, as a clause.
        reason: String,
        /// What gives a credential again.
        remedy: Remedy,
    },
    /// The grant ends soon, and no refresh prolongs it.
    EndsSoon {
        /// When.
        ends_at: DateTime<Utc>,
    },
    /// There is a login again.
    Restored,
    /// The file that holds the login can't be read.
    Unreadable {
        /// Why, with the file's name.
        reason: String,
        /// The command that helps.
        command: Option<String>,
        /// Whether the mirror holds the login whole and serves.
        mirrored: bool,
    },
    /// A renewed login could not be saved on this machine, so none is asked for.
    Hindered {
        /// Why, with the file's name.
        reason: String,
        /// The command that helps.
        command: Option<String>,
    },
    /// A renewed login could not be written and is in memory only.
    NotSaved {
        /// Why.
        reason: String,
    },
}
