//! What every service manager can do.

use std::fmt;

use async_trait::async_trait;

use super::{InstallPlan, Installed, ServiceError, ServiceState, ServiceStep};

/// One manager.
#[async_trait]
pub(super) trait Steering: fmt::Debug + Send + Sync {
    async fn state(&self) -> Result<ServiceState, ServiceError>;
    async fn install(&self, plan: &InstallPlan) -> Result<Installed, ServiceError>;
    async fn uninstall(&self) -> Result<Vec<ServiceStep>, ServiceError>;
    async fn start(&self) -> Result<(), ServiceError>;
    async fn stop(&self) -> Result<(), ServiceError>;
    async fn restart(&self) -> Result<(), ServiceError>;
    /// The end of the log.
    async fn last_words(&self) -> Vec<String>;
    /// The command that shows the log.
    fn log_command(&self) -> String;
}
