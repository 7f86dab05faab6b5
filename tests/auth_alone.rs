//! `hermesctl auth` without a daemon: a hermes-proxyd of its own, on pipes. Alone in its program:
//! a file that was just written can't be executed while another test's fork still holds it open.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Speaks the protocol, notes how it was started, and how it ended.
const SPEAKS: &str = r#"#!/bin/sh
echo "$@" >> args
read hello
echo '{"hello":{"protocol":1,"version":"0.1.0","pid":1}}'
read request
echo "$request" >> requests
echo "something went by" >&2
echo '{"id":1,"ok":{"provider":"nous","result":"refreshed","detail":null,"expires_at":null}}'
read more || echo "left alone" >> end
"#;

const FAILS: &str = "#!/bin/sh
echo 'hermes-proxyd: the configuration is invalid:' >&2
echo 'line 3: no such key' >&2
exit 78
";

const DIES: &str = r#"#!/bin/sh
read hello
echo '{"hello":{"protocol":1,"version":"0.1.0","pid":1}}'
echo 'hermes-proxyd: the store is on fire' >&2
exit 1
"#;

fn run(folder: &Path, daemon: Option<&str>, line: &str) -> Output {
    let path = folder.join("hermes-proxyd");
    match daemon {
        Some(script) => {
            std::fs::write(&path, script).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        None => std::fs::remove_file(&path).unwrap(),
    }
    Command::new(folder.join("hermesctl"))
        .args(line.split(' '))
        .current_dir(folder)
        .env("XDG_RUNTIME_DIR", folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn without_a_daemon_one_is_started_on_pipes() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let folder = folder.path();
    let ours = folder.join("hermesctl");
    std::fs::copy(env!("CARGO_BIN_EXE_hermesctl"), ours).unwrap();

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
    let told = "hermesctl: the configuration is invalid:\nline 3: no such key.\n";
    assert_eq!(text(&failed.stderr), told);
    let json: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(
        json.pointer("/error/code"),
        Some(&Value::from("config_invalid"))
    );

    let died = run(folder, Some(DIES), "auth login");
    assert_eq!(died.status.code(), Some(1), "{died:?}");
    assert_eq!(text(&died.stderr), "hermesctl: the store is on fire.\n");

    let absent = run(folder, None, "auth login");
    assert_eq!(absent.status.code(), Some(1));
    assert!(text(&absent.stderr).contains("can't be started"));
}
