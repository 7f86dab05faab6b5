//! `hermesctl bugreport`: it says what it contains, and holds no secret, wherever one is planted.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mock_cloud::Options;
use support::{Daemon, World, client, ctl, fake_program, program, scratch};

/// What must not be in a report, except what the cloud issued.
const PLANTED: [&str; 13] = [
    "env-s3cret-value",
    "static-key-in-a-file",
    "static-key-in-the-env",
    "hook-path-token",
    "hook-query-token",
    "hook-argument-token",
    "portal-password",
    "plantedjwt",
    "hpx-planted-client-key",
    "refresh-in-a-log",
    "anna@mail.example",
    "secret-app-name",
    "unit-s3cret",
];

/// A program in `PATH` that says this.
fn fake(bin: &Path, name: &str, says: &str) {
    std::fs::create_dir_all(bin).unwrap();
    std::fs::write(bin.join("said"), "").unwrap();
    let text = bin.join(format!("{name}.txt"));
    std::fs::write(&text, says).unwrap();
    fake_program(&bin.join(name), &format!("exec cat {}", text.display()));
}

fn plant(world: &World) {
    let home = world.home.path();
    let config = format!(
        "[[hooks]]\ncommand = [\"true\", \"hook-argument-token\"]\n\
         [[hooks]]\nurl = \"http://127.0.0.1:1/hook-path-token?t=hook-query-token\"\n\
         [providers.a]\ntype = \"static\"\nbase_url = \"https://a.example/v1\"\napi_key_file = \
         \"{}/key\"\n\
         [providers.b]\ntype = \"static\"\nbase_url = \"https://b.example/v1\"\napi_key_env = \
         \"B_VALUE\"\n",
        home.display()
    );
    world.write_config(&config);
    std::fs::write(home.join("key"), "static-key-in-a-file\n").unwrap();
    let private = PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(home.join("key"), private).unwrap();
    let add = ["clients", "add", "secret-app-name"];
    let output = program(env!("CARGO_BIN_EXE_hermesctl"), home)
        .args(add)
        .env("B_VALUE", "static-key-in-the-env")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let entry = |message: &str| {
        format!(
            "{{\"__REALTIME_TIMESTAMP\":\"1764000000000000\",\"PRIORITY\":\"6\",\"MESSAGE\":\"{message}\",\
             \"HERMES_DETAIL\":\"refresh_token=refresh-in-a-log\"}}\n"
        )
    };
    let log = [
        "a line that stays",
        "Authorization: Bearer eyJplantedjwt.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "client hpx-planted-client-key of secret-app-name asked",
        "mail to anna@mail.example",
        "at https://u:portal-password@portal.example/x?code=hook-query-token",
        &format!(
            "the key static-key-in-the-env in {}",
            home.join("x").display()
        ),
    ];
    fake(&home.join("bin"), "journalctl", &log.map(entry).concat());
    let unit =
        "[Service]\nEnvironment=\"SOMETHING=unit-s3cret\"\nExecStart=/usr/bin/hermes-proxyd\n";
    fake(&home.join("bin"), "systemctl", unit);
}

/// The asker stays private: of a refused request, the report has no address.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_told_without_its_place() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let url = daemon.url("/v1/nonsense");
    assert_eq!(client().get(url).send().await.unwrap().status(), 404);
    let status = daemon.home_screen();
    assert!(status["refused"]["from"].is_string(), "{status}");
    let file = world.home.path().join("report.txt");
    let output = report(&world, &["--yes", "--output", file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"path_not_allowed\""), "{text}");
    assert!(!text.contains("\"from\": \"127"), "{text}");
}

fn report(world: &World, flags: &[&str]) -> std::process::Output {
    let path = std::env::var("PATH").unwrap();
    let bin = world.home.path().join("bin");
    program(env!("CARGO_BIN_EXE_hermesctl"), world.home.path())
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("SOME_TOKEN", "env-s3cret-value")
        .env("B_VALUE", "static-key-in-the-env")
        .env("HTTPS_PROXY", "http://u:portal-password@proxy.example")
        .current_dir(world.home.path())
        .arg("bugreport")
        .args(flags)
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_planted_secret_is_in_a_report() {
    let world = World::new(Options::default()).await;
    plant(&world);
    world.write_mirror();
    for running in [false, true] {
        let daemon = running.then(|| {
            let mut command = world.command(&[]);
            command.env("B_VALUE", "static-key-in-the-env");
            Daemon::start(command, world.home.path())
        });
        let file = world.home.path().join(format!("report-{running}.txt"));
        let output = report(&world, &["--yes", "--output", file.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        drop(daemon);
        let text = std::fs::read_to_string(&file).unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let talk = String::from_utf8(output.stderr).unwrap();
        for (what, text) in [("the report", &text), ("the talk", &talk)] {
            world.assert_no_secret_in(what, text);
            for secret in PLANTED {
                assert!(!text.contains(secret), "{what} holds {secret}:\n{text}");
            }
            let home = world.home.path().to_str().unwrap();
            assert!(
                what == "the talk" || !text.contains(home),
                "{what}: {home}\n{text}"
            );
        }
        let version = if running {
            "running daemon: 0.1.0"
        } else {
            "not answering"
        };
        // What runs in a terminal is not in the journal; the daemon has its last lines.
        let logged = if running {
            "\"message\":\"listening\""
        } else {
            "a line that stays"
        };
        let path = if running { "~/.hermes" } else { "~/x" };
        for kept in [
            version,
            "== log ==",
            logged,
            "base_url = \"https://a.example/v1\"",
            "url = \"http://127.0.0.1/…\"",
            "~/.hermes/auth.json: mode 0600",
            "refresh_token (a text)",
            "Environment=SOMETHING=…",
            "client-1",
            path,
        ] {
            assert!(text.contains(kept), "{kept} is not in the report:\n{text}");
        }
        assert!(
            talk.contains("The report would contain:\n  versions"),
            "{talk}"
        );
    }
}

#[test]
fn nothing_is_written_unasked_or_over_another_file() {
    let home = scratch();
    let file = home.path().join("report.txt");
    let flags = ["bugreport", "--output", file.to_str().unwrap()];
    let output = ctl(home.path(), &flags);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("hermesctl bugreport --yes"));
    assert!(!file.exists());
    std::fs::write(&file, "mine").unwrap();
    let output = ctl(home.path(), &[&flags[..], &["--yes"]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}
