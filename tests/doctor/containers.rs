//! The three ways from a container to the service, with network namespaces for containers, and the
//! report of `hermesctl doctor --containers`. The doctor's own lines make a way work.
//!
//! If namespaces can't be made, the test says so and passes.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and tells why it is skipped"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mock_cloud::Options;
use serde_json::Value;
use support::environment::{has, skipped, strict, tool};
use support::{Daemon, PATIENCE, World, exact, program};

const INSIDE: &str = "HERMES_TEST_INSIDE";
const TEST: &str = "the_three_ways_work_as_the_doctor_says";
/// A host with Docker's usual network.
const HOST: &str = "ip link set lo up && ip link add docker0 type bridge && \
                    ip address add 172.17.0.1/16 dev docker0 && ip link set docker0 up";
const LOOPBACK: &str = "http://127.0.0.1:8645/v1/models";
const BRIDGE: &str = "http://172.17.0.1:8645/v1/models";

/// Whether this is the run in namespaces of our own; outside, the test is run inside.
fn is_inside() -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = |script: &str| {
        let mut command = tool("unshare");
        command.args(["--mount", "--net", "--propagation", "private", "sh", "-c"]);
        command.arg(script);
        command
    };
    if !["unshare", "nsenter", "ip", "curl"].into_iter().all(has) {
        return false;
    }
    let able = unshare(HOST).output();
    if !able.is_ok_and(|probe| probe.status.success()) {
        skipped("networks of our own take root");
        return false;
    }
    let run = unshare(&format!(
        "{HOST} && exec \"$0\" --exact {} --nocapture",
        exact(module_path!(), TEST)
    ))
    .arg(std::env::current_exe().unwrap())
    .env(INSIDE, "1")
    .envs(strict())
    .output()
    .unwrap();
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let errors = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{text}");
    println!("{text}");
    false
}

/// A network and a view of the files of its own. Dropping it ends it.
struct Container {
    init: Child,
}

impl Container {
    /// Starts it with `folder` mounted at /mnt, and nothing else of the user's.
    fn start(folder: Option<&Path>) -> Self {
        let mount = folder.map(|folder| format!("mount --bind {} /mnt &&", folder.display()));
        let script = format!(
            "{} ip link set lo up && exec sleep 600",
            mount.unwrap_or_default()
        );
        let init = tool("unshare")
            .args(["--mount", "--net", "--propagation", "private", "sh", "-c"])
            .arg(script)
            .spawn()
            .unwrap();
        let container = Self { init };
        container.wait_for("127.0.0.1/8");
        container
    }

    /// Joins docker0 with this address.
    fn join(&self, number: u8) {
        let pid = self.init.id();
        let host = format!(
            "ip link add v{number} type veth peer name eth0 netns {pid} && \
             ip link set v{number} master docker0 up"
        );
        run(tool("sh").args(["-c", &host]));
        let own = format!("ip address add 172.17.0.{number}/16 dev eth0 && ip link set eth0 up");
        run(self.command("sh").args(["-c", &own]));
    }

    fn command(&self, name: &str) -> Command {
        let mut command = tool("nsenter");
        let pid = self.init.id().to_string();
        command.args(["--target", &pid, "--net", "--mount", "--", name]);
        command
    }

    fn wait_for(&self, address: &str) {
        until(|| {
            let output = self.command("ip").args(["address"]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).contains(address)
        });
    }

    /// What an app in it gets.
    fn get(&self, url: &str, key: Option<&str>) -> String {
        get(self.command("curl"), url, key)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.init.kill().ok();
        self.init.wait().ok();
    }
}

/// The status, or `refused`.
fn get(mut curl: Command, url: &str, key: Option<&str>) -> String {
    curl.args(["--silent", "--max-time", "10", "--output", "/dev/null"]);
    curl.args(["--write-out", "%{http_code}", url]);
    if let Some(key) = key {
        curl.args(["--header", &format!("Authorization: Bearer {key}")]);
    }
    let output = curl.output().unwrap();
    match output.status.code() {
        Some(7) => "refused".to_owned(),
        _ => String::from_utf8(output.stdout).unwrap(),
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// On the port that is configured.
fn start(world: &World) -> Daemon {
    let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), world.home.path());
    command
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
        .args(["--log-format", "json"]);
    Daemon::start(command, world.home.path())
}

/// The doctor's report on a way: its verdict, its words, and its fix.
fn way(world: &World, name: &str) -> (String, String, Vec<Value>) {
    let output = world.ctl(&["doctor", "--containers", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut findings = report["findings"].as_array().unwrap().iter();
    let finding = findings.find(|one| one["name"] == name).unwrap();
    let text = |key: &str| finding[key].as_str().unwrap().to_owned();
    let fix = finding["fix"].as_array().unwrap().clone();
    (text("verdict"), text("text"), fix)
}

/// The lines that the doctor wants in the configuration.
fn lines(fix: &[Value]) -> String {
    let mut configure = fix.iter().filter_map(|step| step["configure"].as_array());
    let lines = configure.next().unwrap().iter();
    let lines: Vec<_> = lines.map(|line| line.as_str().unwrap()).collect();
    lines.join("\n") + "\n"
}

/// Lines that are in the file are not wanted once more; what is left to do is a restart.
fn assert_waits_for_restart(world: &World, name: &str) {
    let (verdict, text, fix) = way(world, name);
    assert_eq!(verdict, "info", "{text}");
    assert!(text.contains("opens at the next start"), "{text}");
    let steps = Value::from(fix).to_string();
    assert!(!steps.contains("configure"), "{steps}");
    assert!(steps.contains("hermesctl proxy restart"), "{steps}");
}

/// `connect` gives the URL that the doctor names, and knows that it works.
fn assert_told_alike(world: &World, text: &str) {
    let args = ["connect", "n8n", "--from", "docker", "--no-key", "--json"];
    let told: Value = serde_json::from_slice(&world.ctl(&args).stdout).unwrap();
    assert_eq!(told["ready"], true, "{told:#}");
    let url = told["base_url"].as_str().unwrap();
    let words = format!("{url}, with a client key");
    assert!(text.contains(&words), "{text} {told:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_ways_work_as_the_doctor_says() {
    if !is_inside() {
        return;
    }
    let world = World::new(Options::default()).await;
    let container = Container::start(None);
    container.join(2);

    // Without a configuration: the host's network only.
    let mut daemon = start(&world);
    assert_eq!(get(tool("curl"), LOOPBACK, None), "200");
    assert_eq!(container.get(LOOPBACK, None), "refused");
    assert_eq!(container.get(BRIDGE, None), "refused");
    let (verdict, text, _) = way(&world, "host network");
    assert_eq!(verdict, "ok", "{text}");
    assert!(text.contains("http://127.0.0.1:8645/v1"), "{text}");
    let (verdict, text, fix) = way(&world, "bridge address");
    assert_eq!(verdict, "info", "{text}");
    assert!(
        text.contains("nothing listens at docker0 (172.17.0.1)"),
        "{text}"
    );

    // With the doctor's lines and command: the bridge's address, for those with a key.
    let config = lines(&fix);
    assert!(
        fix.iter()
            .any(|step| step["run"] == "hermesctl clients add my-app")
    );
    let added = world.ctl(&["clients", "add", "my-app", "--json"]);
    let added: Value = serde_json::from_slice(&added.stdout).unwrap();
    let key = added["key"].as_str();
    world.write_config(&config);
    assert_waits_for_restart(&world, "bridge address");
    daemon.stop();
    let mut daemon = start(&world);
    assert_eq!(container.get(BRIDGE, None), "401");
    assert_eq!(container.get(BRIDGE, key), "200");
    assert_eq!(container.get(LOOPBACK, key), "refused");
    assert_eq!(get(tool("curl"), LOOPBACK, None), "200");
    let (verdict, text, _) = way(&world, "bridge address");
    assert_eq!(verdict, "ok", "{text}");
    assert!(
        text.contains("at 172.17.0.1, the host's address in docker0"),
        "{text}"
    );
    assert_told_alike(&world, &text);
    let (verdict, text, fix) = way(&world, "Unix socket");
    assert_eq!(verdict, "info", "{text}");

    // And the socket, for a container without any network.
    world.write_config(&format!("{config}\n{}", lines(&fix)));
    assert_waits_for_restart(&world, "Unix socket");
    daemon.stop();
    let _daemon = start(&world);
    let folder = world.home.path().join(".local/state/hermes-proxyd/apps");
    let alone = Container::start(Some(&folder));
    let mut bridge = alone.command(env!("CARGO_BIN_EXE_hermes-proxyd"));
    bridge.args(["bridge", "--to", "/mnt/proxy.sock"]);
    let mut bridge = bridge.stderr(Stdio::null()).spawn().unwrap();
    until(|| alone.get(LOOPBACK, key) == "200");
    assert_eq!(alone.get(LOOPBACK, None), "401");
    bridge.kill().unwrap();
    bridge.wait().unwrap();
    let (verdict, text, _) = way(&world, "Unix socket");
    assert_eq!(verdict, "ok", "{text}");
    assert!(text.contains("apps/proxy.sock"), "{text}");
    println!("host network, bridge address and Unix socket: proven");
}
