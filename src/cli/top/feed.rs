//! Polls the daemon in a task of its own, so that keys work while the daemon does not answer.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::look::TopOutput;
use crate::cli::connection::connect;
use crate::cli::output::{CommandFailure, Exit};
use crate::control::client::{ClientError, ControlClient};
use crate::control::in_flight::InFlightQuery;
use crate::control::protocol::ErrorCode;
use crate::control::protocol::calls;

/// The delay before a failed poll is repeated: a restart takes less than a second.
const AGAIN: Duration = Duration::from_millis(500);

/// The result of a poll.
pub(super) type FeedUpdate = Result<Box<TopOutput>, CommandFailure>;

/// The task that polls, and its results.
#[derive(Debug)]
pub(super) struct Feed {
    news: mpsc::Receiver<FeedUpdate>,
    query: watch::Sender<InFlightQuery>,
}

impl Feed {
    /// Continues with a connection that has answered once.
    pub(super) fn start(client: ControlClient, query: InFlightQuery, interval: Duration) -> Self {
        let (sender, news) = mpsc::channel(1);
        let (query, asked) = watch::channel(query);
        // The task ends with hermesctl.
        TaskTracker::new().spawn(look_on(client, sender, asked, interval));
        Self { news, query }
    }

    /// The result of the next poll. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<FeedUpdate> {
        self.news.recv().await
    }

    /// Changes the query. Polls at once if it asks for more, or for something else.
    pub(super) fn ask(&self, query: InFlightQuery) {
        self.query.send_if_modified(|asked| {
            let is_more = query.newest != asked.newest || query.most > asked.most;
            *asked = query;
            is_more
        });
    }
}

async fn look_on(
    client: ControlClient,
    news: mpsc::Sender<FeedUpdate>,
    mut asked: watch::Receiver<InFlightQuery>,
    interval: Duration,
) {
    let mut client = Some(client);
    loop {
        let pause = if client.is_some() { interval } else { AGAIN };
        tokio::select! {
            () = sleep(pause) => {}
            changed = asked.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
        let query = *asked.borrow_and_update();
        let found = look_again(&mut client, query).await;
        if news.send(found.map(Box::new)).await.is_err() {
            return;
        }
    }
}

async fn look_again(
    client: &mut Option<ControlClient>,
    query: InFlightQuery,
) -> Result<TopOutput, CommandFailure> {
    let mut connection = match client.take() {
        Some(connection) => connection,
        None => connect().await?,
    };
    let now = look(&mut connection, query).await?;
    *client = Some(connection);
    Ok(now)
}

/// Polls once.
pub(super) async fn look(
    client: &mut ControlClient,
    query: InFlightQuery,
) -> Result<TopOutput, CommandFailure> {
    let flights = match client.call(calls::InFlight(query)).await {
        Err(ClientError::Daemon(error)) if error.code == ErrorCode::UnknownOperation => {
            return Err(too_old(&client.daemon().version));
        }
        flights => flights?,
    };
    let status = client.call(calls::Status).await?;
    Ok(TopOutput::of(status, flights))
}

fn too_old(version: &str) -> CommandFailure {
    let message = format!(
        "The running hermes-proxyd {version} is older than this hermesctl and does not list requests in flight."
    );
    CommandFailure::new(message)
        .with_code(Exit::Failed, "unknown_operation")
        .with_hint(
            "Restart it: `hermesctl proxy restart`. Until then `hermesctl proxy status --watch` shows its state.",
        )
}
