//! Faults and successes of every provider: no log, status, page, error or report holds a secret.

use std::fmt::Write as _;

use mock_cloud::{Canned, Endpoint, Fault, PortalFault};
use serde_json::Value;
use support::several::{FIXED_KEY, Several};
use support::{Daemon, built, chat, client, ctl, program};

const PATHS: [&str; 4] = [
    "/nous/v1/chat/completions",
    "/xai/v1/responses",
    "/acme/v1/chat/completions",
    "/fixed/v1/chat/completions",
];
/// What hermesctl is asked to tell.
const TOLD: [&str; 13] = [
    "proxy status",
    "proxy status --json",
    "proxy providers",
    "proxy providers --json",
    "auth status",
    "auth status --json",
    "clients list",
    "clients list --json",
    "config show",
    "doctor",
    "doctor --json",
    "version --json",
    "bugreport --yes --output report.txt",
];

/// A daemon with a login at each, and all that it and hermesctl have put out.
struct Scene {
    world: Several,
    daemon: Daemon,
    client_key: String,
    said: String,
}

impl Scene {
    async fn new() -> Self {
        let world = Several::new().await;
        world.configure("[[listen]]\nauth = \"keys\"\n");
        let added = ctl(world.path(), &["clients", "add", "app"]);
        let client_key = String::from_utf8(added.stdout).unwrap().trim().to_owned();
        assert!(client_key.len() > 20, "{client_key}");
        let daemon = world.daemon(&["--log-level", "trace"]);
        tokio::task::block_in_place(|| world.log_in_to_acme());
        Self {
            world,
            daemon,
            client_key,
            said: String::new(),
        }
    }

    /// A request with this key; the answer's status.
    async fn ask(&mut self, path: &str, key: &str) -> u16 {
        let post = client().post(format!("{}{path}", self.daemon.origin()));
        let answer = post.bearer_auth(key).json(&chat("hello")).send().await;
        let answer = answer.unwrap();
        let status = answer.status().as_u16();
        write!(self.said, "{path}: {status} {:?}", answer.headers()).unwrap();
        let body = answer.text().await;
        self.said += &body.unwrap_or_else(|error| error.to_string());
        status
    }

    async fn ask_all(&mut self) -> Vec<u16> {
        let (key, mut statuses) = (self.client_key.clone(), Vec::new());
        for path in PATHS {
            statuses.push(self.ask(path, &key).await);
        }
        statuses
    }

    /// The refresh token that the store holds of each.
    fn stored(&self) -> [String; 3] {
        [
            (".hermes/auth.json", "/providers/nous/refresh_token"),
            (
                ".hermes/auth.json",
                "/providers/xai-oauth/tokens/refresh_token",
            ),
            (
                ".local/state/hermes-proxyd/auth.json",
                "/providers/oauth2-acme/refresh_token",
            ),
        ]
        .map(|(file, place)| {
            let stored = std::fs::read(self.world.path().join(file)).unwrap();
            let stored: Value = serde_json::from_slice(&stored).unwrap();
            stored.pointer(place).unwrap().as_str().unwrap().to_owned()
        })
    }

    /// Each provider's ways to go wrong.
    async fn go_wrong(&mut self) {
        for cloud in self.world.clouds() {
            cloud.revoke_access_tokens();
        }
        self.ask_all().await;
        for status in [400, 403, 429, 500] {
            for cloud in self.world.clouds() {
                cloud.fail_next(1, &Fault::Answer(Canned::status(status)));
            }
            self.ask_all().await;
        }
        // A token endpoint that repeats what it was shown.
        for status in [500, 400] {
            let world = &self.world;
            let shown = [&world.nous, &world.xai, &world.acme].into_iter();
            for (cloud, shown) in shown.zip(self.stored()) {
                let told = format!("not with {shown}, nor with '{shown}'");
                let echo = Canned::oauth_error(status, "server_error", &told);
                cloud.fail_portal(Endpoint::Refresh, 1, &PortalFault::Answer(echo));
            }
            for provider in ["nous", "xai", "acme"] {
                let output = ctl(self.world.path(), &["auth", "refresh", provider]);
                assert!(!output.status.success(), "{output:?}");
                let told = String::from_utf8_lossy(&output.stdout).into_owned();
                let repeats = told.contains("[redacted]");
                assert!(repeats || status == 400, "{provider}: {told}");
                self.said += &told;
            }
        }
        for cloud in self.world.clouds() {
            cloud.set_inference_open(false).await;
            cloud.set_portal_open(false).await;
        }
        self.ask_all().await;
    }

    /// Whatever can be asked for.
    async fn tell_all(&mut self) {
        for path in ["/", "/health", "/livez", "/readyz", "/v1/nothing"] {
            let get = client().get(format!("{}{path}", self.daemon.origin()));
            let answer = get.send().await.unwrap();
            writeln!(self.said, "{path}: {:?}", answer.headers()).unwrap();
            self.said += &answer.text().await.unwrap();
        }
        for line in TOLD {
            let mut command = program(built("hermesctl"), self.world.path());
            command.current_dir(self.world.path()).args(line.split(' '));
            let output = command.output().unwrap();
            let texts = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
            assert!(texts.concat().len() > 20, "{line}: {output:?}");
            writeln!(self.said, "{line}:\n{}", texts.concat()).unwrap();
        }
        let report = std::fs::read_to_string(self.world.path().join("report.txt")).unwrap();
        assert!(report.len() > 1000, "{report}");
        self.said += &report;
        let log = self.daemon.logged();
        assert!(log.lines().count() > 40, "{log}");
        self.said += &log;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_put_out_holds_a_secret_of_any_provider_or_app() {
    let mut scene = Scene::new().await;
    // The fixed key is one that its cloud does not know.
    assert_eq!(scene.ask_all().await, [200, 200, 200, 401]);
    scene.go_wrong().await;
    let wrong = "hpx-a-wrong-key-of-an-app-000000";
    assert_eq!(scene.ask(PATHS[0], wrong).await, 401);
    scene.tell_all().await;
    let mut secrets = vec![FIXED_KEY.to_owned(), scene.client_key, wrong.to_owned()];
    for cloud in scene.world.clouds() {
        secrets.extend(cloud.issued_secrets());
    }
    assert!(secrets.len() > 12, "{}", secrets.len());
    for secret in secrets {
        assert!(!secret.is_empty());
        let told = scene.said.lines().find(|line| line.contains(&secret));
        assert!(told.is_none(), "{secret} is told: {told:?}");
    }
}
