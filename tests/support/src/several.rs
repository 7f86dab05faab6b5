//! Several providers in one daemon, each with a cloud of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use mock_cloud::{Login, MockCloud, Options};
use serde_json::{Value, json};

use crate::{Daemon, built, program, scratch};

/// The client that xAI knows.
const XAI_CLIENT: &str = "b1a00492-073a-47ea-816f-4c329264a828";
/// The key of the provider `fixed`, which its cloud does not take.
pub const FIXED_KEY: &str = "a-fixed-key-that-nothing-may-tell";

/// A cloud for each provider, and one home with the logins of all.
pub struct Several {
    pub home: tempfile::TempDir,
    pub nous: MockCloud,
    pub xai: MockCloud,
    /// A provider by its settings alone, without a login yet.
    pub acme: MockCloud,
    /// A provider with a fixed key.
    pub fixed: MockCloud,
    /// Of nous and of xai.
    pub logins: [Login; 2],
}

impl Several {
    pub async fn new() -> Self {
        let nous = MockCloud::start(Options::default()).await;
        let options = Options::default().client_id(XAI_CLIENT);
        let xai = MockCloud::start(options.scope("api:access inference:invoke")).await;
        let options = Options::default().client_id("my-client");
        let acme = MockCloud::start(options.scope("offline_access inference:invoke")).await;
        let fixed = MockCloud::start(Options::default()).await;
        let world = Self {
            home: scratch(),
            logins: [nous.login(), xai.login()],
            nous,
            xai,
            acme,
            fixed,
        };
        let home = world.home.path().join(".hermes");
        world
            .nous
            .write_hermes_home(&home, &world.logins[0])
            .unwrap();
        world.edit_store(|store| {
            let login = &world.logins[1];
            store["providers"]["xai-oauth"] = json!({
                "tokens": {
                    "access_token": login.access_token, "refresh_token": login.refresh_token,
                    "id_token": "", "expires_in": 3600, "token_type": "Bearer",
                },
                "redirect_uri": "", "last_refresh": login.expires_at.to_rfc3339(),
                "auth_mode": "oauth_device_code",
            });
        });
        let key = world.home.path().join("key");
        std::fs::write(&key, FIXED_KEY).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(key, mode).unwrap();
        world
    }

    pub fn path(&self) -> &Path {
        self.home.path()
    }

    pub fn clouds(&self) -> [&MockCloud; 4] {
        [&self.nous, &self.xai, &self.acme, &self.fixed]
    }

    pub fn edit_store(&self, edit: impl FnOnce(&mut Value)) {
        let file = self.path().join(".hermes/auth.json");
        let mut store: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        edit(&mut store);
        std::fs::write(file, store.to_string()).unwrap();
    }

    /// The providers with the clouds as the operator's own addresses, and `more`.
    pub fn configure(&self, more: &str) {
        let key = self.path().join("key");
        self.write_config(&format!(
            "{more}\n[providers.nous]\nportal_url = {:?}\nbase_url = {:?}\n\
             [providers.xai]\nissuer_url = {:?}\nbase_url = {:?}\n\
             [providers.acme]\ntype = \"oauth2\"\nclient_id = \"my-client\"\nissuer_url = {:?}\n\
             base_url = {:?}\n\
             [providers.fixed]\ntype = \"static\"\nbase_url = {:?}\napi_key_file = {:?}\n",
            self.nous.portal_url(),
            self.nous.inference_base_url(),
            self.xai.portal_url(),
            self.xai.inference_base_url(),
            self.acme.portal_url(),
            self.acme.inference_base_url(),
            self.fixed.inference_base_url(),
            key.to_str().unwrap(),
        ));
    }

    pub fn write_config(&self, text: &str) {
        let folder = self.path().join(".config/hermes-proxyd");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), text).unwrap();
    }

    pub fn append_config(&self, text: &str) {
        let file = self.path().join(".config/hermes-proxyd/config.toml");
        let before = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, before + text).unwrap();
    }

    /// xAI's logins are this many rows of the pool, in place of the block.
    pub fn pool_of_xai(&self, rows: usize) {
        let rows: Vec<_> = (0..rows)
            .map(|number| {
                let login = self.xai.login();
                json!({
                    "id": format!("row{number:03}"), "label": format!("me{number}@example.org"),
                    "auth_type": "oauth", "priority": number, "source": "manual:device_code",
                    "access_token": login.access_token, "refresh_token": login.refresh_token,
                    "base_url": "https://api.x.ai/v1", "last_refresh": login.expires_at.to_rfc3339(),
                    "last_status": null, "last_status_at": null, "last_error_code": null,
                    "last_error_reason": null, "last_error_message": null,
                    "last_error_reset_at": null,
                })
            })
            .collect();
        self.edit_store(|store| {
            let providers = store["providers"].as_object_mut().unwrap();
            providers.remove("xai-oauth");
            store["credential_pool"]["xai-oauth"] = json!(rows);
        });
    }

    pub fn command(&self, flags: &[&str]) -> Command {
        let mut command = program(built("hermes-proxyd"), self.path());
        command
            .args(["--port", "0", "--log-format", "json"])
            .args(flags);
        command
    }

    /// `hermesctl auth login` to its end, with a user who says yes.
    pub fn log_in_to_acme(&self) {
        let mut command = program(built("hermesctl"), self.path());
        command.args(["auth", "login", "acme", "--json"]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let begun: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        self.acme
            .approve(begun["code"]["user_code"].as_str().unwrap());
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        assert!(child.wait().unwrap().success(), "{begun}: {rest:?}");
    }

    pub fn daemon(&self, flags: &[&str]) -> Daemon {
        Daemon::start(self.command(flags), self.path())
    }
}
