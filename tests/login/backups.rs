//! Stores that are restored from a backup or were written half: the newer login is written again.

#![cfg(unix)]

use std::time::Duration;

use crate::steps::{assert_serves, block, json_of};
use mock_cloud::Options;
use support::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_put_back_from_a_backup_does_not_end_the_login() {
    let world = World::new(Options::default()).await;
    let backup = std::fs::read(world.store_file()).unwrap();
    let daemon = world.daemon();
    world.cloud.revoke_access_tokens();
    assert_serves(&daemon).await;
    std::fs::write(world.store_file(), backup).unwrap();
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while block(&world.store_file())["refresh_token"] != current {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            daemon.logged()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.cloud.revoke_access_tokens();
    assert_serves(&daemon).await;
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_before_another_programs_rotation_is_put_right_too() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    world.cloud.revoke_access_tokens();
    assert_serves(&daemon).await;
    let backup = std::fs::read(world.store_file()).unwrap();
    // Another program rotates, as Hermes Agent does: the helper hears nothing of it.
    let mirror = world.home.path().join(".hermes/shared/nous_auth.json");
    let old_mirror = std::fs::read(&mirror).unwrap();
    let alone = tempfile::tempdir().unwrap();
    let output = world
        .hermesctl(&["auth", "refresh", "--json"])
        .env("XDG_RUNTIME_DIR", alone.path())
        .output()
        .unwrap();
    assert_eq!(json_of(&output)["result"], "refreshed", "{output:?}");
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while daemon.status()["providers"][0]["last_refresh"]["result"] != "adopted" {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            daemon.logged()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    std::fs::write(world.store_file(), backup).unwrap();
    std::fs::write(&mirror, old_mirror).unwrap();
    while block(&world.store_file())["refresh_token"] != current {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{}",
            daemon.logged()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.cloud.revoke_access_tokens();
    assert_serves(&daemon).await;
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_written_half_is_finished_from_the_temporary_file() {
    let world = World::new(Options::default()).await;
    let whole = std::fs::read(world.store_file()).unwrap();
    let temporary = world
        .store_file()
        .with_file_name("auth.json.hermes-proxyd.killed");
    std::fs::write(&temporary, &whole).unwrap();
    std::fs::write(world.store_file(), &whole[..whole.len() / 2]).unwrap();
    let daemon = world.daemon();
    assert_serves(&daemon).await;
    let current = world.cloud.current_refresh_token(world.family()).unwrap();
    assert_eq!(block(&world.store_file())["refresh_token"], current);
    assert!(!temporary.exists());
}
