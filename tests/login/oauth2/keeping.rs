//! Grants are kept: when the daemon or hermesctl ends while a code is exchanged, beside other providers' logins
//! in the same store, and when settings are changed and restored.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use mock_cloud::{Endpoint, PortalFault};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, program};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::{Login, World, ask, visit};

const DEVICE: &str = "issuer_url = \"{portal}\"";
const BROWSER: &str = "issuer_url = \"{portal}\"\nflow = \"browser\"";

fn signal(process: u32, signal: Signal) {
    let pid = Pid::from_raw(process.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

async fn is_asked(world: &World, endpoint: Endpoint) {
    let asked = |cloud: &mock_cloud::MockCloud| {
        let calls = cloud.calls();
        calls.iter().any(|call| call.endpoint == endpoint)
    };
    world.cloud.wait_for(PATIENCE, asked).await;
}

/// The stored login works, and it is the one that was granted.
async fn assert_logged_in(world: &World, daemon: &Daemon) {
    assert_eq!(
        ask(daemon, "acme").await.status(),
        200,
        "{}",
        daemon.logged()
    );
    let token = world.block("acme")["refresh_token"].clone();
    let token = token.as_str().unwrap();
    let family = world.cloud.family_of(token).unwrap();
    let current = world.cloud.current_refresh_token(family);
    assert_eq!(current.as_deref(), Some(token), "{}", daemon.logged());
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

/// A code that was sent is spent: its grant can't be fetched a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_under_way_outlives_the_stop_of_the_daemon_and_of_hermesctl() {
    for (settings, stops_daemon) in [(BROWSER, true), (BROWSER, false), (DEVICE, true)] {
        let world = World::with(settings).await;
        let mut daemon = world.daemon();
        let permit = Arc::new(Semaphore::new(0));
        let fault = PortalFault::HeldAfterCommit(permit.clone());
        let mut login = Login::begin(&world, &["acme"]);
        let begun = login.line();
        if settings == BROWSER {
            world.cloud.fail_portal(Endpoint::Exchange, 1, &fault);
            let back = visit(begun["page"]["url"].as_str().unwrap()).await;
            login.paste(&back);
            is_asked(&world, Endpoint::Exchange).await;
        } else {
            world
                .cloud
                .approve(begun["code"]["user_code"].as_str().unwrap());
            world.cloud.fail_portal(Endpoint::DevicePoll, 1, &fault);
            is_asked(&world, Endpoint::DevicePoll).await;
        }
        let stopped = if stops_daemon {
            daemon.pid()
        } else {
            login.child.id()
        };
        signal(
            stopped,
            if stops_daemon {
                Signal::TERM
            } else {
                Signal::INT
            },
        );
        sleep(Duration::from_millis(300)).await;
        permit.add_permits(1);
        if stops_daemon {
            assert!(daemon.wait().success(), "{}", daemon.logged());
            daemon = world.daemon();
        } else {
            let (end, _) = login.end();
            assert_eq!(end["done"]["provider"], "acme", "{end}");
        }
        assert_logged_in(&world, &daemon).await;
    }
}

/// Every file whose name begins so.
fn named(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let files = entries.map(|entry| entry.path());
    let is_meant = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_string_lossy();
        name.starts_with(prefix)
    };
    files.filter(is_meant).collect()
}

/// hermesctl asks for a renewal, and waits for it on its own.
fn begin_refresh(world: &World) -> std::process::Child {
    let mut command = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
    command
        .args(["auth", "refresh", "acme", "--json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_renewal_is_found_after_another_provider_of_the_store_was_renewed() {
    let world = World::with(DEVICE).await;
    let text = |other: bool| {
        let table = |name: &str| {
            format!(
                "[providers.{name}]\ntype = \"oauth2\"\nbase_url = {:?}\nclient_id = \"my-client\"\n\
                 issuer_url = {:?}\n",
                world.cloud.inference_base_url(),
                world.cloud.portal_url()
            )
        };
        let acme = if other { table("acme") } else { String::new() };
        let default = if other { "acme" } else { "other" };
        format!("default_provider = {default:?}\n{acme}{}", table("other"))
    };
    world.write(&text(true));
    let mut daemon = world.daemon();
    world.log_in("acme");
    world.log_in("other");
    let before = world.block("acme");
    let spent = before["refresh_token"].as_str().unwrap();
    let family = world.cloud.family_of(spent).unwrap();
    // Killed with the token spent and its answer in a temporary file, which was not renamed.
    let permit = Arc::new(Semaphore::new(0));
    let fault = PortalFault::HeldAfterCommit(permit.clone());
    world.cloud.fail_portal(Endpoint::Refresh, 1, &fault);
    let mut asking = begin_refresh(&world);
    is_asked(&world, Endpoint::Refresh).await;
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1)
        .await;
    daemon.kill();
    asking.wait().unwrap();
    permit.add_permits(1);
    let state = world.store_file().parent().unwrap().to_owned();
    let temporary = named(&state, "auth.json.hermes-proxyd.");
    assert_eq!(temporary.len(), 1, "{temporary:?}");
    let next = world.cloud.current_refresh_token(family).unwrap();
    assert_ne!(next, spent);
    let mut document = world.store();
    document["providers"]["oauth2-acme"]["refresh_token"] = json!(next);
    std::fs::write(&temporary[0], document.to_string()).unwrap();
    // The other one first.
    world.write(&text(false));
    let mut daemon = world.daemon();
    let (renewed, outcome) = world.ctl(&["auth", "refresh", "other", "--json"]);
    assert!(renewed, "{outcome}");
    daemon.stop();
    assert_eq!(world.block("acme"), before);
    world.write(&text(true));
    let daemon = world.daemon();
    let (renewed, outcome) = world.ctl(&["auth", "refresh", "acme", "--json"]);
    assert!(renewed, "{outcome}");
    assert_logged_in(&world, &daemon).await;
    assert_eq!(ask(&daemon, "other").await.status(), 200);
    assert!(named(&state, "auth.json.hermes-proxyd.").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_changed_and_set_back_leave_a_renewed_login_that_waits_to_be_saved() {
    let world = World::with(DEVICE).await;
    let mut daemon = world.daemon();
    world.log_in("acme");
    let (store, aside) = (world.store_file(), world.home.path().join("aside"));
    let permit = Arc::new(Semaphore::new(0));
    let fault = PortalFault::HeldAfterCommit(permit.clone());
    world.cloud.fail_portal(Endpoint::Refresh, 1, &fault);
    let mut asking = begin_refresh(&world);
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().refreshes == 1)
        .await;
    // Its store can't be written while the token is being spent.
    std::fs::rename(&store, &aside).unwrap();
    std::fs::create_dir(&store).unwrap();
    permit.add_permits(1);
    daemon.wait_for_log("login_not_saved");
    asking.wait().unwrap();
    daemon.kill();
    std::fs::remove_dir(&store).unwrap();
    std::fs::rename(&aside, &store).unwrap();
    let journal = store.parent().unwrap().join("journal");
    let kept = || {
        let files = named(&journal, "").into_iter();
        files.filter(|file| file.extension().is_some_and(|end| end == "login"))
    };
    assert_eq!(kept().count(), 1);
    // Another client for a while: the stored login is not its.
    let file = world.home.path().join(".config/hermes-proxyd/config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    world.write(&text.replace("my-client", "another-client"));
    let mut daemon = world.daemon();
    for _ in 0..2 {
        let answer = ask(&daemon, "acme").await;
        assert_eq!(answer.status(), 401);
        let text = answer.text().await.unwrap();
        assert!(text.contains("another issuer or client"), "{text}");
    }
    let (_, outcome): (bool, Value) = world.ctl(&["auth", "refresh", "acme", "--json"]);
    assert_ne!(outcome["result"], "refreshed", "{outcome}");
    daemon.stop();
    world.configure(DEVICE);
    let daemon = world.daemon();
    assert_logged_in(&world, &daemon).await;
    assert_eq!(kept().count(), 0, "{}", daemon.logged());
}
