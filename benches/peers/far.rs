//! A provider that is far away: a relay that holds back all bytes for half of the round trip, in each direction, and a
//! new connection for a whole one, since its handshake would take that.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::channel;
use tokio::time::{Instant, sleep, sleep_until};

use super::upstream::spawn;

pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(40);

/// Carries each connection to this port.
pub(crate) async fn relay(listener: TcpListener, to: u16) {
    loop {
        let Ok((near, _)) = listener.accept().await else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let connected = Instant::now() + ROUND_TRIP;
        spawn(async move {
            let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await else {
                return;
            };
            near.set_nodelay(true).ok();
            far.set_nodelay(true).ok();
            let (near_reader, near_writer) = near.into_split();
            let (far_reader, far_writer) = far.into_split();
            spawn(carry(near_reader, far_writer, connected));
            spawn(carry(far_reader, near_writer, connected));
        });
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    mut to: impl AsyncWrite + Unpin + Send + 'static,
    connected: Instant,
) {
    let (sender, mut receiver) = channel::<(Instant, Bytes)>(1024);
    spawn(async move {
        while let Some((due, data)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&data).await.is_err() {
                return;
            }
        }
        to.shutdown().await.ok();
    });
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(got @ 1..) = from.read(&mut buffer).await {
        let data = Bytes::copy_from_slice(buffer.get(..got).unwrap_or_default());
        let due = Instant::now().max(connected) + ROUND_TRIP / 2;
        if sender.send((due, data)).await.is_err() {
            return;
        }
    }
}
