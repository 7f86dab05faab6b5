//! Why there is no login, or none that can be used.

/// Why there is no credential without a login.
pub const NO_LOGIN: &str = "there is no login";
/// Why there is none if the user removed it with Hermes Agent; it begins with the former.
pub(super) const SUPPRESSED: &str = "there is no login: it was removed with `hermes auth remove`, so only a new login brings it back";

/// Why requests can't be served until the user logs in.
#[derive(Debug, Clone, Copy)]
pub(super) enum NoLogin<'r> {
    /// No file holds a login.
    Gone(&'r str),
    /// There is one that can't be used.
    Unusable(&'r str),
    /// There is a login, but the settings don't fit its tokens.
    Elsewhere(&'r str),
    /// There is an older version of one, whose refresh token is spent.
    Stale(&'r str),
}
