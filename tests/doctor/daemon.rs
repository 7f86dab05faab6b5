//! The daemon: whether it runs, hangs or is another release, and the obstacles of its next start.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::diagnosis::{Diagnosis, chmod, world};
use serde_json::{Value, json};
use support::{Daemon, World, program, wrapped};

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well_with_a_running_daemon() {
    let world = world().await;
    std::fs::write(world.home.path().join(".hermes/auth.lock"), "").unwrap();
    let daemon = world.daemon();
    let diagnosis = Diagnosis::of(&world, &[]);
    let address = daemon.address();
    for (group, name) in [
        ("program", "hermes-proxyd"),
        ("program", "version"),
        ("configuration", "file"),
        ("login", "nous"),
        ("login", "end of nous"),
        ("store", "store"),
        ("store", "place of nous"),
        ("store", "lock"),
        ("network", "nous portal"),
        ("network", "nous inference"),
        ("network", "clock"),
        ("listeners", address),
        ("listeners", &format!("guard of {address}")),
        ("service", "runtime folder"),
        ("neighbours", "copies of nous"),
        ("machine", "state folder"),
        ("machine", "descriptors"),
    ] {
        diagnosis.assert((group, name), "ok", "", "");
    }
    assert_eq!(diagnosis.code, 0, "{:#}", diagnosis.report);
    let spent = world.cloud.calls();
    assert!(spent.is_empty(), "the doctor renewed a token: {spent:?}");
}

/// The form of `--json`, which programs read: every key of a finding, and every kind of fix.
#[tokio::test(flavor = "multi_thread")]
async fn the_json_has_its_documented_form() {
    let world = world().await;
    let diagnosis = Diagnosis::of(&world, &[]);
    let keys = |value: &Value| -> Vec<String> {
        let object = value.as_object().unwrap();
        object.keys().cloned().collect()
    };
    assert_eq!(keys(&diagnosis.report), ["verdict", "findings"]);
    assert_eq!(diagnosis.report["verdict"], "fail");
    let groups = [
        "program",
        "configuration",
        "login",
        "store",
        "network",
        "listeners",
        "service",
        "neighbours",
        "machine",
        "containers",
    ];
    let mut seen = std::collections::BTreeSet::new();
    let mut last = 0;
    for finding in diagnosis.report["findings"].as_array().unwrap() {
        let mut fields = keys(finding);
        // Where hermes-proxyd finds the same.
        fields.retain(|name| name != "code");
        assert_eq!(fields, ["group", "name", "verdict", "text", "fix"]);
        let group = finding["group"].as_str().unwrap();
        let place = groups.iter().position(|known| *known == group).unwrap();
        assert!(place >= last, "the groups are out of order");
        last = place;
        let name = finding["name"].as_str().unwrap();
        assert!(
            seen.insert((group, name)),
            "{group}/{name} stands there twice"
        );
        let verdict = finding["verdict"].as_str().unwrap();
        assert!(["ok", "info", "skip", "warn", "fail"].contains(&verdict));
        for fix in finding["fix"].as_array().unwrap() {
            let [kind] = &keys(fix)[..] else {
                panic!("{fix}")
            };
            match kind.as_str() {
                "run" | "advice" => assert!(fix[kind].is_string(), "{fix}"),
                "configure" => assert!(fix[kind].is_array(), "{fix}"),
                other => panic!("{other}"),
            }
        }
    }
    assert_eq!(last, groups.len() - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_the_files_are_looked_at() {
    let world = world().await;
    let diagnosis = Diagnosis::of(&world, &[]);
    let start = "hermesctl proxy start";
    diagnosis.assert(("program", "hermes-proxyd"), "fail", "not running", start);
    diagnosis.assert(("login", "nous"), "ok", "There is a login", "");
    diagnosis.assert(("listeners", "127.0.0.1:8645"), "ok", "free", "");
    assert_eq!(diagnosis.code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_is_found() {
    let world = world().await;
    let _first = world.daemon();
    let other = world.home.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let mut command = world.command(&[]);
    command.env("XDG_RUNTIME_DIR", &other);
    let second = Daemon::start(command, world.home.path());
    let diagnosis = Diagnosis::of(&world, &[]);
    let name = format!("hermes-proxyd {}", second.pid());
    let fix = format!("kill {}", second.pid());
    diagnosis.assert(("neighbours", &name), "warn", "second hermes-proxyd", &fix);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_home_in_the_service_is_noticed() {
    let world = world().await;
    let _daemon = world.daemon();
    let other = world.home.path().join("other-hermes");
    world
        .cloud
        .write_hermes_home(&other, &world.cloud.login())
        .unwrap();
    let diagnosis = Diagnosis::of(&world, &[("HERMES_HOME", other.to_str().unwrap())]);
    let place = ("store", "place of nous");
    diagnosis.assert(place, "warn", "other-hermes", "hermes_home");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_does_not_answer_is_no_daemon() {
    let world = world().await;
    let folder = world.home.path().join("run/hermes-proxyd");
    std::fs::create_dir(&folder).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("control.sock")).unwrap();
    let diagnosis = Diagnosis::of(&world, &[]);
    let place = ("program", "hermes-proxyd");
    diagnosis.assert(place, "fail", "did not answer", "hermesctl proxy start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_hangs_is_told_with_what_ends_it() {
    let world = world().await;
    let daemon = world.daemon_with("[[listen]]\naddress = \"127.0.0.1:0\"\n", &[]);
    let address = daemon.address().to_owned();
    daemon.signal(rustix::process::Signal::STOP);
    world.write_config(&format!("[[listen]]\naddress = \"{address}\"\n"));
    let pid = daemon.pid();
    let says = format!("Process {pid} has the control socket, but did not answer");
    let diagnosis = Diagnosis::of(&world, &[]);
    let place = ("program", "hermes-proxyd");
    diagnosis.assert(place, "fail", &says, "hermesctl proxy start");
    let fixes = &diagnosis.find(place.0, place.1).unwrap()["fix"];
    let commands: Vec<_> = fixes.as_array().unwrap().iter().collect();
    let commands: Vec<_> = commands
        .iter()
        .filter_map(|fix| fix["run"].as_str())
        .collect();
    let kills = [format!("kill {pid}"), format!("kill -9 {pid}")];
    assert_eq!(commands, [&kills[0], &kills[1], "hermesctl proxy start"]);
    let port = ("listeners", address.as_str());
    diagnosis.assert(port, "fail", "does not answer", &kills[1]);
    // It is the one that hermesctl found, and no other one.
    let other = format!("hermes-proxyd {pid}");
    assert_eq!(diagnosis.find("neighbours", &other), None);

    let status = world.ctl(&["proxy", "status"]);
    assert_eq!(status.status.code(), Some(1));
    let said = String::from_utf8(status.stderr).unwrap();
    for says in [
        format!("hermes-proxyd (process {pid}) did not answer"),
        format!("`kill {pid}`"),
        "`hermesctl service restart`".to_owned(),
        "`hermesctl proxy start`".to_owned(),
    ] {
        assert!(said.replace('\n', " ").contains(&says), "{said}");
    }
}

/// Puts the file in place of the one that a running daemon has read.
fn rewrite(world: &World, config: &str) -> Diagnosis {
    world.write_config(config);
    Diagnosis::of(world, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stops_the_next_start_is_told_while_the_daemon_runs() {
    const LISTEN: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n";
    let world = world().await;
    let _daemon = world.daemon_with(LISTEN, &[]);
    assert_eq!(Diagnosis::of(&world, &[]).code, 0);

    let keys = ("listeners", "client keys");
    let docker = format!("{LISTEN}[[listen]]\naddress = \"docker0:8645\"\n");
    let diagnosis = rewrite(&world, &docker);
    diagnosis.assert(
        keys,
        "fail",
        "the next start will fail",
        "clients add my-app",
    );
    assert_eq!(diagnosis.code, 1);
    assert!(world.ctl(&["clients", "add", "last"]).status.success());
    Diagnosis::of(&world, &[]).assert(keys, "ok", "There is 1 client key.", "");
    assert!(world.ctl(&["clients", "revoke", "last"]).status.success());
    Diagnosis::of(&world, &[]).assert(keys, "fail", "the next start will fail", "clients add");

    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let diagnosis = rewrite(
        &world,
        &format!("{LISTEN}[[listen]]\naddress = \"{taken}\"\n"),
    );
    diagnosis.assert(("listeners", &taken), "fail", "can't start", "[[listen]]");

    let diagnosis = rewrite(&world, "[providers.nous]\nca_file = \"/nonexistent.pem\"\n");
    let trust = ("network", "trust of nous");
    diagnosis.assert(trust, "fail", "/nonexistent.pem", "correct it there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_daemon_knows_of_its_start_is_asked_of_it() {
    let world = world().await;
    let daemon = world.daemon();
    let keys = world
        .home
        .path()
        .join(".local/state/hermes-proxyd/clients.json");
    std::fs::create_dir_all(keys.parent().unwrap()).unwrap();
    std::fs::write(&keys, "{").unwrap();
    chmod(&keys, 0o600);
    let diagnosis = Diagnosis::of(&world, &[]);
    // The daemon that runs looks at the file now and then, and tells more of it than a trial start.
    let told = if diagnosis.find("configuration", "start").is_some() {
        (("configuration", "start"), "hermesctl config check", 78)
    } else {
        (("listeners", "client key file"), "mv ", 1)
    };
    let (place, fix, code) = told;
    diagnosis.assert(place, "fail", "clients.json", fix);
    assert_eq!(diagnosis.code, code);

    drop(daemon);
    let diagnosis = Diagnosis::of(&world, &[]);
    let keys = ("listeners", "client key file");
    diagnosis.assert(keys, "fail", "can't start", "mv ");
}

/// In force, changed, waiting for a restart, broken: status, doctor and `config check` agree.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_to_be_applied_stays_visible() {
    const LISTEN: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n";
    let world = world().await;
    let daemon = world.daemon_with(LISTEN, &[]);
    let verdict = || daemon.home_screen()["verdict"]["code"].clone();
    let in_force = ("configuration", "in force");
    assert_eq!(verdict(), "all_well");
    assert_eq!(
        Diagnosis::of(&world, &[]).find(in_force.0, in_force.1),
        None
    );

    let changed = format!("{LISTEN}[limits]\nbody = \"1MiB\"\n");
    let diagnosis = rewrite(&world, &changed);
    diagnosis.assert(in_force, "warn", "was changed", "hermesctl proxy reload");
    assert_eq!(verdict(), "config_changed");
    assert!(world.ctl(&["proxy", "reload"]).status.success());
    assert_eq!(verdict(), "all_well");

    let restart = "hermesctl proxy restart";
    for config in [
        format!("{changed}connections = 100\n"),
        format!("{changed}[[listen]]\naddress = \"127.0.0.2:0\"\n"),
    ] {
        world.write_config(&config);
        // Whether it was read again or not.
        let is_listener = config.contains("127.0.0.2");
        for _ in 0..2 {
            if is_listener {
                assert_eq!(verdict(), "restart_needed", "{config}");
            }
            assert!(world.ctl(&["proxy", "reload"]).status.success());
            assert_eq!(verdict(), "restart_needed", "{config}");
            let diagnosis = Diagnosis::of(&world, &[]);
            diagnosis.assert(in_force, "warn", "needs a restart", restart);
            let check = world.ctl(&["config", "check"]);
            let said = String::from_utf8(check.stderr).unwrap();
            assert!(said.contains("hermesctl proxy restart"), "{said}");
        }
    }
    world.write_config(&changed);
    assert!(world.ctl(&["proxy", "reload"]).status.success());
    assert_eq!(verdict(), "all_well");

    world.write_config("[limits]\nbdoy = 1\n");
    assert_eq!(verdict(), "config_broken");
    let status = world.ctl(&["proxy", "status"]);
    let said = String::from_utf8(status.stdout).unwrap();
    assert!(said.contains("`hermesctl config check`"), "{said}");

    // A restart without the file would lose the settings in use, so none is advised.
    std::fs::remove_file(world.home.path().join(".config/hermes-proxyd/config.toml")).unwrap();
    assert_eq!(verdict(), "config_missing");
    let diagnosis = Diagnosis::of(&world, &[]);
    diagnosis.assert(in_force, "warn", "is gone", "Restore");
    let status = world.ctl(&["proxy", "status"]);
    let check = world.ctl(&["config", "check"]);
    for (said, gone) in [(status.stdout, "is gone"), (check.stderr, "removed")] {
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(gone) && !said.contains("restart"), "{said}");
    }
}

/// `sudo -E hermesctl doctor`, and a shell of root's with the user's HOME.
#[tokio::test(flavor = "multi_thread")]
async fn root_in_a_users_home_finds_the_users_daemon_or_says_who_can_ask_it() {
    const SOMEBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        support::environment::skipped("it takes root to work in another user's home");
        return;
    }
    if Path::new("/run/user/0").exists() {
        support::environment::skipped("root has a runtime folder");
        return;
    }
    for (theirs, ours) in [("run", "run"), ("", ""), ("elsewhere", "")] {
        let world = world().await;
        world.write_config("");
        let home = world.home.path();
        std::fs::create_dir(home.join("elsewhere")).unwrap();
        let given = support::environment::tool("chown")
            .args(["-R", "65534:65534"])
            .arg(home)
            .status();
        assert!(given.unwrap().success());
        let folder = |name: &str| match name {
            "" => String::new(),
            name => home.join(name).display().to_string(),
        };
        let mut command = world.command(&[]);
        command.env("XDG_RUNTIME_DIR", folder(theirs));
        command.uid(SOMEBODY).gid(SOMEBODY);
        let daemon = Daemon::start(command, home);
        let diagnosis = Diagnosis::of(&world, &[("XDG_RUNTIME_DIR", &folder(ours))]);
        let place = ("program", "hermes-proxyd");
        let says = format!("runs as process {}", daemon.pid());
        if theirs == "elsewhere" {
            let fix = "sudo -u '#65534' hermesctl doctor";
            diagnosis.assert(place, "fail", &says, fix);
        } else {
            diagnosis.assert(place, "ok", &says, "");
        }
        let fix = diagnosis.find(place.0, place.1).unwrap()["fix"].to_string();
        assert!(!fix.contains("proxy start"), "{fix}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_may_open_too_few_files_is_warned_of() {
    let world = world().await;
    let inner = world.command(&[]);
    let mut outer = program("sh", world.home.path());
    outer.args(["-c", "ulimit -n 200; exec \"$@\"", "sh"]);
    let daemon = Daemon::start(wrapped(outer, &inner), world.home.path());
    let diagnosis = Diagnosis::of(&world, &[]);
    let place = ("machine", "descriptors");
    let says = "may have 200, and `limits.connections` = 1024 can take 2112";
    diagnosis.assert(place, "warn", says, "`ulimit -Hn` shows 2112");
    // What is told to be put there is enough.
    diagnosis.assert(place, "warn", says, "connections = 68");
    diagnosis.assert(place, "warn", says, "hermesctl proxy stop");
    drop(daemon);
    world.write_config("[limits]\nconnections = 68\n");
    let mut outer = program("sh", world.home.path());
    outer.args(["-c", "ulimit -n 200; exec \"$@\"", "sh"]);
    let _daemon = Daemon::start(wrapped(outer, &inner), world.home.path());
    let says = "may have 200, enough for 68";
    Diagnosis::of(&world, &[]).assert(place, "ok", says, "");
}

/// A daemon of another release, which only knows the greeting and its status.
fn another_release(home: &Path, hello: &'static str) {
    let folder = home.join("run/hermes-proxyd");
    std::fs::create_dir(&folder).unwrap();
    chmod(&folder, 0o700);
    let listener = UnixListener::bind(folder.join("control.sock")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = root.join("tests/golden/control/reply_status.json");
    let status: Value = serde_json::from_slice(&std::fs::read(status).unwrap()).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            lines.next();
            writeln!(stream, "{hello}").unwrap();
            for line in lines.map_while(Result::ok) {
                let request: Value = serde_json::from_str(&line).unwrap();
                let mut reply = status.clone();
                if request["op"] != "status" {
                    reply = json!({"error": {"code": "unknown_operation", "message": "What?"}});
                }
                reply["id"] = request["id"].clone();
                if writeln!(stream, "{reply}").is_err() {
                    break;
                }
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn two_releases_side_by_side_are_told_with_the_one_to_replace() {
    let ours = format!("hermesctl is {}", env!("CARGO_PKG_VERSION"));
    for (hello, verdict, says, fix) in [
        (
            r#"{"hello":{"protocol":1,"version":"0.0.9","pid":4242}}"#,
            "warn",
            "the running hermes-proxyd is 0.0.9",
            "hermesctl proxy start",
        ),
        (
            r#"{"hello":{"protocol":1,"version":"99.0.0-rc.1","pid":4242}}"#,
            "warn",
            "the running hermes-proxyd is 99.0.0-rc.1",
            "is older: update it",
        ),
        (
            r#"{"error":{"code":"protocol_mismatch","message":"It speaks 2, the client 1."}}"#,
            "fail",
            "are not compatible",
            "hermesctl proxy start",
        ),
    ] {
        let world = world().await;
        another_release(world.home.path(), hello);
        let diagnosis = Diagnosis::of(&world, &[]);
        let place = ("program", "version");
        diagnosis.assert(place, verdict, says, fix);
        if verdict == "warn" {
            diagnosis.assert(place, verdict, &ours, fix);
        }
    }
}
