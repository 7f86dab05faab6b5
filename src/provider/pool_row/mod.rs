//! The rows of the store's pool. Pure.

mod login;
mod row;

pub use self::login::own_login;
pub(super) use self::row::OWN;
pub use self::row::{Failing, FailureMark, FailureReason, PoolRow, mark, mark_well, unmark};
