//! When two refresh tokens are the same.

use crate::secret::Secret;

/// Whether both are the same token, or both are missing.
pub(super) fn same(one: Option<&Secret>, other: Option<&Secret>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.same(other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
