//! `hermesctl auth` without a daemon: a hermes-proxyd of its own, on pipes.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use support::{copy_program, fake_program, program};

/// Speaks the protocol, notes how it was started, and how it ended.
const SPEAKS: &str = r#"
echo "$@" >> args
read hello
echo '{"hello":{"protocol":1,"version":"0.1.0","pid":1}}'
read request
echo "$request" >> requests
echo "something went by" >&2
echo '{"id":1,"ok":{"provider":"nous","result":"refreshed","detail":null,"expires_at":null}}'
read more || echo "left alone" >> end
"#;

const FAILS: &str = "
echo 'hermes-proxyd: the configuration is invalid:' >&2
echo 'line 3: no such key' >&2
exit 78
";

const DIES: &str = r#"
read hello
echo '{"hello":{"protocol":1,"version":"0.1.0","pid":1}}'
echo 'hermes-proxyd: the store is on fire' >&2
exit 1
"#;

/// Lets a login wait for ever, and says more than a pipe holds.
const WAITS: &str = r#"
read hello
head -c 300000 /dev/zero >&2
echo '{"hello":{"protocol":1,"version":"0.1.0","pid":1}}'
id=0
while read request; do
    echo "$request" >> waits
    id=$((id + 1))
    case "$request" in
        *login_begin*) answer='{"code":{"session":7,"provider":"nous","display_name":"Nous","verification_uri":"https://x/","verification_uri_complete":null,"user_code":"AB-CD","expires_in_seconds":900,"trusted_uri":true}}' ;;
        *login_wait*) answer='{"pending":{"expires_in_seconds":900,"note":null}}' ;;
        *) answer='{}' ;;
    esac
    echo "{\"id\":$id,\"ok\":$answer}"
done
echo ended >> waits
"#;

/// Ctrl-C reaches every process of the terminal's foreground group, but not the daemon of ours.
fn interrupt_a_login(folder: &Path) {
    use std::os::unix::process::CommandExt;
    let mut command = command(folder, Some(WAITS), "auth login");
    let child = command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let waits = || std::fs::read_to_string(folder.join("waits")).unwrap_or_default();
    while !waits().contains("login_wait") {
        std::thread::yield_now();
    }
    let group = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert!(text(&ended.stdout).contains("nothing has changed"));
    let end = "{\"login_cancel\":{\"session\":7}}}\nended\n";
    assert!(waits().ends_with(end), "{}", waits());
}

fn run(folder: &Path, daemon: Option<&str>, line: &str) -> Output {
    command(folder, daemon, line).output().unwrap()
}

fn command(folder: &Path, daemon: Option<&str>, line: &str) -> Command {
    let path = folder.join("hermes-proxyd");
    match daemon {
        Some(script) => fake_program(&path, script),
        None => std::fs::remove_file(&path).unwrap(),
    }
    let mut command = program(folder.join("hermesctl"), folder);
    command
        .args(line.split(' '))
        .current_dir(folder)
        .env("XDG_RUNTIME_DIR", folder);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn without_a_daemon_one_is_started_on_pipes() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let folder = folder.path();
    let ours = folder.join("hermesctl");
    copy_program(env!("CARGO_BIN_EXE_hermesctl"), ours);

    let answered = run(folder, Some(SPEAKS), "auth refresh --config my.toml");
    assert_eq!(answered.status.code(), Some(0), "{answered:?}");
    assert_eq!(text(&answered.stdout), "The token of nous was renewed.\n");
    assert_eq!(text(&answered.stderr), "");
    let note = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(note("args"), "--control-stdio --config my.toml\n");
    assert_eq!(
        note("requests"),
        "{\"id\":1,\"op\":{\"refresh\":{\"provider\":null}}}\n"
    );
    assert_eq!(note("end"), "left alone\n");

    let failed = run(folder, Some(FAILS), "auth status --json");
    assert_eq!(failed.status.code(), Some(78), "{failed:?}");
    let told = "hermesctl: the configuration is invalid:\nline 3: no such key.\n\
                Correct it, then run `hermesctl config check`.\n";
    assert_eq!(text(&failed.stderr), told);
    let json: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(
        json.pointer("/error/code"),
        Some(&Value::from("config_invalid"))
    );

    let died = run(folder, Some(DIES), "auth login");
    assert_eq!(died.status.code(), Some(1), "{died:?}");
    assert_eq!(text(&died.stderr), "hermesctl: the store is on fire.\n");

    interrupt_a_login(folder);

    let absent = run(folder, None, "auth login");
    assert_eq!(absent.status.code(), Some(1));
    assert!(text(&absent.stderr).contains("can't be started"));
}
