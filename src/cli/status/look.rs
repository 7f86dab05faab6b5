//! Asks the daemon, if one runs, and the service's manager.

use super::view::Home;
use crate::cli::connection::connect;
use crate::cli::output::{CommandFailure, Exit};
use crate::cli::service;
use crate::control::protocol::calls;
use crate::doctor;
use crate::paths::Environment;

/// Asks the daemon, if one runs, and the service's manager.
pub(super) async fn look() -> Result<Home, CommandFailure> {
    let (home, service) = tokio::join!(Box::pin(ask()), Box::pin(service::glance()));
    let home = home?.beside(service);
    let status = home.status.as_ref();
    let pending = status.and_then(|status| doctor::pending(status, &Environment::from_process()));
    Ok(home.with_pending(pending))
}

async fn ask() -> Result<Home, CommandFailure> {
    let mut client = match connect().await {
        Ok(client) => client,
        Err(failure) if failure.exit == Exit::NotRunning => return Ok(Home::of(None, None)),
        Err(failure) => return Err(failure),
    };
    let status = client.call(calls::Status).await?;
    // They are a detail: a daemon that can't tell them is shown without.
    let clients = client.call(calls::Clients).await.ok();
    Ok(Home::of(Some(status), clients.map(|told| told.clients)))
}
