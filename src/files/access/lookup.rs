//! How a path is looked up.

/// What becomes of folders that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// They are an error, or the file's own operation fails.
    Stay,
    /// They are made, private.
    AreMade,
}

/// What becomes of a link in the file's own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SymlinkState {
    /// The place is where it leads.
    IsFollowed,
    /// The place is the link's.
    Stays,
}
