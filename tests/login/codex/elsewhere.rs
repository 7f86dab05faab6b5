//! Attempts to send OpenAI's token to another host, by a store or by an answer. None succeeds.

use std::collections::BTreeSet;

use mock_cloud::Fault;

use super::*;
use crate::several::elsewhere::{POISONS, Stranger};

/// Everything goes through a proxy of the environment, which hears of each host that is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_url_in_the_store_leads_to_no_other_host() {
    const OURS: [&str; 2] = ["chatgpt.com", "auth.openai.com"];
    for poison in POISONS {
        let (world, login) = World::with_a_login().await;
        let mut store = world.store();
        let block = &mut store["providers"]["openai-codex"];
        for place in [
            "base_url",
            "inference_base_url",
            "issuer_url",
            "token_endpoint",
        ] {
            block[place] = json!(poison);
            block["tokens"][place] = json!(poison);
        }
        block["discovery"] = json!({"token_endpoint": poison});
        let row = json!({
            "id": "ef34ab", "source": "manual:device_code", "auth_type": "oauth", "priority": 1, "label": "two",
            "base_url": poison, "access_token": login.access_token, "refresh_token": "another",
        });
        store["credential_pool"]["openai-codex"][0]["base_url"] = json!(poison);
        store["credential_pool"]["openai-codex"]
            .as_array_mut()
            .unwrap()
            .push(row);
        std::fs::write(world.store_file(), store.to_string()).unwrap();
        let config = "default_provider = \"openai-codex\"\n[providers.openai-codex]\n";
        std::fs::write(
            world.home.path().join(".config/hermes-proxyd/config.toml"),
            config,
        )
        .unwrap();
        let proxy = Stranger::listen().await;
        let mut command = program(env!("CARGO_BIN_EXE_hermes-proxyd"), world.home.path());
        command.args(["--port", "0", "--log-format", "json"]);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command.env(name, format!("http://{}", proxy.address));
        }
        let daemon = Daemon::start(command, world.home.path());
        let body =
            json!({"model": "m", "input": "x", "messages": [{"role": "user", "content": "x"}]});
        for path in ["/responses", "/chat/completions"] {
            let status = world
                .post(&daemon, path)
                .json(&body)
                .send()
                .await
                .unwrap()
                .status();
            assert!(!status.is_success(), "{poison}: {path}: {status}");
        }
        let refreshed = ctl(world.home.path(), &["auth", "refresh", "openai-codex"]);
        assert!(!refreshed.status.success(), "{poison}: {refreshed:?}");
        let heard = proxy.heard();
        let hosts: BTreeSet<_> = heard
            .iter()
            .map(|head| head.split("\r\n").next().unwrap_or_default().to_owned())
            .collect();
        let ours = OURS.map(|host| format!("CONNECT {host}:443 HTTP/1.1"));
        assert_eq!(hosts, BTreeSet::from(ours), "{poison}");
        for secret in [&login.access_token, &login.refresh_token] {
            let has = |head: &String| head.contains(secret.as_str());
            assert!(!heard.iter().any(has), "{poison}");
        }
    }
}

/// Whole answers, streams and translated ones, and those of the token endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_names_another_host_leads_nobody_there() {
    let (world, _) = World::with_a_login().await;
    let stranger = Stranger::listen().await;
    let origin = format!("http://{}", stranger.address);
    let daemon = world.daemon();
    let body = |stream: bool| {
        json!({
            "model": "m", "input": "x", "stream": stream,
            "messages": [{"role": "user", "content": "x"}],
        })
    };
    for status in [201, 300, 301, 302, 303, 307, 308, 401, 421] {
        let moved = Canned::status(status)
            .header("location", format!("{origin}/responses"))
            .header("content-location", format!("{origin}/responses"))
            .header("alt-svc", format!("h2=\"{}\"; ma=86400", stranger.address))
            .header("refresh", format!("0; url={origin}/"));
        world.cloud.break_inference(Fault::Answer(moved));
        for (path, stream) in [
            ("/responses", true),
            ("/responses", false),
            ("/chat/completions", true),
            ("/chat/completions", false),
        ] {
            let answer = world.post(&daemon, path).json(&body(stream));
            let answer = answer.send().await.unwrap();
            let location = format!("{:?}", answer.headers().get("location"));
            let leads = answer.status().is_redirection() && location.contains(&origin);
            assert!(!leads, "{path}: {} {location}", answer.status());
        }
        let list = client().get(daemon.url("/models")).bearer_auth(&world.key);
        list.send().await.unwrap();
        world.cloud.heal();
    }
    for status in [301, 302, 303, 307, 308] {
        let moved = Canned::redirect(status, &format!("{origin}/oauth/token"));
        world
            .cloud
            .fail_portal(Endpoint::Refresh, 1, &PortalFault::Answer(moved));
        ctl(world.home.path(), &["auth", "refresh", "openai-codex"]);
    }
    assert_eq!(stranger.heard(), [""; 0]);
}
