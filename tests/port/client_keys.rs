//! Client keys with the real programs: `hermesctl clients`, the daemon, and hermesctl's helper.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

mod imports;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use base64::Engine as _;
use mock_cloud::Options;
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{Daemon, World, client, ctl, program, scratch};

fn file(home: &Path) -> PathBuf {
    home.join(".local/state/hermes-proxyd/clients.json")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn clients(home: &Path, line: &str) -> Output {
    let line: Vec<_> = ["clients"]
        .into_iter()
        .chain(line.split_whitespace())
        .collect();
    ctl(home, &line)
}

/// What a command that works writes on standard output.
fn works(home: &Path, line: &str) -> String {
    let output = clients(home, line);
    assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
    text(&output.stdout).to_owned()
}

/// What a command that fails writes on standard error, with the code that `--json` tells.
fn fails(home: &Path, line: &str) -> (String, String) {
    let output = clients(home, &format!("{line} --json"));
    assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let code = json["error"]["code"].as_str().unwrap().to_owned();
    (text(&output.stderr).to_owned(), code)
}

fn list(home: &Path) -> Vec<Value> {
    let list: Value = serde_json::from_str(&works(home, "list --json")).unwrap();
    list["clients"].as_array().unwrap().clone()
}

fn names(home: &Path) -> Vec<String> {
    let list = list(home).into_iter();
    list.map(|one| one["name"].as_str().unwrap().to_owned())
        .collect()
}

fn sha256(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let nibbles = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles
        .map(|nibble| char::from_digit(nibble.into(), 16).unwrap())
        .collect()
}

/// The hash that the file has for a client.
fn stored(home: &Path, name: &str) -> Value {
    let json: Value = serde_json::from_slice(&std::fs::read(file(home)).unwrap()).unwrap();
    let clients = json["clients"].as_array().unwrap().clone();
    let mut clients = clients.into_iter();
    clients.find(|client| client["name"] == name).unwrap()["sha256"].take()
}

fn set_mode(file: &Path, mode: u32) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn tokens(home: &Path, content: &str, mode: u32) -> PathBuf {
    let file = home.join("proxy-clients.json");
    std::fs::write(&file, content).unwrap();
    set_mode(&file, mode);
    file
}

/// Adds, lists, rotates and revokes; gives all keys that were shown.
fn live_through(home: &Path) -> Vec<String> {
    let nobody = works(home, "list");
    assert!(nobody.contains("hermesctl clients add NAME"), "{nobody}");

    let added = clients(home, "add karakeep");
    let key = text(&added.stdout).strip_suffix('\n').unwrap().to_owned();
    assert!(key.starts_with("hpx-") && key.len() == 47, "{key}");
    let told = text(&added.stderr);
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("karakeep") && !told.contains(&key), "{told}");
    assert_eq!(stored(home, "karakeep"), sha256(&key));
    for (path, mode) in [
        (file(home), 0o600),
        (file(home).with_extension("lock"), 0o600),
    ] {
        assert_eq!(std::fs::metadata(path).unwrap().mode() & 0o777, mode);
    }

    let line = "add open-webui --provider nous --path /v1/chat/completions/ --in-flight 2 --json";
    let limited: Value = serde_json::from_str(&works(home, line)).unwrap();
    let limits = ["providers", "paths", "in_flight"].map(|limit| &limited["client"][limit]);
    let expected = [json!(["nous"]), json!(["/chat/completions"]), json!(2)];
    assert_eq!(limits, [&expected[0], &expected[1], &expected[2]]);

    let rotated = works(home, "rotate karakeep");
    let rotated = rotated.trim_end();
    assert_ne!(rotated, key);
    assert_eq!(stored(home, "karakeep"), sha256(rotated));
    assert_eq!(names(home), ["karakeep", "open-webui"]);
    let shown = works(home, "list");
    for part in [
        "karakeep\n",
        "last used     never",
        "in flight     2 at most",
    ] {
        assert!(shown.contains(part), "{shown}");
    }

    let (told, code) = fails(home, "add karakeep");
    assert_eq!(code, "client_exists", "{told}");
    assert_eq!(
        stored(home, "karakeep"),
        sha256(rotated),
        "nothing has changed"
    );
    let gone = works(home, "revoke open-webui");
    assert!(gone.starts_with("The key of open-webui no longer works.\n"));
    for line in ["revoke open-webui", "rotate open-webui"] {
        let (told, code) = fails(home, line);
        assert_eq!(code, "unknown_client");
        assert!(told.contains("`hermesctl clients list`"), "{told}");
    }
    let (told, _) = fails(home, "revoke karakep");
    assert!(told.contains("did you mean karakeep?"), "{told}");
    assert_eq!(names(home), ["karakeep"]);
    let other = limited["key"].as_str().unwrap().to_owned();
    vec![key, other, rotated.to_owned()]
}

/// No key is in any file of the home, nor in the output of `list`.
fn assert_nowhere(home: &Path, keys: &[String], log: &str) {
    let shown = works(home, "list") + &works(home, "list --json");
    let mut files = vec![home.to_owned()];
    let mut seen = 0;
    let holds = |place: &str, content: &[u8]| {
        for key in keys {
            let key = key.as_bytes();
            let found = content.windows(key.len()).any(|part| part == key);
            assert!(!found, "{place} holds a key");
        }
    };
    holds("list", shown.as_bytes());
    holds("the log", log.as_bytes());
    while let Some(path) = files.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            files.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if metadata.is_file() {
            holds(&path.display().to_string(), &std::fs::read(&path).unwrap());
            seen += 1;
        }
    }
    assert!(seen >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_live_and_die_with_a_running_daemon() {
    let world = World::new(Options::default()).await;
    let mut daemon = world.daemon_with("", &["--log-level", "trace"]);
    let home = world.home.path();
    let keys = live_through(home);
    daemon.wait_for_log("a client key was rotated");
    assert_nowhere(home, &keys, &daemon.logged());
    assert!(daemon.stop().success());
    assert_eq!(names(home), ["karakeep"], "after it has stopped");
}

#[test]
fn keys_live_and_die_without_a_daemon() {
    let home = scratch();
    let home = home.path();
    let keys = live_through(home);
    assert_nowhere(home, &keys, "");
    let folder = std::fs::metadata(file(home).parent().unwrap()).unwrap();
    assert_eq!(folder.mode() & 0o777, 0o700);
}

#[test]
fn what_can_not_be_a_key_is_refused_with_what_is_right() {
    let home = scratch();
    let home = home.path();
    for (line, code, told) in [
        ("add Karakeep", "invalid_client", "lower-case letters"),
        (
            "add a --provider nuos",
            "unknown_provider",
            "The providers are: nous",
        ),
        ("add a --path /chat", "invalid_client", "/chat/completions"),
    ] {
        let (message, real) = fails(home, line);
        assert_eq!(real, code, "{message}");
        assert!(message.contains(told), "{message}");
    }
    for line in [
        "add a --in-flight 0",
        "add a --in-flight many",
        "add",
        "add -- a b",
    ] {
        assert_eq!(clients(home, line).status.code(), Some(2), "{line}");
    }
    assert!(!file(home).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_others_can_use_stops_the_start_and_a_reload() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    works(home, "add karakeep");
    let whole = std::fs::read_to_string(file(home)).unwrap();
    let refused = |home: &Path, what: &str| {
        let ended = world.command(&[]).output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        for said in [text(&ended.stderr), &fails(home, "list").0] {
            assert!(said.contains(what), "{said}");
            assert!(said.contains(&file(home).display().to_string()), "{said}");
        }
    };
    set_mode(&file(home), 0o640);
    refused(home, "chmod 600");
    set_mode(&file(home), 0o600);
    std::fs::write(file(home), "{").unwrap();
    refused(home, "not a client key file");
    std::fs::write(file(home), &whole).unwrap();

    let daemon = Daemon::start(world.command(&[]), home);
    assert_eq!(names(home), ["karakeep"]);
    set_mode(&file(home), 0o604);
    let reload = world.ctl(&["proxy", "reload", "--json"]);
    assert_eq!(reload.status.code(), Some(1), "{reload:?}");
    let reload: Value = serde_json::from_slice(&reload.stdout).unwrap();
    assert_eq!(reload["error"]["code"], "clients_unusable");
    daemon.signal(Signal::HUP);
    daemon.wait_for_log_count("not reloaded", 2);
    for line in ["list", "add b", "revoke karakeep", "rotate karakeep"] {
        let (told, code) = fails(home, line);
        assert_eq!(code, "clients_unusable", "{line}: {told}");
    }
    assert_eq!(
        std::fs::read_to_string(file(home)).unwrap(),
        whole,
        "not changed"
    );
    set_mode(&file(home), 0o600);
    assert_eq!(world.ctl(&["proxy", "reload"]).status.code(), Some(0));
    assert_eq!(names(home), ["karakeep"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hermes_agents_tokens_are_taken_over_as_they_are() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon_with("", &["--log-level", "trace"]);
    let home = world.home.path();
    let content = json!({
        "agent-a": "isolated-client-dummy",
        " Agent B ": "client-secret-of-agent-b",
        "agent-c": "client-key",
        "karakeep": "client-secret-of-karakeep",
    });
    works(home, "add karakeep");
    let file = tokens(home, &content.to_string(), 0o600);
    let line = format!("import {}", file.display());
    let output = clients(home, &line);
    assert_eq!(output.status.code(), Some(1), "one was refused: {output:?}");
    let told = text(&output.stdout);
    for part in [
        "agent-a   imported\n",
        "Agent B   imported as agent-b: ",
        "agent-c   refused: the token has only 10 of at least 16 characters",
        "karakeep  skipped: another key already has this name",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(names(home), ["agent-a", "agent-b", "karakeep"]);
    assert_eq!(stored(home, "agent-a"), sha256("isolated-client-dummy"));
    assert_eq!(stored(home, "agent-b"), sha256("client-secret-of-agent-b"));
    let again: Value =
        serde_json::from_slice(&clients(home, &format!("{line} --json")).stdout).unwrap();
    let outcomes = again["results"].as_array().unwrap().iter();
    let outcomes: Vec<_> = outcomes
        .map(|one| one["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["skipped", "skipped", "refused", "skipped"]);
    std::fs::remove_file(&file).unwrap();
    let secrets = content.as_object().unwrap().values();
    let mut secrets: Vec<_> = secrets
        .map(|one| one.as_str().unwrap().to_owned())
        .collect();
    assert_nowhere(home, &secrets, &daemon.logged());
    secrets.retain(|secret| told.contains(secret) || again.to_string().contains(secret));
    assert!(secrets.is_empty(), "{told} {again}");
}

/// As Kubernetes mounts a Secret: links to files in a folder that is replaced as a whole.
#[test]
fn a_folder_of_tokens_is_imported_by_the_names_of_its_files() {
    let home = scratch();
    let home = home.path();
    let secret = home.join("secret");
    let version = secret.join("..2026_11_30");
    std::fs::create_dir_all(&version).unwrap();
    std::os::unix::fs::symlink("..2026_11_30", secret.join("..data")).unwrap();
    for (label, token) in [
        ("karakeep", "a-very-secret-token\n"),
        ("Open WebUI", "another-secret-token"),
    ] {
        std::fs::write(version.join(label), token).unwrap();
        set_mode(&version.join(label), 0o600);
        let link = Path::new("..data").join(label);
        std::os::unix::fs::symlink(link, secret.join(label)).unwrap();
    }
    let line = format!("import {}", secret.display());
    let told = works(home, &line);
    assert_eq!(names(home), ["karakeep", "open-webui"]);
    assert_eq!(stored(home, "karakeep"), sha256("a-very-secret-token"));
    assert!(!told.contains("secret-token"), "{told}");
    set_mode(&version.join("karakeep"), 0o644);
    let output = clients(home, &line);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = text(&output.stdout);
    assert!(told.contains("karakeep    refused: "), "{told}");
    assert!(told.contains("mode 0644"), "{told}");
    let chmod = format!("`chmod 600 {}`", secret.join("karakeep").display());
    assert!(told.contains(&chmod), "{told}");
    std::fs::remove_dir_all(&version).unwrap();
    for label in ["karakeep", "Open WebUI"] {
        std::fs::remove_file(secret.join(label)).unwrap();
    }
    let (told, _) = fails(home, &line);
    assert!(told.contains("it contains no tokens in any file"), "{told}");
}

#[test]
fn a_thousand_tokens_are_imported_although_one_message_can_not_hold_them() {
    let home = scratch();
    let home = home.path();
    let token = |number: usize| format!("{number:04}-{}", "x".repeat(100));
    let all = (0..1000).map(|number| (format!("agent-{number:04}"), token(number).into()));
    let all: serde_json::Map<String, Value> = all.collect();
    let file = tokens(home, &Value::Object(all).to_string(), 0o600);
    works(home, &format!("import {}", file.display()));
    let names = names(home);
    assert_eq!(names.len(), 1000);
    assert_eq!(stored(home, "agent-0999"), sha256(&token(999)));
}

#[test]
fn a_file_of_tokens_that_is_none_is_refused_and_not_repeated() {
    let home = scratch();
    let home = home.path();
    let good = r#"{"a": "a-very-secret-token"}"#;
    for mode in [0o644, 0o640, 0o604, 0o660] {
        let file = tokens(home, good, mode);
        let (told, _) = fails(home, &format!("import {}", file.display()));
        let command = format!("chmod 600 {}", file.display());
        assert!(told.contains(&command), "{told}");
    }
    for content in [
        "",
        "{}",
        "[]",
        r#"["a-very-secret-token"]"#,
        r#"{"a": "a-very-secret-token"#,
        "\u{feff}",
    ] {
        let file = tokens(home, content, 0o600);
        let (told, _) = fails(home, &format!("import {}", file.display()));
        assert!(told.contains("can't be imported"), "{content}: {told}");
        assert!(!told.contains("secret"), "{told}");
    }
    fails(home, "import nowhere.json");
    fails(home, &format!("import {}", home.join("run").display()));
    assert!(!file(home).exists());
    let file = tokens(home, good, 0o400);
    works(home, &format!("import {}", file.display()));
}

/// hermesctl's helper, spoken to by hand.
struct Helper {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Helper {
    fn start(home: &Path) -> Self {
        let mut command: Command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), home);
        let command = command.arg("--control-stdio").stderr(Stdio::null());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut helper = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        };
        helper.send(r#"{"hello":{"protocol":1,"client":"test"}}"#);
        helper.receive().unwrap();
        helper
    }

    fn send(&mut self, line: &str) {
        // The process may have been killed.
        writeln!(self.stdin, "{line}").ok();
    }

    fn receive(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    fn ask_to_add(&mut self, name: &str) {
        let op = json!({"id": 1, "op": {"client_add": {"name": name}}});
        self.send(&op.to_string());
    }

    fn add(&mut self, name: &str) {
        self.ask_to_add(name);
        let reply = self.receive().unwrap();
        assert_eq!(reply["ok"]["client"]["name"], name, "{reply}");
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_and_helpers_that_write_at_once_lose_nothing() {
    let world = World::new(Options::default()).await;
    let _daemon = world.daemon();
    let home = world.home.path();
    std::thread::scope(|scope| {
        for helper in ["a", "b"] {
            scope.spawn(move || {
                let mut process = Helper::start(home);
                for number in 0..25 {
                    process.add(&format!("{helper}{number}"));
                }
            });
        }
        scope.spawn(|| {
            for number in 0..10 {
                works(home, &format!("add daemon{number}"));
            }
        });
    });
    assert_eq!(list(home).len(), 60);
}

#[test]
fn a_killed_writer_loses_no_key_that_it_has_told() {
    let home = scratch();
    let home = home.path();
    let mut told = Vec::new();
    for round in 0_u64..40 {
        let mut helper = Helper::start(home);
        let name = format!("told{round}");
        helper.add(&name);
        told.push(name);
        helper.ask_to_add(&format!("cut{round}"));
        // Somewhere between the request's reading and its answer.
        let end = std::time::Duration::from_micros(round * 100);
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < end {
            std::thread::yield_now();
        }
        drop(helper);
        let content = std::fs::read(file(home)).unwrap();
        assert!(serde_json::from_slice::<Value>(&content).is_ok(), "torn");
    }
    let names = names(home);
    let lost: Vec<_> = told.iter().filter(|name| !names.contains(name)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    works(home, "add last");
    let folder = file(home).parent().unwrap().to_owned();
    let left = std::fs::read_dir(folder).unwrap();
    let left = left.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().contains("clients.json.")
    });
    assert_eq!(left.count(), 0, "temporary files");
}

/// What a request with these fields gets: the status, and all of it as text.
async fn asks(daemon: &Daemon, path: &str, fields: &[(&str, String)]) -> (u16, String) {
    let mut request = client().get(format!("{}{path}", daemon.origin()));
    for (name, value) in fields {
        request = request.header(*name, value);
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
    (status, headers + &answer.text().await.unwrap())
}

fn bearer(key: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {key}"))
}

fn added(home: &Path, line: &str) -> String {
    works(home, line).trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_key_is_refused_where_no_key_is_needed_too() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let home = world.home.path();
    let models = async |fields: &[(&str, String)]| asks(&daemon, "/v1/models", fields).await;
    let key = added(home, "add karakeep");
    assert_eq!(models(&[bearer(&key)]).await.0, 200);
    let next = added(home, "rotate karakeep");
    assert_eq!(models(&[bearer(&next)]).await.0, 200);
    let gone = works(home, "revoke karakeep");
    assert!(gone.contains("`auth = \"keys\"`"), "{gone}");
    for dead in [&key, &next] {
        for fields in [
            vec![bearer(dead)],
            vec![("x-api-key", dead.clone())],
            vec![("api-key", dead.clone())],
            vec![("authorization", dead.clone())],
            vec![bearer("none"), ("x-api-key", dead.clone())],
        ] {
            let (status, told) = models(&fields).await;
            assert_eq!(status, 401, "{told}");
            assert!(told.contains("invalid_client_key"), "{told}");
            assert!(told.contains("revoked"), "{told}");
            assert!(told.contains("hermesctl clients"), "{told}");
            assert!(!told.contains(dead.as_str()), "{told}");
        }
        let health = asks(&daemon, "/health", &[bearer(dead)]).await;
        assert_eq!(health.0, 401, "on every route");
    }
    // Half a key was copied badly, and does not count.
    let (status, told) = models(&[bearer(key.get(..40).unwrap())]).await;
    assert_eq!(status, 401);
    assert!(told.contains("40 of 47 characters"), "{told}");
    assert_eq!(models(&[bearer("anything")]).await.0, 200);
    assert_eq!(models(&[]).await.0, 200);
    // A good key beside a dead one is good.
    let other = added(home, "add other");
    let both = [bearer(&key), ("x-api-key", other.clone())];
    assert_eq!(models(&both).await.0, 200);
    assert_nowhere(home, &[key, next, other], &daemon.logged());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_token_that_was_taken_away_stays_dead() {
    let world = World::new(Options::default()).await;
    let mut daemon = world.daemon();
    let home = world.home.path();
    let (a, b) = ("isolated-client-dummy", "client-secret-of-agent-b");
    let content = json!({"agent-a": a, "agent-b": b}).to_string();
    let path = tokens(home, &content, 0o600);
    let import = format!("import {}", path.display());
    works(home, &import);
    for token in [a, b] {
        assert_eq!(asks(&daemon, "/v1/models", &[bearer(token)]).await.0, 200);
    }
    works(home, "revoke agent-a");
    let new = added(home, "rotate agent-b");
    for round in ["at once", "after a restart"] {
        for token in [a, b] {
            for field in [bearer(token), ("x-api-key", token.to_owned())] {
                let (status, told) = asks(&daemon, "/v1/models", &[field]).await;
                assert_eq!(status, 401, "{round}: {told}");
                assert!(told.contains("revoked") && !told.contains(token), "{told}");
            }
        }
        assert_eq!(asks(&daemon, "/v1/models", &[bearer(&new)]).await.0, 200);
        assert_eq!(asks(&daemon, "/v1/models", &[bearer("other")]).await.0, 200);
        assert!(daemon.stop().success());
        daemon = world.daemon();
    }
    // The file from which they came does not bring them back.
    let again = works(home, &import);
    assert!(again.contains("agent-a  skipped: "), "{again}");
    assert!(again.contains("revoked"), "{again}");
    assert_eq!(names(home), ["agent-b"]);
    assert_eq!(asks(&daemon, "/v1/models", &[bearer(a)]).await.0, 401);
    std::fs::remove_file(&path).unwrap();
    let secrets = [a.to_owned(), b.to_owned(), new];
    assert_nowhere(home, &secrets, &daemon.logged());
}

fn basic(pair: &str) -> (&'static str, String) {
    let pair = base64::engine::general_purpose::STANDARD.encode(pair);
    ("authorization", format!("Basic {pair}"))
}

/// How apps present a key.
fn forms(key: &str) -> Vec<Vec<(&'static str, String)>> {
    vec![
        vec![bearer(key)],
        vec![("authorization", format!("bearer   {key} "))],
        vec![("authorization", key.to_owned())],
        vec![("authorization", format!("Token {key}"))],
        vec![("authorization", format!("Bearer \"{key}\""))],
        vec![("authorization", format!("Bearer '{key}'"))],
        vec![("authorization", format!("\"{key}\""))],
        vec![("authorization", format!("Bearer Bearer {key}"))],
        vec![("authorization", format!("ApiKey {key}"))],
        vec![basic(&format!("user:{key}"))],
        vec![basic(&format!("{key}:"))],
        vec![basic(key)],
        vec![("x-api-key", key.to_owned())],
        vec![("x-api-key", format!("Bearer {key}"))],
        vec![("api-key", key.to_owned())],
        vec![("x-goog-api-key", key.to_owned())],
        vec![bearer("none"), ("x-api-key", key.to_owned())],
        vec![
            bearer("none"),
            ("x-api-key", "none".into()),
            ("api-key", key.into()),
        ],
        vec![basic("user:none"), ("x-api-key", key.to_owned())],
        vec![
            ("authorization", String::new()),
            ("x-api-key", key.to_owned()),
        ],
        vec![bearer(""), bearer(key)],
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_taken_wherever_an_app_puts_it() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let key = added(home, "add karakeep");
    let path = tokens(home, r#"{"agent": "a token of another proxy"}"#, 0o600);
    works(home, &format!("import {}", path.display()));
    let token = "a token of another proxy";
    let daemon = world.daemon_with("[[listen]]\nauth = \"keys\"\n", &[]);
    let models = async |fields: &[(&str, String)]| asks(&daemon, "/v1/models", fields).await;
    for key in [key.as_str(), token] {
        for fields in forms(key) {
            let (status, told) = models(&fields).await;
            assert_eq!(status, 200, "{fields:?}: {told}");
        }
    }
    for seen in world.cloud.requests() {
        let fields = format!("{:?}", seen.headers);
        assert!(
            !fields.contains(&key) && !fields.contains(token),
            "{fields}"
        );
    }
    for (fields, words) in [
        (vec![], "the app sent no API key"),
        (vec![bearer("")], "the app sent an empty API key"),
        (
            vec![("x-api-key", String::new())],
            "the app sent an empty API key",
        ),
        (
            vec![bearer("sk-secret")],
            "`authorization` (9 characters) is not one",
        ),
        (
            vec![("api-key", "sk-secret".into())],
            "`api-key` (9 characters) is not one",
        ),
        (
            vec![basic("me:sk-secret")],
            "a user name and a password in `authorization`, neither of which is one",
        ),
        (
            vec![("authorization", "Digest sk-secret".into())],
            "`authorization` (9 characters) is not one",
        ),
    ] {
        let (status, told) = models(&fields).await;
        assert_eq!(status, 401, "{fields:?}");
        assert!(told.contains(words), "{words}: {told}");
        assert!(!told.contains("secret"), "{told}");
        assert!(told.contains("hermesctl clients add NAME"), "{told}");
    }
    let log = daemon.logged();
    assert!(!log.contains(&key) && !log.contains("sk-secret"), "{log}");
}

/// Kubernetes' kubelet can send no key that is secret.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_needs_no_key_and_is_told_in_a_word() {
    let world = World::new(Options::default()).await;
    let key = added(world.home.path(), "add karakeep");
    let daemon = world.daemon_with("[[listen]]\nauth = \"keys\"\n", &[]);
    let get = async |path: &str, fields: &[(&str, String)]| asks(&daemon, path, fields).await;
    // The header fields are before the body.
    let is_told = async |path: &str, status: u16, body: &str| {
        let (found, told) = get(path, &[]).await;
        assert!(
            found == status && told.ends_with(&format!("}}{body}\n")),
            "{path}: {found} {told}"
        );
    };
    is_told("/livez", 200, "alive").await;
    is_told("/readyz", 200, "ready").await;
    // Enough lines would fill a disk: one comes every few seconds.
    assert_eq!(get("/v1/models", &[bearer(&key)]).await.0, 200);
    support::until("the request is logged", || {
        daemon.logged().contains("/models")
    });
    let log = daemon.logged();
    assert!(!log.contains("/livez") && !log.contains("/readyz"), "{log}");
    let wrong: [&[(&str, String)]; 4] = [
        &[bearer("hpx-anything")],
        &[bearer("anything")],
        &[("x-api-key", String::new())],
        &[("x-forwarded-for", "192.0.2.1".to_owned())],
    ];
    for fields in wrong {
        let (status, _) = get("/livez", fields).await;
        assert_eq!(status, 401, "{fields:?}");
    }
    let (status, _) = get("/livez", &[("host", "rebound.example".to_owned())]).await;
    assert_eq!(status, 403);
    for path in ["/", "/health", "/v1/models", "/nous/v1/models", "/v1/livez"] {
        assert_eq!(get(path, &[]).await.0, 401, "{path}");
    }
    let posted = client().post(format!("{}/livez", daemon.origin())).send();
    assert_eq!(posted.await.unwrap().status(), 401);
    // What is wrong is for those with a key.
    let done = world.ctl(&["auth", "logout", "nous", "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    is_told("/readyz", 503, "not ready").await;
    let (status, told) = get("/readyz", &[bearer(&key)]).await;
    assert_eq!(status, 503);
    assert!(told.contains("hermesctl auth login nous"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_through_a_reverse_proxy_needs_a_key_at_every_address() {
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let key = added(home, "add phone");
    let open = "[[listen]]\nallow_unauthenticated = true\n";
    let listed =
        "[guard]\nallowed_hosts = [\"llm.example\"]\nallowed_origins = [\"https://app.example\"]\n";
    for config in ["", open, listed] {
        let mut daemon = world.daemon_with(&format!("models_cache = \"0s\"\n{config}"), &[]);
        for name in [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-real-ip",
            "via",
            "cf-connecting-ip",
            "tailscale-user-login",
        ] {
            let field = (name, "203.0.113.7".to_owned());
            let (status, told) = asks(&daemon, "/v1/models", std::slice::from_ref(&field)).await;
            assert_eq!(status, 401, "{name}: {told}");
            for words in ["reverse proxy", name, "hermesctl clients add NAME"] {
                assert!(told.contains(words), "{words}: {told}");
            }
            let (status, told) =
                asks(&daemon, "/v1/models", &[field.clone(), bearer("anything")]).await;
            assert_eq!(status, 401, "{name}: {told}");
            assert_eq!(
                asks(&daemon, "/", std::slice::from_ref(&field)).await.0,
                401
            );
            let with_key = [field.clone(), bearer(&key)];
            assert_eq!(asks(&daemon, "/v1/models", &with_key).await.0, 200);
            // Under the name by which others reach the reverse proxy.
            let host = ("host", "me.ts.net".to_owned());
            let (status, told) = asks(&daemon, "/v1/models", &[field.clone(), host.clone()]).await;
            assert_eq!(status, 403, "{told}");
            assert!(told.contains("hermesctl clients add NAME"), "{told}");
            assert!(!told.contains("allowed_hosts"), "{told}");
            let all = [field, host, bearer(&key)];
            assert_eq!(asks(&daemon, "/v1/models", &all).await.0, 200);
        }
        // The name alone is not enough from outside.
        let host = ("host", "llm.example".to_owned());
        let forwarded = ("x-forwarded-for", "203.0.113.7".to_owned());
        let (status, told) = asks(&daemon, "/v1/models", &[host, forwarded]).await;
        assert_eq!(status, if config == listed { 401 } else { 403 }, "{told}");
        assert!(daemon.stop().success());
    }
    assert_eq!(world.cloud.counts().requests, 3 * 14);
    // A browser sends no key with its preflight, through any proxy.
    let daemon = world.daemon_with(listed, &[]);
    let preflight = |origin: &str| {
        client()
            .request(reqwest::Method::OPTIONS, daemon.url("/models"))
            .header("host", "me.ts.net")
            .header("x-forwarded-for", "203.0.113.7")
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .send()
    };
    let answer = preflight("https://app.example").await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(
        preflight("https://evil.example").await.unwrap().status(),
        403
    );
}
