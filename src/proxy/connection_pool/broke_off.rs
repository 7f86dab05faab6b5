//! The end of an answer that was cut off.

/// The answer's body was cut off; the reason is not used.
#[derive(Debug, thiserror::Error)]
#[error("the provider's answer broke off")]
pub(in crate::proxy) struct BrokeOff;
