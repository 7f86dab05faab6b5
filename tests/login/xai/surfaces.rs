//! xAI on the user's surfaces: variables, `connect`, `doctor`, `setup`, the list of providers.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use mock_cloud::{Canned, Endpoint, Fault, PortalFault};
use serde_json::{Value, json};
use support::{Daemon, chat, client, ctl, program, scratch};

use super::{World, failing, now};

fn json_of(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let last = text.lines().last().unwrap_or_default();
    let whole = serde_json::from_str(&text).or_else(|_| serde_json::from_str(last));
    whole.unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn text_of(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A home whose file has xAI without any address.
fn plain_home() -> tempfile::TempDir {
    let home = scratch();
    let folder = home.path().join(".config/hermes-proxyd");
    std::fs::create_dir_all(&folder).unwrap();
    let config = "default_provider = \"xai\"\n[providers.xai]\ntype = \"xai\"\n";
    std::fs::write(folder.join("config.toml"), config).unwrap();
    home
}

fn with(home: &Path, program_of: &str, variables: &[(&str, &str)], args: &[&str]) -> Command {
    let mut command = program(program_of, home);
    command.envs(variables.iter().copied()).args(args);
    command
}

const CTL: &str = env!("CARGO_BIN_EXE_hermesctl");
const DAEMON: &str = env!("CARGO_BIN_EXE_hermes-proxyd");

#[test]
fn the_variables_count_where_the_file_is_silent_and_only_for_xais_hosts() {
    let home = plain_home();
    let set = [
        ("XAI_BASE_URL", "https://eu.x.ai/v1"),
        ("HERMES_XAI_REFRESH_TIMEOUT_SECONDS", "33"),
    ];
    let show = |variables: &[(&str, &str)]| {
        let mut show = with(home.path(), CTL, variables, &["config", "show", "--origin"]);
        text_of(&show.output().unwrap())
    };
    let shown = show(&set);
    for line in [
        "# providers.xai.base_url = \"https://eu.x.ai/v1\"  # environment of this shell: XAI_BASE_URL\n",
        "token_timeout = \"20s\"  # default\n",
        "# providers.xai.token_timeout = \"33s\"  # environment of this shell: \
         HERMES_XAI_REFRESH_TIMEOUT_SECONDS\n",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    let file = home.path().join("report.txt");
    let flags = ["bugreport", "--yes", "--output", file.to_str().unwrap()];
    let output = with(home.path(), CTL, &set, &flags).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report = std::fs::read_to_string(&file).unwrap();
    assert!(
        report.contains("XAI_BASE_URL HERMES_XAI_REFRESH_TIMEOUT_SECONDS"),
        "{report}"
    );

    let wrong = [
        ("HERMES_XAI_BASE_URL", "https://x.ai.evil.example/v1"),
        ("XAI_BASE_URL", "https://eu.x.ai/v1"),
        ("HERMES_XAI_REFRESH_TIMEOUT_SECONDS", "soon"),
    ];
    let shown = show(&wrong);
    assert!(!shown.contains("XAI"), "{shown}");
    let faults = [
        "HERMES_XAI_BASE_URL is ignored: it is not an https URL on x.ai",
        "HERMES_XAI_REFRESH_TIMEOUT_SECONDS is ignored: it is not a number of seconds",
    ];
    let check = with(home.path(), DAEMON, &wrong, &["--check"])
        .output()
        .unwrap();
    assert!(check.status.success(), "{check:?}");
    let doctor = with(home.path(), CTL, &wrong, &["doctor", "--json"])
        .output()
        .unwrap();
    for fault in faults {
        let warned = String::from_utf8_lossy(&check.stderr);
        assert!(warned.contains(fault), "{warned}");
        assert!(text_of(&doctor).contains(fault), "{doctor:?}");
    }
    // A home without xAI does not care.
    let other = scratch();
    let check = with(other.path(), DAEMON, &wrong, &["--check"])
        .output()
        .unwrap();
    let warned = String::from_utf8_lossy(&check.stderr);
    assert!(!warned.contains("XAI"), "{warned}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_asks_where_the_variable_says_and_nowhere_but_at_xai() {
    for (value, base) in [
        ("https://eu.x.ai/v1", "https://eu.x.ai/v1"),
        ("https://evil.example/v1", "https://api.x.ai/v1"),
    ] {
        let (world, _) = World::with_a_login(&now()).await;
        let config = format!(
            "[providers.xai]\nissuer_url = {:?}\n",
            world.cloud.portal_url()
        );
        world.configure(&config);
        let variables = [("XAI_BASE_URL", value)];
        let flags = ["--port", "0", "--log-format", "json"];
        let command = with(world.home.path(), DAEMON, &variables, &flags);
        let daemon = Daemon::start(command, world.home.path());
        let providers = daemon.status()["providers"].clone();
        let mut providers = providers.as_array().unwrap().iter();
        let xai = providers.find(|one| one["name"] == "xai").unwrap();
        assert_eq!(xai["base_url"], base, "{xai:#}");
        assert_eq!(daemon.logged().contains("is ignored"), value != base);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_are_connected_to_xai_at_its_own_path_or_as_the_default() {
    let (world, _) = World::with_a_login(&now()).await;
    let daemon = world.daemon();
    let connect = |more: &[&str]| {
        let line = ["connect", "aider", "--from", "bare", "--json"];
        let output = ctl(world.home.path(), &[&line, more].concat());
        assert!(output.status.success(), "{output:?}");
        json_of(&output)
    };
    let told = connect(&[]);
    assert_eq!(told["base_url"], format!("{}/v1", daemon.origin()));
    assert!(
        told["model"].is_string(),
        "the provider's models are asked for: {told:#}"
    );
    let list = json_of(&ctl(world.home.path(), &["proxy", "providers", "--json"]));
    let mut providers = list["providers"].as_array().unwrap().iter();
    let xai = providers.find(|one| one["name"] == "xai").unwrap();
    assert_eq!(xai["display_name"], "xAI Grok");
    assert_eq!(
        (&xai["logged_in"], &xai["default"]),
        (&json!(true), &json!(true)),
        "{xai:#}"
    );
    let paths = xai["paths"].to_string();
    for path in [
        "/responses",
        "/chat/completions",
        "/completions",
        "/embeddings",
        "/models",
    ] {
        assert!(paths.contains(&format!("{path}\"")), "{xai:#}");
    }
    drop(daemon);

    let config = format!(
        "[providers.xai]\nissuer_url = {:?}\nbase_url = {:?}\n",
        world.cloud.portal_url(),
        world.cloud.inference_base_url()
    );
    world.configure(&config);
    let daemon = world.daemon();
    let told = connect(&["--provider", "xai"]);
    let base = format!("{}/xai/v1", daemon.origin());
    assert_eq!(told["base_url"], base.as_str());
    let post = client().post(format!("{base}/chat/completions"));
    let answer = post.json(&chat("hello")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", daemon.logged());
    let elsewhere = client().post(format!("{base}/images/generations"));
    assert_eq!(
        elsewhere.send().await.unwrap().status(),
        404,
        "not one of its paths"
    );
}

/// The doctor's finding about xAI's login: verdict, text and fix.
fn diagnosed(world: &World) -> (String, String, String) {
    let report = json_of(&ctl(world.home.path(), &["doctor", "--json"]));
    let mut findings = report["findings"].as_array().unwrap().iter();
    let found = findings.find(|one| one["group"] == "login" && one["name"] == "xai");
    let found = found.unwrap_or_else(|| panic!("{report:#}"));
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    (text("verdict"), text("text"), found["fix"].to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_each_state_of_the_login_with_and_without_a_daemon() {
    let world = World::new().await;
    for with_a_daemon in [false, true] {
        let daemon = with_a_daemon.then(|| world.daemon());
        let (verdict, text, fix) = diagnosed(&world);
        assert_eq!(verdict, "fail", "{text}");
        assert!(fix.contains("hermesctl auth login xai"), "{fix}");
        drop(daemon);
    }

    let (world, _) = World::with_a_login(&now()).await;
    for with_a_daemon in [false, true] {
        let daemon = with_a_daemon.then(|| world.daemon());
        let (verdict, text, _) = diagnosed(&world);
        assert_eq!(verdict, "ok", "{text}");
        drop(daemon);
    }

    // The account is refused: the login is right, and the requests fail for a reason of their own.
    let daemon = world.daemon();
    let refusal =
        json!({"code": "denied", "error": "You do not have an active Grok subscription."});
    let fault = Fault::Answer(Canned::json(403, &refusal));
    world.cloud.fail_next(3, &fault);
    for _ in 0..3 {
        let post = client().post(daemon.url("/chat/completions"));
        post.json(&chat("hello")).send().await.unwrap();
    }
    assert_eq!(failing(&daemon), "no_subscription");
    assert_eq!(diagnosed(&world).0, "ok", "a new login does not help");
    let report = text_of(&ctl(world.home.path(), &["doctor", "--json"]));
    assert!(
        report.contains("failed") && report.contains("no_subscription"),
        "{report}"
    );

    // The token endpoint ends the login.
    let dead = PortalFault::Answer(Canned::oauth_error(400, "invalid_grant", "gone"));
    world.cloud.break_portal(Endpoint::Refresh, dead);
    let refreshed = ctl(world.home.path(), &["auth", "refresh", "xai"]);
    assert!(!refreshed.status.success(), "{refreshed:?}");
    for daemon in [Some(daemon), None] {
        let (verdict, text, fix) = diagnosed(&world);
        assert_eq!(verdict, "fail", "{text}");
        assert!(text.to_lowercase().contains("invalid_grant"), "{text}");
        assert!(fix.contains("hermesctl auth login xai"), "{fix}");
        drop(daemon);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_a_device_login_is_told_so() {
    let world = World::new().await;
    let daemon = world.daemon();
    let missing = PortalFault::Answer(Canned::status(404));
    world.cloud.break_portal(Endpoint::DeviceCode, missing);
    let output = ctl(world.home.path(), &["auth", "login", "xai", "--no-browser"]);
    assert!(!output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("xAI offers this account no device login"),
        "{said}"
    );
    assert!(!world.store_file().exists(), "nothing was written");
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_finds_or_makes_the_login_of_the_default_provider() {
    let world = World::new().await;
    let daemon = world.daemon();
    let mut setup = program(CTL, world.home.path());
    let line = ["setup", "--yes", "--no-service", "--no-browser", "--json"];
    let mut setup = setup.args(line).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(setup.stdout.take().unwrap()));
    let begun: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    world
        .cloud
        .approve(begun["code"]["user_code"].as_str().unwrap());
    let last = lines.map(Result::unwrap).last().unwrap();
    assert!(setup.wait().unwrap().success(), "{last}");
    let outcome: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(outcome["ready"], true, "{outcome:#}");
    assert_eq!(outcome["findings"], json!([]), "{outcome:#}");
    let steps = outcome["steps"].to_string();
    assert!(steps.contains("login of xAI Grok"), "{steps}");
    assert!(world.block()["tokens"]["refresh_token"].is_string());
    drop(daemon);
}
