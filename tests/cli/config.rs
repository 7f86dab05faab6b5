//! `hermesctl config`, without a daemon and beside one.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use mock_cloud::Options;
use serde_json::Value;
use support::{World, copy_program, ctl, fake_program, program, scratch};

fn place(home: &Path) -> PathBuf {
    home.join(".config/hermes-proxyd/config.toml")
}

fn write(home: &Path, text: &str) {
    std::fs::create_dir_all(place(home).parent().unwrap()).unwrap();
    std::fs::write(place(home), text).unwrap();
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn mode(file: &Path) -> u32 {
    std::fs::metadata(file).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_path_is_told_with_its_reason() {
    let home = scratch();
    let output = ctl(home.path(), &["config", "path"]);
    assert_eq!(out(&output).trim(), place(home.path()).to_str().unwrap());
    assert!(err(&output).contains("hermesctl config init"), "{output:?}");
    let output = program(env!("CARGO_BIN_EXE_hermesctl"), home.path())
        .env("XDG_CONFIG_HOME", home.path().join("conf"))
        .args(["config", "path", "--json"])
        .output()
        .unwrap();
    let answer = json(&output);
    let file = home.path().join("conf/hermes-proxyd/config.toml");
    assert_eq!(answer["file"], file.to_str().unwrap());
    assert_eq!(answer["why"], "config_home");
    assert_eq!(answer["exists"], false);
    assert_eq!(answer["daemon"], Value::Null);
}

#[test]
fn a_new_file_is_private_valid_and_never_over_another() {
    let home = scratch();
    let file = place(home.path());
    for flags in [
        &["config", "init"][..],
        &["config", "init", "--full", "--force"],
    ] {
        let output = ctl(home.path(), flags);
        assert!(output.status.success(), "{output:?}");
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.starts_with("#:schema"), "no schema is installed here");
        let output = ctl(home.path(), &["config", "check"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    write(home.path(), "[log]\nlevel = \"debug\"\n");
    let output = ctl(home.path(), &["config", "init"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("--force"));
    assert!(std::fs::read_to_string(&file).unwrap().contains("debug"));
    let output = ctl(home.path(), &["config", "init", "--force", "--json"]);
    let backup = json(&output)["backup"].as_str().unwrap().to_owned();
    let (_, end) = backup.rsplit_once('.').unwrap();
    assert_eq!(end, "bak1");
    let kept = std::fs::read_to_string(backup).unwrap();
    assert_eq!(kept, "[log]\nlevel = \"debug\"\n");
}

/// As a package puts it, `bin/hermesctl` and `share/hermes-proxyd/`; and as package managers do that
/// keep each version in a folder of its own and link to it: the links stay over an update.
#[test]
fn a_new_file_leads_editors_to_the_schema_where_it_is_installed() {
    for versions in [false, true] {
        let home = scratch();
        let own = if versions { "Cellar/0.1.0" } else { "usr" };
        let (own, linked) = (home.path().join(own), home.path().join("usr"));
        for folder in [&own, &linked] {
            std::fs::create_dir_all(folder.join("bin")).unwrap();
            std::fs::create_dir_all(folder.join("share/hermes-proxyd")).unwrap();
        }
        copy_program(env!("CARGO_BIN_EXE_hermesctl"), own.join("bin/hermesctl"));
        let schema = "share/hermes-proxyd/hermes-proxyd.schema.json";
        std::fs::write(own.join(schema), "{}").unwrap();
        if versions {
            for file in ["bin/hermesctl", schema] {
                std::os::unix::fs::symlink(own.join(file), linked.join(file)).unwrap();
            }
        }
        let output = program(linked.join("bin/hermesctl"), home.path())
            .args(["config", "init"])
            .env("PATH", linked.join("bin"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = std::fs::read_to_string(place(home.path())).unwrap();
        let line = format!("#:schema file://{}\n", linked.join(schema).display());
        assert!(text.starts_with(&line), "{text}");
        let output = ctl(home.path(), &["config", "check"]);
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn every_mistake_is_told_and_the_end_is_78() {
    let home = scratch();
    write(home.path(), "[limits]\nbody = \"64MB\"\n[lgo]\n");
    let output = ctl(home.path(), &["config", "check"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let said = err(&output);
    for part in [
        "config.toml:2: limits.body",
        "did you mean `64MiB`",
        "config.toml:3: lgo",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let output = ctl(home.path(), &["config", "check", "--json"]);
    let problems = &json(&output)["problems"];
    assert_eq!(problems[0]["line"], 2);
    assert_eq!(problems[0]["suggestion"], "64MiB");
    assert_eq!(problems[1]["key"], "lgo");
    // What only the daemon's program finds.
    let other = home.path().join("other.toml");
    std::fs::write(&other, "[providers.nous]\nca_file = \"/nowhere.pem\"\n").unwrap();
    let output = ctl(home.path(), &["config", "check", other.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(err(&output).contains("/nowhere.pem"), "{output:?}");
    // A daemon would not start with it before there is a key.
    std::fs::write(&other, "[[listen]]\naddress = \"docker0:8645\"\n").unwrap();
    let check = || ctl(home.path(), &["config", "check", other.to_str().unwrap()]);
    let output = check();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(err(&output).contains("hermesctl clients add NAME"));
    let output = ctl(
        home.path(),
        &["config", "check", other.to_str().unwrap(), "--json"],
    );
    assert_eq!(json(&output)["valid"], false, "{output:?}");
    write(home.path(), "");
    assert!(ctl(home.path(), &["clients", "add", "x"]).status.success());
    assert_eq!(check().status.code(), Some(0));
    for verb in ["show", "check"] {
        let output = ctl(home.path(), &["config", verb, "/nowhere.toml"]);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
    }
}

#[test]
fn what_is_shown_can_be_read_again_and_says_where_it_comes_from() {
    let home = scratch();
    write(home.path(), "[limits]\nbody = \"1MiB\"\n");
    let shown = out(&ctl(home.path(), &["config", "show"]));
    let with_origins = out(&ctl(home.path(), &["config", "show", "--origin"]));
    assert!(
        with_origins.contains("body = \"1MiB\"  # config.toml:2\n"),
        "{with_origins}"
    );
    assert!(with_origins.contains("headers = \"64KiB\"  # default\n"));
    for text in [&shown, &with_origins] {
        let copy = home.path().join("copy.toml");
        std::fs::write(&copy, text).unwrap();
        let again = ctl(home.path(), &["config", "show", copy.to_str().unwrap()]);
        assert_eq!(out(&again), shown);
    }
    let output = program(env!("CARGO_BIN_EXE_hermesctl"), home.path())
        .env(
            "NOUS_INFERENCE_BASE_URL",
            "http://u:p4ss@h.example/v1?key=t0ken",
        )
        .args(["config", "show", "--origin"])
        .output()
        .unwrap();
    let text = out(&output);
    let line = "# providers.nous.base_url = \"http://h.example/v1\"  # environment";
    assert!(text.contains(line), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_daemon_is_asked_what_it_has() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("[limits]\nbody = \"1MiB\"\n", &[]);
    let path = || json(&world.ctl(&["config", "path", "--json"]));
    assert_eq!(path()["daemon"]["state"], "in_force");
    let output = world.ctl(&["config", "show", "--origin"]);
    let line = "address = \"127.0.0.1:0\"  # command line of hermes-proxyd (pid ";
    assert!(out(&output).contains(line), "{output:?}");
    assert_eq!(err(&output), "");

    world.write_config("[limits]\nbody = \"2MiB\"\n");
    assert_eq!(path()["daemon"]["state"], "changed");
    for line in [
        &["config", "path"][..],
        &["config", "check"],
        &["config", "show"],
    ] {
        let output = world.ctl(line);
        assert!(output.status.success());
        assert!(
            err(&output).contains("hermesctl proxy reload"),
            "{output:?}"
        );
    }
    assert!(world.ctl(&["proxy", "reload"]).status.success());
    assert_eq!(path()["daemon"]["state"], "in_force");
    drop(daemon);

    let elsewhere = world.home.path().join("elsewhere.toml");
    std::fs::write(&elsewhere, "").unwrap();
    let flags = ["--config", elsewhere.to_str().unwrap()];
    let daemon = world.daemon_with("", &flags);
    assert_eq!(path()["file"], elsewhere.to_str().unwrap());
    assert_eq!(path()["why"], "daemon");
    drop(daemon);
    assert_eq!(path()["why"], "default");
}

/// hermes-proxyd itself is asked too, which may wait for a key on a disk that does not answer.
#[test]
fn a_check_that_does_not_end_is_ended() {
    let home = scratch();
    let (ours, theirs) = (
        home.path().join("hermesctl"),
        home.path().join("hermes-proxyd"),
    );
    fake_program(&theirs, "exec sleep 300");
    copy_program(env!("CARGO_BIN_EXE_hermesctl"), &ours);
    let output = program(&ours, home.path())
        .args(["config", "check"])
        .output()
        .unwrap();
    let said = err(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let told = format!(
        "`{} --check` did not end within 20 seconds",
        theirs.display()
    );
    assert!(said.contains(&told), "{said}");
    assert!(said.contains("to see what it waits for"), "{said}");

    // Without the program, the file alone is looked at.
    std::fs::remove_file(theirs).unwrap();
    let output = program(&ours, home.path())
        .env("PATH", home.path())
        .args(["config", "check"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", err(&output));
}
