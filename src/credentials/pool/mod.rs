//! A provider's logins as requests see them: the choice of a login for a request, and what its answer says
//! about that login.
//!
//! Each login has its own keeper, and the pool has one strategy. With one login, a lease costs one atomic load and a
//! look at the clock. `members` knows the logins of the pool and their marks.

mod called;
mod cooldown;
mod entry;
mod kin;
mod login_pool;
mod member;
mod members;
mod strategy;

pub use self::called::{Called, NotCalled};
pub use self::entry::PoolEntry;
pub use self::login_pool::LoginPool;
pub use self::strategy::Strategy;
pub(super) use self::strategy::Usable;
