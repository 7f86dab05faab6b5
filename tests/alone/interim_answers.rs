//! A provider that floods us with interim answers is dropped, and other requests are served
//! meanwhile.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and tells its figures"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mock_cloud::Options;
use support::wire::{daemon_at, half_bad, memory};
use support::{Daemon, World, chat, client, error, post};
use tokio::net::TcpStream;

/// Sends the same bytes again and again, from a thread of its own and without a pause.
async fn flooding(stream: TcpStream, bytes: Arc<Vec<u8>>) {
    let mut stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    let flood = move || while std::io::Write::write_all(&mut stream, &bytes).is_ok() {};
    tokio::task::spawn_blocking(flood).await.unwrap();
}

/// Asks for something good until `end`; how long the answers took, the quickest first.
async fn neighbours(daemon: &Daemon, end: impl Future<Output = ()>) -> Vec<Duration> {
    let (client, mut times) = (client(), Vec::new());
    let asking = async {
        loop {
            let asked = Instant::now();
            let answer = client.get(daemon.url("/models")).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            times.push(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = asking => {}
        () = end => {}
    }
    times.sort_unstable();
    times
}

#[tokio::test]
async fn a_flood_of_interim_answers_as_fast_as_can_be_is_ended_and_starves_nobody() {
    let _turn = support::turn();
    let world = World::new(Options::default()).await;
    for (what, early) in [
        ("100 Continue", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("103", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
    ] {
        let bytes = Arc::new(early.repeat(5000).into_bytes());
        let wire = half_bad(move |stream| flooding(stream, bytes.clone())).await;
        let daemon = daemon_at(&world, &wire.base_url(), "");
        let quiet = neighbours(&daemon, tokio::time::sleep(Duration::from_secs(1))).await;
        let before = memory(&daemon).1;
        // One after the other for some seconds, two at a time.
        let ended = Mutex::new(Vec::new());
        let floods = || async {
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(3) {
                let asked = Instant::now();
                let answer = post(&daemon, &chat("x")).await;
                let message = error(answer, 502, "upstream_unreachable").await;
                assert!(message.contains("interim answers"), "{message}");
                ended.lock().unwrap().push(asked.elapsed());
            }
        };
        let both = async {
            tokio::join!(floods(), floods());
        };
        let flooded = neighbours(&daemon, both).await;
        let grown = memory(&daemon).1.saturating_sub(before);
        let figures = |times: &[Duration]| (times[times.len() / 2], *times.last().unwrap());
        let ((usual, most), (median, slowest)) = (figures(&quiet), figures(&flooded));
        let ended = ended.into_inner().unwrap();
        println!(
            "{} floods of {what} were ended within {:?}; meanwhile {} requests of others took \
             {median:?}, {slowest:?} at most (else {usual:?}, {most:?}), {grown} KiB more",
            ended.len(),
            ended.iter().max().unwrap(),
            flooded.len()
        );
        // It was the whole time of the flood.
        let bound = Duration::from_secs(1).max(usual * 100);
        assert!(median < bound, "{median:?}");
        assert!(
            slowest < Duration::from_secs(2).max(most * 50),
            "{slowest:?}"
        );
        assert!(grown < 8192, "{grown} KiB");
    }
}
