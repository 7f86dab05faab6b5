//! The control socket: who may enter its folder, and which daemon lives.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a helper's failure is the test's")]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use hermes_proxy::control::endpoint::{BindError, Endpoint};

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
    endpoint.bind().unwrap();
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
    let Err(BindError::AlreadyRunning { pid, .. }) = endpoint.bind() else {
        panic!("two daemons live");
    };
    assert_eq!(pid, Some(std::process::id()));
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

#[tokio::test]
async fn too_long_a_path_is_an_error_that_names_it() {
    let scratch = scratch();
    let folder = scratch.path().join("x".repeat(120));
    let error = Endpoint::new(&folder).bind().unwrap_err();
    assert!(error.to_string().contains("xxx"), "{error}");
}
