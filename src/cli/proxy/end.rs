//! `hermesctl proxy stop` and `restart`: the daemon's end, with or without a service manager.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::render;
use super::view::StopOutput;
use crate::cli::config::{ConfigLocation, next_start};
use crate::cli::connection::connect;
use crate::cli::output::{CommandFailure, CommandOutput, Exit};
use crate::control::client::ControlClient;
use crate::control::protocol::calls;
use crate::paths::Environment;
use crate::service::UserService;

/// The requests under way have as long as they are given by `timeouts.drain`, which is 30 s unless
/// configured.
const DRAIN: Duration = Duration::from_mins(10);
/// A daemon that starts again answers within this time after the old one's end.
const ANSWERS: Duration = Duration::from_secs(20);
/// The service manager knows the daemon's owner in a moment.
const GLANCE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(100);

/// Stops the daemon and waits for its end.
pub(in crate::cli) async fn stop(output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    let mut client = connect().await?;
    let pid = client.daemon().pid;
    let in_flight = match service_of(pid).await {
        // Its manager might start it again.
        Some(service) => {
            service.stop().await?;
            0
        }
        None => client.call(calls::Stop).await?.in_flight,
    };
    gone(client).await?;
    let ended = StopOutput {
        pid,
        in_flight,
        running: None,
    };
    output.answer(&ended, render::ended)?;
    Ok(Exit::Ok)
}

/// Stops the daemon and waits until one answers that started later.
pub(in crate::cli) async fn restart(output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
    let mut client = connect().await?;
    let pid = client.daemon().pid;
    let in_flight = match service_of(pid).await {
        Some(service) => {
            // A service that can't start again is left as it is.
            next_start(&ConfigLocation::find(None).await?).await?;
            service.restart().await?;
            0
        }
        None => client.call(calls::Restart).await?.in_flight,
    };
    gone(client).await?;
    let ended = StopOutput {
        pid,
        in_flight,
        running: Some(answering().await?),
    };
    output.answer(&ended, render::ended)?;
    Ok(Exit::Ok)
}

/// Waits until the daemon at the other end has ended; it answers as long as requests are under way.
async fn gone(mut client: ControlClient) -> Result<(), CommandFailure> {
    let pid = client.daemon().pid;
    let deadline = Instant::now() + DRAIN;
    while client.call(calls::Status).await.is_ok() {
        if Instant::now() > deadline {
            return Err(still_there(pid));
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// The process of the daemon that has started again, once it answers.
async fn answering() -> Result<u32, CommandFailure> {
    let deadline = Instant::now() + ANSWERS;
    loop {
        if let Ok(mut client) = connect().await
            && let Ok(status) = client.call(calls::Status).await
        {
            return Ok(status.daemon.pid);
        }
        if Instant::now() > deadline {
            let message = "hermes-proxyd stopped and did not restart.";
            return Err(CommandFailure::new(message)
                .with_code(Exit::NotRunning, "not_started")
                .with_hint("`hermesctl doctor` shows why."));
        }
        sleep(PAUSE).await;
    }
}

/// The service that runs this process.
async fn service_of(pid: u32) -> Option<UserService> {
    let service = UserService::here(&Environment::from_process()).ok()?;
    let state = timeout(GLANCE, service.state()).await.ok()?.ok()?;
    (state.running?.pid == pid).then_some(service)
}

fn still_there(pid: u32) -> CommandFailure {
    CommandFailure::new(format!("hermes-proxyd (process {pid}) is still running."))
        .with_code(Exit::Failed, "still_running")
        .with_hint("`hermesctl proxy status` shows the requests that it is waiting for.")
}
