//! What `hermesctl connect` prints works: each app's files are read back by parsers of their kind, and
//! requests with the result go through a real daemon. See `tests/clients/README.md`.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::io::Write;
use std::process::{Output, Stdio};

use mock_cloud::Options;
use serde_json::Value;
use support::hermes::{clients, test_env};
use support::{Daemon, World, ctl, program, scratch};

const EMBEDDINGS: [&str; 2] = ["--embedding-model", "Hermes-4-70B"];

fn connect(world: &World, args: &[&str]) -> Output {
    world.ctl(&[&["connect"], args].concat())
}

/// The JSON of a connection, with a model for embeddings.
fn told(world: &World, args: &[&str]) -> Value {
    let output = connect(world, &[args, &EMBEDDINGS, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn apps(world: &World) -> Vec<String> {
    let output = connect(world, &["--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let apps = list["apps"].as_array().unwrap().iter();
    apps.map(|app| app["app"].as_str().unwrap().to_owned())
        .collect()
}

/// Reads the files back and sends requests with the result; `at` is the host's real address.
fn assert_usable(told: &[Value], at: Option<&str>) {
    let texts: Vec<String> = told.iter().map(ToString::to_string).collect();
    let python = test_env("python").join("python/bin/python");
    let mut command = program(python, std::path::Path::new("/"));
    command.arg(clients().join("python/snippet_client.py"));
    if let Some(at) = at {
        command.args(["--at", at]);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(texts.join("\n").as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}\n{texts:#?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let oks = said.lines().filter(|line| line.starts_with("ok "));
    assert_eq!(oks.count(), told.len(), "{said}");
}

fn notes(told: &Value) -> String {
    told["notes"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_this_machine_every_apps_files_work_without_a_key() {
    let world = World::new(Options::default()).await;
    // Codex CLI speaks nothing else.
    let config = "[providers.nous]\nextra_paths = [\"/responses\"]\n";
    let daemon = world.daemon_with(config, &[]);
    let apps = apps(&world);
    assert!(apps.len() >= 14, "{apps:?}");
    let mut all = Vec::new();
    for app in &apps {
        let told = told(&world, &[app, "--from", "bare"]);
        assert_eq!(told["base_url"], daemon.base.as_str());
        assert_eq!(told["key"], Value::Null);
        assert_eq!(told["model"], "Hermes-4-405B");
        all.push(told);
    }
    assert_usable(&all, None);
    let keys = world.ctl(&["clients", "list", "--json"]);
    let keys: Value = serde_json::from_slice(&keys.stdout).unwrap();
    assert_eq!(keys["clients"], serde_json::json!([]), "no key was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_containers_every_apps_files_work_with_a_key_of_its_own() {
    let world = World::new(Options::default()).await;
    let config = "[[listen]]\naddress = \"0.0.0.0:0\"\n[providers.nous]\nextra_paths = \
                  [\"/responses\"]\n";
    world.write_config(config);
    assert!(world.ctl(&["clients", "add", "first"]).status.success());
    let daemon = world.daemon_with(config, &[]);
    let port = daemon.address().rsplit_once(':').unwrap().1.to_owned();
    let here = format!("127.0.0.1:{port}");
    let mut connected = Vec::new();
    for (place, host) in [
        ("docker", "host.docker.internal"),
        ("podman", "host.containers.internal"),
        ("docker-desktop", "host.docker.internal"),
    ] {
        // The places differ in the address; one is enough for the files of each app.
        let all = apps(&world).into_iter();
        for app in all.filter(|app| place == "docker" || app == "karakeep") {
            let name = format!("{app}-{place}");
            let told = told(&world, &[&app, "--from", place, "--name", &name]);
            assert_eq!(told["base_url"], format!("http://{host}:{port}/v1"));
            assert_eq!(told["key_name"], name.as_str());
            assert!(told["key"].as_str().unwrap().starts_with("hpx-"));
            assert_eq!(told["ready"], true);
            connected.push(told);
        }
    }
    assert_usable(&connected, Some(&here));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_socket_the_sidecar_of_the_compose_file_works() {
    let world = World::new(Options::default()).await;
    let config = "[[listen]]\n[[listen]]\nunix = \"~/apps/proxy.sock\"\nauth = \"keys\"\n";
    world.write_config(config);
    assert!(world.ctl(&["clients", "add", "first"]).status.success());
    let _daemon = world.daemon_with(config, &[]);
    let told = told(&world, &["librechat", "--from", "docker", "--socket"]);
    let compose = told["files"][0]["text"].as_str().unwrap();
    let folder = world.home.path().join("apps");
    let mount = format!("\"{}:/apps\"", folder.display());
    assert!(compose.contains(&mount), "{compose}");

    let line = compose.lines().find(|line| line.contains("command: "));
    let command = line.unwrap().split_once("command: ").unwrap().1;
    let command: Vec<String> = serde_json::from_str(command).unwrap();
    let inside = |word: &String| word.replace("/apps", &folder.display().to_string());
    let elsewhere = scratch();
    let mut bridge = program(env!("CARGO_BIN_EXE_hermes-proxyd"), elsewhere.path());
    bridge.args(command.iter().map(inside));
    bridge.args(["--listen", "127.0.0.1:0"]);
    let bridge = Daemon::launch(bridge, elsewhere.path());
    let line = bridge.wait_for_log("bridging");
    let port = line.split("http://127.0.0.1:").nth(1).unwrap();
    let port = port.split("/v1").next().unwrap();
    assert_usable(&[told], Some(&format!("127.0.0.1:{port}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_provider_has_its_path_and_its_models() {
    let world = World::new(Options::default()).await;
    let config = "[providers.other]\ntype = \"static\"\nbase_url = \"{base}\"\napi_key_env = \
                  \"OTHER_KEY\"\n";
    world.write_config(config);
    let mut command = world.command(&[]);
    command.env("OTHER_KEY", world.login.access_token.as_str());
    let daemon = Daemon::start(command, world.home.path());
    let told = told(
        &world,
        &["karakeep", "--from", "bare", "--provider", "other"],
    );
    let expected = format!("{}/other/v1", daemon.origin());
    assert_eq!(told["base_url"], expected.as_str());
    assert_usable(&[told], None);
    // The list of providers agrees, and says that its key is not a login.
    let output = world.ctl(&["proxy", "providers", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let other = &list["providers"][1];
    assert_eq!(other["app_url"], expected.as_str(), "{list:#}");
    assert_eq!(other["api_key"], true);
    assert_eq!(list["providers"][0]["app_url"], daemon.base.as_str());
    let said = String::from_utf8(world.ctl(&["proxy", "providers"]).stdout).unwrap();
    assert!(said.contains("API key       set"), "{said}");
    let output = connect(&world, &["karakeep", "--provider", "nobody", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["error"]["code"], "unknown_provider");
    assert_eq!(error["error"]["hint"], "The providers are: nous, other");
    // What is built in has only to be set up.
    let output = connect(&world, &["karakeep", "--provider", "xai", "--json"]);
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    let hint = "Set it up first: hermesctl setup --provider xai";
    assert_eq!(error["error"]["hint"], hint);
}

#[test]
fn without_a_daemon_the_configuration_tells_and_models_are_left_open() {
    let home = scratch();
    let output = ctl(
        home.path(),
        &["connect", "karakeep", "--from", "bare", "--json"],
    );
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["base_url"], "http://127.0.0.1:8645/v1");
    let text = told["files"][0]["text"].as_str().unwrap();
    assert!(text.contains("INFERENCE_TEXT_MODEL=YOUR-MODEL\n"), "{text}");
    assert!(notes(&told).contains("hermes-proxyd is not running"));

    // What Docker needs is not there: it is said, and the key can be made before the restart.
    let output = ctl(
        home.path(),
        &["connect", "karakeep", "--from", "docker", "--json"],
    );
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["ready"], false);
    assert!(told["key"].is_string());
    let lines = told["files"][0]["text"].as_str().unwrap();
    assert!(lines.contains("address = \"docker0:8645\""), "{lines}");
    let folder = home.path().join(".config/hermes-proxyd");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), lines).unwrap();
    let output = ctl(
        home.path(),
        &["connect", "n8n", "--from", "docker", "--json"],
    );
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    // There is nothing left to add, and nothing listens: another program has the port.
    assert_eq!(told["ready"], false, "{told:#}");
    assert_eq!(lines_of(&told), None, "{told:#}");
    assert!(notes(&told).contains("Start it: hermesctl proxy start"));

    // The talk goes beside the data.
    let output = ctl(home.path(), &["connect", "aider", "--model", "m"]);
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(
        out,
        "# .env: in your project or your home folder\nOPENAI_API_BASE=http://127.0.0.1:8645/v1\n\
         OPENAI_API_KEY=anything\nAIDER_MODEL=openai/m\n"
    );
    assert!(
        err.contains("\nAider at http://127.0.0.1:8645/v1\n"),
        "{err}"
    );
}

#[test]
fn a_key_that_is_there_is_kept_and_none_is_made_where_none_is_wanted() {
    let home = scratch();
    let run = |args: &[&str]| -> Value {
        let line = [&["connect", "karakeep", "--json", "--from", "docker"], args].concat();
        let output = ctl(home.path(), &line);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let without = run(&["--no-key"]);
    assert_eq!(without["key"], Value::Null);
    assert!(notes(&without).contains("hermesctl clients add karakeep"));
    let first = run(&[]);
    let key = first["key"].as_str().unwrap();
    let text = |told: &Value| told["files"][1]["text"].as_str().unwrap().to_owned();
    assert!(text(&first).contains(&format!("OPENAI_API_KEY: \"{key}\"")));
    let second = run(&[]);
    assert_eq!(second["key"], Value::Null);
    assert!(notes(&second).contains("`--new-key`"), "{second:#}");
    assert!(text(&second).contains("OPENAI_API_KEY: \"YOUR-CLIENT-KEY\""));
    assert!(!second.to_string().contains(key));
    let another = run(&["--new-key"]);
    let new = another["key"].as_str().unwrap();
    assert_ne!(new, key);
    assert!(text(&another).contains(new));
    assert!(notes(&another).contains("the old one no longer works"));
    let named = run(&["--name", "bookmarks", "--new-key"]);
    assert_eq!(named["key_name"], "bookmarks");
    assert_ne!(named["key"], Value::Null);
}

/// A key is shown once: what it is comes before the files, so that it is read.
#[test]
fn a_key_that_is_made_is_told_before_it_is_shown() {
    let home = scratch();
    let run = || ctl(home.path(), &["connect", "karakeep", "--from", "docker"]);
    let said = String::from_utf8(run().stderr).unwrap();
    let first = said.lines().next().unwrap();
    assert!(
        first.starts_with("A client key was made for karakeep"),
        "{said}"
    );
    assert!(said.contains("only once"), "{said}");
    let said = String::from_utf8(run().stderr).unwrap();
    let first = said.lines().next().unwrap();
    assert!(first.starts_with("karakeep already has a key"), "{said}");
    assert!(first.contains("`--new-key`"), "{said}");
}

/// What is printed for a place works there, as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_compose_file_is_for_a_network_that_a_compose_file_makes() {
    let world = World::new(Options::default()).await;
    let _daemon = world.daemon_with("[providers.nous]\ntranslate = true\n", &[]);
    for app in apps(&world) {
        let args = [app.as_str(), "--from", "podman", "--no-key"];
        let podman = told(&world, &args);
        let is_compose = podman["files"]
            .to_string()
            .contains("compose.override.yaml");
        assert_eq!(
            podman["base_url"] == "http://hermes-proxyd:8645/v1",
            is_compose,
            "{podman:#}"
        );
        assert!(!podman.to_string().contains("can't use this"), "{podman:#}");
        let bare = told(&world, &[&app, "--from", "bare"]);
        for file in bare["files"].as_array().unwrap() {
            let about = file["about"].as_str().unwrap();
            assert!(!about.contains("compose"), "{bare:#}");
        }
    }
    for (place, address) in [
        ("docker", "http://127.0.0.1:8645"),
        ("podman", "http://localhost:8645/v1"),
        ("docker-desktop", "http://[::1]:8645"),
    ] {
        let output = connect(&world, &["karakeep", "--from", place, "--address", address]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("the container itself"), "{said}");
    }
}

#[test]
fn an_address_is_taken_as_it_is_meant_and_nothing_that_a_shell_would_act_on() {
    let home = scratch();
    let run = |args: &[&str]| {
        ctl(
            home.path(),
            &[&["connect", "openai", "--json"], args].concat(),
        )
    };
    for (address, base, key) in [
        ("http://127.0.0.1:8645", "http://127.0.0.1:8645/v1", false),
        (
            "http://localhost:8645/v1/",
            "http://localhost:8645/v1",
            false,
        ),
        ("https://ai.example/llm", "https://ai.example/llm/v1", true),
        ("http://127.0.0.1:1", "http://127.0.0.1:1/v1", true),
    ] {
        let output = run(&["--address", address, "--name", "x"]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["base_url"], base);
        assert_eq!(told["key_name"].is_string(), key, "{address}");
    }
    for wrong in [
        "nas:8645",
        "ftp://nas",
        "http://nas/?a=$(x)",
        "http://nas/$x",
    ] {
        let output = run(&["--address", wrong]);
        assert_eq!(output.status.code(), Some(1), "{wrong}: {output:?}");
    }
    for wrong in ["a b", "$(touch x)", "\"", "`x`"] {
        assert_eq!(run(&["--model", wrong]).status.code(), Some(1), "{wrong}");
    }
    for place in ["bare", "docker-desktop"] {
        let output = run(&["--socket", "--from", place]);
        assert_eq!(output.status.code(), Some(1), "{place}");
    }
    let unknown = ctl(home.path(), &["connect", "karakep"]);
    assert_eq!(unknown.status.code(), Some(2));
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert!(said.contains("similar value exists: 'karakeep'"), "{said}");
}

fn lines_of(told: &Value) -> Option<&str> {
    let files = told["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["name"] == "config.toml");
    file.map(|file| file["text"].as_str().unwrap())
}

/// Whatever wrote the file, with the lines that are printed behind it it is one to start with.
#[tokio::test(flavor = "multi_thread")]
async fn the_lines_that_are_to_be_added_fit_every_file_that_was_written() {
    let world = World::new(Options::default()).await;
    let file = world.home.path().join(".config/hermes-proxyd/config.toml");
    for written in [
        &[][..],
        &["config", "init"],
        &["config", "init", "--full"],
        &["setup", "--yes", "--no-service"],
    ] {
        for (from, address) in [
            (&["--from", "docker"][..], "docker0:8645"),
            (&["--from", "docker", "--socket"], "apps/proxy.sock"),
            (&["--from", "podman", "--socket"], "apps/proxy.sock"),
        ] {
            let case = format!("{written:?} {from:?}");
            std::fs::remove_file(&file).ok();
            if !written.is_empty() {
                assert!(world.ctl(written).status.success(), "{case}");
            }
            let told = told(&world, &[&["karakeep"], from].concat());
            let mut text = std::fs::read_to_string(&file).unwrap_or_default();
            text += lines_of(&told).unwrap();
            world.write_config(&text);
            let output = world.ctl(&["config", "check"]);
            assert_eq!(output.status.code(), Some(0), "{case}: {output:?}\n{text}");
            let shown = String::from_utf8(world.ctl(&["config", "show"]).stdout).unwrap();
            assert_eq!(shown.matches("[[listen]]").count(), 2, "{case}: {shown}");
            for door in ["\"127.0.0.1:8645\"", address] {
                assert!(shown.contains(door), "{case}: {shown}");
            }
        }
    }
}

/// A running daemon has its listeners from its start: lines that were added since are not told again.
/// The advice keeps the flags that it was started with.
#[tokio::test(flavor = "multi_thread")]
async fn lines_that_were_added_wait_for_a_restart() {
    let world = World::new(Options::default()).await;
    // With `--port 0`; a daemon that is started from the file alone has port 8645.
    let daemon = world.daemon_with("[[listen]]\n", &[]);
    let args = ["karakeep", "--from", "docker"];
    let before = told(&world, &args);
    let lines = lines_of(&before).unwrap();
    assert_eq!(before["ready"], false);
    let restart = "estart it: hermesctl proxy restart";
    let first = "then restart hermes-proxyd: hermesctl proxy restart";
    assert!(notes(&before).contains(first), "{before:#}");
    world.write_config(&format!("[[listen]]\n{lines}"));
    let after = told(&world, &args);
    assert_eq!(lines_of(&after), None, "{after:#}");
    assert_eq!(after["ready"], false);
    assert!(notes(&after).contains(restart), "{after:#}");
    // The same is said by who checks the file.
    let output = world.ctl(&["config", "check"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("estart: hermesctl proxy restart"), "{said}");
    assert!(!said.contains("reload"), "{said}");
    assert!(world.ctl(&["proxy", "restart"]).status.success());
    // Now it listens there, unless this machine has no such interface yet.
    let restarted = told(&world, &args);
    let waits = daemon.status()["listeners"][1]["waiting"] == true;
    assert_eq!(restarted["ready"], !waits, "{restarted:#}");
    let why = "the listener at docker0 waits for its interface, which does not exist yet";
    assert_eq!(notes(&restarted).contains(why), waits, "{restarted:#}");
    let status = daemon.status();
    assert_eq!(status["daemon"]["pid"], daemon.pid());
    let url = status["listeners"][0]["url"].as_str().unwrap();
    assert!(!url.contains(":8645"), "{url}");
}

/// An engine is known by its program; a running one of another kind would go before it.
#[test]
fn without_a_place_an_app_of_containers_is_told_first_which_it_is_for() {
    let home = scratch();
    support::fake_program(&home.path().join("bin/docker"), "exit 1");
    let run = |args: &[&str]| {
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", home.path().join("bin").display());
        let mut command = program(env!("CARGO_BIN_EXE_hermesctl"), home.path());
        let command = command.env("PATH", path).args(["connect", "--no-key"]);
        command.args(args).output().unwrap()
    };
    let output = run(&["karakeep"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let first = said.lines().next().unwrap();
    assert!(first.contains("Karakeep in a "), "{said}");
    assert!(
        first.contains("`hermesctl connect karakeep --from bare`"),
        "{said}"
    );
    let took_effect = said.find(" compose up -d").unwrap();
    assert!(
        took_effect < said.find("New bookmarks get tags").unwrap(),
        "{said}"
    );
    let files = String::from_utf8(output.stdout).unwrap();
    assert!(files.contains("# compose.override.yaml"), "{files}");

    let output = run(&["karakeep", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_ne!(told["from"], "bare");
    assert_eq!(told["notes"][0], first);

    let output = run(&["openai"]);
    let said = String::from_utf8(output.stderr).unwrap();
    let question = "This is for the app running directly on this machine.";
    assert!(said.starts_with(question), "{said}");
    assert!(!said.contains("Any other app runs"), "{said}");
    for args in [&["aider"][..], &["karakeep", "--from", "bare"]] {
        let said = String::from_utf8(run(args).stderr).unwrap();
        assert!(!said.contains("container"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_not_known_leads_to_the_one_that_was_meant() {
    let world = World::new(Options::default()).await;
    let _daemon = world.daemon();
    let told = told(&world, &["aider", "--model", "Hermes-4-406B"]);
    assert_eq!(told["model"], "Hermes-4-406B");
    let said = notes(&told);
    assert!(said.contains("Did you mean Hermes-4-405B?"), "{said}");
    for line in [
        &["connect", "aider", "--provider", "nuos"][..],
        &["auth", "login", "nuos"],
    ] {
        let output = world.ctl(line);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("Did you mean \"nous\"?"), "{said}");
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_gets_a_provider_that_serves_the_api_it_speaks() {
    let world = World::new(Options::default()).await;
    let other = "[providers.other]\ntype = \"static\"\nbase_url = \"{base}\"\nauth = \"none\"\n\
                 extra_paths = [\"/responses\"]\n";
    let daemon = world.daemon_with(other, &[]);
    for (line, base, path) in [
        (&["codex"][..], "/other/v1", "/responses"),
        (&["karakeep"], "/v1", "/chat/completions"),
        // It can speak either, and this is the provider of the address.
        (&["n8n"], "/v1", "/chat/completions"),
        (&["claude-code"], "/v1", "/messages"),
        (
            &["karakeep", "--provider", "other"],
            "/other/v1",
            "/chat/completions",
        ),
    ] {
        let line = [line, &["--from", "bare"]].concat();
        let told = told(&world, &line);
        assert_eq!(
            told["base_url"],
            daemon.origin().to_owned() + base,
            "{line:?}"
        );
        assert_eq!(
            (&told["path"], &told["translated"]),
            (&path.into(), &false.into())
        );
        let which = told["notes"][0].as_str().unwrap();
        let others = line.contains(&"--provider") || which.ends_with("--provider chooses another.");
        assert!(others, "{told:#}");
    }
    let output = connect(&world, &["claude-code", "--provider", "other", "--json"]);
    let error = &json(&output)["error"];
    assert_eq!(error["code"], "no_provider");
    assert!(
        error["hint"]
            .as_str()
            .unwrap()
            .starts_with("Use `--provider nous`"),
        "{error}"
    );
    let shown = String::from_utf8(world.ctl(&["proxy", "providers"]).stdout).unwrap();
    assert!(
        shown.contains("APIs          Chat Completions, Anthropic's Messages\n"),
        "{shown}"
    );
    assert!(
        shown.contains("APIs          Chat Completions, Responses\n"),
        "{shown}"
    );
    drop(daemon);

    // One that is translated is said to be; without a daemon, too.
    world.write_config("[providers.nous]\ntranslate = true\n");
    let output = connect(&world, &["codex", "--from", "bare", "--json"]);
    let told = json(&output);
    assert_eq!(
        (&told["provider"], &told["translated"]),
        (&"nous".into(), &true.into())
    );
    let note = "Codex CLI uses the Responses API, which nous does not have: the proxy translates to \
                and from Chat Completions.";
    assert_eq!(told["notes"][0], note);
    let _daemon = world.daemon_with("[providers.nous]\ntranslate = true\n", &[]);
    let list = json(&world.ctl(&["proxy", "providers", "--json"]));
    let wires =
        serde_json::json!({"chat": "native", "responses": "translated", "messages": "native"});
    assert_eq!(list["providers"][0]["wires"], wires);
}

#[test]
fn an_app_that_no_provider_serves_is_told_what_to_configure() {
    let home = scratch();
    let output = ctl(home.path(), &["connect", "codex", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = &json(&output)["error"];
    assert_eq!(error["code"], "no_provider");
    let hint = error["hint"].as_str().unwrap();
    for way in [
        "Add `translate = true` to [providers.nous]",
        "`hermesctl setup --provider openai-codex`",
    ] {
        assert!(hint.contains(way), "{hint}");
    }
}
