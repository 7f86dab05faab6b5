//! hermesctl's own helper without a daemon: the control protocol on standard input and output. No
//! port, no socket, and no refresh except on request.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clients;
use super::config_source::{ConfigSource, store_files};
use super::control::ControlHandler;
use super::logins::LoginSessions;
use super::providers::ServedProviders;
use super::start_error::StartError;
use super::usage::Counting;
use super::view::View;
use crate::clients::Registry;
use crate::clock::{Clock, SystemClock};
use crate::config::Loaded;
use crate::control::protocol::CommandLine;
use crate::control::server;
use crate::credentials::Initiative;

/// Serves until standard input ends. What was begun is finished first.
pub(super) async fn serve(origin: ConfigSource, loaded: Loaded) -> Result<(), StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = loaded.config;
    let files = store_files(&origin.environment, &config)?;
    let clients = Registry::open(clients::file(&files), clock.clone())?;
    let mut fleet = ServedProviders::new(files, clock.clone(), Initiative::Waits, None);
    fleet.start(&config, None).await?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    // There is no reload here: the sender's other end is gone.
    let (reloads, _) = tokio::sync::mpsc::channel(1);
    let view = View::new(&fleet, &config, loaded.file, loaded.digest);
    let view = Arc::new(ArcSwap::from_pointee(view));
    let logins = LoginSessions::new(clock.clone(), tasks.clone(), &stop, view.clone());
    let usage = Counting::looks(fleet.files(), config.usage);
    clients::begin_the_day(&clients).await;
    let answers = Arc::new(ControlHandler {
        command_line: CommandLine::default(),
        origin: origin.clone(),
        started_at: clock.now(),
        started: tokio::time::Instant::now(),
        clock,
        ports: Vec::new(),
        view,
        ledger: Arc::default(),
        log: None,
        own_mark: None,
        endings: tokio::sync::mpsc::channel(1).0,
        reloads,
        logins: Arc::new(logins),
        usage,
        files: fleet.files().clone(),
        clients,
    });
    let stream = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
    server::serve_one(stream, answers, stop.clone()).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    fleet.stop().await;
    Ok(())
}
