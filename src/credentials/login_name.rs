//! What logins are called.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// The name of the provider's own login if its row has no label, or it has no row.
pub const MAIN: &str = "login";

/// The name of a row's login, as its store has it now.
pub(super) type RowNaming = Arc<ArcSwap<LoginName>>;

/// The names of a login.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LoginName {
    /// For people.
    pub(super) label: String,
    /// On the command line: the label, or the row's id if others have that label too.
    pub(super) called: String,
}
