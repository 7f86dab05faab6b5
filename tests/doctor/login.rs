//! The login: its end, its files, its locks, and copies of it.

#![cfg(unix)]
#![expect(clippy::disallowed_methods, reason = "a test may fail loudly")]

use std::time::Duration;

use crate::diagnosis::{Diagnosis, chmod, doctor, world};
use mock_cloud::Options;
use serde_json::json;
use support::{Daemon, World, scratch};

#[test]
fn without_a_login_one_is_asked_for() {
    let home = scratch();
    let environment = [("HERMES_PORTAL_BASE_URL", "http://127.0.0.1:1")];
    let (text, code) = doctor(home.path(), &environment, &["--json"]);
    let report = serde_json::from_str(&text).unwrap();
    let diagnosis = Diagnosis { report, code };
    let login = "hermesctl auth login nous";
    diagnosis.assert(("login", "nous"), "fail", "no login", login);
    diagnosis.assert(("store", "lock"), "skip", "does not exist yet", "");
    assert_eq!(code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_login_ends_with_4() {
    let world = World::with_a_refresh_due(Options::default()).await;
    world.cloud.revoke(world.family());
    let daemon = world.daemon();
    daemon.wait_for_log("login_ended");
    let diagnosis = Diagnosis::of(&world, &[]);
    let login = "hermesctl auth login nous";
    diagnosis.assert(("login", "nous"), "fail", "Login needed", login);
    assert_eq!(diagnosis.code, 4);
    drop(daemon);
    let diagnosis = Diagnosis::of(&world, &[]);
    diagnosis.assert(("login", "nous"), "fail", "login is needed", login);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_grant_is_told_before() {
    for (days, verdict, says) in [
        (1, "ok", "ends in 28 d"),
        (27, "warn", "ends in"),
        (31, "warn", "ended"),
    ] {
        let world = world().await;
        let mut store = world.store();
        let at = chrono::Utc::now() - chrono::Duration::days(days);
        store["providers"]["nous"]["hermes_proxyd"] = json!({"login_at": at.to_rfc3339()});
        std::fs::write(world.store_file(), store.to_string()).unwrap();
        let again = if verdict == "ok" {
            ""
        } else {
            "auth login nous --force"
        };
        let without = Diagnosis::of(&world, &[]);
        without.assert(("login", "end of nous"), verdict, says, again);
        let _daemon = world.daemon();
        let with = Diagnosis::of(&world, &[]);
        with.assert(("login", "end of nous"), verdict, says, again);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_store_and_a_folder_for_all_are_failures() {
    let world = world().await;
    std::fs::write(world.store_file(), "{\"providers\": ").unwrap();
    let diagnosis = Diagnosis::of(&world, &[]);
    let file = world.store_file();
    let fix = format!("mv {0} {0}.corrupt", file.display());
    diagnosis.assert(("store", "store"), "fail", "not JSON at line 1", &fix);

    // What everyone may write holds a login that may be as good as ever.
    let world = self::world().await;
    let daemon = world.daemon_with("[[listen]]\naddress = \"127.0.0.1:0\"\n", &[]);
    let file = world.store_file();
    chmod(&file, 0o666);
    let told = || daemon.status()["findings"].to_string();
    for _ in 0..400 {
        if told().contains("store_unreadable") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let fix = format!("chmod 600 {}", file.display());
    assert!(told().contains(&fix), "{}", told());
    assert!(!told().contains("then run"), "{}", told());
    let diagnosis = Diagnosis::of(&world, &[]);
    let says = format!("{} can be written by everyone", file.display());
    diagnosis.assert(("store", "store"), "fail", &says, &fix);
    let text = diagnosis.report.to_string();
    assert!(!text.contains(".corrupt"), "{text}");
    drop(daemon);

    let world = self::world().await;
    let folder = world.home.path().join(".hermes");
    chmod(&folder, 0o777);
    let diagnosis = Diagnosis::of(&world, &[]);
    let fix = format!("chmod 700 {}", folder.display());
    let place = ("store", "folder of the store");
    diagnosis.assert(place, "fail", "Other users can put files", &fix);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_the_lock_is_named() {
    let world = world().await;
    let lock = world.home.path().join(".hermes/auth.lock");
    let file = std::fs::File::create(&lock).unwrap();
    let free = Diagnosis::of(&world, &[]);
    free.assert(("store", "lock"), "ok", "is free", "");
    file.lock().unwrap();
    let held = Diagnosis::of(&world, &[]);
    let us = format!("(process {})", std::process::id());
    held.assert(("store", "lock"), "warn", &us, "hermesctl doctor");
    let reader = format!("process {}", std::process::id());
    held.assert(
        ("neighbours", &reader),
        "info",
        "store or its lock open",
        "",
    );
}

/// It may be the login that replaces the stored one.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_login_that_can_not_be_read_is_not_counted_as_none() {
    let world = world().await;
    let journal = world.home.path().join(".local/state/hermes-proxyd/journal");
    let store = support::hermes::fingerprint(world.store_file().to_str().unwrap());
    let kept = journal.join(format!("nous-{store}.login"));
    std::fs::create_dir_all(&kept).unwrap();
    let place = ("store", "journal of nous");
    let fix = format!("mv {} {0}.corrupt", kept.display());
    let diagnosis = Diagnosis::of(&world, &[]);
    diagnosis.assert(place, "fail", "a renewed login may wait there", &fix);
    // The daemon's own word names no other login: this one is whole.
    let world = World::with_a_refresh_due(Options::default()).await;
    let journal = world.home.path().join(".local/state/hermes-proxyd/journal");
    let store = support::hermes::fingerprint(world.store_file().to_str().unwrap());
    let kept = journal.join(format!("nous-{store}.login"));
    std::fs::create_dir_all(&kept).unwrap();
    let fix = format!("mv {} {0}.corrupt", kept.display());
    let daemon = world.daemon();
    let told = || daemon.status()["findings"].to_string();
    for _ in 0..400 {
        if told().contains("store_unusable") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = told();
    assert!(
        told.contains(&fix) && !told.contains("auth login"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_login_of_a_provider_that_is_not_configured_any_more_is_named() {
    let world = world().await;
    let journal = world.home.path().join(".local/state/hermes-proxyd/journal");
    std::fs::create_dir_all(&journal).unwrap();
    let kept = journal.join("xai-oauth-0123456789ab.login");
    std::fs::write(&kept, "{}").unwrap();
    let fix = format!("rm {}", kept.display());
    let place = ("login", "renewed login of xai");
    let diagnosis = Diagnosis::of(&world, &[]);
    diagnosis.assert(place, "warn", "once xai is configured again", &fix);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_renewal_and_a_mirror_with_other_tokens_are_found() {
    use support::hermes::fingerprint;
    let world = world().await;
    world.write_mirror();
    let token = world.store()["providers"]["nous"]["refresh_token"].clone();
    let journal = world.home.path().join(".local/state/hermes-proxyd/journal");
    std::fs::create_dir_all(&journal).unwrap();
    let store = fingerprint(world.store_file().to_str().unwrap());
    let entry = json!({
        "version": 1,
        "refresh_token_fingerprint": fingerprint(token.as_str().unwrap()),
        "started_at": "2026-11-23T12:00:00Z",
        "pid": 1,
    });
    std::fs::write(
        journal.join(format!("nous-{store}.json")),
        entry.to_string(),
    )
    .unwrap();
    let leftover = world
        .home
        .path()
        .join(".hermes/auth.json.hermes-proxyd.abc");
    let old = std::fs::File::create(&leftover).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let diagnosis = Diagnosis::of(&world, &[]);
    let force = "hermesctl auth login nous --force";
    diagnosis.assert(
        ("store", "journal of nous"),
        "warn",
        "2026-11-23 12:00",
        force,
    );
    diagnosis.assert(("store", "mirror of nous"), "ok", "the same", "");
    diagnosis.assert(
        ("store", "leftovers of nous"),
        "info",
        "1 temporary file",
        "",
    );

    let other = world.cloud.login();
    let mut mirror = world.store()["providers"]["nous"].clone();
    mirror["refresh_token"] = other.refresh_token.into();
    mirror["access_token"] = "opaque".into();
    for times in ["obtained_at", "expires_at"] {
        mirror.as_object_mut().unwrap().remove(times);
    }
    std::fs::write(world.mirror_file(), mirror.to_string()).unwrap();
    let diagnosis = Diagnosis::of(&world, &[]);
    diagnosis.assert(
        ("store", "mirror of nous"),
        "warn",
        "it is unknown which",
        force,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_login_is_a_failure() {
    let world = world().await;
    let own = world
        .home
        .path()
        .join(".local/state/hermes-proxyd/auth.json");
    std::fs::create_dir_all(own.parent().unwrap()).unwrap();
    std::fs::copy(world.store_file(), &own).unwrap();
    let diagnosis = Diagnosis::of(&world, &[]);
    let place = ("neighbours", "copies of nous");
    let fix = "hermesctl auth login nous --separate --force";
    diagnosis.assert(place, "fail", own.to_str().unwrap(), fix);

    std::fs::remove_file(&own).unwrap();
    let profile = world.home.path().join(".hermes/profiles/work");
    std::fs::create_dir_all(&profile).unwrap();
    std::fs::copy(world.store_file(), profile.join("auth.json")).unwrap();
    let diagnosis = Diagnosis::of(&world, &[]);
    diagnosis.assert(place, "fail", "profiles/work", "auth login nous --force");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_nothing_asks_for_is_not_looked_at_without_a_login() {
    let world = world().await;
    let config = "default_provider = \"example\"\n[providers.example]\ntype = \"static\"\nbase_url \
                  = \"{base}\"\napi_key_env = \"EXAMPLE_KEY\"\n";
    world.write_config(config);
    let key = [("EXAMPLE_KEY", "a-key")];
    let is_told = |diagnosis: &Diagnosis| diagnosis.report.to_string().contains("nous");
    let with = Diagnosis::of(&world, &key);
    with.assert(("login", "nous"), "ok", "There is a login", "");
    std::fs::remove_dir_all(world.home.path().join(".hermes")).unwrap();
    let without = Diagnosis::of(&world, &key);
    assert!(!is_told(&without), "{:#}", without.report);
    without.assert(("login", "example"), "ok", "a fixed API key", "");
    let mut command = world.command(&[]);
    command.envs(key);
    let _daemon = Daemon::start(command, world.home.path());
    let running = Diagnosis::of(&world, &key);
    assert!(!is_told(&running), "{:#}", running.report);
    assert_eq!(running.code, 0, "{:#}", running.report);
}

/// Each of them keeps a renewal from being saved.
#[tokio::test(flavor = "multi_thread")]
async fn every_lock_of_a_login_is_looked_at_and_none_is_waited_for() {
    for (lock, name) in [
        ("auth.lock", "lock"),
        ("shared/nous_auth.lock", "shared lock"),
    ] {
        let world = world().await;
        world.write_mirror();
        let lock = world.home.path().join(".hermes").join(lock);
        std::fs::create_dir(&lock).unwrap();
        let fix = format!("mv {0} {0}.old", lock.display());
        let says = format!("{} can't be used", lock.display());
        Diagnosis::of(&world, &[]).assert(("store", name), "fail", &says, &fix);
        std::fs::remove_dir(&lock).unwrap();
        let made = support::environment::tool("mkfifo").arg(&lock).status();
        assert!(made.unwrap().success());
        let fix = format!("rm {}", lock.display());
        Diagnosis::of(&world, &[]).assert(("store", name), "fail", &says, &fix);
    }
}
