//! The store as Hermes Agent leaves it: one test for each of the facts that its versions added.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hermes_proxy::clock::{Clock, SystemClock};
use mock_cloud::{Canned, Fault, MockCloud, Options};
use serde_json::{Value, json};
use support::{Daemon, PATIENCE, World, chat, client, post};
use tokio::time::Instant;

/// Long enough for a keeper to have looked at its files again.
const TWO_LOOKS: Duration = Duration::from_secs(7);

fn now() -> String {
    SystemClock.now().to_rfc3339()
}

fn write(file: &Path, document: &Value) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, document.to_string()).unwrap();
}

fn read(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Changes the store of a world.
fn edit(world: &World, change: impl FnOnce(&mut Value)) {
    let mut store = world.store();
    change(&mut store);
    write(&world.store_file(), &store);
}

async fn until(daemon: &Daemon, what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(
            Instant::now() < deadline,
            "never: {what}\n{}",
            daemon.logged()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Rotates a refresh token at the portal, as another program does; what it was granted.
async fn rotate(world: &World, token: &Value) -> Value {
    let request = client()
        .post(format!("{}/api/oauth/token", world.cloud.portal_url()))
        .header("x-nous-refresh-token", token.as_str().unwrap())
        .form(&[("grant_type", "refresh_token"), ("client_id", "hermes-cli")]);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

fn provider(daemon: &Daemon) -> Value {
    daemon.status()["providers"][0].clone()
}

// suppressed_sources

/// A world from whose store the login was taken out with Hermes Agent. The mirror is still there.
async fn removed(mark: &Value) -> World {
    let world = World::new(Options::default()).await;
    world.write_mirror();
    edit(&world, |store| {
        *store = json!({
            "version": 1, "providers": {}, "credential_pool": {"nous": []},
            "suppressed_sources": {"nous": mark, "openrouter": ["env:OPENROUTER_API_KEY"]},
        });
    });
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_login_does_not_come_back_by_itself_and_a_real_one_clears_the_mark() {
    for mark in [
        json!(["env:NOUS_API_KEY", "device_code"]),
        json!({"env:NOUS_API_KEY": true, "device_code": {"at": 1}}),
    ] {
        let world = removed(&mark).await;
        let before = world.store();
        let daemon = world.daemon();
        tokio::time::sleep(TWO_LOOKS).await;
        let told = provider(&daemon);
        assert_eq!(told["state"], "login_needed", "{told}");
        let why = told["last_error"]["message"].as_str().unwrap();
        assert!(why.contains("`hermes auth remove`"), "{why}");
        assert_eq!(told["login_command"], "hermesctl auth login nous");
        assert_eq!(post(&daemon, &chat("x")).await.status(), 401);
        assert_eq!(world.store(), before, "nothing was written");
        assert_eq!(world.cloud.counts().refresh_calls, 0);

        // It asks for a code though the mirror holds a login.
        world.log_in();
        let store = world.store();
        assert!(store["providers"]["nous"]["refresh_token"].is_string());
        let left = &store["suppressed_sources"];
        let rest = match &left["nous"] {
            Value::Array(rest) => rest.len() == 1 && rest[0] == "env:NOUS_API_KEY",
            Value::Object(rest) => rest.len() == 1 && rest.contains_key("env:NOUS_API_KEY"),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        assert!(rest, "{left}");
        assert_eq!(left["openrouter"], json!(["env:OPENROUTER_API_KEY"]));
        assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mark_goes_with_its_table_when_nothing_is_left_in_it() {
    let world = removed(&json!(["device_code"])).await;
    edit(&world, |store| {
        store["suppressed_sources"]
            .as_object_mut()
            .unwrap()
            .remove("openrouter");
    });
    world.log_in();
    assert!(
        world.store().get("suppressed_sources").is_none(),
        "{}",
        world.store()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_removed_while_it_serves_ends_and_stays_away() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    daemon.renew().await;
    assert!(world.mirror_file().exists());
    edit(&world, |store| {
        store["providers"] = json!({});
        store["credential_pool"] = json!({"nous": []});
        store["suppressed_sources"] = json!({"nous": ["device_code"]});
    });
    until(&daemon, "it ends", || {
        provider(&daemon)["state"] == "login_needed"
    })
    .await;
    tokio::time::sleep(TWO_LOOKS).await;
    let refreshes = world.cloud.counts().refreshes;
    assert!(!world.ctl(&["auth", "refresh"]).status.success());
    assert_eq!(provider(&daemon)["state"], "login_needed");
    assert_eq!(world.cloud.counts().refreshes, refreshes);
    assert_eq!(world.store()["providers"], json!({}));
    drop(daemon);
    // Nor does the mirror, when the store can't be read for a while.
    let store = std::fs::read(world.store_file()).unwrap();
    let daemon = world.daemon();
    until(&daemon, "it is seen", || {
        provider(&daemon)["state"] == "login_needed"
    })
    .await;
    std::fs::write(world.store_file(), "{").unwrap();
    until(&daemon, "it is told", || {
        provider(&daemon)["state"] == "store_unreadable"
    })
    .await;
    assert_ne!(post(&daemon, &chat("x")).await.status(), 200);
    std::fs::write(world.store_file(), store).unwrap();
    drop(daemon);
    // Nor does the next start bring it back.
    let daemon = world.daemon();
    assert_eq!(post(&daemon, &chat("x")).await.status(), 401);
    assert_eq!(world.store()["providers"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_whose_login_was_removed_reads_none_from_the_root_home() {
    let world = World::new(Options::default()).await;
    let profile = world.home.path().join(".hermes/profiles/work/auth.json");
    write(
        &profile,
        &json!({"version": 1, "suppressed_sources": {"nous": ["device_code"]}}),
    );
    let home = format!("hermes_home = {:?}\n", profile.parent().unwrap());
    let daemon = world.daemon_with(&home, &[]);
    assert_eq!(post(&daemon, &chat("x")).await.status(), 401);
    let root = world.store();
    world.log_in();
    let store = read(&profile);
    assert!(
        store["providers"]["nous"]["refresh_token"].is_string(),
        "{store}"
    );
    assert!(store.get("suppressed_sources").is_none());
    assert_eq!(world.store(), root, "the root's login stays");
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_beside_the_mark_is_one_and_is_renewed() {
    // `hermes model` leaves both.
    let world = World::new(Options::default()).await;
    edit(&world, |store| {
        store["suppressed_sources"] = json!({"nous": ["device_code"]});
    });
    let daemon = world.daemon();
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    daemon.renew().await;
    assert_eq!(world.cloud.counts().refreshes, 1);
    let store = world.store();
    assert_eq!(
        store["suppressed_sources"],
        json!({"nous": ["device_code"]})
    );
    // Hermes Agent lists it again after a login that is asked of us.
    world.log_in();
    assert!(world.store().get("suppressed_sources").is_none());
}

// active_provider

#[tokio::test(flavor = "multi_thread")]
async fn a_first_login_makes_its_provider_the_active_one_and_a_refresh_none() {
    for (before, after) in [
        (json!({}), json!("nous")),
        (json!({"active_provider": null}), json!("nous")),
        (json!({"active_provider": " "}), json!("nous")),
        (
            json!({"active_provider": "openai-codex"}),
            json!("openai-codex"),
        ),
    ] {
        let world = World::without_a_login().await;
        write(&world.store_file(), &before);
        world.log_in();
        assert_eq!(world.store()["active_provider"], after, "{before}");
        edit(&world, |store| {
            store.as_object_mut().unwrap().remove("active_provider");
        });
        let daemon = world.daemon();
        daemon.renew().await;
        assert_eq!(world.cloud.counts().refreshes, 1);
        assert!(world.store().get("active_provider").is_none());
    }
}

// The pool's row

fn row(world: &World) -> Value {
    world.store()["credential_pool"]["nous"][0].clone()
}

/// Everything holds the token that the portal would take next, and nothing was shown twice.
fn assert_whole(world: &World, daemon: &Daemon) {
    let current = json!(world.cloud.current_refresh_token(world.family()));
    let block = world.store()["providers"]["nous"].clone();
    for (what, held) in [
        ("the block", &block["refresh_token"]),
        ("the row", &row(world)["refresh_token"]),
        ("the mirror", &read(&world.mirror_file())["refresh_token"]),
    ] {
        assert_eq!(*held, current, "{what}\n{}", daemon.logged());
    }
    let counts = world.cloud.counts();
    assert_eq!((counts.reuse_events, counts.reissues), (0, 0), "{counts:?}");
    assert!(world.cloud.is_alive(world.family()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_was_rotated_into_the_row_alone_is_taken_and_the_spent_one_not_sent() {
    for file in ["the same store", "the profile's"] {
        let world = World::new(Options::default()).await;
        let granted = rotate(&world, &world.store()["providers"]["nous"]["refresh_token"]).await;
        let mut newer = row(&world);
        for key in ["access_token", "refresh_token"] {
            newer[key] = granted[key].clone();
        }
        newer["obtained_at"] = now().into();
        newer["agent_key"] = granted["access_token"].clone();
        let pool = json!({"nous": [newer]});
        let config = if file == "the same store" {
            edit(&world, |store| store["credential_pool"] = pool);
            String::new()
        } else {
            let profile = world.home.path().join(".hermes/profiles/work/auth.json");
            write(&profile, &json!({"version": 1, "credential_pool": pool}));
            format!("hermes_home = {:?}\n", profile.parent().unwrap())
        };
        let daemon = world.daemon_with(&config, &[]);
        // The block and the mirror get it without a request to the portal.
        let taken =
            || world.store()["providers"]["nous"]["refresh_token"] == granted["refresh_token"];
        until(&daemon, file, taken).await;
        let bearer = granted["access_token"].as_str().unwrap().to_owned();
        assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
        assert_eq!(world.cloud.last_bearer(), Some(bearer));
        assert_eq!(world.cloud.counts().refreshes, 1, "the one of the test");
        daemon.renew().await;
        assert_eq!(world.cloud.counts().refreshes, 2);
        assert_whole(&world, &daemon);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_rotated_while_a_renewal_is_due_is_seen_under_the_lock() {
    let world = World::with_a_refresh_due(Options::default()).await;
    let granted = rotate(&world, &world.store()["providers"]["nous"]["refresh_token"]).await;
    edit(&world, |store| {
        let row = &mut store["credential_pool"]["nous"][0];
        for key in ["access_token", "refresh_token"] {
            row[key] = granted[key].clone();
        }
        row["obtained_at"] = now().into();
    });
    let daemon = world.daemon();
    let taken = || world.store()["providers"]["nous"]["refresh_token"] == granted["refresh_token"];
    until(&daemon, "it is adopted", taken).await;
    assert_eq!(world.cloud.counts().refreshes, 1, "the one of the test");
    assert_whole(&world, &daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_left_behind_or_tells_no_time_is_not_taken() {
    for told in [
        json!("2020-01-01T00:00:00+00:00"),
        // By a clock that was ahead: the order is unknown.
        json!("2999-01-01T00:00:00+00:00"),
        json!("soon"),
        Value::Null,
    ] {
        let world = World::new(Options::default()).await;
        edit(&world, |store| {
            let row = &mut store["credential_pool"]["nous"][0];
            row["access_token"] = "an-opaque-one".into();
            row["refresh_token"] = "a-spent-one".into();
            row["obtained_at"] = told.clone();
        });
        let daemon = world.daemon();
        assert_eq!(post(&daemon, &chat("x")).await.status(), 200, "{told}");
        daemon.renew().await;
        let counts = world.cloud.counts();
        assert_eq!((counts.refresh_calls, counts.refreshes), (1, 1), "{told}");
        assert_whole(&world, &daemon);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_refused_row_was_rotated_from_is_not_sent_either() {
    let world = World::new(Options::default()).await;
    world.cloud.revoke(world.family());
    edit(&world, |store| {
        let row = &mut store["credential_pool"]["nous"][0];
        row["access_token"] = "an-opaque-one".into();
        row["refresh_token"] = "refused".into();
        row["obtained_at"] = "2020-01-02T00:00:00+00:00".into();
        let block = &mut store["providers"]["nous"];
        block["access_token"] = "another".into();
        block["obtained_at"] = "2020-01-01T00:00:00+00:00".into();
    });
    let daemon = world.daemon();
    daemon.renew().await;
    assert_eq!(provider(&daemon)["state"], "login_needed");
    assert_eq!(world.cloud.counts().refresh_calls, 1, "{}", daemon.logged());
    let store = world.store();
    assert!(store["providers"]["nous"].get("refresh_token").is_none());
    assert_eq!(store["credential_pool"]["nous"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_login_comes_back_through_a_row_that_is_newer_than_its_end_alone() {
    for (obtained, comes_back) in [
        ("2020-01-01T00:00:00Z", false),
        ("2020-03-01T00:00:00Z", true),
    ] {
        let world = World::new(Options::default()).await;
        edit(&world, |store| {
            store["credential_pool"]["nous"][0]["obtained_at"] = obtained.into();
            store["providers"]["nous"] = json!({"last_auth_error": {
                "provider": "nous", "code": "invalid_grant", "relogin_required": true,
                "at": "2020-02-01T00:00:00+00:00",
            }});
        });
        let daemon = world.daemon();
        let status = post(&daemon, &chat("x")).await.status();
        assert_eq!(status == 200, comes_back, "{obtained}: {status}");
        assert_eq!(status == 401, !comes_back, "{obtained}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_its_own_is_another_login_and_serves_where_the_first_one_has_nothing_left() {
    let world = World::new(Options::default()).await;
    let login = world.cloud.login();
    edit(&world, |store| {
        let mut other = store["credential_pool"]["nous"][0].clone();
        other["id"] = "other".into();
        other["label"] = "work".into();
        other["source"] = "manual:device_code".into();
        other["priority"] = 5.into();
        other["refresh_token"] = login.refresh_token.clone().into();
        for key in ["access_token", "agent_key"] {
            other[key] = login.access_token.clone().into();
        }
        other["obtained_at"] = now().into();
        store["credential_pool"]["nous"]
            .as_array_mut()
            .unwrap()
            .insert(0, other);
    });
    let theirs = row(&world);
    let daemon = world.daemon();
    daemon.renew().await;
    assert_eq!(world.cloud.counts().refreshes, 1);
    assert_eq!(row(&world), theirs);
    // The account has nothing to pay with.
    let empty = Fault::Answer(Canned::status(402));
    world.cloud.fail_next(1, &empty);
    let post = client().post(daemon.url("/chat/completions"));
    let answer = post.json(&support::chat("x")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", daemon.logged());
    assert_eq!(world.cloud.last_bearer().unwrap(), login.access_token);
    until(&daemon, "the mark", || {
        world.store()["credential_pool"]["nous"][1]["last_error_code"] == 402
    })
    .await;
    let line = ["auth", "refresh", "nous", "--label", "work"];
    let output = support::ctl(world.home.path(), &line);
    assert!(output.status.success(), "{output:?}");
    let renewed = row(&world);
    let current = world.cloud.current_refresh_token(login.family);
    assert_eq!(renewed["refresh_token"].as_str(), current.as_deref());
    assert_eq!(renewed["id"], "other");
    assert!(world.cloud.is_alive(login.family) && world.cloud.is_alive(world.family()));
    assert_eq!(world.cloud.counts().reuse_events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_clears_the_marks_of_0_20_too() {
    let world = World::new(Options::default()).await;
    edit(&world, |store| {
        let row = &mut store["credential_pool"]["nous"][0];
        row["last_status"] = "exhausted".into();
        row["last_error_code"] = 402.into();
        row["failure_reason"] = "billing".into();
        row["consecutive_failures"] = 3.into();
    });
    let daemon = world.daemon();
    daemon.renew().await;
    let row = row(&world);
    assert_eq!(
        (&row["last_status"], &row["last_error_code"]),
        (&Value::Null, &Value::Null)
    );
    assert!(row.get("failure_reason").is_none() && row.get("consecutive_failures").is_none());
}

// Grants of the root home alone

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_of_xai_lies_in_the_root_store_alone_whatever_the_profile() {
    let options = Options::default().client_id("b1a00492-073a-47ea-816f-4c329264a828");
    let world = World::new(options.scope("api:access inference:invoke")).await;
    let profile = world.home.path().join(".hermes/profiles/work/auth.json");
    // A copy that an older Hermes Agent has left in the profile.
    let theirs = json!({"version": 1, "providers": {"xai-oauth": {"tokens": {
        "access_token": "a-copy", "refresh_token": "a-copy"}, "last_refresh": now()}}});
    write(&profile, &theirs);
    let config = format!(
        "hermes_home = {:?}\ndefault_provider = \"xai\"\n[providers.xai]\n\
         issuer_url = \"{{portal}}\"\nbase_url = \"{{base}}\"\n",
        profile.parent().unwrap()
    );
    let daemon = world.daemon_with(&config, &[]);
    assert_eq!(
        post(&daemon, &chat("x")).await.status(),
        401,
        "the copy is none"
    );
    world.log_in_to("xai");
    daemon.renew().await;
    assert_eq!(world.cloud.counts().refreshes, 1);
    let stored = world.store()["providers"]["xai-oauth"]["tokens"]["refresh_token"].clone();
    let family = world.cloud.family_of(stored.as_str().unwrap()).unwrap();
    assert_eq!(stored, json!(world.cloud.current_refresh_token(family)));
    assert_eq!(read(&profile), theirs);
    let counts = world.cloud.counts();
    assert_eq!(
        (counts.refresh_calls, counts.reuse_events),
        (1, 0),
        "{counts:?}"
    );
}

// Guests

#[tokio::test(flavor = "multi_thread")]
async fn a_guests_login_serves_while_its_token_lives_and_says_what_it_is() {
    let world = World::new(Options::default().access_ttl(Duration::from_secs(8))).await;
    edit(&world, |store| {
        let block = store["providers"]["nous"].as_object_mut().unwrap();
        block.remove("refresh_token");
        block.insert("auth_method".into(), "anonymous".into());
        block.insert("account_tier".into(), "anonymous".into());
        block.insert("anon_token".into(), "anon_secret".into());
        store["credential_pool"] = json!({});
    });
    let before = world.store();
    let daemon = world.daemon();
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    assert_eq!(provider(&daemon)["credential"], "guest_token");
    until(&daemon, "it ends", || {
        provider(&daemon)["state"] == "login_needed"
    })
    .await;
    let told = provider(&daemon);
    let why = told["last_error"]["message"].as_str().unwrap();
    assert!(why.contains("guest"), "{why}");
    assert_eq!(told["login_command"], "hermesctl auth login nous");
    assert_eq!(world.store(), before, "it is Hermes Agent's to renew");
    let counts = world.cloud.counts();
    assert_eq!((counts.refresh_calls, counts.mint_calls), (0, 0));
    // A login of an account takes its place whole.
    world.log_in();
    let block = world.store()["providers"]["nous"].clone();
    assert!(block["refresh_token"].is_string());
    for key in [
        "auth_method",
        "account_tier",
        "anon_token",
        "user_id",
        "org_id",
    ] {
        assert!(block.get(key).is_none(), "{key}: {block}");
    }
}

// .env

/// The daemon without the variables that name the cloud.
fn without_variables(world: &World) -> std::process::Command {
    let mut command = world.command(&[]);
    command
        .env_remove("NOUS_INFERENCE_BASE_URL")
        .env_remove("HERMES_PORTAL_BASE_URL");
    command
}

fn dot_env(world: &World) -> PathBuf {
    world.home.path().join(".hermes/.env")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_addresses_in_hermes_agents_env_file_are_used_told_and_read_again_at_a_reload() {
    let world = World::new(Options::default()).await;
    let (portal, base) = (world.cloud.portal_url(), world.cloud.inference_base_url());
    let text = |base: &str| {
        format!(
            "OPENAI_API_KEY=sk-theirs\nHERMES_PORTAL_BASE_URL=\"{portal}\"\nNOUS_INFERENCE_BASE_URL={base}\n"
        )
    };
    std::fs::write(dot_env(&world), text(&base)).unwrap();
    let daemon = Daemon::start(without_variables(&world), world.home.path());
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    daemon.renew().await;
    assert_eq!(world.cloud.counts().refreshes, 1);
    assert!(!daemon.logged().contains("sk-theirs"));

    let mut shown = world.hermesctl(&["config", "show", "--origin"]);
    shown
        .env_remove("NOUS_INFERENCE_BASE_URL")
        .env_remove("HERMES_PORTAL_BASE_URL");
    let shown = String::from_utf8(shown.output().unwrap().stdout).unwrap();
    let line = format!("{}: NOUS_INFERENCE_BASE_URL", dot_env(&world).display());
    assert!(shown.contains(&line), "{shown}");

    // Another cloud takes any token of the first one's.
    let other = MockCloud::start(Options::default()).await;
    std::fs::write(dot_env(&world), text(&other.inference_base_url())).unwrap();
    let reloaded = world.ctl(&["proxy", "reload"]);
    assert!(reloaded.status.success(), "{reloaded:?}");
    let status = post(&daemon, &chat("x")).await.status();
    assert_eq!(other.requests().len(), 1, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_wins_over_the_file_and_what_is_wrong_in_it_is_told_with_its_place() {
    let world = World::new(Options::default()).await;
    let nowhere = "NOUS_INFERENCE_BASE_URL=http://127.0.0.1:9/v1\nHERMES_PORTAL_BASE_URL=http://127.0.0.1:9\n";
    std::fs::write(dot_env(&world), nowhere).unwrap();
    let daemon = world.daemon();
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    drop(daemon);

    let checked = |text: &str| {
        std::fs::write(dot_env(&world), text).unwrap();
        let mut command = without_variables(&world);
        let output = command.arg("--check").output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(told).unwrap())
    };
    let file = dot_env(&world);
    let (code, told) = checked("NOUS_INFERENCE_BASE_URL=not a url\n");
    assert!(
        told.contains(file.to_str().unwrap()) && told.contains("is ignored"),
        "{told}"
    );
    assert_eq!(code, Some(0), "{told}");
    // A login would be readable on its way there. The file is not ours, so it stops nothing.
    let (code, told) = checked("NOUS_INFERENCE_BASE_URL=http://elsewhere.example/v1\n");
    assert_eq!(code, Some(0), "{told}");
    let place = format!(
        "In {}, NOUS_INFERENCE_BASE_URL is ignored: ",
        file.display()
    );
    assert!(told.contains(&place), "{told}");
    let mut command = without_variables(&world);
    command.env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url());
    let daemon = Daemon::start(command, world.home.path());
    daemon.wait_for_log(&place);
}

// rate_limits/nous.json

fn limit_file(world: &World) -> PathBuf {
    world.home.path().join(".hermes/rate_limits/nous.json")
}

#[expect(clippy::cast_precision_loss, reason = "it fits for ages")]
fn seconds() -> f64 {
    SystemClock.now().timestamp_millis() as f64 / 1e3
}

async fn code_of(daemon: &Daemon) -> (u16, Option<String>) {
    let answer = post(daemon, &chat("x")).await;
    let code = answer.headers().get("x-hermes-error");
    let code = code.map(|code| code.to_str().unwrap().to_owned());
    (answer.status().as_u16(), code)
}

const HELD: &str = "upstream_rate_limited";

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_account_is_told_to_hermes_agent_and_stops_requests_until_a_success() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let limited = Canned::rate_limited(7)
        .header("x-ratelimit-remaining-requests-1h", "0")
        .header("x-ratelimit-reset-requests-1h", "1200");
    world.cloud.fail_next(1, &Fault::Answer(limited));
    let began = seconds();
    // The provider's own answer passes as it is.
    assert_eq!(code_of(&daemon).await, (429, None));
    until(&daemon, "the file", || limit_file(&world).exists()).await;
    let record = read(&limit_file(&world));
    let told = |key: &str| record[key].as_f64().unwrap();
    assert!(
        (began - 1.0..began + 20.0).contains(&told("recorded_at")),
        "{record}"
    );
    assert!((told("reset_seconds") - 1200.0).abs() < 1.0, "{record}");
    assert!(
        (told("reset_at") - told("recorded_at") - 1200.0).abs() < 1.0,
        "{record}"
    );
    let mode = std::fs::metadata(limit_file(&world))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let asked = world.cloud.requests().len();
    let answer = post(&daemon, &chat("x")).await;
    assert_eq!(answer.headers()["x-hermes-error"], HELD);
    assert_eq!(answer.headers()["retry-after"], "60");
    let body: Value = answer.json().await.unwrap();
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("hermesctl proxy test"), "{message}");
    assert_eq!(world.cloud.requests().len(), asked);
    // What costs nothing of the limit is asked.
    let models = client().get(daemon.url("/models")).send().await.unwrap();
    assert_eq!(models.status(), 200);

    // The operator's way.
    let tested = world.ctl(&["proxy", "test"]);
    assert!(tested.status.success(), "{tested:?}");
    assert_eq!(code_of(&daemon).await, (200, None));
    until(&daemon, "no file", || !limit_file(&world).exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_models_capacity_is_no_limit_of_the_account() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    world.cloud.fail_next(1, &Fault::rate_limited(600));
    assert_eq!(code_of(&daemon).await, (429, None));
    assert_eq!(code_of(&daemon).await, (200, None));
    assert!(!limit_file(&world).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_hermes_agent_has_met_is_honoured_and_an_absurd_one_is_not() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let held = async |wanted: bool| {
        let deadline = Instant::now() + PATIENCE;
        while (code_of(&daemon).await.1.as_deref() == Some(HELD)) != wanted {
            assert!(
                Instant::now() < deadline,
                "never {wanted}: {}",
                daemon.logged()
            );
            // Requests are too rare for an early look at the file.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let now = seconds();
    let record = json!({"reset_at": now + 900.0, "recorded_at": now, "reset_seconds": 900.0});
    write(&limit_file(&world), &record);
    held(true).await;
    // Taken out by hand, or by a success of Hermes Agent's.
    std::fs::remove_file(limit_file(&world)).unwrap();
    held(false).await;
    for absurd in [
        "",
        "{",
        "[]",
        "{\"reset_at\": \"never\"}",
        "{\"reset_at\": 1e308, \"recorded_at\": 1e300}",
        "{\"reset_at\": 99999999999, \"recorded_at\": 1}",
    ] {
        std::fs::write(limit_file(&world), absurd).unwrap();
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until {
            assert_eq!(code_of(&daemon).await, (200, None), "{absurd}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_login_begins_without_the_limit_of_the_former_one() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let limited = Canned::rate_limited(7)
        .header("x-ratelimit-remaining-requests-1h", "0")
        .header("x-ratelimit-reset-requests-1h", "1200");
    world.cloud.fail_next(1, &Fault::Answer(limited));
    assert_eq!(code_of(&daemon).await, (429, None));
    assert_eq!(code_of(&daemon).await.1.as_deref(), Some(HELD));
    until(&daemon, "the file", || limit_file(&world).exists()).await;
    edit(&world, |store| store["providers"] = json!({}));
    std::fs::remove_file(world.mirror_file()).ok();
    until(&daemon, "no login", || {
        provider(&daemon)["state"] == "login_needed"
    })
    .await;
    world.log_in();
    assert_eq!(code_of(&daemon).await, (200, None));
    until(&daemon, "no file", || !limit_file(&world).exists()).await;
}

/// Hermes Agent in a profile without rows shows those of the root, and writes all that it has in memory into the
/// profile's store with the first change.
#[tokio::test(flavor = "multi_thread")]
async fn a_profiles_copy_of_a_row_that_was_renewed_since_is_not_renewed() {
    let world = World::new(Options::default()).await;
    world.cloud.set_access_ttl(Duration::from_hours(6));
    let login = world.cloud.login();
    let before = json!({
        "id": "b0b0b0", "label": "work", "auth_type": "oauth", "priority": 5, "source": "manual:hermes_proxyd",
        "access_token": login.access_token, "refresh_token": login.refresh_token, "scope": login.scope,
        "obtained_at": now(), "expires_at": login.expires_at.to_rfc3339(), "last_status": null,
    });
    edit(&world, |store| {
        store["credential_pool"] = json!({"nous": [before]});
    });
    let profile = world.home.path().join(".hermes/profiles/work/auth.json");
    write(&profile, &json!({"version": 1}));
    let config = format!("hermes_home = {:?}\n", profile.parent().unwrap());
    let daemon = world.daemon_with(&config, &[]);
    let renewed = || {
        let output = world.ctl(&["auth", "refresh", "nous", "--label", "work"]);
        assert!(output.status.success(), "{output:?}\n{}", daemon.logged());
    };
    world.cloud.advance(Duration::from_secs(2));
    renewed();
    let current = || world.cloud.current_refresh_token(login.family);
    let in_root = || world.store()["credential_pool"]["nous"][0]["refresh_token"].clone();
    assert_eq!(in_root().as_str(), current().as_deref());
    // Its memory is older than that.
    write(
        &profile,
        &json!({"version": 1, "credential_pool": {"nous": [before]}}),
    );
    assert!(world.ctl(&["proxy", "reload"]).status.success());
    renewed();
    assert_eq!(in_root().as_str(), current().as_deref());
    world.cloud.advance(Duration::from_secs(2));
    renewed();
    drop(daemon);
    let daemon = world.daemon_with(&config, &[]);
    let output = world.ctl(&["auth", "refresh", "nous", "--label", "work"]);
    assert!(output.status.success(), "{output:?}\n{}", daemon.logged());
    assert_eq!(in_root().as_str(), current().as_deref());
    assert!(world.cloud.is_alive(login.family));
    assert_eq!(world.cloud.counts().reuse_events, 0);
}
