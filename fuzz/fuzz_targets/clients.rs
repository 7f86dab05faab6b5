//! Any content of the file of client keys is read without harm, and lets no empty key in.

#![no_main]

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, LazyLock};

use hermes_proxy::clients::Registry;
use hermes_proxy::clock::SystemClock;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static HOME: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = std::path::Path::new("/dev/shm");
    let home = tempfile::Builder::new();
    let home = if memory.is_dir() { home.tempdir_in(memory) } else { home.tempdir() };
    home.expect("a folder")
});

fuzz_target!(|bytes: &[u8]| {
    let file = HOME.path().join("clients.json");
    std::fs::write(&file, bytes).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    if let Ok(registry) = Registry::open(file, Arc::new(SystemClock)) {
        registry.list();
        for key in [&b""[..], b" ", b"\0", bytes] {
            assert!(registry.identify(key).is_none());
        }
    }
});
