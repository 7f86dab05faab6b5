//! Any content of Hermes Agent's store, of our own and of the mirror is read without harm, and any token in it is
//! judged without harm.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hermes_proxy::config;
use hermes_proxy::credentials::schedule::Window;
use hermes_proxy::credentials::{StoreFiles, inspection, stored_ca_bundle};
use hermes_proxy::paths::Environment;
use hermes_proxy::provider::{self, Adapter, Assessment};
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
        let home = home.expect("a folder");
        std::fs::create_dir(home.path().join("shared")).expect("a folder");
        home
    };
}

static NOUS: LazyLock<Arc<dyn Adapter>> = LazyLock::new(|| {
    let environment = Environment::from_lookup(|name| (name == "HOME").then(|| "/home/u".into()));
    let config = config::parse("", "config.toml".as_ref(), &environment).expect("the defaults");
    let (name, settings) = config.providers.first_key_value().expect("Nous Portal");
    let tls = provider::client_config(None).expect("TLS");
    provider::build(name, settings, tls, &config::Variables::of_process()).expect("Nous Portal")
});

/// One input: up to four parts with a NUL between them, which are two stores, the mirror, and the claims of a token
/// that takes the place of `TOKEN` in them.
pub fn run(bytes: &[u8]) {
    let home = HOME.with(|home| home.path().to_owned());
    let files = StoreFiles {
        own: home.join("own.json"),
        journal: home.join("journal"),
        active: home.join("auth.json"),
        global: home.join("auth.json"),
        shared: home.join("shared"),
    };
    let mut parts = bytes.splitn(4, |byte| *byte == 0);
    let (active, own, mirror) = (parts.next(), parts.next(), parts.next());
    let token = parts.next().map(|claims| {
        let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        format!(
            "{}.{}.c2ln",
            part(br#"{"alg":"RS256","typ":"JWT"}"#),
            part(claims)
        )
    });
    let mirror_file = files.shared.join("nous_auth.json");
    for (file, part) in [
        (&files.active, active),
        (&files.own, own),
        (&mirror_file, mirror),
    ] {
        match (part, &token) {
            (Some(part), Some(token)) => {
                let text = String::from_utf8_lossy(part).replace("TOKEN", token);
                std::fs::write(file, text).expect("a file");
            }
            (Some(part), None) => std::fs::write(file, part).expect("a file"),
            (None, _) => drop(std::fs::remove_file(file)),
        }
    }
    let file = stored_ca_bundle(&files, NOUS.layout().expect("a layout"));
    assert!(file.is_none_or(|file| file.is_file()));
    let now = "2026-11-29T12:00:00Z".parse().expect("a time");
    let seen = inspection::inspect(&files, &**NOUS, now).expect("it keeps its login in a store");
    let Some(login) = seen.login else { return };
    // As the keeper plans by it.
    if let Assessment::Login {
        credential: Some(credential),
        ..
    } = login.assessment
        && let Some(expires) = credential.expires_at
    {
        let window = Window::new(credential.issued_at, expires, Duration::from_mins(5));
        window.is_open(now);
        for dice in [0.0, 0.5, 1.0] {
            window.draw(dice);
        }
    }
}
