//! hermes-proxyd as a service: hermesctl's steps under a real user manager and a real journald.
//!
//! The manager is an unprivileged user's, in a mount namespace and in control groups of the test,
//! so that the kernel keeps it from touching any other process. That takes root, and is skipped
//! with a note if that or something else is missing, and on machines that systemd runs: there it
//! owns the control groups.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test's helper may fail loudly"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mock_cloud::Options;
use serde_json::Value;
use support::environment::{lacking, skipped, works};
use support::{PATIENCE, World, copy_program, program};

/// The group of `nobody`, and one whose members may read their own journal.
const USER: &str = "54321";

/// Whether the test can run here; else says why not.
fn is_possible() -> bool {
    if !rustix::process::geteuid().is_root() {
        skipped("control groups of its own need root");
        return false;
    }
    if Path::new("/run/systemd/system").exists() {
        skipped("systemd runs this machine: use its own user manager");
        return false;
    }
    for file in ["/lib/systemd/systemd", "/lib/systemd/systemd-journald"] {
        if !Path::new(file).exists() {
            lacking(file);
            return false;
        }
    }
    let programs: [(&str, &[&str]); 4] = [
        ("unshare", &["-m", "true"]),
        ("setpriv", &["--dump"]),
        ("systemctl", &["--version"]),
        ("journalctl", &["--version"]),
    ];
    if !programs.into_iter().all(|(name, args)| works(name, args)) {
        return false;
    }
    let groups = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup"].map(Path::new);
    let groups = groups.into_iter().find(|folder| folder.exists());
    let probe = groups.map(|folder| folder.join(format!("hermes-probe-{}", std::process::id())));
    let made = probe.filter(|probe| std::fs::create_dir(probe).is_ok());
    let Some(made) = made else {
        skipped("no control group can be made");
        return false;
    };
    std::fs::remove_dir(made).unwrap();
    true
}

/// What the commands said.
struct Told(PathBuf);

impl Told {
    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    /// The command's exit code.
    fn code(&self, name: &str) -> i32 {
        let code = self.text(&format!("{name}.code"));
        code.trim().parse().unwrap_or(-1)
    }

    /// The last line or the whole of its JSON; the command must have ended like this.
    fn json(&self, name: &str, code: i32) -> Value {
        let (text, errors) = (self.text(name), self.text(&format!("{name}.err")));
        assert_eq!(self.code(name), code, "{name}: {text}{errors}");
        let whole = serde_json::from_str(&text);
        whole
            .or_else(|_| serde_json::from_str(text.lines().last().unwrap_or_default()))
            .unwrap_or_else(|error| panic!("{name}: {error}: {text}{errors}"))
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The results of the steps, in their order.
fn results(report: &Value) -> Vec<&str> {
    let steps = report["steps"].as_array().unwrap().iter();
    steps.map(|step| step["result"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes control groups on this machine; run it with: cargo test --test daemon service:: -- --ignored"]
async fn hermesctl_runs_the_service_under_a_real_user_manager() {
    if !is_possible() {
        return;
    }
    a_day_with(None).await;
}

/// As above, with the programs and the units of the package that `HERMES_PROXYD_DEB` names.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes control groups on this machine, and takes a .deb; run it with: \
            HERMES_PROXYD_DEB=FILE cargo test --test daemon service::the_deb -- --ignored"]
async fn the_deb_is_a_service_from_its_installation_to_its_removal() {
    let deb = std::env::var_os("HERMES_PROXYD_DEB").map(PathBuf::from);
    if deb.is_none() {
        skipped("HERMES_PROXYD_DEB names no package");
        return;
    }
    if !is_possible() {
        return;
    }
    a_day_with(deb.as_deref()).await;
}

/// From setup to uninstall, with our own programs or those of a package.
async fn a_day_with(deb: Option<&Path>) {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    // The setup makes the login.
    std::fs::remove_dir_all(home.join(".hermes")).unwrap();
    let port = free_port();
    // A name that systemd would take apart and fill in.
    let bin = home.join("My Programs 100%");
    std::fs::create_dir_all(&bin).unwrap();
    for (from, name) in [
        (env!("CARGO_BIN_EXE_hermes-proxyd"), "hermes-proxyd"),
        (env!("CARGO_BIN_EXE_hermesctl"), "hermesctl"),
    ] {
        copy_program(from, bin.join(name));
    }
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/service");
    let day = program(scripts.join("outer.sh"), home)
        .args([USER, "bash"])
        .arg(scripts.join("inner.sh"))
        .arg(USER)
        .env("BIN", &bin)
        .env("PORT", port.to_string())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env(
            "DEB",
            deb.map_or_else(Default::default, |deb| deb.as_os_str().to_owned()),
        )
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let told = Told(home.join("out"));
    approve(&world, &told).await;
    let output = day.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        told.text("manager")
    );
    the_setup(&told, port, deb.is_some());
    the_reloads(&told);
    the_restarts(&told);
    the_end(&told, deb.is_some());
    assert!(world.store()["providers"]["nous"]["refresh_token"].is_string());
    for entry in std::fs::read_dir(&told.0).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        world.assert_no_secret_in("what was said", &text);
    }
}

/// Says yes to the login that the setup asks for.
async fn approve(world: &World, told: &Told) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        let begun = told.text("setup");
        let line = begun.split_inclusive('\n').next().unwrap_or_default();
        if let Ok(Value::Object(code)) = serde_json::from_str(line) {
            let code = code["code"]["user_code"].as_str().unwrap();
            return world.cloud.approve(code);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the setup asks for no login: {}", told.text("setup.err"));
}

fn the_setup(told: &Told, port: u16, packaged: bool) {
    assert_eq!(told.json("absent", 3)["installed"], packaged);
    let setup = told.json("setup", 0);
    // Configuration, login; unit, variables, login, linger, start; test request.
    let mut expected = [
        "already", "done", "done", "done", "done", "done", "done", "done",
    ];
    if packaged {
        // The unit is the package's.
        expected[2] = "already";
    }
    assert_eq!(results(&setup), expected, "{setup:#}");
    let url = format!("http://127.0.0.1:{port}/v1");
    assert_eq!(setup["base_url"], url.as_str());
    assert_eq!(setup["test"]["status"], 200);
    let again = told.json("again", 0);
    let mut expected = vec!["already"; 7];
    expected.push("done");
    assert_eq!(results(&again), expected, "{again:#}");

    let status = told.json("status", 0);
    for (key, value) in [
        ("installed", true),
        ("enabled", true),
        ("running", true),
        ("linger", true),
    ] {
        assert_eq!(status[key], value, "{status:#}");
    }
    assert_eq!(status["status"], format!("Serving nous at {url}"));
    assert!(status["since"].is_string());
    assert_eq!(told.json("cron", 0)["pid"], status["pid"]);
}

fn the_reloads(told: &Told) {
    assert_eq!(
        told.code("reload_good"),
        0,
        "{}",
        told.text("reload_good.err")
    );
    assert_ne!(told.code("reload_bad"), 0);
    let pids = told.text("reload_pids");
    let (before, after) = pids.trim().split_once(' ').unwrap();
    assert_eq!(before, after, "a bad file must not end the daemon");
    let said = told.text("restart_bad.err");
    assert_eq!(told.code("restart_bad"), 78, "{said}");
    for part in ["config.toml", "nonsense", "hermesctl service start"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(told.code("start"), 0, "{}", told.text("start.err"));
}

fn the_restarts(told: &Told) {
    assert_eq!(told.text("after_watchdog").trim(), "1");
    assert_eq!(told.text("after_kill").trim(), "2");
    let socket = told.json("socket", 0);
    assert_eq!(socket["service"]["socket"], true, "{socket:#}");
    assert_eq!(socket["service"]["running"], true, "{socket:#}");
    let (mut ok, mut failed) = (0, 0);
    for line in told.text("load").lines() {
        let (good, bad) = line.split_once(' ').unwrap();
        ok += good.parse::<u32>().unwrap();
        failed += bad.parse::<u32>().unwrap();
    }
    eprintln!("20 restarts under load: {ok} answered, {failed} refused or cut");
    assert!(
        ok > 100 && failed == 0,
        "{ok} answered, {failed} not: {}",
        told.text("load.err")
    );
    let line: Value = serde_json::from_str(&told.text("journal")).unwrap();
    assert_eq!(
        line["_SYSTEMD_USER_UNIT"], "hermes-proxyd.service",
        "{line:#}"
    );
    assert_eq!(line["PRIORITY"], "5", "{line:#}");
    assert!(line["HERMES_URL"].is_string(), "{line:#}");
}

fn the_end(told: &Told, packaged: bool) {
    assert_eq!(told.json("stop", 0)["service"]["running"], false);
    assert_eq!(told.json("stopped", 3)["running"], false);
    assert_eq!(told.json("started", 0)["service"]["running"], true);
    let uninstall = told.json("uninstall", 0);
    assert!(
        results(&uninstall).iter().all(|result| *result == "done"),
        "{uninstall:#}"
    );
    assert_eq!(
        told.json("uninstall_again", 0)["steps"],
        Value::Array(Vec::new())
    );
    assert_eq!(told.json("gone", 3)["installed"], packaged);
    if packaged {
        let removed = told.text("purge");
        assert!(removed.contains("hermes-proxyd"), "{removed}");
        assert_eq!(told.text("remains"), "", "{removed}");
    }
    // What the user put there stays.
    let left = told.text("left");
    assert!(
        left.trim()
            .ends_with("/hermes-proxyd.service.d/sooner.conf"),
        "{left}"
    );
    assert_eq!(left.lines().count(), 1, "{left}");
    let asked = told.text("loginctl");
    let changes: Vec<_> = asked
        .lines()
        .filter(|line| !line.contains("show-user"))
        .collect();
    let expected =
        ["enable", "disable"].map(|verb| format!("--no-ask-password {verb}-linger {USER}"));
    assert_eq!(changes, expected);
}
