//! Files and folders: mistakes in them, their modes, their owners, and their disk.

#![cfg(unix)]

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use crate::diagnosis::{Diagnosis, chmod, doctor, world};
use serde_json::json;
use support::{mount_namespace, program};

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_the_configuration_are_told_with_their_lines() {
    let world = world().await;
    let daemon = world.daemon();
    world.write_config("[limits]\nbdoy = \"1MiB\"\nconnections = -1\n");
    let diagnosis = Diagnosis::of(&world, &[]);
    let file = ("configuration", "file");
    let config = world.home.path().join(".config/hermes-proxyd/config.toml");
    let check = format!("hermesctl config check {}", config.display());
    let check = check.as_str();
    // The daemon started without a file, so the default one is looked at.
    diagnosis.assert(file, "fail", "line 2: limits.bdoy", check);
    diagnosis.assert(file, "fail", "keeps the settings it has loaded", check);
    diagnosis.assert(("configuration", "file (2)"), "fail", "line 3", check);
    assert_eq!(diagnosis.code, 78);
    drop(daemon);
    let down = Diagnosis::of(&world, &[]);
    assert_eq!(down.code, 78);
    let place = format!("Correct line 2 of {}", config.display());
    down.assert(file, "fail", "line 2: limits.bdoy", &place);
    // A start would fail by the same mistake.
    let running = ("program", "hermes-proxyd");
    down.assert(
        running,
        "fail",
        "can't start until the errors below are fixed: configuration/file",
        "Then start it with",
    );
    down.assert_no_command(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_can_not_be_used_is_told_with_the_command_that_opens_it() {
    let world = world().await;
    world.write_config("");
    let config = world.home.path().join(".config/hermes-proxyd/config.toml");
    chmod(&config, 0o666);
    let diagnosis = Diagnosis::of(&world, &[]);
    let file = ("configuration", "file");
    let fixes = &diagnosis.find(file.0, file.1).unwrap()["fix"];
    let (open, check) = (config.display(), config.display());
    let expected = json!([
        {"run": format!("chmod o-w {open}")},
        {"run": format!("hermesctl config check {check}")},
    ]);
    assert_eq!(fixes, &expected);

    let missing = ["--json", "--config", "/nonexistent/config.toml"];
    let (text, code) = doctor(world.home.path(), &[], &missing);
    assert_eq!(code, 78);
    assert!(
        text.contains("hermesctl config init /nonexistent/config.toml"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn private_files_that_others_can_read_are_named() {
    let world = world().await;
    let home = world.home.path();
    let key = home.join("example.key");
    std::fs::write(&key, "the-key-of-a-provider").unwrap();
    world.write_config(&format!(
        "[[hooks]]\nurl = \"https://ntfy.example/my-topic\"\n[providers.example]\ntype = \
         \"static\"\nbase_url = \"http://127.0.0.1:1/v1\"\napi_key_file = {key:?}\n\
         [providers.gone]\ntype = \"static\"\nbase_url = \"http://127.0.0.1:1/v1\"\n\
         api_key_file = \"~/gone.key\"\n",
    ));
    let config = home.join(".config/hermes-proxyd/config.toml");
    chmod(&config, 0o644);
    chmod(&key, 0o644);
    chmod(&world.store_file(), 0o640);
    chmod(&home.join(".hermes"), 0o755);
    world.write_mirror();
    chmod(&world.mirror_file(), 0o644);
    let keys = home.join(".local/state/hermes-proxyd/clients.json");
    std::fs::create_dir_all(keys.parent().unwrap()).unwrap();
    std::fs::write(&keys, "{}").unwrap();
    chmod(&keys, 0o644);
    let diagnosis = Diagnosis::of(&world, &[]);
    for (place, verdict, says, path) in [
        (
            ("configuration", "file mode"),
            "warn",
            "Other users can read",
            &config,
        ),
        (
            ("configuration", "key of example"),
            "warn",
            "Other users can read",
            &key,
        ),
        (("store", "store"), "warn", "mode 0640", &world.store_file()),
        (
            ("store", "mirror"),
            "warn",
            "mode 0644",
            &world.mirror_file(),
        ),
        (
            ("listeners", keys.to_str().unwrap()),
            "fail",
            "can't start with it",
            &keys,
        ),
    ] {
        let fix = format!("chmod 600 {}", path.display());
        diagnosis.assert(place, verdict, says, &fix);
    }
    let fix = format!("chmod 700 {}", home.join(".hermes").display());
    diagnosis.assert(("store", "folder of the store"), "warn", "mode 0755", &fix);
    let gone = ("configuration", "key of gone");
    diagnosis.assert(gone, "fail", "can't be read", "Put the API key into");
    let text = diagnosis.report.to_string();
    assert!(
        !text.contains("my-topic") && !text.contains("the-key-of"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_folder_that_others_can_enter_is_warned_of() {
    let world = world().await;
    let folder = world.home.path().join("run/hermes-proxyd");
    std::fs::create_dir(&folder).unwrap();
    chmod(&folder, 0o755);
    let diagnosis = Diagnosis::of(&world, &[]);
    let fix = format!("chmod 700 {}", folder.display());
    diagnosis.assert(
        ("service", "runtime folder"),
        "warn",
        "Other users can enter",
        &fix,
    );
    let lost = Diagnosis::of(&world, &[("XDG_RUNTIME_DIR", "/nonexistent/run")]);
    lost.assert(
        ("service", "runtime folder"),
        "warn",
        "does not exist",
        "XDG_RUNTIME_DIR",
    );
}

/// Whatever is in the place of a file, no command waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_a_files_place_is_told_and_not_waited_for() {
    let world = world().await;
    let _daemon = world.daemon_with("[[listen]]\naddress = \"127.0.0.1:0\"\n", &[]);
    let home = world.home.path();
    let config = home.join(".config/hermes-proxyd/config.toml");
    let keys = home.join(".local/state/hermes-proxyd/clients.json");
    for file in [config, keys, world.store_file()] {
        let aside = file.with_extension("aside");
        let was_there = std::fs::rename(&file, &aside).is_ok();
        let made = support::environment::tool("mkfifo").arg(&file).status();
        assert!(made.unwrap().success());
        for command in [
            &["proxy", "status"][..],
            &["config", "check"],
            &["doctor"],
            &["bugreport", "--yes", "--output", "report.txt"],
        ] {
            let mut limited = program("timeout", home);
            limited
                .current_dir(home)
                .arg("20")
                .arg(env!("CARGO_BIN_EXE_hermesctl"));
            let ended = limited.args(command).output().unwrap().status;
            assert_ne!(ended.code(), Some(124), "{command:?}, {}", file.display());
        }
        std::fs::remove_file(&file).unwrap();
        if was_there {
            std::fs::rename(&aside, &file).unwrap();
        }
    }
}

/// They are not gone, and the running hermes-proxyd has them still.
#[tokio::test(flavor = "multi_thread")]
async fn client_keys_that_can_not_be_read_are_told_with_what_makes_them_readable() {
    const KEYED: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\nauth = \"keys\"\n";
    let world = world().await;
    world.write_config(KEYED);
    assert!(world.ctl(&["clients", "add", "app"]).status.success());
    let daemon = world.daemon_with(KEYED, &[]);
    let file = (world.home.path()).join(".local/state/hermes-proxyd/clients.json");
    let place = ("listeners", "client key file");
    let fix = format!("chmod 600 {}", file.display());
    chmod(&file, 0o644);
    for _ in 0..400 {
        if daemon.home_screen()["findings"]
            .to_string()
            .contains("client_keys_unreadable")
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // So does the status.
    let told = daemon.home_screen()["findings"].to_string();
    assert!(told.contains(&fix), "{told}");
    let diagnosis = Diagnosis::of(&world, &[]);
    diagnosis.assert(place, "fail", "the earlier ones are in use", &fix);
    let keys = diagnosis.find("listeners", "client keys");
    assert!(keys.is_none_or(|keys| keys["verdict"] == "ok"), "{keys:?}");

    chmod(&file, 0o600);
    std::fs::write(&file, "{").unwrap();
    for _ in 0..400 {
        if daemon.home_screen()["findings"]
            .to_string()
            .contains("not a client key file")
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let diagnosis = Diagnosis::of(&world, &[]);
    let fix = format!("mv {0} {0}.corrupt", file.display());
    diagnosis.assert(place, "fail", "the earlier ones are in use", &fix);
    drop(daemon);
    let diagnosis = Diagnosis::of(&world, &[]);
    diagnosis.assert(place, "fail", "so hermes-proxyd can't start", &fix);
    assert_eq!(diagnosis.find("listeners", "client keys"), None);
}

/// `~/.hermes` and `~/.local/state` on disks of their own.
const DISKS: &str = r#"
set -eu
cp "$HOME/.hermes/auth.json" "$HOME/aside"
mkdir -p "$HOME/.local/state"
for folder in .hermes .local/state; do
    mount -t tmpfs -o size=2m,mode=700 none "$HOME/$folder"
done
cp "$HOME/aside" "$HOME/.hermes/auth.json"
chmod 600 "$HOME/.hermes/auth.json"
"#;

const FULL: &str = r#"
for folder in .hermes .local/state; do
    cat /dev/zero > "$HOME/$folder/filler" 2> /dev/null || true
done
exec "$@"
"#;

const NARROW: &str = r#"
for folder in .hermes .local/state; do
    head -c 1536k /dev/zero > "$HOME/$folder/filler"
done
exec "$@"
"#;
const READ_ONLY: &str = r#"
for folder in .hermes .local/state; do
    mount -o remount,bind,ro "$HOME/$folder"
done
exec "$@"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_scarce_or_read_only_is_told() {
    let Some(namespace) = mount_namespace() else {
        return;
    };
    for (then, verdict, says, fix) in [
        (
            FULL,
            "fail",
            "is full: a renewed login can't be saved",
            "df -h",
        ),
        (NARROW, "fail", "has less than 1 MiB free", "df -h"),
        (READ_ONLY, "fail", "read-only disk", "findmnt -T"),
        ("exec \"$@\"", "warn", "MiB left", "df -h"),
    ] {
        let world = world().await;
        let mut outer = program("unshare", world.home.path());
        let script = DISKS.to_owned() + then;
        outer.args(namespace).args(["sh", "-c", &script, "sh"]);
        let diagnosis = Diagnosis::of_wrapped(&world, outer);
        let home = world.home.path();
        for (name, folder) in [
            ("store's folder", home.join(".hermes")),
            ("state folder", home.join(".local/state")),
        ] {
            let fix = format!("{fix} {}", folder.display());
            diagnosis.assert(("machine", name), verdict, says, &fix);
        }
        if verdict == "fail" {
            assert_ne!(diagnosis.report["verdict"], "ok");
        }
    }
}

/// Root may write anywhere, so another user looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_can_not_be_written_is_told_with_what_gives_it_back() {
    const SOMEBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        support::environment::skipped("it takes root to become another user");
        return;
    }
    for (owner, fix) in [(SOMEBODY, "chmod u+rwx"), (0, "sudo chown -h 65534")] {
        let world = world().await;
        let home = world.home.path();
        let folder = home.join(".hermes");
        for path in [home, &home.join("run"), &world.store_file()] {
            chown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        }
        chown(&folder, Some(owner), Some(owner)).unwrap();
        chmod(&folder, 0o555);
        let mut outer = program("env", home);
        outer.uid(SOMEBODY);
        let diagnosis = Diagnosis::of_wrapped(&world, outer);
        let fix = format!("{fix} {}", folder.display());
        let place = ("store", "folder of the store");
        diagnosis.assert(place, "fail", "could not be saved", &fix);
        let place = ("machine", "store's folder");
        diagnosis.assert(place, "fail", "can't be written: Permission denied", &fix);
    }
}

/// What `sudo hermes` leaves: the folder is in the way, and a link may lead to anything.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_given_back_is_named_and_never_what_a_link_leads_to() {
    const SOMEBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        support::environment::skipped("it takes root to become another user");
        return;
    }
    for is_link in [false, true] {
        let world = world().await;
        let home = world.home.path();
        let (folder, store) = (home.join(".hermes"), world.store_file());
        for path in [home, &home.join("run")] {
            chown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        }
        if is_link {
            let aside = home.join("aside.json");
            std::fs::rename(&store, &aside).unwrap();
            chmod(&aside, 0o600);
            std::os::unix::fs::symlink(&aside, &store).unwrap();
            chown(&folder, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        } else {
            chmod(&folder, 0o700);
        }
        let mut outer = program("env", home);
        outer.uid(SOMEBODY);
        let diagnosis = Diagnosis::of_wrapped(&world, outer);
        let finding = diagnosis.find("store", "store").unwrap()["fix"].to_string();
        assert_eq!(finding.contains("chown"), !is_link, "{finding}");
        let fix = format!("sudo chown -h {SOMEBODY} {}\"", folder.display());
        assert_eq!(finding.contains(&fix), !is_link, "{finding}");
        assert!(
            !finding.contains(&format!("{SOMEBODY} {}", store.display())),
            "{finding}"
        );
    }
}
