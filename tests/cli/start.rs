//! `hermesctl proxy start`.
#![cfg(unix)]

use std::process::Stdio;

use support::{copy_program, fake_program, program};

#[test]
fn start_becomes_the_hermes_proxyd_beside_it() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let hermesctl = folder.path().join("hermesctl");
    copy_program(env!("CARGO_BIN_EXE_hermesctl"), &hermesctl);
    let daemon = folder.path().join("hermes-proxyd");
    fake_program(&daemon, "echo $$ \"$@\"\nexit 5");

    let mut command = program(&hermesctl, folder.path());
    command.args(["proxy", "start", "--port", "8646", "--config", "a b.toml"]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let run = child.wait_with_output().unwrap();
    assert_eq!(run.status.code(), Some(5));
    let stdout = String::from_utf8(run.stdout).unwrap();
    assert_eq!(stdout, format!("{pid} --port=8646 --config=a b.toml\n"));

    std::fs::remove_file(&daemon).unwrap();
    let mut command = program(&hermesctl, folder.path());
    command.args(["proxy", "start"]).env("PATH", folder.path());
    let run = command.output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    let stderr = String::from_utf8(run.stderr).unwrap();
    assert!(
        stderr.contains("hermes-proxyd can't be started"),
        "{stderr}"
    );
}
