//! Who used how much: requests, failures, bytes and tokens by app, provider, login, model, path and day.
//!
//! ```text
//! a request ─► Meter (model, login; `scan` finds the answer's tokens as it passes, `decode` in a compressed one)
//!     its end ─► UsageCounter: rows in memory, bounded, whatever names come
//!                  └─► `keeper`, a thread ─► `store`, SQLite ─► Report
//! ```
//!
//! Nothing of prompts or answers is kept. A disk that is full, slow or broken costs counts and never a request.

mod counter;
mod decode;
mod estimate;
mod keeper;
mod key;
mod label;
mod meter;
mod report;
mod rows;
mod scan;
mod store;
mod tokens;
mod totals;

pub use self::counter::{EndedRequest, UsageCounter};
pub use self::estimate::EstimatedBody;
pub use self::keeper::{FILE, Health, UsageSettings, UsageWriter, look};
pub use self::label::Label;
pub use self::meter::{NO_KEY, UsageMeter, clean};
pub use self::report::{CountedSince, CountsReport, CountsSums, GroupBy, Query};
pub use self::tokens::TokenCounts;
pub use self::totals::Total;
