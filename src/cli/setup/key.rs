//! The client key of the first app, for a provider that requires one.

use crate::cli::connection::{DaemonConnection, finish};
use crate::cli::output::CommandFailure;
use crate::config;
use crate::control::protocol::calls;
use crate::control::protocol::{ClientAdd, NewKey};
use crate::paths::Environment;

/// The name of the key that setup makes.
const FIRST: &str = "first-app";

/// Whether the provider needs client keys; `None` is the default one.
pub(super) fn is_needed(environment: &Environment, provider: Option<&str>) -> bool {
    let config = config::load(None, environment)
        .ok()
        .map(|loaded| loaded.config);
    let name = provider.or(config
        .as_ref()
        .map(|config| config.default_provider.as_str()));
    let Some(name) = name else {
        return false;
    };
    let mut configured = config.iter().flat_map(|config| &config.providers);
    let configured = configured.find(|(known, _)| known.as_str() == name);
    configured.map_or_else(
        || config::login_needs_key(name),
        |(_, settings)| settings.kind.needs_client_key(),
    )
}

/// Makes the first client key. Where there is one already, none is made: it can't be shown again.
pub(super) async fn first() -> Result<Option<NewKey>, CommandFailure> {
    let connection = DaemonConnection::open(None).await?;
    let made = finish(connection, async |daemon| {
        if !daemon.call(calls::Clients).await?.clients.is_empty() {
            return Ok(None);
        }
        let add = ClientAdd {
            name: FIRST.to_owned(),
            ..ClientAdd::default()
        };
        daemon.call(calls::ClientAdd(add)).await.map(Some)
    });
    made.await
}
