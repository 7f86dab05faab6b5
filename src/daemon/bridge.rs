//! `hermes-proxyd bridge`: carries connections from TCP to a daemon's Unix socket.
//!
//! For containers: it mounts the socket's folder, and other containers of its network reach it by name.
//! Bytes pass unchanged; guard, keys and limits are the daemon's. Since the daemon sees them all as
//! one, each client host's share is kept here ([`super::bridge_slots`]).

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer_end::AnswerEnd;
use super::args::BridgeArgs;
use super::bridge_slots::{BridgeSlot, BridgedConnection, HeadEnd, Neighbours};
use super::descriptors;
use super::signals::{self, Signal};
use super::start_error::StartError;

/// Connections at once.
const CONNECTIONS: usize = 1024;
/// A daemon that restarts is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two attempts, and after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);
/// What a client may still send once it has its answer, in bytes.
const DISCARD: u64 = 256 * 1024 * 1024;
/// How many clients are refused at once; how long their request is awaited, and how long they have for the
/// answer.
const REFUSED: usize = 16;
const REFUSED_FOR: Duration = Duration::from_secs(1);
/// A full bridge is logged again only after it was not full for this long.
const QUIET: Duration = Duration::from_mins(1);
/// How long a stop lets connections finish.
const GRACE: Duration = Duration::from_secs(30);

/// A client that is being refused because all slots are taken.
struct RefusedClient {
    /// There are others.
    hurry: CancellationToken,
    telling: JoinHandle<()>,
}

/// Carries connections until a signal says stop.
pub(super) async fn run(bridge: BridgeArgs) -> Result<(), StartError> {
    let mut signals = signals::register().map_err(StartError::Signals)?;
    let listener = TcpListener::bind(bridge.listen)
        .await
        .map_err(|error| StartError::Bridge {
            address: bridge.listen,
            reason: error.to_string(),
        })?;
    let address = listener.local_addr().unwrap_or(bridge.listen);
    let to = bridge.to.display();
    tracing::info!(url = format!("http://{address}/v1"), %to, "bridging");
    let tracker = TaskTracker::new();
    let accepting = accept(listener, bridge.to.into(), tracker.clone());
    tokio::select! {
        () = accepting => {}
        () = until_stopped(&mut signals) => {}
    }
    tracker.close();
    tokio::select! {
        () = tracker.wait() => {}
        () = sleep(GRACE) => {}
        () = until_stopped(&mut signals) => {}
    }
    Ok(())
}

async fn until_stopped(signals: &mut signals::Signals) {
    while signals.next().await != Signal::Stop {}
}

async fn accept(listener: TcpListener, to: Arc<Path>, tracker: TaskTracker) {
    let neighbours = Neighbours::new(descriptors::places(CONNECTIONS));
    let mut refused = VecDeque::new();
    let mut full_at = None::<Instant>;
    loop {
        match listener.accept().await {
            Ok((client, from)) => {
                let Some(place) = neighbours.take(from.ip()) else {
                    let now = Instant::now();
                    let last = full_at.replace(now);
                    if last.is_none_or(|last| now.duration_since(last) >= QUIET) {
                        let from = from.ip();
                        tracing::warn!(%from, "no connection of the bridge is free for a neighbour");
                    }
                    refuse(client, &mut refused, &tracker).await;
                    continue;
                };
                let to = to.clone();
                tracker.spawn(async move {
                    tokio::select! {
                        () = serve(client, from, &to, &place) => {}
                        () = place.is_over() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(mut client: TcpStream, from: SocketAddr, to: &Path, place: &BridgeSlot) {
    client.set_nodelay(true).ok();
    match connect(to).await {
        Ok(daemon) => {
            if let Err(error) = carry(&mut client, daemon, place.line()).await {
                tracing::debug!(%from, %error, "a connection broke");
                // An answer that was cut must not look complete.
                client.set_zero_linger().ok();
            }
        }
        Err(error) => {
            let path = to.display();
            tracing::warn!(%path, %error, "the daemon's socket can't be reached");
            let said = timeout(PATIENCE, client.write_all(&unreachable(to, &error))).await;
            if matches!(said, Ok(Ok(()))) {
                client.shutdown().await.ok();
            }
        }
    }
}

async fn connect(to: &Path) -> io::Result<UnixStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(to).await {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) && Instant::now() < deadline =>
            {
                sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Both directions, until the daemon has sent everything or the client breaks. The end of the
/// client's requests is passed on to the daemon; what the client sends after the daemon has stopped
/// listening is discarded, so that the client gets the early answer.
async fn carry(
    client: &mut TcpStream,
    daemon: UnixStream,
    line: &BridgedConnection,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_daemon, mut to_daemon) = daemon.into_split();
    let answers = async {
        let mut piece = vec![0; 8 * 1024];
        let mut answer = AnswerEnd::default();
        loop {
            let read = from_daemon.read(&mut piece).await?;
            if read == 0 {
                return to_client.shutdown().await;
            }
            let piece = piece.get(..read).unwrap_or_default();
            line.daemon_spoke(&mut answer, piece);
            to_client.write_all(piece).await?;
        }
    };
    tokio::select! {
        result = answers => result?,
        result = requests(&mut from_client, &mut to_daemon, line) => return result,
    }
    let rest = async {
        let mut rest = from_client.take(DISCARD);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    timeout(PATIENCE, rest).await.ok();
    Ok(())
}

/// Continues while the client is connected; its break is an error.
async fn requests(
    client: &mut (impl AsyncRead + Unpin),
    daemon: &mut (impl AsyncWrite + Unpin),
    line: &BridgedConnection,
) -> io::Result<()> {
    let mut piece = vec![0; 16 * 1024];
    let mut heard = true;
    let mut head = HeadEnd::default();
    loop {
        let read = client.read(&mut piece).await?;
        if read == 0 {
            daemon.shutdown().await.ok();
            return std::future::pending().await;
        }
        let piece = piece.get(..read).unwrap_or_default();
        line.client_spoke(&mut head, piece);
        heard = heard && daemon.write_all(piece).await.is_ok();
    }
}

/// Refuses a client for want of a place. If too many are being refused already, the first of them gets
/// its answer at once and is closed.
async fn refuse(client: TcpStream, refused: &mut VecDeque<RefusedClient>, tracker: &TaskTracker) {
    refused.retain(|one| !one.telling.is_finished());
    if refused.len() >= REFUSED
        && let Some(first) = refused.pop_front()
    {
        first.hurry.cancel();
        first.telling.await.ok();
    }
    let hurry = CancellationToken::new();
    let telling = tracker.spawn(tell_full(client, hurry.clone()));
    refused.push_back(RefusedClient { hurry, telling });
}

/// Some clients treat an answer before their request as a failure. Their bytes are read for a moment, because unread
/// ones would reset the connection, and lose the answer.
async fn tell_full(client: TcpStream, hurry: CancellationToken) {
    let mut first = [0];
    tokio::select! {
        _ = timeout(REFUSED_FOR, client.peek(&mut first)) => {}
        () = hurry.cancelled() => {}
    }
    let message =
        "hermes-proxyd bridge: no connection is free; close some, or try again in a moment";
    let text = error("503 Service Unavailable", "bridge_full", message);
    let tell = || {
        let mut client = client.into_std()?;
        // A new connection has room for it.
        client.write_all(&text)?;
        client.shutdown(Shutdown::Write)?;
        TcpStream::from_std(client)
    };
    let mut client = match tell() {
        Ok(client) => client,
        Err(error) => {
            tracing::debug!(%error, "a client could not be told that the bridge is full");
            return;
        }
    };
    let mut sink = tokio::io::sink();
    let rest = tokio::io::copy(&mut client, &mut sink);
    tokio::select! {
        biased;
        _ = timeout(REFUSED_FOR, rest) => {}
        () = hurry.cancelled() => {}
    }
}

fn unreachable(to: &Path, error: &io::Error) -> Vec<u8> {
    let message = format!(
        "hermes-proxyd bridge: nothing answers at {} ({error}); start hermes-proxyd with `unix` \
         set to that socket in a [[listen]], and mount the socket's folder here",
        to.display()
    );
    self::error("502 Bad Gateway", "bridge_unconnected", &message)
}

/// An answer in the form of the daemon's own errors.
fn error(status: &str, code: &str, message: &str) -> Vec<u8> {
    let error = serde_json::json!({"message": message, "type": code, "code": code, "param": null});
    let body = serde_json::json!({"type": "error", "error": error}).to_string();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         x-hermes-error: {code}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
