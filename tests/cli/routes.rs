//! `hermesctl proxy routes`, with a daemon and without one; and the warnings about routes without
//! effect.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::process::Output;

use mock_cloud::Options;
use serde_json::Value;
use support::World;

const CONFIG: &str = "[aliases]\nmini = \"x/small\"\n\
                      [[route]]\npaths = [\"embeddings\"]\nprovider = \"x\"\n\
                      [[route]]\npaths = [\"responses\"]\nprovider = \"x\"\n\
                      [providers.x]\ntype = \"static\"\nbase_url = \"https://x.example\"\napi_key_env = \"X\"\n\
                      extra_paths = [\"/responses\"]\n";

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_request_goes_is_told_with_a_daemon_and_without_one() {
    let world = World::new(Options::default()).await;
    world.write_config(CONFIG);
    for is_running in [false, true] {
        let mut command = world.command(&[]);
        command.env("X", "key");
        let daemon = is_running.then(|| support::Daemon::start(command, world.home.path()));
        let listed = out(&world.ctl(&["proxy", "routes"]));
        for line in ["/embeddings to x", "mini is x/small", "nous"] {
            assert!(listed.contains(line), "{listed}");
        }
        let told = out(&world.ctl(&["proxy", "routes", "--model", "mini"]));
        for line in [
            "/v1/chat/completions goes to x.",
            "the provider's name in front",
            "small",
        ] {
            assert!(told.contains(line), "{told}");
        }
        let json = |arguments: &[&str]| -> Value {
            let line = [&["proxy", "routes", "--json"], arguments].concat();
            serde_json::from_str(&out(&world.ctl(&line))).unwrap()
        };
        let request = json(&["--path", "v1/embeddings"])["request"].take();
        assert_eq!(request["provider"], "x");
        assert_eq!(request["route"], 0);
        let served = is_running.then_some(true);
        assert_eq!(request["served"].as_bool(), served, "{request}");
        let request = json(&["--path", "/responses", "--model", "nous/m"])["request"].take();
        assert_eq!(
            (&request["provider"], &request["sent_model"]),
            (&"x".into(), &"nous/m".into())
        );
        let request = json(&["--path", "audio/speech"])["request"].take();
        assert_eq!(
            request["served"].as_bool(),
            served.map(|_| false),
            "{request}"
        );
        drop(daemon);
    }
    let failed = world.ctl(&["proxy", "routes", "--path", "/"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_nothing_reaches_is_warned_of_and_one_to_a_missing_path_is_refused() {
    let world = World::new(Options::default()).await;
    let provider = "[providers.x]\ntype = \"static\"\nbase_url = \"https://x.example\"\napi_key_env = \"PATH\"\n";
    let hidden = "[[route]]\nmodels = [\"a*\"]\nprovider = \"x\"\n[[route]]\nmodels = [\"ab\"]\nprovider = \"nous\"\n";
    world.write_config(&format!("{hidden}{provider}"));
    let checked = world.ctl(&["config", "check"]);
    let told = String::from_utf8(checked.stderr.clone()).unwrap();
    let words: Vec<_> = told.split_whitespace().collect();
    let told = words.join(" ");
    assert!(checked.status.success(), "{checked:?}");
    assert!(
        told.contains("line 5: route[1]: no request gets here, because route[0]"),
        "{told}"
    );
    let daemon = world.daemon_with(&format!("{hidden}{provider}"), &[]);
    daemon.wait_for_log("a route or alias has no effect");

    let missing = "[[route]]\npaths = [\"embeddings\", \"audio/speech\"]\nprovider = \"x\"\n";
    world.write_config(&format!("{missing}{provider}"));
    let checked = world.ctl(&["config", "check"]);
    assert!(!checked.status.success(), "{checked:?}");
    let told = String::from_utf8(checked.stderr).unwrap();
    let words: Vec<_> = told.split_whitespace().collect();
    let told = words.join(" ");
    for part in [
        "config.toml:2: route[0].paths[1]: the provider x has no path /audio/speech; it has",
        "add \"/audio/speech\" to its `extra_paths` under [providers.x]",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let reload = world.ctl(&["proxy", "reload"]);
    let told = String::from_utf8(reload.stderr).unwrap();
    assert!(told.contains("route[0].paths[1]"), "{told}");
}
