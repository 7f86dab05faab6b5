//! `hermesctl setup` without a service manager's help; `tests/daemon/service.rs` has it with one.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helper may fail loudly"
)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use mock_cloud::Options;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{World, chat, ctl, post, program, scratch};

/// The last line; what comes before is a login's.
fn outcome(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn results(outcome: &Value) -> Vec<&str> {
    let steps = outcome["steps"].as_array().unwrap().iter();
    steps.map(|step| step["result"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_written_once_and_a_login_is_found() {
    let world = World::new(Options::default()).await;
    let file = world.home.path().join(".config/hermes-proxyd/config.toml");
    let output = world.ctl(&["setup", "--yes", "--no-service", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let first = outcome(&output);
    assert_eq!(results(&first), ["done", "already", "left"], "{first:#}");
    assert_eq!(first["ready"], false);
    let written = std::fs::read_to_string(&file).unwrap();

    let output = world.ctl(&["setup", "--no-service", "--json"]);
    assert_eq!(results(&outcome(&output)), ["already", "already", "left"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
    let output = world.ctl(&["setup", "--no-service"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("already  configuration "), "{text}");
    assert!(text.contains("hermesctl proxy start"), "{text}");
}

/// One table is added, and the file's own text stays.
#[tokio::test(flavor = "multi_thread")]
async fn another_provider_gets_its_table_once_and_the_first_one_is_the_default() {
    let world = World::new(Options::default()).await;
    let file = world.home.path().join(".config/hermes-proxyd/config.toml");
    let read = || std::fs::read_to_string(&file).unwrap();
    // There is no login, and the mock is not this provider's: the login fails behind the configuration.
    let setup = |name: &str| {
        let line = [
            "setup",
            "--yes",
            "--no-service",
            "--no-browser",
            "--json",
            "--provider",
            name,
        ];
        let mut command = world.hermesctl(&line);
        command
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
            .output()
            .unwrap()
    };
    let output = setup("nope");
    assert_eq!(outcome(&output)["error"]["code"], "unknown_provider");
    let hint = outcome(&output)["error"]["hint"].to_string();
    assert!(hint.contains("nous, openai-codex, xai"), "{hint}");
    assert!(!file.exists());

    let output = setup("codex");
    let hint = outcome(&output)["error"]["hint"].to_string();
    assert!(hint.contains("Did you mean openai-codex?"), "{hint}");
    assert!(!file.exists());

    setup("xai");
    let written = read();
    assert!(
        written.contains("\ndefault_provider = \"xai\"\n"),
        "{written}"
    );
    assert!(
        written.ends_with("[providers.xai]\ntype = \"xai\"\n"),
        "{written}"
    );
    setup("xai");
    assert_eq!(read(), written);

    let mine = "# mine\n[log]\nlevel = \"debug\"";
    std::fs::write(&file, mine).unwrap();
    setup("xai");
    assert_eq!(
        read(),
        format!("{mine}\n\n[providers.xai]\ntype = \"xai\"\n")
    );
    // A table that is missing is all that is wrong.
    for (provider, given) in [
        ("xai", "default_provider = \"xai\"\n"),
        ("openai-codex", "default_provider = \"openai-codex\"\n"),
    ] {
        std::fs::write(&file, given).unwrap();
        setup(provider);
        let table = format!("\n[providers.{provider}]\ntype = \"{provider}\"\n");
        assert_eq!(read(), format!("{given}{table}"));
    }
    let wrong = "default_provider = \"xai\"\nlimit = 1\n";
    std::fs::write(&file, wrong).unwrap();
    let output = setup("xai");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert_eq!(read(), wrong);
    // What can't be added is not left behind.
    let inline = "providers = {}\n";
    std::fs::write(&file, inline).unwrap();
    let output = setup("xai");
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert_eq!(read(), inline);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_daemon_serves_the_added_provider_and_tells_what_is_not_set_up() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let providers = || {
        let output = world.ctl(&["proxy", "providers", "--json"]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let asked = support::client().get(daemon.url("/models")).send().await;
    assert_eq!(asked.unwrap().status(), 200);
    let told = providers();
    assert_eq!(told["providers"][0]["models"][0], "Hermes-4-405B", "{told}");
    assert_eq!(told["available"][0]["name"], "xai");
    assert_eq!(
        told["available"][0]["command"],
        "hermesctl setup --provider xai"
    );
    let line = [
        "setup",
        "--yes",
        "--no-service",
        "--no-browser",
        "--json",
        "--provider",
        "xai",
    ];
    let output = world
        .hermesctl(&line)
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .output();
    output.unwrap();
    let told = providers();
    let mut left = told["available"].as_array().unwrap().iter();
    assert!(left.all(|one| one["name"] != "xai"), "{told}");
    let added = &told["providers"][1];
    assert_eq!(
        (&added["name"], &added["logged_in"]),
        (&"xai".into(), &false.into())
    );
    assert_eq!(added["finding"]["command"], "hermesctl auth login xai");
}

/// If no user can answer, nothing is written and no login is awaited.
#[test]
fn without_a_terminal_and_a_yes_it_is_said_what_would_be_done() {
    for json in [false, true] {
        let home = scratch();
        let line = ["setup", "--no-browser", "--json"];
        let line = if json { &line[..] } else { &line[..2] };
        let output = ctl(home.path(), line);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(files(home.path()), [""; 0]);
        let said = String::from_utf8(output.stderr).unwrap();
        for part in [
            "config.toml",
            "login",
            "a service for your user",
            "`hermesctl setup --yes --no-browser`",
        ] {
            assert!(said.contains(part), "{part:?} is missing: {said}");
        }
        if json {
            let told: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(told["error"]["code"], "confirmation_needed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_daemon_a_request_is_sent_and_the_address_is_told() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let output = world.ctl(&["setup", "--no-service", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = outcome(&output);
    assert_eq!(told["base_url"], daemon.base.as_str());
    assert_eq!(told["test"]["status"], 200);
    let output = world.ctl(&["setup", "--no-service"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(&format!("OPENAI_BASE_URL={}", daemon.base)),
        "{text}"
    );
}

#[test]
fn a_wrong_configuration_is_told_and_nothing_else_is_done() {
    let home = scratch();
    let file = home.path().join(".config/hermes-proxyd/config.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "nonsense = 1\n").unwrap();
    let output = ctl(home.path(), &["setup", "--yes"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains(":1: nonsense") && said.contains("hermesctl setup"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "nonsense = 1\n");
}

/// Where systemd runs the machine, this user's own manager would be asked.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_service_manager_the_way_without_it_is_told() {
    if !cfg!(target_os = "linux") || Path::new("/run/systemd/system").exists() {
        support::environment::skipped("there is a service manager here");
        return;
    }
    let world = World::new(Options::default()).await;
    let output = world.ctl(&["setup", "--yes"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("hermesctl proxy start"), "{text}");
    for verb in ["install", "uninstall", "start", "stop", "restart", "status"] {
        let output = world.ctl(&["service", verb, "--json"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["error"]["code"], "no_service_manager");
        assert!(
            told["error"]["hint"]
                .as_str()
                .unwrap()
                .contains("hermesctl proxy start")
        );
    }
}

/// `hermesctl setup` that waits for its login.
struct Waiting {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    /// What it said up to here.
    said: String,
}

impl Waiting {
    fn begin(world: &World, flags: &[&str]) -> Self {
        Self::of(world.hermesctl(&[&["setup"], flags].concat()))
    }

    fn of(mut setup: Command) -> Self {
        let mut child = setup
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("Waiting for the login") {
            let count = stderr.read_line(&mut said).unwrap();
            assert_ne!(count, 0, "it did not wait for a login: {said}");
        }
        Self {
            child,
            stdout,
            stderr,
            said,
        }
    }

    /// The line below the one that holds `text`.
    fn below(&self, text: &str) -> &str {
        let mut lines = self.said.lines().skip_while(|line| !line.contains(text));
        lines.nth(1).unwrap().trim()
    }

    fn user_code(&self) -> String {
        self.below("check that it shows this code").to_owned()
    }

    fn interrupt(&self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
    }

    /// Exit code, standard output, and what came on standard error since the code.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut errors) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).unwrap();
        self.stderr.read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), out, errors)
    }
}

/// Everything in a home but what a running daemon holds, with its sizes.
fn files(home: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![home.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let path = path.strip_prefix(home).unwrap();
                found.push(path.display().to_string());
            }
        }
    }
    found.retain(|file| !file.starts_with("run/") && file.rsplit('.').next() != Some("lock"));
    found.sort();
    found
}

const CONFIG: &str = ".config/hermes-proxyd/config.toml";

/// From nothing to an app's first answer: the user does no more than say yes in the browser.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_made_and_a_request_answered_with_it() {
    let world = World::without_a_login().await;
    let daemon = world.daemon();
    std::fs::remove_file(world.home.path().join(CONFIG)).unwrap();
    let setup = Waiting::begin(&world, &["--yes", "--no-service", "--no-browser"]);
    assert!(!world.store_file().exists());
    let url = setup.below("open this page on any device");
    let code = setup.user_code();
    // The cloud names the page that the real portal names.
    assert!(url.starts_with("https://portal.nousresearch.com/"), "{url}");
    assert!(url.ends_with(&code), "{url}");
    world.cloud.approve(&code);
    let (exit, text, errors) = setup.end();
    assert_eq!(exit, Some(0), "{text}{errors}");
    let mut lines = text.lines().map(str::trim);
    // In this order, with anything in between.
    for start in [
        &format!(
            "done     configuration {}/{CONFIG}",
            world.home.path().display()
        ),
        "Logged in to Nous Portal.",
        "done     login of Nous Portal",
        "skipped  service",
        "done     test request: ",
        "All is well. Apps use:",
        &format!("OPENAI_BASE_URL={}", daemon.base),
        "OPENAI_API_KEY=anything",
    ] {
        let found = lines.any(|line| line.starts_with(start));
        assert!(found, "{start:?} is missing in:\n{text}");
    }
    assert!(world.store()["providers"]["nous"]["refresh_token"].is_string());
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    world.assert_no_secret_in("setup", &text);
    world.assert_no_secret_in("setup's login", &errors);

    // A second time there is nothing left to do but the question.
    let logins = world.cloud.counts().device_polls;
    let output = world.ctl(&["setup", "--no-service", "--json"]);
    let again = outcome(&output);
    assert_eq!(results(&again), ["already", "already", "left", "done"]);
    assert_eq!(world.cloud.counts().device_polls, logins);
}

/// Where no daemon runs, the login is made without one, and is there for the one that comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_made_before_anything_runs() {
    let world = World::without_a_login().await;
    let setup = Waiting::begin(&world, &["--yes", "--no-service", "--no-browser"]);
    world.cloud.approve(&setup.user_code());
    let (exit, text, errors) = setup.end();
    assert_eq!(exit, Some(0), "{text}{errors}");
    assert!(text.contains("done     login of Nous Portal"), "{text}");
    assert!(text.contains("hermesctl proxy start"), "{text}");
    let daemon = world.daemon();
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    let output = world.ctl(&["setup", "--no-service", "--json"]);
    assert_eq!(outcome(&output)["ready"], true, "{output:?}");
}

/// A setup whose login fails has written a whole configuration and nothing else, says what goes on,
/// and that does.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_fails_leaves_nothing_half_done_and_setup_goes_on_from_there() {
    for with_a_daemon in [true, false] {
        let world = World::without_a_login().await;
        let daemon = with_a_daemon.then(|| world.daemon());
        let mut written = None;
        for (end, exit, says) in [
            ("deny", 1, "hermesctl: "),
            ("expire", 1, "hermesctl: "),
            ("interrupt", 130, "nothing has changed"),
        ] {
            let setup = Waiting::begin(&world, &["--yes", "--no-service", "--no-browser"]);
            let code = setup.user_code();
            match end {
                "deny" => world.cloud.deny(&code),
                "expire" => world.cloud.advance(Duration::from_hours(1)),
                _ => setup.interrupt(),
            }
            let (ended, text, errors) = setup.end();
            assert_eq!(ended, Some(exit), "{end}: {text}{errors}");
            let all = text + &errors;
            assert!(all.contains(says), "{end}: {all}");
            assert!(all.contains("`hermesctl setup` continues"), "{end}: {all}");
            assert!(!all.contains("auth login"), "{end}: {all}");
            assert!(!all.contains("test request"), "{end}: {all}");
            assert!(!all.contains("service"), "{end}: {all}");
            // A yes that comes too late causes no login.
            world.cloud.approve(&code);
            assert_eq!(files(world.home.path()), [CONFIG], "{end}");
            let config = std::fs::read_to_string(world.home.path().join(CONFIG)).unwrap();
            assert_eq!(*written.get_or_insert_with(|| config.clone()), config);
        }
        let checked = world.ctl(&["config", "check"]);
        assert!(checked.status.success(), "{checked:?}");
        let setup = Waiting::begin(&world, &["--no-service", "--no-browser"]);
        world.cloud.approve(&setup.user_code());
        let (exit, text, errors) = setup.end();
        assert_eq!(exit, Some(0), "{text}{errors}");
        assert_eq!(text.contains("test request"), daemon.is_some(), "{text}");
        assert!(world.store()["providers"]["nous"]["refresh_token"].is_string());
    }
}

/// What a program reads of a setup that makes a login: a line for the code, one for the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_reads_the_code_and_the_outcome_as_lines() {
    let world = World::without_a_login().await;
    let _daemon = world.daemon();
    let mut child = program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path())
        .args(["setup", "--no-service", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let code = next();
    world
        .cloud
        .approve(code["code"]["user_code"].as_str().unwrap());
    assert_eq!(next()["done"]["provider"], "nous");
    let outcome = next();
    assert_eq!(results(&outcome), ["already", "done", "left", "done"]);
    assert!(child.wait().unwrap().success());
}

/// What a person before a terminal sees, who types this.
fn before_terminal(mut command: Command, typed: &str) -> (String, Option<i32>) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = || {
        let mut options = std::fs::File::options();
        options.read(true).write(true).open(&name).unwrap()
    };
    command.stdin(slave()).stdout(slave()).stderr(slave());
    let mut child = command.spawn().unwrap();
    drop(command);
    rustix::io::write(&master, typed.as_bytes()).unwrap();
    let (mut master, mut seen) = (std::fs::File::from(master), Vec::new());
    let mut chunk = [0; 4096];
    // Ends with an error when the last slave is closed.
    while let Ok(count @ 1..) = master.read(&mut chunk) {
        seen.extend_from_slice(chunk.get(..count).unwrap());
    }
    (
        String::from_utf8(seen).unwrap(),
        child.wait().unwrap().code(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_chooses_among_the_providers_where_none_is_clearly_meant() {
    let world = World::without_a_login().await;
    let file = world.home.path().join(CONFIG);
    std::fs::remove_file(&file).ok();
    let setup = |flags: &[&str], typed: &str| {
        let mut command = world.hermesctl(&[&["setup", "--no-service"], flags].concat());
        command.env("NO_COLOR", "1");
        before_terminal(command, typed)
    };
    let (text, code) = setup(&[], "9\n3\nn\n");
    for part in [
        "1  Nous Portal   not logged in",
        "Number [1]:",
        "Please answer with a number from 1 to 3.",
        "Continue?",
        "Nothing has changed.",
    ] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
    // The plan is about the third one, in whatever order they are.
    let mut lines = text
        .lines()
        .filter(|line| line.trim_start().starts_with("3  "));
    let line = lines.next().unwrap();
    let chosen = if line.contains("xAI") {
        "xai"
    } else {
        "openai-codex"
    };
    let plan = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let planned = format!("login for {chosen} or makes");
    assert!(plan.contains(&planned), "{text}");
    assert_eq!((code, file.exists()), (Some(1), false));

    let (text, _) = setup(&[], "q\n");
    assert!(
        text.contains("Nothing has changed.") && !text.contains("Continue?"),
        "{text}"
    );
    let (text, _) = setup(&["--provider", "nous"], "n\n");
    assert!(!text.contains("Which provider?"), "{text}");
    // The only one with a login is meant.
    world.log_in();
    let (text, _) = setup(&[], "n\n");
    assert!(
        !text.contains("Which provider?") && text.contains("Continue?"),
        "{text}"
    );
}

/// As much of a user manager as hermesctl asks for: it starts what the unit's file says, with the
/// variables of the drop-in. The real one has `tests/daemon/service.rs`.
#[cfg(target_os = "linux")]
mod with_a_manager {
    use support::{PATIENCE, fake_program, mount_namespace, wrapped};

    use super::*;

    const SYSTEMCTL: &str = r#"
state=$HOME/fake
units=$HOME/.config/systemd/user
echo "$*" >> "$state/asked"
for unit in "$@"; do :; done
pid=$(cat "$state/pid" 2> /dev/null)
kill -0 "${pid:-none}" 2> /dev/null || pid=
case $2 in
    show)
        [ -e "$units/$unit" ] || exit 0
        echo "FragmentPath=$units/$unit"
        if [ -e "$state/$unit.enabled" ]; then echo UnitFileState=enabled; fi
        if [ "$pid" ]; then echo "ActiveState=active"; echo "MainPID=$pid"; fi ;;
    enable) touch "$state/$unit.enabled" ;;
    start)
        if [ -e "$state/broken" ]; then echo 'Job for hermes-proxyd.service failed.' >&2; exit 1; fi
        [ "$pid" ] && exit 0
        daemon=$(sed -n 's/^ExecStart=//p' "$units/$unit")
        variables=$(sed -n 's/^Environment="\(.*\)"$/\1/p' "$units/$unit.d/environment.conf")
        env $variables "$daemon" --port 0 < /dev/null > /dev/null 2> "$state/log" &
        echo $! > "$state/pid" ;;
esac
"#;

    /// What the manager has started; it ends with its test.
    struct Started<'a>(&'a Path);

    impl Drop for Started<'_> {
        fn drop(&mut self) {
            let pid = std::fs::read_to_string(self.0.join("fake/pid")).unwrap_or_default();
            let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
            if let Some(pid) = pid {
                kill_process(pid, Signal::KILL).ok();
            }
        }
    }

    /// hermesctl where systemd runs the machine, as `sd_booted(3)` looks.
    fn booted(world: &World, namespace: &[&str], args: &[&str]) -> Command {
        let home = world.home.path();
        let mut outer = program("unshare", home);
        let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec \"$@\"";
        outer.args(namespace).args(["sh", "-c", script, "sh"]);
        let path = std::env::var("PATH").unwrap();
        let mut inner = world.hermesctl(args);
        inner.env("PATH", format!("{}:{path}", home.join("bin").display()));
        wrapped(outer, &inner)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn from_nothing_to_a_service_that_answers() {
        let Some(namespace) = mount_namespace() else {
            return;
        };
        let world = World::without_a_login().await;
        let home = world.home.path();
        let fake = home.join("fake");
        std::fs::create_dir(&fake).unwrap();
        fake_program(&home.join("bin/systemctl"), SYSTEMCTL);
        fake_program(&home.join("bin/loginctl"), "[ $1 = show-user ] && echo no");
        fake_program(&home.join("bin/journalctl"), "echo 'its last words'");
        let _started = Started(home);
        let setup = |flags: &[&str]| booted(&world, namespace, &[&["setup"], flags].concat());

        // A service that does not start is reported with its last log lines; the login is made by
        // then.
        std::fs::write(fake.join("broken"), "").unwrap();
        let waiting = Waiting::of(setup(&["--yes", "--no-browser"]));
        assert!(!fake.join("asked").exists(), "the login comes first");
        world.cloud.approve(&waiting.user_code());
        let (exit, text, errors) = waiting.end();
        assert_eq!(exit, Some(1), "{text}{errors}");
        for part in [
            "did not start",
            "Job for",
            "its last words",
            "hermesctl service start",
        ] {
            assert!(errors.contains(part), "{part:?} is missing: {errors}");
        }
        let logins = world.cloud.counts().device_polls;

        // Once that is fixed, the same command continues, to an app's first answer.
        std::fs::remove_file(fake.join("broken")).unwrap();
        let output = setup(&["--yes", "--json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let told = outcome(&output);
        assert_eq!(told["test"]["status"], 200, "{told:#}");
        let base = told["base_url"].as_str().unwrap();
        assert!(base.starts_with("http://127.0.0.1:"), "{base}");
        let answer = support::client()
            .post(format!("{base}/chat/completions"))
            .json(&chat("x"))
            .timeout(PATIENCE)
            .send()
            .await;
        assert_eq!(answer.unwrap().status(), 200);

        // And once more changes nothing. Lingering is an administrator's to give here.
        let output = setup(&["--json"]).output().unwrap();
        let again = outcome(&output);
        let mut expected = vec!["already"; 8];
        (expected[5], expected[7]) = ("left", "done");
        assert_eq!(results(&again), expected, "{again:#}");
        assert_eq!(again["base_url"], base);
        assert_eq!(world.cloud.counts().device_polls, logins);
    }
}
