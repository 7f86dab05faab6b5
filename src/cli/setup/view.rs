//! What `hermesctl setup` tells.

use serde::Serialize;

use crate::cli::probe;
use crate::cli::service::StepLine;
use crate::control::protocol::{Finding, IssuedKey};

/// The outcome in JSON.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct SetUp {
    pub(in crate::cli) steps: Vec<StepLine>,
    /// Whether hermes-proxyd runs and a test request was answered.
    pub(in crate::cli) ready: bool,
    /// What an app is configured with; `None` while hermes-proxyd does not run.
    pub(in crate::cli) base_url: Option<String>,
    /// The client key that was made for the first app, where the provider needs one: it can't be shown again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) key: Option<IssuedKey>,
    /// Whether apps need a client key.
    #[serde(skip)]
    pub(in crate::cli) needs_key: bool,
    /// What is still wrong.
    pub(in crate::cli) findings: Vec<Finding>,
    pub(in crate::cli) test: Option<probe::ProbeReport>,
}

/// A provider that may be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Offer {
    pub(in crate::cli) name: String,
    pub(in crate::cli) display_name: String,
    pub(in crate::cli) logged_in: bool,
    pub(super) default: bool,
}
