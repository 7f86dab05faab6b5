//! What the daemon answers from, and a reload replaces.

use std::path::PathBuf;
use std::time::Duration;

use super::providers::{ProviderReport, ServedProviders};
use crate::config::{self, ProviderName};

/// What changes with a reload.
#[derive(Debug)]
pub(super) struct View {
    pub(super) reports: Vec<ProviderReport>,
    pub(super) default_provider: ProviderName,
    pub(super) config_file: Option<PathBuf>,
    pub(super) config_digest: Option<String>,
    /// What the file read last changes only at a restart.
    pub(super) needs_restart: Vec<String>,
    /// How long a list of models is good for.
    pub(super) models_cache: Duration,
}

impl View {
    /// At the start, with the configuration's file and digest.
    pub(super) fn new(
        fleet: &ServedProviders,
        config: &config::Config,
        config_file: Option<PathBuf>,
        config_digest: Option<String>,
    ) -> Self {
        Self {
            reports: fleet.reports(),
            default_provider: config.default_provider.clone(),
            config_file,
            config_digest,
            needs_restart: Vec::new(),
            models_cache: config.models_cache,
        }
    }
}
