//! The names that a shell suggests, if they are known quickly.

use std::time::Duration;

use tokio::time::timeout;

use super::connection::connect;
use super::output::{CommandFailure, Exit};
use super::runtime::block_on;
use crate::config;
use crate::control::protocol::calls;
use crate::paths::Environment;

/// A person does not wait longer after the Tab key.
const PATIENCE: Duration = Duration::from_secs(1);

/// Of the providers: the running daemon's, else the configuration's.
pub(super) fn providers() -> Vec<String> {
    let asked = in_time(async {
        let told = connect().await?.call(calls::Providers).await?;
        let names = told.providers.into_iter().map(|one| one.name);
        Ok(names.collect())
    });
    match asked {
        Ok(names) => names,
        Err(failure) if failure.exit == Exit::NotRunning => {
            let loaded = config::load(None, &Environment::from_process()).ok();
            let providers = loaded.map(|loaded| loaded.config.providers);
            let names = providers.into_iter().flatten();
            names.map(|(name, _)| name.to_string()).collect()
        }
        Err(_) => Vec::new(),
    }
}

/// Of the client keys, where a daemon runs: starting one for a Tab would cost more than the name.
pub(super) fn clients() -> Vec<String> {
    let asked = in_time(async {
        let told = connect().await?.call(calls::Clients).await?;
        let names = told.clients.into_iter().map(|one| one.name);
        Ok(names.collect())
    });
    asked.unwrap_or_default()
}

fn in_time(
    asked: impl Future<Output = Result<Vec<String>, CommandFailure>>,
) -> Result<Vec<String>, CommandFailure> {
    block_on(async {
        let answer = timeout(PATIENCE, asked).await;
        answer.unwrap_or_else(|_| Err(CommandFailure::new("hermes-proxyd does not answer.")))
    })
}
