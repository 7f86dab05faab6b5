//! Why a renewal came to nothing for now.

use std::sync::Arc;
use std::time::Duration;

use super::super::store::StoreError;

/// Why a renewal came to nothing for now.
#[derive(Debug, thiserror::Error)]
pub(in crate::credentials) enum RenewalFailure {
    #[error("the credential store is gone; the renewed login is kept in memory only")]
    Gone,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Unreadable(Arc<StoreError>),
    #[error("{what}")]
    Endpoint {
        what: String,
        retry_after: Option<Duration>,
    },
    #[error("{what}")]
    AnswerLost {
        what: String,
        retry_after: Option<Duration>,
    },
    #[error("another login is using the same refresh token right now")]
    Claimed,
    #[error("a renewal reached an impossible state (a defect in hermes-proxyd)")]
    Defect,
}

pub(super) fn refused_as_granted() -> RenewalFailure {
    RenewalFailure::Endpoint {
        what: "the provider refuses the tokens that it grants".to_owned(),
        retry_after: None,
    }
}
