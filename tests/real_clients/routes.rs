//! Apps with one base URL for chats and embeddings, and a provider for each behind it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper's failure is the test's"
)]

use std::os::unix::fs::PermissionsExt as _;

use mock_cloud::{MockCloud, Options};
use support::hermes::test_env;
use support::{Daemon, World, program, root};

use super::sdks::{CHECKS, assert_checks_pass, run_sdk};

/// The models that replace the apps' own, since no provider has Karakeep's default names.
const ROUTES: &str = "default_model = \"Hermes-4-405B\"\n\
                      [aliases]\n\"gpt-5-mini\" = \"Hermes-4-405B\"\n\"text-embedding-3-small\" = \"embed-1\"\n\
                      [[route]]\npaths = [\"embeddings\"]\nprovider = \"other\"\n";

async fn start() -> (World, MockCloud, Daemon) {
    let world = World::new(Options::default().body_limit(8 << 20)).await;
    let other = MockCloud::start(Options::default()).await;
    let key = world.home.path().join("other.key");
    std::fs::write(&key, other.login().access_token).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let provider = format!(
        "[providers.other]\ntype = \"static\"\nbase_url = \"{}\"\napi_key_file = \"{}\"\n",
        other.inference_base_url(),
        key.display()
    );
    let daemon = world.daemon_with(&format!("{ROUTES}{provider}"), &[]);
    (world, other, daemon)
}

/// The paths that a provider was asked for, and the models.
fn asked(cloud: &MockCloud) -> (Vec<String>, Vec<String>) {
    let requests = cloud
        .requests()
        .into_iter()
        .filter(|seen| seen.method == "POST");
    requests
        .map(|seen| {
            let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
            (
                seen.target,
                body["model"].as_str().unwrap_or("none").to_owned(),
            )
        })
        .unzip()
}

fn assert_each_has_its_own(world: &World, other: &MockCloud, model: &str) {
    let (paths, models) = asked(other);
    assert!(
        !paths.is_empty() && paths.iter().all(|path| path == "/v1/embeddings"),
        "{paths:?}"
    );
    assert!(models.iter().all(|asked| asked == model), "{models:?}");
    let (paths, models) = asked(&world.cloud);
    assert!(
        !paths.is_empty() && paths.iter().all(|path| path != "/v1/embeddings"),
        "{paths:?}"
    );
    assert!(
        models.iter().all(|asked| asked == "Hermes-4-405B"),
        "{models:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdks_find_chats_and_embeddings_under_one_base_url() {
    for language in ["node", "python"] {
        let (world, other, daemon) = start().await;
        assert_checks_pass(&run_sdk(language, &daemon, &[]), &CHECKS);
        assert_each_has_its_own(&world, &other, "Hermes-4-405B");
    }
}

/// The same calls as Karakeep's, with its default models and an image of 2 MB before the model. Where its packages are
/// installed (`tests/apps/run karakeep`).
#[tokio::test(flavor = "multi_thread")]
async fn karakeeps_calls_find_chats_and_embeddings_under_one_base_url() {
    let node = test_env("node");
    let packages = node.join("apps/karakeep");
    if !packages.join("node_modules").is_dir() {
        return;
    }
    let (world, other, daemon) = start().await;
    let output = program(node.join("node/bin/node"), &daemon.home)
        .arg(root().join("tests/apps/karakeep/calls.mjs"))
        .args([&daemon.base, "none"])
        .arg(&packages)
        .output()
        .unwrap();
    let checks = [
        "tags_structured",
        "tags_json",
        "summary_plain",
        "tags_of_an_image",
        "embeddings",
        "a_job_that_times_out",
    ];
    assert_checks_pass(&output, &checks);
    assert_each_has_its_own(&world, &other, "embed-1");
}
