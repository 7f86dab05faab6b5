//! The control socket: who may enter its folder, and which daemon lives.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use hermes_proxy::control::endpoint::{BindError, Endpoint};
use support::until;

const LOCK: &str = "control.lock";

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/tmp").unwrap()
}

#[tokio::test]
async fn only_the_user_can_enter_and_the_socket_goes_with_the_daemon() {
    let scratch = scratch();
    let folder = scratch.path().join("a").join("b");
    let endpoint = Endpoint::new(&folder);
    let listener = endpoint.bind().unwrap();
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&endpoint.address()), 0o600);
    assert_eq!(mode(&folder.join(LOCK)), 0o600);
    drop(listener);
    assert!(!endpoint.address().exists());
    // A child that another test is forking has a copy of the lock until its program runs.
    until("the folder is free again", || endpoint.bind().is_ok());
}

/// As in a deep home, or where a build keeps its runtime folder.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_folder_whose_path_is_too_long_for_a_socket_works_as_any_other() {
    let scratch = scratch();
    let folder = scratch.path().join("a".repeat(70)).join("b".repeat(70));
    let endpoint = Endpoint::new(&folder);
    let listener = endpoint.bind().unwrap();
    assert_eq!(endpoint.address().parent(), Some(folder.as_path()));
    assert!(listener.is_found());
    let (client, server) = tokio::join!(endpoint.connect(), listener.accept());
    assert!(client.is_ok() && server.is_ok(), "{client:?} {server:?}");
    let second = endpoint.bind().unwrap_err();
    assert!(
        matches!(second, BindError::AlreadyRunning { .. }),
        "{second:?}"
    );
    drop(listener);
    assert!(!endpoint.address().exists());
}

/// The runtime folder is removed with the user's last session.
#[tokio::test]
async fn a_socket_that_was_removed_is_made_again() {
    let scratch = scratch();
    let folder = scratch.path().join("run");
    let endpoint = Endpoint::new(&folder);
    let mut listener = endpoint.bind().unwrap();
    for what in [folder.clone(), endpoint.address(), folder.join(LOCK)] {
        assert!(listener.is_found(), "{}", what.display());
        std::fs::remove_file(&what)
            .or_else(|_| std::fs::remove_dir_all(&what))
            .unwrap();
        if what.ends_with(LOCK) {
            // It is the folder's, and the socket still leads here.
            assert!(listener.is_found());
            continue;
        }
        assert!(!listener.is_found(), "{}", what.display());
        listener = listener.again().unwrap();
        let (client, server) = tokio::join!(endpoint.connect(), listener.accept());
        assert!(client.is_ok() && server.is_ok(), "{}", what.display());
    }
}

/// Two daemons would fight for the socket.
#[tokio::test]
async fn a_socket_that_another_daemon_has_made_meanwhile_is_left_alone() {
    let scratch = scratch();
    let folder = scratch.path().join("run");
    let endpoint = Endpoint::new(&folder);
    let listener = endpoint.bind().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let _other = endpoint.bind().unwrap();
    let error = listener.again().unwrap_err();
    assert!(
        matches!(error, BindError::AlreadyRunning { .. }),
        "{error:?}"
    );
    drop(listener);
    assert!(endpoint.address().exists());
}

#[tokio::test]
async fn an_open_folder_is_closed() {
    let scratch = scratch();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(scratch.path(), open).unwrap();
    let _listener = Endpoint::new(scratch.path()).bind().unwrap();
    assert_eq!(scratch.path().metadata().unwrap().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_second_daemon_is_told_about_the_first() {
    let scratch = scratch();
    let endpoint = Endpoint::new(scratch.path());
    let first = endpoint.bind().unwrap();
    let Err(error) = endpoint.bind() else {
        panic!("two daemons live");
    };
    let BindError::AlreadyRunning { pid, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(pid, Some(std::process::id()));
    // Only in two containers do both have one number.
    assert!(error.to_string().contains("another container or pod"));
    let elsewhere = BindError::AlreadyRunning {
        pid: Some(1),
        version: Some("0.1.0".to_owned()),
    };
    let text = "hermes-proxyd is already running as process 1 (version 0.1.0); `hermesctl proxy status` shows it";
    assert_eq!(elsewhere.to_string(), text);
    let (client, server) = tokio::join!(endpoint.connect(), first.accept());
    assert!(client.is_ok() && server.is_ok());
}

#[tokio::test]
async fn what_a_crash_left_is_replaced() {
    let scratch = scratch();
    let endpoint = Endpoint::new(scratch.path());
    drop(UnixListener::bind(endpoint.address()).unwrap());
    std::fs::write(scratch.path().join(LOCK), "999999999999\n").unwrap();
    let listener = endpoint.bind().unwrap();
    let (client, server) = tokio::join!(endpoint.connect(), listener.accept());
    assert!(client.is_ok() && server.is_ok());
}

#[tokio::test]
async fn a_link_in_place_of_the_folder_or_the_lock_is_refused() {
    let scratch = scratch();
    let real = scratch.path().join("real");
    std::fs::create_dir(&real).unwrap();
    let link = scratch.path().join("link");
    symlink(&real, &link).unwrap();
    let error = Endpoint::new(&link).bind().unwrap_err();
    assert!(matches!(error, BindError::UnsafeFolder { .. }), "{error:?}");

    symlink(scratch.path().join("target"), real.join(LOCK)).unwrap();
    let error = Endpoint::new(&real).bind().unwrap_err();
    assert!(matches!(error, BindError::Folder { .. }), "{error:?}");
    assert!(!scratch.path().join("target").exists());
}

#[tokio::test]
async fn a_successors_socket_is_left_alone() {
    let scratch = scratch();
    let folder = scratch.path().join("run");
    let endpoint = Endpoint::new(&folder);
    let old = endpoint.bind().unwrap();
    std::fs::rename(&folder, scratch.path().join("moved")).unwrap();
    let _new = endpoint.bind().unwrap();
    drop(old);
    assert!(endpoint.address().exists());
}

/// Linux knows a shorter way to the same folder.
#[cfg(not(target_os = "linux"))]
#[tokio::test]
async fn too_long_a_path_is_an_error_that_says_what_to_set() {
    let scratch = scratch();
    let folder = scratch.path().join("x".repeat(120));
    let error = Endpoint::new(&folder).bind().unwrap_err();
    assert!(error.to_string().contains("xxx"), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("XDG_RUNTIME_DIR"), "{source}");
}
