//! `hermesctl proxy test`, against the real daemon and a mock of the provider.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::Write;
use std::process::{Output, Stdio};

use mock_cloud::{Canned, Fault, Options};
use serde_json::Value;
use support::{World, ctl, program, scratch};

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_goes_through_the_port_and_is_told() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let output = world.ctl(&["proxy", "test"]);
    let (out, err) = text(&output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert!(
        out.contains("It works.") && out.contains("first byte"),
        "{out}"
    );
    assert!(err.contains(&format!("at {}", daemon.base)), "{err}");

    let report = json(&world.ctl(&["proxy", "test", "nous", "--json"]));
    assert_eq!(report["status"], 200);
    assert_eq!(report["url"], format!("{}/nous/v1", daemon.origin()));
    assert!(report["tokens"]["completion"].is_u64(), "{report}");
    assert!(report["total_ms"].as_f64().unwrap() >= report["first_byte_ms"].as_f64().unwrap());
    let id = report["request_id"].as_str().unwrap();
    daemon.wait_for_log(id);
    assert!(!report["text"].as_str().unwrap().is_empty());
    let asked = world.cloud.requests();
    let asked: Value = serde_json::from_slice(&asked.last().unwrap().body).unwrap();
    // Each model takes another one of the limits of tokens, or none.
    let fields: Vec<_> = asked.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["model", "messages", "stream"], "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_shown_as_it_comes() {
    let world = World::new(Options::default()).await;
    let _daemon = world.daemon();
    let (out, _) = text(&world.ctl(&["proxy", "test", "--stream", "-m", "Hermes-4-405B"]));
    let said = out.split("\n\nIt works.").next().unwrap();
    assert!(said.split(' ').count() > 2, "{out}");

    let output = world.ctl(&["proxy", "test", "--stream", "--json"]);
    let (out, _) = text(&output);
    let lines: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (report, pieces) = lines.split_last().unwrap();
    assert!(pieces.len() > 1, "{out}");
    let whole: String = pieces
        .iter()
        .map(|piece| piece["text"].as_str().unwrap())
        .collect();
    assert_eq!(report["text"], whole);
    assert_eq!(report["stream"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_login_ends_with_4_and_the_command_that_mends_it() {
    let world = World::new(Options::default()).await;
    std::fs::remove_file(world.store_file()).unwrap();
    let _daemon = world.daemon();
    let output = world.ctl(&["proxy", "test", "--model", "x"]);
    let (out, err) = text(&output);
    assert_eq!((output.status.code(), out.as_str()), (Some(4), ""), "{err}");
    assert!(err.contains("upstream_auth_failed"), "{err}");
    assert!(err.contains("hermesctl auth login nous"), "{err}");
    let output = world.ctl(&["proxy", "test", "--json"]);
    assert_eq!(output.status.code(), Some(4));
    assert_eq!(json(&output)["error"]["code"], "upstream_auth_failed");
    assert_eq!(json(&output)["error"]["status"], 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_providers_own_error_is_told_as_its_own() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    world
        .cloud
        .fail_next(1, &Fault::Answer(Canned::rate_limited(7)));
    let output = world.ctl(&["proxy", "test", "--model", "x"]);
    let (_, err) = text(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(
        err.contains("nous answered 429 (provider_error): Rate limit reached."),
        "{err}"
    );
    world
        .cloud
        .fail_next(1, &Fault::Answer(Canned::rate_limited(7)));
    let report = json(&world.ctl(&["proxy", "test", "--model", "x", "--json"]));
    assert_eq!(report["error"]["status"], 429);
    let id = report["error"]["request_id"].as_str().unwrap();
    let hint = report["error"]["hint"].as_str().unwrap();
    assert!(
        hint.contains(&format!("`hermesctl logs --request {id}`")),
        "{hint}"
    );
    daemon.wait_for_log(report["error"]["request_id"].as_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_needs_a_key_is_used_with_one() {
    let world = World::new(Options::default()).await;
    let made = world.ctl(&["clients", "add", "probe"]);
    assert!(made.status.success(), "{made:?}");
    let (key, _) = text(&made);
    let config = "[[listen]]\naddress = \"127.0.0.1:0\"\nauth = \"keys\"\n";
    world.write_config(config);
    let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), world.home.path());
    command
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
        .args(["--log-format", "json"]);
    let daemon = support::Daemon::start(command, world.home.path());

    let output = world.ctl(&["proxy", "test"]);
    let (_, err) = text(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("hermesctl clients add NAME"), "{err}");

    let file = world.home.path().join("key");
    std::fs::write(&file, &key).unwrap();
    let output = world.ctl(&["proxy", "test", "--key", file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    daemon.wait_for_log("\"client\":\"probe\"");

    let wrong = "hpx-of-somebody-else";
    let mut command = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
    let command = command
        .args(["proxy", "test"])
        .env("HERMES_CLIENT_KEY", wrong);
    let output = command.output().unwrap();
    let (out, err) = text(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("invalid_client_key"), "{err}");
    assert!(!(out + &err).contains(wrong));

    let mut command = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
    let command = command.args(["proxy", "test", "--key", "-"]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = piped.unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(key.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_asked_like_a_port() {
    let world = World::new(Options::default()).await;
    let socket = world.home.path().join("apps/proxy.sock");
    let config = format!("[[listen]]\nunix = \"{}\"\n", socket.display());
    world.write_config(&config);
    let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), world.home.path());
    command
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
        .args(["--log-format", "json"]);
    let daemon = support::Daemon::launch(command, world.home.path());
    daemon.wait_for_log("\"listening\"");
    let report = json(&world.ctl(&["proxy", "test", "--json"]));
    assert_eq!(report["status"], 200, "{report}");
    assert_eq!(report["url"], format!("unix:{}/v1", socket.display()));
}

#[test]
fn without_a_daemon_it_ends_with_3() {
    let home = scratch();
    let output = ctl(home.path(), &["proxy", "test"]);
    let (out, err) = text(&output);
    assert_eq!((output.status.code(), out.as_str()), (Some(3), ""));
    assert!(err.contains("`hermesctl proxy start`"), "{err}");
}

/// Some providers repeat the key that they refuse.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_providers_error_repeats_is_not_shown() {
    let world = World::new(Options::default()).await;
    let key = "orchid-lantern-velvet";
    let file = world.home.path().join("key");
    std::fs::write(&file, key).unwrap();
    let config = format!(
        "default_provider = \"keyed\"\n\n[providers.keyed]\ntype = \"static\"\n\
         base_url = \"{{base}}\"\napi_key_file = \"{}\"\n",
        file.display()
    );
    let _daemon = world.daemon_with(&config, &[]);
    let said = format!("Incorrect API key provided: {key}. See the console.");
    let refusal = serde_json::json!({"error": {"message": said, "code": "invalid_api_key"}});
    for args in [
        &["proxy", "test", "--model", "x"][..],
        &["proxy", "test", "--model", "x", "--json"],
    ] {
        let fault = Fault::Answer(Canned::json(403, &refusal));
        world.cloud.fail_next(1, &fault);
        let (out, err) = text(&world.ctl(args));
        let shown = out + &err;
        assert!(!shown.contains(key), "{shown}");
        assert!(
            shown.contains("Incorrect API key provided: [redacted]"),
            "{shown}"
        );
        assert!(shown.contains("hermesctl proxy reload"), "{shown}");
        assert!(!shown.contains("auth status"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_whose_server_asks_for_no_key_has_none() {
    let world = World::new(Options::default()).await;
    let config = "default_provider = \"local\"\n\n[providers.local]\ntype = \"static\"\n\
                  base_url = \"{base}\"\nauth = \"none\"\n";
    let mut daemon = world.daemon_with(config, &[]);
    let (shown, _) = text(&world.ctl(&["proxy", "providers"]));
    assert!(shown.contains("not needed"), "{shown}");
    let told = json(&world.ctl(&["proxy", "providers", "--json"]));
    let providers = told["providers"].as_array().unwrap();
    let local = providers.iter().find(|one| one["name"] == "local");
    assert_eq!(local.unwrap()["no_key"], true, "{told}");
    for running in [true, false] {
        if !running {
            daemon.stop();
        }
        let (report, _) = text(&world.ctl(&["doctor", "--json"]));
        assert!(
            report.contains("Its server asks for no API key."),
            "{running} {report}"
        );
        assert!(!report.contains("fixed API key"), "{running} {report}");
    }
}
