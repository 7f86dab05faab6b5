//! Any content of Hermes Agent's store, of our own and of the mirror is read without harm.

#![no_main]

use std::sync::LazyLock;

use hermes_proxy::credentials::{StoreFiles, stored_ca_bundle};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static HOME: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = std::path::Path::new("/dev/shm");
    let home = tempfile::Builder::new();
    let home = if memory.is_dir() { home.tempdir_in(memory) } else { home.tempdir() };
    home.expect("a folder")
});

fuzz_target!(|bytes: &[u8]| {
    let home = HOME.path();
    let files = StoreFiles {
        own: home.join("own.json"),
        journal: home.join("journal"),
        active: home.join("auth.json"),
        global: home.join("auth.json"),
        shared: home.join("shared"),
    };
    // The two stores, one behind the other.
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    for (file, part) in [(&files.active, parts.next()), (&files.own, parts.next())] {
        match part {
            Some(part) => std::fs::write(file, part).expect("a file"),
            None => drop(std::fs::remove_file(file)),
        }
    }
    let file = stored_ca_bundle(&files, "nous");
    assert!(file.is_none_or(|file| file.is_file()));
});
