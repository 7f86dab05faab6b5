//! The messages of the control protocol: plain data, with no behaviour beyond its JSON form. Each noun has a file;
//! [`calls`] lists the calls and their replies.

pub mod calls;
mod client;
mod daemon;
mod error;
mod finding;
mod greeting;
mod key;
mod login;
pub(super) mod provider;
mod status;
pub(super) mod time;

pub use self::calls::{Call, CallOutcome, CallTimeout, ControlRequest, Operation, Reply};
pub use self::client::*;
pub use self::daemon::*;
pub use self::error::*;
pub use self::finding::*;
pub use self::greeting::*;
pub use self::key::*;
pub use self::login::*;
pub use self::provider::*;
pub use self::status::*;
pub use self::time::*;
pub use super::chat_apis::PathEntry;
