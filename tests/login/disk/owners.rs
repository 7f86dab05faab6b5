//! File owners: files that another user could have written are not used, and root's work follows no
//! link of a user's.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk::{
    NOBODY, as_nobody, ask, assert_recovers, assert_spends_nothing, daemon_ctl, give_to_nobody,
    keep_runtime_folder, last_error, stored_token, until,
};
use mock_cloud::Options;
use support::environment::skipped;
use support::{Daemon, World};

/// A third user.
const STRANGER: u32 = 54321;

/// Replacing it would take it from its owner.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_somebody_else_is_refused_before_a_token_is_spent() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root makes a file of somebody else");
        return;
    }
    let world = World::with_a_refresh_due(Options::default()).await;
    let (store, home) = (world.store_file(), world.home.path().join(".hermes"));
    let theirs = || {
        chown(&store, Some(0), Some(0)).unwrap();
        std::fs::set_permissions(&store, PermissionsExt::from_mode(0o644)).unwrap();
    };
    let Some(daemon) = as_nobody(&world, theirs) else {
        return;
    };
    assert_spends_nothing(&world, &daemon, &["auth.json belongs to uid 0", "chown"]).await;
    chown(&store, Some(NOBODY), Some(NOBODY)).unwrap();
    assert_recovers(&world, &daemon, &home, "a store of somebody else").await;
}

/// As after `sudo`: whatever is written must stay the user's, or Hermes Agent is locked out.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_another_user_stays_theirs() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root writes another user's store");
        return;
    }
    let world = World::with_a_refresh_due(Options::default()).await;
    let home = world.home.path().join(".hermes");
    world.write_mirror();
    give_to_nobody(world.home.path());
    keep_runtime_folder(&world);
    let mut daemon = world.daemon();
    daemon.wait_for_log("the login was renewed");
    assert!(daemon.stop().success());
    let files = files_below(&home);
    for file in &files {
        let owner = std::fs::metadata(file).unwrap().uid();
        assert_eq!(owner, NOBODY, "{} is the user's no more", file.display());
    }
    println!(
        "another user's store: {} files, all still theirs",
        files.len()
    );
}

/// A user who may log in leaves links where root will write, in the hope that root follows them.
#[tokio::test(flavor = "multi_thread")]
async fn roots_work_for_a_user_reaches_nothing_that_the_user_could_not() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root works for another user");
        return;
    }
    let world = World::with_a_refresh_due(Options::default()).await;
    world.write_mirror();
    let home = world.home.path();
    let state = home.join(".local/state/hermes-proxyd");
    std::fs::create_dir_all(&state).unwrap();
    give_to_nobody(home);
    keep_runtime_folder(&world);
    // Root's alone; within its home, so that the test leaves nothing.
    let vault = support::scratch();
    let own = vault.path().join("own.json");
    std::fs::write(&own, "{}").unwrap();
    let folder = vault.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let links = [
        (".hermes/auth.lock", "made-1"),
        (".hermes/shared/nous_auth.lock", "made-2"),
        (".local/state/hermes-proxyd/clients.lock", "made-3"),
        (".local/state/hermes-proxyd/auth.json", "own.json"),
        (".local/state/hermes-proxyd/journal", "folder"),
    ];
    for (link, target) in links {
        std::os::unix::fs::symlink(vault.path().join(target), home.join(link)).unwrap();
        std::os::unix::fs::lchown(home.join(link), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let before = contents(vault.path());
    let daemon = world.daemon();
    for args in [
        &["auth", "refresh"][..],
        &["clients", "add", "app"],
        &["auth", "status"],
    ] {
        // As root, as `sudo` runs it.
        let output = world.hermesctl(args).output().unwrap();
        println!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    drop(daemon);
    assert_eq!(
        contents(vault.path()),
        before,
        "root followed a user's link"
    );
    for (link, _) in links {
        std::fs::remove_file(home.join(link)).unwrap();
    }
    // A dangling link does not count as a file without keys.
    let keys = state.join("clients.json");
    std::os::unix::fs::symlink(vault.path().join("made-4"), &keys).unwrap();
    std::os::unix::fs::lchown(&keys, Some(NOBODY), Some(NOBODY)).unwrap();
    let mut refused = Daemon::launch(world.command(&[]), home);
    assert!(!refused.wait().success());
    assert!(refused.logged().contains("made-4, which is missing"));
    assert_eq!(contents(vault.path()), before);
    std::fs::remove_file(&keys).unwrap();
    // Without the links all of it works, and all is the user's.
    let mut daemon = world.daemon();
    daemon.wait_for_log("the login was renewed");
    let added = world
        .hermesctl(&["clients", "add", "app"])
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    // In order, since what a kill cuts off may leave a file that is not yet theirs.
    assert!(daemon.stop().success());
    for file in files_below(&home.join(".hermes"))
        .iter()
        .chain(&files_below(&state))
    {
        let owner = std::fs::metadata(file).unwrap().uid();
        assert_eq!(owner, NOBODY, "{} is root's", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_roots_in_a_users_folder_follows_no_link_of_theirs_and_is_theirs() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root works for another user");
        return;
    }
    let world = World::new(Options::default()).await;
    let vault = support::scratch();
    let theirs = world.home.path().join("logs");
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(vault.path().join("there.log"), "root's\n").unwrap();
    for target in ["missing.log", "there.log"] {
        let link = theirs.join(target);
        std::os::unix::fs::symlink(vault.path().join(target), &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
    let before = contents(vault.path());
    for target in ["missing.log", "there.log"] {
        let log = theirs.join(target);
        let daemon = world.daemon_with("", &["--log-file", log.to_str().unwrap()]);
        daemon.wait_for_log("--log-file");
        assert_eq!(ask(&daemon).await, 200);
        drop(daemon);
        assert_eq!(
            contents(vault.path()),
            before,
            "root followed a user's link"
        );
    }
    // Without a link it is theirs, with the folder that was missing.
    let log = theirs.join("deep/x.log");
    let command = world.command(&["--log-file", log.to_str().unwrap()]);
    let mut daemon = Daemon::launch(command, world.home.path());
    let deadline = std::time::Instant::now() + support::PATIENCE;
    while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("listening")) {
        assert!(std::time::Instant::now() < deadline, "{}", daemon.logged());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    daemon.stop();
    assert!(std::fs::read_to_string(&log).unwrap().contains("stopped"));
    for made in [log.as_path(), log.parent().unwrap()] {
        assert_eq!(std::fs::metadata(made).unwrap().uid(), NOBODY);
    }
}

/// What a container that runs as root leaves in a folder of the host's user.
#[tokio::test(flavor = "multi_thread")]
async fn roots_own_files_in_a_users_folder_stay_of_use_to_root() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root has files of root");
        return;
    }
    let world = World::with_a_refresh_due(Options::default()).await;
    world.write_mirror();
    let home = world.home.path().join(".hermes");
    std::fs::write(home.join("auth.lock"), "").unwrap();
    for private in ["auth.json", "auth.lock", "shared/nous_auth.json"] {
        std::fs::set_permissions(home.join(private), PermissionsExt::from_mode(0o600)).unwrap();
    }
    std::fs::set_permissions(home.join("shared"), PermissionsExt::from_mode(0o700)).unwrap();
    chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    let daemon = world.daemon();
    daemon.wait_for_log("the login was renewed");
    assert_eq!(ask(&daemon).await, 200);
    let owner = std::fs::metadata(world.store_file()).unwrap().uid();
    assert_eq!(owner, 0, "it is whose the old one was");
    assert_eq!(
        stored_token(&home),
        world.cloud.current_refresh_token(world.family())
    );
}

/// In a shared folder, any user can leave a mirror with their own login: prompts would go to their
/// account.
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_fresher_mirror_is_neither_taken_nor_written_over() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root makes a file of somebody else");
        return;
    }
    for (owner, mode) in [(STRANGER, 0o644), (NOBODY, 0o666)] {
        let world = World::new(Options::default()).await;
        let home = world.home.path().join(".hermes");
        world.cloud.advance(Duration::from_mins(1));
        let theirs = world.cloud.login();
        let mut mirror = world.cloud.hermes_store(&theirs)["providers"]["nous"].clone();
        mirror["_schema"] = 1.into();
        let file = world.mirror_file();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, mirror.to_string()).unwrap();
        let prepare = || {
            chown(&file, Some(owner), Some(owner)).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            let folder = home.join("shared");
            chown(&folder, Some(0), Some(0)).unwrap();
            std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o1777)).unwrap();
        };
        let Some(daemon) = as_nobody(&world, prepare) else {
            return;
        };
        assert_eq!(ask(&daemon).await, 200);
        let used = world.cloud.last_bearer();
        assert_eq!(
            used.as_deref(),
            Some(world.login.access_token.as_str()),
            "{owner}"
        );
        // A renewal still works, and is saved.
        let refreshed = daemon_ctl(&daemon, &["auth", "refresh"]);
        assert!(
            refreshed.status.success(),
            "{refreshed:?}\n{}",
            daemon.logged()
        );
        assert_eq!(
            stored_token(&home),
            world.cloud.current_refresh_token(world.family())
        );
        assert_eq!(daemon.status()["providers"][0]["unsaved"], false);
        if owner == STRANGER {
            let text = std::fs::read_to_string(&file).unwrap();
            assert_eq!(text, mirror.to_string(), "a stranger's file was changed");
            daemon.wait_for_log("the mirror belongs to another user");
        }
    }
}

/// A user who can write it could put their own login there.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_a_stranger_could_have_written_is_not_used() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root makes a file of somebody else");
        return;
    }
    for (owner, mode, words) in [
        (STRANGER, 0o644, ["belongs to uid 54321", "chown"]),
        (
            NOBODY,
            0o666,
            ["everyone on this machine can write", "chmod 600"],
        ),
    ] {
        let world = World::new(Options::default()).await;
        let (store, home) = (world.store_file(), world.home.path().join(".hermes"));
        let prepare = || {
            chown(&store, Some(owner), Some(owner)).unwrap();
            std::fs::set_permissions(&store, PermissionsExt::from_mode(mode)).unwrap();
        };
        let Some(daemon) = as_nobody(&world, prepare) else {
            return;
        };
        until(&daemon, "the error", || {
            // What is wrong, and the command.
            let told = daemon.status().to_string();
            words.iter().all(|word| told.contains(word))
        })
        .await;
        assert_eq!(ask(&daemon).await, 503, "{}", daemon.logged());
        chown(&store, Some(NOBODY), Some(NOBODY)).unwrap();
        std::fs::set_permissions(&store, PermissionsExt::from_mode(0o600)).unwrap();
        until(&daemon, "no error", || last_error(&daemon).is_empty()).await;
        assert_eq!(ask(&daemon).await, 200);
        assert!(home.exists());
    }
}

/// A stranger's key would send prompts to the stranger's account.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_a_stranger_could_have_written_is_not_used() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root makes a file of somebody else");
        return;
    }
    let world = World::new(Options::default()).await;
    let folder = world.home.path().join("drop");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o1777)).unwrap();
    let key = folder.join("key");
    let config = format!(
        "default_provider = \"mine\"\n[providers.mine]\ntype = \"static\"\nbase_url = \
         \"{{base}}\"\napi_key_file = {:?}\n",
        key.display().to_string()
    );
    world.write_config(&config);
    for (owner, mode, text, words) in [
        (STRANGER, 0o644, "sk-1\n", Some("chown")),
        (0, 0o666, "sk-1\n", Some("chmod 600")),
        (0, 0o600, "\"sk-1\"\n", Some("quotes")),
        (0, 0o600, "KEY=sk-1\n", Some("NAME=value")),
        // As secrets are mounted into containers.
        (0, 0o444, "\u{feff}\n\nsk-1\r\n", None),
    ] {
        std::fs::remove_file(&key).ok();
        std::fs::write(&key, text).unwrap();
        chown(&key, Some(owner), Some(owner)).unwrap();
        std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        let daemon = Daemon::start(world.command(&[]), world.home.path());
        let sent = ask(&daemon).await;
        let check = daemon_ctl(&daemon, &["config", "check"]);
        let said = String::from_utf8_lossy(&check.stderr).into_owned();
        let Some(word) = words else {
            // The cloud knows no such key, but it came as it should.
            let requests = world.cloud.requests();
            let mut headers = requests.last().unwrap().headers.iter();
            let sent = headers.find(|(name, _)| name == "authorization");
            assert_eq!(sent.map(|(_, value)| value.as_str()), Some("Bearer sk-1"));
            assert!(check.status.success(), "{said}");
            continue;
        };
        assert_eq!(sent, 401, "{owner} {mode:o}");
        let error = last_error(&daemon);
        assert!(error.contains(word) && error.contains("key"), "{error}");
        assert!(
            !check.status.success() && said.contains(word),
            "{owner} {mode:o} {text:?}: {check:?}"
        );
        assert!(!error.contains("sk-1") && !said.contains("sk-1"));
    }
}

/// Every file below a folder, with what it holds and whose it is.
fn contents(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>, u32)> {
    let files = files_below(folder).into_iter();
    files
        .map(|file| {
            let metadata = std::fs::metadata(&file).unwrap();
            (file.clone(), std::fs::read(&file).ok(), metadata.uid())
        })
        .collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            files.extend(files_below(&path));
        }
        files.push(path);
    }
    files
}
