//! `hermesctl doctor`: for each check a world that is broken in one way, the verdict and what mends
//! it; with a running daemon and without one. No output holds a secret.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use mock_cloud::{Options, Tls};
use serde_json::{Value, json};
use support::{Daemon, World, mount_namespace, program, scratch, wrapped};

/// What the doctor says, and how it ends.
struct Diagnosis {
    report: Value,
    code: i32,
}

impl Diagnosis {
    /// Of a world, with the cloud's URLs in the environment as the daemon has them.
    fn of(world: &World, more: &[(&str, &str)]) -> Self {
        let (inference, portal) = (world.cloud.inference_base_url(), world.cloud.portal_url());
        let urls = [
            ("NOUS_INFERENCE_BASE_URL", inference.as_str()),
            ("HERMES_PORTAL_BASE_URL", portal.as_str()),
        ];
        let environment: Vec<_> = urls.iter().chain(more).copied().collect();
        let text = doctor(world.home.path(), &environment, &[]);
        world.assert_no_secret_in("the doctor", &text.0);
        let json = doctor(world.home.path(), &environment, &["--json"]);
        world.assert_no_secret_in("the doctor's JSON", &json.0);
        let report = serde_json::from_str(&json.0).unwrap();
        let diagnosis = Self {
            report,
            code: json.1,
        };
        diagnosis.assert_commands_exist(world.home.path());
        diagnosis
    }

    /// The same, seen by a hermesctl that `outer` starts: in a namespace, or as another user.
    fn of_wrapped(world: &World, outer: Command) -> Self {
        let mut inner = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
        inner
            .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
            .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
            .args(["doctor", "--json"]);
        let output = wrapped(outer, &inner).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        world.assert_no_secret_in("the doctor's JSON", &text);
        let report = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
        });
        let diagnosis = Self {
            report,
            code: output.status.code().unwrap(),
        };
        diagnosis.assert_commands_exist(world.home.path());
        diagnosis
    }

    /// What mends something can be run: our own verbs are there, and the other programs are known ones.
    fn assert_commands_exist(&self, home: &Path) {
        const KNOWN: [&str; 16] = [
            "chmod",
            "chown",
            "curl",
            "date",
            "df",
            "findmnt",
            "getent",
            "journalctl",
            "kill",
            "loginctl",
            "ls",
            "mv",
            "rm",
            "ss",
            "systemctl",
            "timedatectl",
        ];
        let findings = self.report["findings"].as_array().unwrap().iter();
        let fixes = findings.flat_map(|finding| finding["fix"].as_array().unwrap());
        let commands: std::collections::BTreeSet<_> =
            fixes.filter_map(|fix| fix["run"].as_str()).collect();
        for command in commands {
            // Whose command it is.
            let command = match command.strip_prefix("sudo -u '#") {
                Some(rest) => rest.split_once("' ").unwrap().1,
                None => command,
            };
            let mut words = command.split(' ').filter(|word| *word != "sudo");
            let name = words.next().unwrap();
            let ours = match name {
                "hermesctl" => env!("CARGO_BIN_EXE_hermesctl"),
                "hermes-proxyd" => env!("CARGO_BIN_EXE_hermes-proxyd"),
                _ => {
                    assert!(KNOWN.contains(&name), "nobody has {command:?}");
                    continue;
                }
            };
            // Its help stands for the run: a word that is not known fails all the same.
            let asked = program(ours, home).args(words).arg("--help").output();
            assert!(asked.unwrap().status.success(), "{command:?} is no command");
        }
    }

    fn find(&self, group: &str, name: &str) -> Option<&Value> {
        let mut findings = self.report["findings"].as_array().unwrap().iter();
        findings.find(|one| one["group"] == group && one["name"] == name)
    }

    /// The finding is there, with this verdict; its text holds `says`, and what mends it `fix`.
    #[track_caller]
    fn assert(&self, (group, name): (&str, &str), verdict: &str, says: &str, fix: &str) {
        let Some(finding) = self.find(group, name) else {
            panic!("no {group}/{name} in {:#}", self.report);
        };
        assert_eq!(finding["verdict"], verdict, "{finding:#}");
        let text = finding["text"].as_str().unwrap();
        assert!(text.contains(says), "{finding:#}");
        assert!(finding["fix"].to_string().contains(fix), "{finding:#}");
        if ["fail", "warn"].contains(&verdict) {
            assert_ne!(finding["fix"], json!([]), "nothing mends {finding:#}");
        }
    }
}

impl Diagnosis {
    /// Nothing that is to be run stands there.
    #[track_caller]
    fn assert_no_command(&self, (group, name): (&str, &str)) {
        let finding = self.find(group, name).unwrap();
        let mut fixes = finding["fix"].as_array().unwrap().iter();
        assert!(fixes.all(|fix| fix["run"].is_null()), "{finding:#}");
    }
}

/// Standard output and exit code.
fn doctor(home: &Path, environment: &[(&str, &str)], args: &[&str]) -> (String, i32) {
    let mut command = program(env!("CARGO_BIN_EXE_hermesctl"), home);
    let output = command
        .envs(environment.iter().copied())
        .arg("doctor")
        .args(args)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors, "", "nothing is said on standard error");
    let text = String::from_utf8(output.stdout).unwrap();
    (text, output.status.code().unwrap())
}

async fn world() -> World {
    World::new(Options::default()).await
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

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
async fn a_clock_that_is_wrong_is_told_by_how_much() {
    for (ahead, verdict, says) in [
        (10, "ok", "agrees"),
        (-90, "warn", "ahead of"),
        (90, "warn", "behind"),
        (3605, "fail", "1 h behind"),
    ] {
        let world = World::new(Options::default().clock_ahead(ahead)).await;
        let diagnosis = Diagnosis::of(&world, &[]);
        diagnosis.assert(("network", "clock"), verdict, says, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_told_what_is_wrong_with_it() {
    for (tls, trusted, verdict, fix) in [
        (Tls::On, true, "ok", ""),
        (Tls::On, false, "fail", "ca_file"),
        (Tls::Expired, true, "fail", "date"),
        (Tls::WrongName, true, "fail", "Something else answers"),
    ] {
        let world = World::new(Options::default().tls(tls)).await;
        let ca = world.home.path().join("ca.pem");
        world.cloud.write_ca(&ca).unwrap();
        if trusted {
            world.write_config(&format!("[providers.nous]\nca_file = {ca:?}\n"));
        }
        let diagnosis = Diagnosis::of(&world, &[]);
        for name in ["nous portal", "nous inference"] {
            diagnosis.assert(("network", name), verdict, "localhost", fix);
        }
        if trusted {
            let trust = ("network", "trust of nous");
            diagnosis.assert(trust, "info", "`ca_file` in the configuration", "");
        }
    }
    let world = world().await;
    world.write_config("[providers.nous]\nca_file = \"/nonexistent.pem\"\n");
    let diagnosis = Diagnosis::of(&world, &[]);
    let trust = ("network", "trust of nous");
    diagnosis.assert(trust, "fail", "/nonexistent.pem", "correct it there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_told_in_time() {
    let world = world().await;
    world.cloud.set_portal_open(false).await;
    // An address that swallows what is sent to it, and a name that is none (RFC 2606).
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", silent.local_addr().unwrap());
    let config = format!(
        "[providers.silent]\ntype = \"static\"\nbase_url = {base:?}\napi_key_env = \"KEY\"\n\
         [providers.lost]\ntype = \"static\"\nbase_url = \"https://nobody.invalid/v1\"\n\
         api_key_env = \"KEY\"\n"
    );
    world.write_config(&config);
    let began = Instant::now();
    let diagnosis = Diagnosis::of(&world, &[]);
    // Two runs, of text and of JSON.
    let took = began.elapsed() / 2;
    assert!(took < Duration::from_secs(15), "{took:?}");
    let portal = ("network", "nous portal");
    let curl = format!("curl -sSI {}", world.cloud.portal_url());
    diagnosis.assert(portal, "fail", "Connection refused", &curl);
    let silent = ("network", "silent inference");
    let curl = format!("curl -sSI {base}\"");
    diagnosis.assert(silent, "fail", "no answer within", &curl);
    let lost = ("network", "name nobody.invalid");
    diagnosis.assert(
        lost,
        "fail",
        "can't be resolved",
        "getent hosts nobody.invalid",
    );
    diagnosis.assert(("network", "lost inference"), "skip", "nobody.invalid", "");
    diagnosis.assert(
        ("login", "lost"),
        "warn",
        "KEY is not set",
        "Restart hermes-proxyd with KEY",
    );
    diagnosis.assert_no_command(("login", "lost"));
    // What is silent takes its time, and is known by now.
    let lost = config.find("[providers.lost]").unwrap();
    let _daemon = world.daemon_with(config.split_at(lost).1, &[]);
    let running = Diagnosis::of(&world, &[]);
    let says = "There is no usable API key for lost: the environment variable KEY is not set.";
    running.assert(
        ("login", "lost"),
        "warn",
        says,
        "Restart hermes-proxyd with KEY",
    );
    running.assert_no_command(("login", "lost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_shell_is_compared_with_the_daemons() {
    let world = world().await;
    let proxy = [("HTTPS_PROXY", "http://me:hidden@127.0.0.1:3128")];
    let without = Diagnosis::of(&world, &proxy);
    let place = ("network", "proxy");
    without.assert(place, "info", "HTTPS_PROXY is 127.0.0.1:3128", "");
    let daemon = world.daemon();
    let differs = Diagnosis::of(&world, &proxy);
    differs.assert(
        place,
        "warn",
        "hermes-proxyd has none",
        "hermesctl proxy stop",
    );
    drop(daemon);
    let mut command = world.command(&[]);
    command.envs(proxy);
    let _daemon = Daemon::start(command, world.home.path());
    let same = Diagnosis::of(&world, &proxy);
    same.assert(place, "info", "here and in hermes-proxyd", "");
    let other = Diagnosis::of(&world, &[]);
    other.assert(place, "info", "this shell has none", "");
    for one in [without, differs, same, other] {
        assert!(!one.report.to_string().contains("hidden"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_our_port_is_named() {
    let world = world().await;
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    world.write_config(&format!("[[listen]]\naddress = \"{address}\"\n"));
    let diagnosis = Diagnosis::of(&world, &[]);
    let us = format!("(process {})", std::process::id());
    let place = ("listeners", address.as_str());
    diagnosis.assert(place, "fail", &us, "[[listen]]");
    // With its command line, and without the advice to end what nobody here knows.
    let own = std::env::args().next().unwrap();
    let own: String = own.chars().take(100).collect();
    diagnosis.assert(place, "fail", &own, "hermesctl proxy start --port");
    diagnosis.assert_no_command(place);
    let running = ("program", "hermes-proxyd");
    let says = format!("fixed: listeners/{address}");
    diagnosis.assert(running, "fail", &says, "hermesctl proxy start");
    diagnosis.assert_no_command(running);
    assert_eq!(diagnosis.code, 3);
    drop(holder);
    let free = Diagnosis::of(&world, &[]);
    free.assert(
        running,
        "fail",
        "It is not running.",
        "hermesctl proxy start",
    );
    assert!(free.find(running.0, running.1).unwrap()["fix"][0]["run"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_and_keys_are_looked_at() {
    let world = world().await;
    let keys = ("listeners", "client keys");
    world.write_config("[[listen]]\naddress = \"127.0.0.1:0\"\nauth = \"keys\"\n");
    let none = Diagnosis::of(&world, &[]);
    none.assert(keys, "fail", "none exists", "hermesctl clients add my-app");
    assert!(world.ctl(&["clients", "add", "my-app"]).status.success());
    let one = Diagnosis::of(&world, &[]);
    one.assert(keys, "ok", "1 client keys", "");

    let socket = world.home.path().join("apps/proxy.sock");
    let config = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\nunix = {socket:?}\nauth = \"keys\"\n"
    );
    let daemon = world.daemon_with(&config, &[]);
    let unix = format!("unix:{}", socket.display());
    let mode = format!("mode of {}", socket.display());
    let good = Diagnosis::of(&world, &[]);
    good.assert(("listeners", &unix), "ok", "requires a client key", "");
    good.assert(
        ("listeners", &format!("guard of {unix}")),
        "ok",
        "refused",
        "",
    );
    good.assert(("listeners", &mode), "ok", "0600", "");
    good.assert(("listeners", daemon.address()), "ok", "It answers.", "");
    chmod(&socket, 0o666);
    let wide = Diagnosis::of(&world, &[]);
    let fix = format!("chmod 0600 {}", socket.display());
    wide.assert(("listeners", &mode), "warn", "0666", &fix);
    std::fs::remove_file(&socket).unwrap();
    let gone = Diagnosis::of(&world, &[]);
    gone.assert(
        ("listeners", &mode),
        "fail",
        "was removed",
        "hermesctl proxy restart",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_for_everybody_is_warned_of() {
    let world = world().await;
    world.write_config("[[listen]]\naddress = \"0.0.0.0:0\"\nallow_unauthenticated = true\n");
    let diagnosis = Diagnosis::of(&world, &[]);
    let place = ("listeners", "access to 0.0.0.0:0");
    diagnosis.assert(place, "warn", "Everyone", "hermesctl clients add my-app");
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

/// Gives a user all that a world's home holds.
fn give(home: &Path, user: u32) {
    let mut folders = vec![home.to_owned()];
    while let Some(folder) = folders.pop() {
        chown(&folder, Some(user), Some(user)).unwrap();
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                chown(entry.path(), Some(user), Some(user)).unwrap();
            }
        }
    }
}

/// An ordinary user, as whom root runs the programs.
fn as_somebody() -> Option<u32> {
    const SOMEBODY: u32 = 65534;
    rustix::process::geteuid().is_root().then_some(SOMEBODY)
}

/// Only root sees the open files of a hermes-proxyd, so an ordinary user looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_is_known_as_the_one_with_the_port_by_an_ordinary_user_too() {
    let world = world().await;
    let home = world.home.path();
    let elsewhere = home.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    world.write_config("[[listen]]\naddress = \"127.0.0.1:0\"\n");
    let start = |runtime: &Path| {
        let mut command = world.command(&[]);
        command.env("XDG_RUNTIME_DIR", runtime);
        if let Some(user) = as_somebody() {
            give(home, user);
            command.uid(user).gid(user);
        }
        Daemon::start(command, home)
    };
    let diagnose = || {
        let mut outer = program("env", home);
        if let Some(user) = as_somebody() {
            give(home, user);
            outer.uid(user).gid(user);
        }
        Diagnosis::of_wrapped(&world, outer)
    };
    let take = |address: &str| {
        world.write_config(&format!("[[listen]]\naddress = \"{address}\"\n"));
    };
    // One that hermesctl does not find, and then one that hangs.
    let lost = start(&elsewhere);
    let address = lost.address().to_owned();
    take(&address);
    let diagnosis = diagnose();
    let place = ("listeners", address.as_str());
    diagnosis.assert(place, "fail", "uses it", "--port");
    let text = diagnosis.find(place.0, place.1).unwrap()["text"].to_string();
    // An ordinary user's other daemons, as those of the tests beside this one, are hidden in the same way.
    let alone = format!("hermes-proxyd (process {}) uses it", lost.pid());
    let pid = lost.pid().to_string();
    let pids = text.split(|letter: char| !letter.is_ascii_digit());
    let among = text.contains("One of several hermes-proxyd (processes ")
        && pids.into_iter().any(|one| one == pid);
    assert!(text.contains(&alone) || among, "{pid}: {text}");
    drop(lost);

    world.write_config("[[listen]]\naddress = \"127.0.0.1:0\"\n");
    let hangs = start(&home.join("run"));
    let address = hangs.address().to_owned();
    hangs.signal(rustix::process::Signal::STOP);
    take(&address);
    let diagnosis = diagnose();
    let kill = format!("kill -9 {}", hangs.pid());
    let place = ("listeners", address.as_str());
    diagnosis.assert(place, "fail", "does not answer", &kill);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_users_program_with_our_port_is_told_as_such() {
    let Some(user) = as_somebody() else {
        support::environment::skipped("it takes root to become another user");
        return;
    };
    let world = world().await;
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    world.write_config(&format!("[[listen]]\naddress = \"{address}\"\n"));
    give(world.home.path(), user);
    let mut outer = program("env", world.home.path());
    outer.uid(user).gid(user);
    let diagnosis = Diagnosis::of_wrapped(&world, outer);
    let says = "A program of another user (id 0) uses it";
    diagnosis.assert(("listeners", &address), "fail", says, "sudo ss -ltnp");
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
    Diagnosis::of(&world, &[]).assert(keys, "ok", "1 client keys", "");
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
        if daemon.status()["findings"]
            .to_string()
            .contains("client_keys_unreadable")
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let diagnosis = Diagnosis::of(&world, &[]);
    diagnosis.assert(place, "fail", "the earlier ones are in use", &fix);
    let keys = diagnosis.find("listeners", "client keys");
    assert!(keys.is_none_or(|keys| keys["verdict"] == "ok"), "{keys:?}");

    chmod(&file, 0o600);
    std::fs::write(&file, "{").unwrap();
    for _ in 0..400 {
        if daemon.status()["findings"]
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

/// In force, changed, waiting for a restart, broken: status, doctor and `config check` agree.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_to_be_applied_stays_visible() {
    const LISTEN: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n";
    let world = world().await;
    let daemon = world.daemon_with(LISTEN, &[]);
    let verdict = || daemon.status()["verdict"]["code"].clone();
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

/// A daemon of another release, which knows no more than to say hello and how it is.
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

/// Answers every request with this head.
async fn answering(head: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = listener.into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            stream.write_all(head.as_bytes()).ok();
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_sends_us_elsewhere_is_told() {
    for (head, verdict, says, fixes) in [
        (
            "HTTP/1.1 302 Found\r\nlocation: http://hotel.example/terms\r\nconnection: \
             close\r\n\r\n",
            "warn",
            "but redirects to hotel.example",
            ["open a web page first", "[providers.nous]"],
        ),
        (
            "HTTP/1.1 308 Permanent Redirect\r\nlocation: https://new.example/\r\nconnection: \
             close\r\n\r\n",
            "warn",
            "but redirects to new.example",
            ["has moved there", "hermes-proxyd does not follow redirects"],
        ),
        (
            "HTTP/1.1 511 Network Authentication Required\r\nconnection: close\r\n\r\n",
            "fail",
            "the network requires you to sign in",
            ["open a web page first", ""],
        ),
    ] {
        let world = world().await;
        let there = answering(head).await;
        let base = format!("{there}/v1");
        let diagnosis = Diagnosis::of(
            &world,
            &[
                ("HERMES_PORTAL_BASE_URL", &there),
                ("NOUS_INFERENCE_BASE_URL", &base),
            ],
        );
        for (name, key) in [
            ("nous portal", "portal_url"),
            ("nous inference", "base_url"),
        ] {
            for fix in fixes {
                diagnosis.assert(("network", name), verdict, says, fix);
            }
            if verdict == "warn" {
                diagnosis.assert(("network", name), verdict, says, key);
            }
        }
    }
}
