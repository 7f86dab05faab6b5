//! `hermes-proxyd bridge`: carries connections from TCP to a daemon's Unix socket.
//!
//! For a container: it mounts the socket's folder, and its neighbours reach the bridge by name.
//! Nothing is looked at on the way; guard, keys and limits are the daemon's.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::args::Bridge;
use super::run::StartError;
use super::signals::{self, Signal};

/// Connections at once; further ones wait in the kernel.
const CONNECTIONS: usize = 1024;
/// A daemon that restarts is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two attempts, and after a failed accept.
const PAUSE: Duration = Duration::from_millis(100);
/// What a client may still send once it has its answer, in bytes.
const DISCARD: u64 = 256 * 1024 * 1024;
/// How long a stop lets connections finish.
const GRACE: Duration = Duration::from_secs(30);

/// Carries connections until a signal says stop.
pub(super) async fn run(bridge: Bridge) -> Result<(), StartError> {
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
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((client, from)) => {
                let to = to.clone();
                tracker.spawn(async move {
                    serve(client, from, &to).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(mut client: TcpStream, from: SocketAddr, to: &Path) {
    client.set_nodelay(true).ok();
    match connect(to).await {
        Ok(daemon) => {
            if let Err(error) = carry(&mut client, daemon).await {
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

/// Both directions until the daemon has said all, or the client breaks. The client's end of its
/// requests goes on to the daemon; what it sends after the daemon has stopped listening is thrown
/// away, so that it gets the answer that came early.
async fn carry(client: &mut TcpStream, daemon: UnixStream) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_daemon, mut to_daemon) = daemon.into_split();
    let answers = async {
        tokio::io::copy(&mut from_daemon, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::select! {
        result = answers => result?,
        result = requests(&mut from_client, &mut to_daemon) => return result,
    }
    let rest = async {
        let mut rest = from_client.take(DISCARD);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    timeout(PATIENCE, rest).await.ok();
    Ok(())
}

/// Goes on for as long as the client is there; its breaking is an error.
async fn requests(
    client: &mut (impl AsyncRead + Unpin),
    daemon: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut piece = vec![0; 16 * 1024];
    let mut heard = true;
    loop {
        let read = client.read(&mut piece).await?;
        if read == 0 {
            daemon.shutdown().await.ok();
            return std::future::pending().await;
        }
        let piece = piece.get(..read).unwrap_or_default();
        heard = heard && daemon.write_all(piece).await.is_ok();
    }
}

/// An answer in the form of the daemon's own errors.
fn unreachable(to: &Path, error: &io::Error) -> Vec<u8> {
    let message = format!(
        "hermes-proxyd bridge: nothing answers at {} ({error}); start hermes-proxyd there with \
         that socket as `unix` of a [[listen]], and mount the socket's folder here",
        to.display()
    );
    let code = "bridge_unconnected";
    let error = serde_json::json!({"message": message, "type": code, "code": code, "param": null});
    let body = serde_json::json!({ "error": error }).to_string();
    format!(
        "HTTP/1.1 502 Bad Gateway\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         x-hermes-error: {code}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
