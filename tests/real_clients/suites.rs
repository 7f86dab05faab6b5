//! schemathesis on the running daemon, with the description of the port's own promises. See
//! `tests/suites/README.md`.
#![cfg(unix)]

use std::path::Path;

use mock_cloud::Options;
use support::hermes::test_env;
use support::{World, program};

#[tokio::test(flavor = "multi_thread")]
async fn the_port_is_as_its_description_says() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let suites = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites");
    let output = program(suites.join("run"), world.home.path())
        .env("HERMES_TEST_ENV", test_env("schemathesis"))
        .arg(daemon.origin())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{output:?}");
    assert!(said.contains("23 selected / 23 total"), "{said}");

    let requests = world.cloud.requests();
    assert!(requests.len() > 50, "{}", requests.len());
    let ours = format!("Bearer {}", world.login.access_token);
    for seen in &requests {
        assert_eq!(seen.header("authorization"), [&ours], "{}", seen.target);
        assert!(seen.header("origin").is_empty(), "{}", seen.target);
    }
    let log = daemon.logged();
    assert!(!log.contains("internal_error"), "{log}");
    world.assert_no_secret_in("the daemon's log", &log);
    world.assert_no_secret_in("an answer", &said);
}
