//! Any content of the file of client keys is read without harm, and lets no empty key in.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use hermes_proxy::clients::Registry;
use hermes_proxy::clock::SystemClock;
use tempfile::TempDir;

thread_local! {
    /// Gone with its thread; a static one would be left behind.
    static HOME: TempDir = {
        let memory = std::path::Path::new("/dev/shm");
        let home = tempfile::Builder::new();
        let home = if memory.is_dir() {
            home.tempdir_in(memory)
        } else {
            home.tempdir()
        };
        home.expect("a folder")
    };
}

/// One input.
pub fn run(bytes: &[u8]) {
    let file = HOME.with(|home| home.path().join("clients.json"));
    std::fs::write(&file, bytes).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    if let Ok(registry) = Registry::open(file, Arc::new(SystemClock)) {
        registry.list();
        for key in [&b""[..], b" ", b"\0", bytes] {
            assert!(registry.identify(key).is_none());
        }
    }
}
