//! The codes of the faults that `proxy status` shows for a login.

/// The code of a keeper that failed by a panic.
pub(super) const DEFECT: &str = "keeper_failed";
/// The code of a store that can't be read.
pub(super) const UNREADABLE: &str = "store_unreadable";
/// The code of a login whose refresh token is spent, while its access token serves.
pub(super) const STALE: &str = "login_stale";
/// The code of a store in which a renewed login could not be saved, so that none is asked for.
pub(super) const UNSAVABLE: &str = "store_unusable";
