//! The record of a request: collected while it is in flight, and entered into the ledger once, after its last byte or
//! its failure.

mod ended;
mod request_id;
mod underway;

pub(super) use self::ended::{
    CountedRefusal, ProviderSignal, RequestEnd, RequestRecord, RequestTarget,
};
pub(super) use self::request_id::RequestId;
pub(super) use self::underway::Underway;

#[cfg(test)]
mod tests;
