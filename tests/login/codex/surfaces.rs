//! OpenAI Codex on the user's surfaces: variables, `doctor`, the list of providers, the quota.

use mock_cloud::{Fault, Steering};
use serde_json::{Value, json};
use support::{Daemon, ctl, program};

use super::{World, json_of};

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_a_login_that_codex_cli_has_too() {
    let (world, login) = World::with_a_login().await;
    let found = |variables: &[(&str, &str)]| {
        let mut command = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
        let command = command.envs(variables.iter().copied());
        let output = command.args(["doctor", "--json"]).output().unwrap();
        let report = json_of(&output);
        let text = report.to_string();
        assert!(!text.contains(&login.refresh_token), "{text}");
        let findings = report["findings"].as_array().unwrap().iter();
        let mut findings = findings.filter(|one| one["name"] == "copies of openai-codex");
        findings.next().cloned().unwrap_or_default()
    };
    assert_eq!(found(&[])["verdict"], "ok");
    let folder = world.home.path().join("theirs");
    for folder in [world.home.path().join(".codex"), folder.clone()] {
        std::fs::create_dir_all(&folder).unwrap();
        let other = json!({"tokens": {"refresh_token": "another", "access_token": "a"}});
        std::fs::write(folder.join("auth.json"), other.to_string()).unwrap();
    }
    let elsewhere = [("CODEX_HOME", folder.to_str().unwrap())];
    assert_eq!(found(&[])["verdict"], "ok", "another login");
    let same = json!({"OPENAI_API_KEY": null, "tokens": {
        "refresh_token": login.refresh_token, "access_token": login.access_token}});
    std::fs::write(folder.join("auth.json"), same.to_string()).unwrap();
    assert_eq!(found(&[])["verdict"], "ok", "no file of Codex CLI here");
    let finding = found(&elsewhere);
    assert_eq!(finding["verdict"], "fail", "{finding:#}");
    let text = finding["text"].as_str().unwrap();
    assert!(
        text.contains("Codex CLI") && text.contains("single-use"),
        "{text}"
    );
    let fix = finding["fix"].to_string();
    assert!(
        fix.contains("hermesctl auth login openai-codex --force"),
        "{fix}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_variables_count_where_the_file_is_silent_and_never_without_tls_to_another_machine() {
    let (world, _) = World::with_a_login().await;
    let folder = world.home.path().join(".config/hermes-proxyd");
    let config = "[providers.openai-codex]\n";
    std::fs::write(folder.join("config.toml"), config).unwrap();
    for (value, base) in [
        (
            "https://codex.example/api/codex",
            "https://codex.example/api/codex",
        ),
        ("http://127.0.0.1:9/codex", "http://127.0.0.1:9/codex"),
        (
            "http://codex.example/api",
            "https://chatgpt.com/backend-api/codex",
        ),
        ("chatgpt.com", "https://chatgpt.com/backend-api/codex"),
    ] {
        let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), world.home.path());
        command
            .env("HERMES_CODEX_BASE_URL", value)
            .args(["--port", "0", "--log-format", "json"]);
        let daemon = Daemon::start(command, world.home.path());
        let status = daemon.status();
        let mut providers = status["providers"].as_array().unwrap().iter();
        let codex = providers.find(|one| one["name"] == "openai-codex").unwrap();
        assert_eq!(codex["base_url"], base, "{codex:#}");
        let is_own = base.contains("chatgpt.com");
        assert_eq!(
            daemon.logged().contains("HERMES_CODEX_BASE_URL is ignored"),
            is_own
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_providers_and_connect_know_it() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let listed = || {
        let list = json_of(&ctl(world.home.path(), &["proxy", "providers", "--json"]));
        let mut providers = list["providers"].as_array().unwrap().iter();
        let codex = providers.find(|one| one["name"] == "openai-codex");
        codex.unwrap().clone()
    };
    // No app has asked for its models yet.
    world
        .until(&daemon, |_| listed()["models"][0] == "gpt-6-codex")
        .await;
    let codex = listed();
    assert_eq!(
        (&codex["display_name"], &codex["logged_in"]),
        (&json!("OpenAI Codex"), &json!(true)),
        "{codex:#}"
    );
    for path in ["/responses\"", "/responses/compact\"", "/models\""] {
        assert!(codex["paths"].to_string().contains(path), "{codex:#}");
    }
    let line = ["connect", "codex", "--from", "bare", "--json"];
    let output = ctl(world.home.path(), &line);
    assert!(output.status.success(), "{output:?}");
    let told: Value = json_of(&output);
    assert_eq!(told["base_url"], format!("{}/v1", daemon.origin()));
    // The key that it needs was made, and its models were asked for with it.
    assert!(
        told["key"].as_str().unwrap().starts_with("hpx-"),
        "{told:#}"
    );
    assert_eq!(told["model"], "gpt-6-codex");
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_is_asked_for_at_the_start_and_read_from_each_answer() {
    let (world, login) = World::with_a_login().await;
    let daemon = world.daemon();
    let quota = || daemon.status()["providers"][0]["quota"].clone();
    world.until(&daemon, |_| !quota().is_null()).await;
    let told = quota();
    let (first, second) = (&told["windows"][0], &told["windows"][1]);
    assert_eq!(
        (
            &first["name"],
            &first["used_percent"],
            &first["length_seconds"]
        ),
        (&json!("primary"), &json!(34), &json!(18_000)),
        "{told:#}"
    );
    assert_eq!(second["used_percent"], 56);
    let asked = world.cloud.requests();
    let asked = asked
        .iter()
        .find(|seen| seen.target == "/backend-api/wham/usage");
    let bearer = format!("Bearer {}", login.access_token);
    assert_eq!(asked.unwrap().header("authorization"), [&bearer]);

    assert_eq!(world.ask(&daemon).await.status(), 200);
    assert_eq!(quota()["windows"][0]["used_percent"], 12);
    let shown = ctl(world.home.path(), &["proxy", "status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("5 h: 12 % used, begins again "), "{shown}");
    assert!(shown.contains("7 d: 7 % used"), "{shown}");
}

/// Such an event comes where the fields of an answer's head do not.
#[tokio::test(flavor = "multi_thread")]
async fn the_quota_is_read_from_the_events_of_a_stream_too() {
    let (world, _) = World::with_a_login().await;
    let daemon = world.daemon();
    let used = || daemon.status()["providers"][0]["quota"]["windows"][0]["used_percent"].clone();
    // The question at the start is answered by then.
    world.until(&daemon, |_| !used().is_null()).await;
    for (stream, percent) in [(true, 41), (false, 43)] {
        let limits = json!({"type": "codex.rate_limits", "plan_type": "plus", "rate_limits": {
            "primary": {"used_percent": percent, "window_minutes": 300, "reset_at": 4_000_000_000_u64}}});
        let end = json!({"type": "response.completed", "response": {"output": []}});
        let text = format!("event: codex.rate_limits\ndata: {limits}\n\ndata: {end}\n\n");
        let steering = Steering {
            body: Some(json!(text)),
            ..Steering::default()
        };
        world.cloud.fail_next(1, &Fault::Steer(Box::new(steering)));
        let body = json!({"model": "m", "input": "x", "stream": stream});
        let answer = world.post(&daemon, "/responses").json(&body).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        let told = answer.text().await.unwrap();
        assert_eq!(told.contains("codex.rate_limits"), stream, "{told}");
        world.until(&daemon, |_| used() == json!(percent)).await;
    }
}

/// It has no Chat Completions, which is what most others are asked by.
#[tokio::test(flavor = "multi_thread")]
async fn proxy_test_asks_the_provider_by_the_wire_that_it_has() {
    let (world, _) = World::with_a_login().await;
    let _daemon = world.daemon();
    for stream in [false, true] {
        let mut command = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path());
        command
            .env("HERMES_CLIENT_KEY", &world.key)
            .args(["proxy", "test", "openai-codex", "--json"])
            .args(stream.then_some("--stream"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let report = text.lines().last().unwrap();
        let report: Value = if stream {
            serde_json::from_str(report).unwrap()
        } else {
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(report["status"], 200, "{report:#}");
        assert_eq!(report["model"], "gpt-6-codex");
        assert_eq!(report["finish_reason"], "completed");
        let said = report["text"].as_str().unwrap();
        assert!(said.contains("Say hello"), "{report:#}");
    }
    let seen = world.requests().pop().unwrap();
    assert_eq!(seen.target, "/backend-api/codex/responses");
}

/// Nothing starts with this provider without a client key, so the first one is made by the way.
#[tokio::test(flavor = "multi_thread")]
async fn setup_makes_the_first_client_key_and_asks_with_it() {
    let (world, _) = World::with_a_login().await;
    let revoked = ctl(world.home.path(), &["clients", "revoke", "app"]);
    assert!(revoked.status.success(), "{revoked:?}");
    let setup = || {
        let line = ["setup", "--yes", "--no-service", "--json"];
        let output = ctl(world.home.path(), &line);
        assert!(output.status.success(), "{output:?}");
        json_of(&output)
    };
    let told = setup();
    let key = told["key"].as_str().unwrap_or_else(|| panic!("{told:#}"));
    assert!(key.starts_with("hpx-"), "{told:#}");
    let daemon = world.daemon();
    let body = json!({"model": "m", "input": "x"});
    let asked = support::client().post(daemon.url("/responses"));
    let answer = asked.bearer_auth(key).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    // The key can't be shown again, and no other is made.
    let told = setup();
    assert!(told["key"].is_null(), "{told:#}");
    let steps = told["steps"].as_array().unwrap();
    assert_eq!(steps.last().unwrap()["result"], "left", "{told:#}");
    assert_eq!(told["ready"], true);
    let revoked = ctl(world.home.path(), &["clients", "revoke", "first-app"]);
    assert!(revoked.status.success(), "{revoked:?}");
    let told = setup();
    assert_eq!(told["test"]["status"], 200, "{told:#}");
}

/// The fields of an answer tell of the windows; a hook hears of each crossing once.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_is_nearly_used_up_and_then_used_up_is_told_to_a_hook() {
    let (world, _) = World::with_a_login().await;
    let file = world.home.path().join("told");
    world.configure(&format!(
        "[[hooks]]\ncommand = [\"sh\", \"-c\", \"cat >> {}\"]\n",
        file.display()
    ));
    let daemon = world.daemon();
    let told = || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let lines = text
            .lines()
            .map_while(|line| serde_json::from_str::<Value>(line).ok());
        lines.collect::<Vec<_>>()
    };
    for (used, window) in [("85", "primary"), ("100", "primary"), ("81", "secondary")] {
        let headers = json!({"headers": {format!("x-codex-{window}-used-percent"): used}});
        let steering: Steering = serde_json::from_value(headers).unwrap();
        let before = told().len();
        world.cloud.fail_next(1, &Fault::Steer(Box::new(steering)));
        let body = json!({"model": "gpt-5", "input": "x", "stream": true});
        let asked = support::client().post(daemon.url("/responses"));
        let asked = asked.bearer_auth(&world.key).json(&body);
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap();
        support::until("a hook is told", || told().len() > before);
    }
    let seen: Vec<_> = told()
        .iter()
        .map(|one| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&one["event"]), text(&one["quota"]["window"]))
        })
        .collect();
    let names: Vec<_> = seen.iter().map(|(event, _)| event.as_str()).collect();
    assert_eq!(names[..2], ["quota_low", "quota_spent"], "{seen:?}");
    assert!(seen[0].1 == seen[1].1, "{seen:?}");
}
