//! Keys and servers without one: an API key that systemd hands to the service, and a server that
//! needs no key.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use mock_cloud::Options;
use support::wire::{OK, Wire, read_request};
use support::{Daemon, World, chat, client, is_inside};
use tokio::io::AsyncWriteExt;

/// A server without a key, which remembers what it was asked.
async fn keyless(address: Option<&str>) -> (Wire, Arc<Mutex<String>>) {
    let heard = Arc::new(Mutex::new(String::new()));
    let log = heard.clone();
    let answer = move |mut stream: tokio::net::TcpStream, _| {
        let log = log.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                log.lock().unwrap().push_str(&request);
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    };
    let wire = match address {
        Some(address) => Wire::at(address, answer).await,
        None => Wire::start(answer).await,
    };
    (wire, heard)
}

fn none_at(base_url: &str) -> String {
    format!(
        "default_provider = \"nas\"\n[providers.nas]\ntype = \"static\"\nauth = \"none\"\nbase_url = {base_url:?}\n"
    )
}

async fn ask(daemon: &Daemon) -> (u16, String) {
    let request = client()
        .post(daemon.url("/chat/completions"))
        .json(&chat("x"));
    let request = request
        .bearer_auth("the-apps-own-key")
        .header("x-api-key", "the-apps-own-key");
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn to_a_server_without_a_key_no_authorization_goes_not_even_the_apps_own() {
    let world = World::new(Options::default()).await;
    let (server, heard) = keyless(None).await;
    let daemon = world.daemon_with(&none_at(&format!("http://{}/v1", server.address)), &[]);
    let (status, text) = ask(&daemon).await;
    assert_eq!(status, 200, "{text}");
    let heard = heard.lock().unwrap().to_lowercase();
    assert!(heard.starts_with("post /v1/chat/completions"), "{heard}");
    for word in ["authorization", "api-key", "the-apps-own-key"] {
        assert!(!heard.contains(word), "{word}: {heard}");
    }
    let provider = &daemon.status()["providers"][0];
    assert_eq!(provider["state"], "ready", "{provider}");
    assert_eq!(provider["credential"], "none", "{provider}");
}

/// A name without a dot means a machine of this network, wherever the resolver's search list may lead.
#[tokio::test]
async fn a_name_without_a_dot_has_to_lead_to_a_private_address() {
    if !is_inside(
        module_path!(),
        "a_name_without_a_dot_has_to_lead_to_a_private_address",
    ) {
        return;
    }
    let world = World::new(Options::default()).await;
    let (server, heard) = keyless(Some("127.0.0.2:8080")).await;
    for (hosts, expected) in [
        ("192.0.2.7 nas", 502),
        ("2001:db8::7 nas", 502),
        // Of several, the private one.
        ("192.0.2.7 nas\n127.0.0.2 nas", 200),
        ("127.0.0.2 nas", 200),
    ] {
        std::fs::write("/etc/hosts", format!("127.0.0.1 localhost\n{hosts}\n")).unwrap();
        let daemon = world.daemon_with(&none_at("http://nas:8080/v1"), &[]);
        let (status, text) = ask(&daemon).await;
        assert_eq!(status, expected, "{hosts}: {text}");
        if expected == 502 {
            assert!(text.contains("private address"), "{text}");
            assert!(heard.lock().unwrap().is_empty());
        }
    }
    drop(server);
}

/// A daemon with what systemd gives a service that has `LoadCredential=`.
fn with_credentials(world: &World, folder: &Path) -> std::process::Command {
    let mut command = world.command(&[]);
    command.env("CREDENTIALS_DIRECTORY", folder);
    command
}

const CREDENTIAL: &str = "default_provider = \"work\"\n[providers.work]\ntype = \"static\"\n\
                          base_url = \"{base}\"\napi_key_credential = \"work.key\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_systemd_hands_over_is_used_and_a_missing_one_is_told_with_what_adds_it() {
    let world = World::new(Options::default()).await;
    world.write_config(CREDENTIAL);
    let folder = world.home.path().join("credentials");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("work.key");
    std::fs::write(&file, &world.login.access_token).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o400)).unwrap();
    let daemon = Daemon::start(with_credentials(&world, &folder), world.home.path());
    assert_eq!(ask(&daemon).await.0, 200, "{}", daemon.logged());
    assert_eq!(daemon.status()["providers"][0]["credential"], "api_key");
    drop(daemon);
    // Without the folder, and with a folder that lacks it.
    let daemon = world.daemon_with(CREDENTIAL, &[]);
    let (status, text) = ask(&daemon).await;
    assert_eq!(status, 401);
    assert!(text.contains("LoadCredential=work.key:"), "{text}");
    drop(daemon);
    std::fs::remove_file(&file).unwrap();
    let daemon = Daemon::start(with_credentials(&world, &folder), world.home.path());
    assert_eq!(ask(&daemon).await.0, 401);
}

/// Another user's key would send the user's prompts to that account.
#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_everybody_may_write_stops_the_start() {
    let world = World::new(Options::default()).await;
    world.write_config(CREDENTIAL);
    let folder = world.home.path().join("credentials");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("work.key");
    std::fs::write(&file, "sk-key").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o646)).unwrap();
    let mut command = with_credentials(&world, &folder);
    let output = command.args(["--check"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("chmod 600"),
        "{said}"
    );
    assert!(!said.contains("sk-key"), "{said}");
}
