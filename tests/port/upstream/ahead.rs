//! Connections that are opened ahead of need: when, how many, and what is never sent on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::upstream::get;
use mock_cloud::{Options, Tls};
use support::wire::{OK, Wire, daemon_at, http2, read_request};
use support::{Daemon, PATIENCE, World, chat, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const MOMENT: Duration = Duration::from_millis(400);

async fn world() -> World {
    let options = Options::default().inference_tls(Tls::On).http2(true);
    World::new(options).await
}

fn config(world: &World) -> String {
    let ca = world.home.path().join("ca.pem");
    world.cloud.write_ca(&ca).unwrap();
    format!("[providers.nous]\nca_file = {:?}\n", ca.to_str().unwrap())
}

/// The cloud has accepted as many connections, and no more come.
async fn connections(world: &World, count: u64) {
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().connections >= count)
        .await;
    sleep(MOMENT).await;
    assert_eq!(world.cloud.counts().connections, count);
}

/// Apps that connect and say nothing.
async fn apps_connect(daemon: &Daemon, count: usize) {
    let address = daemon.origin().replace("http://", "");
    for _ in 0..count {
        drop(TcpStream::connect(&address).await.unwrap());
    }
}

/// All connections to the provider end, and it is there again.
async fn drop_connections(world: &World) {
    world.cloud.set_inference_open(false).await;
    world.cloud.set_inference_open(true).await;
    sleep(MOMENT).await;
}

#[tokio::test]
async fn after_a_start_and_a_reload_the_first_request_finds_a_connection() {
    let world = world().await;
    let daemon = world.daemon_with(&config(&world), &[]);
    connections(&world, 1).await;
    assert_eq!(world.cloud.requests().len(), 0);
    // By then an HTTP/2 connection that has served others would have to prove that it lives.
    sleep(Duration::from_millis(1200)).await;
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    connections(&world, 1).await;
    world.write_config(&format!("[timeouts]\nreuse = \"4m\"\n{}", config(&world)));
    let reload = world.ctl(&["proxy", "reload"]);
    assert!(reload.status.success(), "{reload:?}");
    connections(&world, 2).await;
    // One that changes nothing finds the connection.
    assert!(world.ctl(&["proxy", "reload"]).status.success());
    connections(&world, 2).await;
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    connections(&world, 2).await;
    assert_eq!(world.cloud.requests().len(), 2);
}

#[tokio::test]
async fn an_app_that_connects_has_one_opened_and_no_more_until_it_asks() {
    let world = world().await;
    let daemon = world.daemon_with(&config(&world), &[]);
    connections(&world, 1).await;
    apps_connect(&daemon, 3).await;
    connections(&world, 1).await;
    drop_connections(&world).await;
    apps_connect(&daemon, 5).await;
    connections(&world, 2).await;
    // Nothing was asked since.
    drop_connections(&world).await;
    apps_connect(&daemon, 5).await;
    connections(&world, 2).await;
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    connections(&world, 3).await;
    drop_connections(&world).await;
    apps_connect(&daemon, 5).await;
    connections(&world, 4).await;
    assert_eq!(world.cloud.requests().len(), 1);
}

#[tokio::test]
async fn without_a_login_none_is_opened() {
    let world = world().await;
    std::fs::remove_dir_all(world.home.path().join(".hermes")).unwrap();
    let daemon = world.daemon_with(&config(&world), &[]);
    apps_connect(&daemon, 2).await;
    assert!(world.ctl(&["proxy", "reload"]).status.success());
    apps_connect(&daemon, 2).await;
    connections(&world, 0).await;
}

/// An app that connected while there was no login has not had its connection.
#[tokio::test]
async fn after_a_login_an_app_that_connects_has_one_opened() {
    let world = world().await;
    let [store, away] = [".hermes", "away"].map(|name| world.home.path().join(name));
    std::fs::rename(&store, &away).unwrap();
    let daemon = world.daemon_with(&config(&world), &[]);
    apps_connect(&daemon, 2).await;
    connections(&world, 0).await;
    std::fs::rename(&away, &store).unwrap();
    // Which opens one itself.
    assert!(world.ctl(&["proxy", "reload"]).status.success());
    connections(&world, 1).await;
    drop_connections(&world).await;
    apps_connect(&daemon, 2).await;
    connections(&world, 2).await;
}

/// Whether it still lives is not known before a request, so one that may be sent twice is.
#[tokio::test]
async fn a_get_on_one_that_ends_unheard_is_sent_again() {
    for (path, expected, heard) in [("/models", 200, 2), ("/chat/completions", 502, 1)] {
        let world = World::new(Options::default()).await;
        let seen = Arc::new(AtomicUsize::new(0));
        let counted = seen.clone();
        let (wire, daemon) = http2(&world, "", move |mut frames, number| {
            let seen = counted.clone();
            async move {
                while let Some(stream) = frames.request().await {
                    seen.fetch_add(1, Ordering::SeqCst);
                    if number == 1 {
                        return None;
                    }
                    frames.answer(stream, b"{}").await?;
                }
                Some(())
            }
        })
        .await;
        sleep(MOMENT).await;
        assert_eq!(wire.connections(), 1);
        let answer = if expected == 200 {
            get(&daemon, path).await
        } else {
            post(&daemon, &chat("x")).await
        };
        assert_eq!(answer.status(), expected);
        assert_eq!(seen.load(Ordering::SeqCst), heard);
    }
}

/// Over HTTP/1.1 alone; a POST does not rely on what has waited for long.
#[tokio::test]
async fn nothing_is_sent_before_a_request_and_a_post_takes_no_old_one() {
    let world = World::new(Options::default()).await;
    let tls = world.cloud.authority().acceptor_for(&["localhost"], false);
    let wire = Wire::start(move |stream, number| {
        let tls = tls.clone();
        async move {
            let mut stream = tls.accept(stream).await.unwrap();
            if number == 1 {
                let mut byte = [0];
                assert_eq!(stream.read(&mut byte).await.unwrap_or_default(), 0);
            }
            while read_request(&mut stream).await.is_some() {
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let base = format!("https://localhost:{}/v1", wire.address.port());
    let daemon = daemon_at(&world, &base, &config(&world));
    // A machine that is busy opens it late.
    sleep(Duration::from_secs(8)).await;
    assert_eq!(wire.connections(), 1);
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    assert_eq!(wire.connections(), 2);
}

/// It may have begun when there was no network yet.
#[tokio::test]
async fn a_request_relies_on_one_that_is_being_opened_for_a_moment_only() {
    for ends in [false, true] {
        let world = World::new(Options::default()).await;
        let tls = world.cloud.authority().acceptor_for(&["localhost"], false);
        let wire = Wire::start(move |stream, number| {
            let tls = tls.clone();
            async move {
                if number == 1 {
                    if !ends {
                        std::future::pending::<()>().await;
                    }
                    return;
                }
                let mut stream = tls.accept(stream).await.unwrap();
                while read_request(&mut stream).await.is_some() {
                    stream.write_all(OK.as_bytes()).await.unwrap();
                }
            }
        })
        .await;
        let base = format!("https://localhost:{}/v1", wire.address.port());
        let config = format!("[timeouts]\nconnect = \"15s\"\n{}", config(&world));
        let daemon = daemon_at(&world, &base, &config);
        let asked = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, post(&daemon, &chat("x"))).await;
        assert_eq!(answer.unwrap().status(), 200, "{}", daemon.logged());
        println!("{ends}: {:?}", asked.elapsed());
        assert!(asked.elapsed() < Duration::from_secs(5));
        assert!(wire.connections() > 1);
    }
}
