//! What the port asks of the daemon, which knows more than it does: the judgement of its state, and the page of metrics.

use std::fmt;

use crate::clients::Client;
use crate::metrics::MetricsFormat;

/// The judge of the daemon's state. It knows more than the port does.
pub trait Judge: fmt::Debug + Send + Sync {
    /// For apps whose `/v1` means this provider, and of the daemon as a whole or of this provider `alone`. Answers from
    /// memory.
    fn judge(&self, provider: &str, alone: bool) -> Judgement;
}

/// How all is. The port is open to more people than the control socket, so it tells no more of others
/// than the codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// `good`, `attention` or `bad`.
    pub level: &'static str,
    /// The code of the worst that is wrong, `all_well` without anything.
    pub code: String,
    /// What keeps the provider's requests from being served, or is wrong with it and the worst.
    pub trouble: Option<ProviderTrouble>,
    /// Whether the provider's requests can be served.
    pub ready: bool,
}

/// Something that is wrong with a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderTrouble {
    /// Its code.
    pub code: String,
    /// What a person reads; no full stop.
    pub text: String,
    /// What fixes it or shows more.
    pub command: Option<String>,
}

impl Judgement {
    /// Before there is a judge, or for a provider that is gone.
    pub(super) fn unknown() -> Self {
        Self {
            level: "bad",
            code: "no_answer".to_owned(),
            trouble: None,
            ready: false,
        }
    }
}

/// Who writes the page of metrics. It knows more than the port does.
pub trait Exporter: fmt::Debug + Send + Sync {
    /// The page in this format, with what this app may see; all of it without one. Answers from memory.
    fn export(&self, format: MetricsFormat, client: Option<&Client>) -> String;
}
