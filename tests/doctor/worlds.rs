//! No false green: if the doctor finds all well, a request is served, in worlds with one fault each; and its report
//! agrees with itself and with the daemon.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use mock_cloud::{Canned, Fault, MockCloud, Options};
use serde_json::{Value, json};
use support::{Daemon, World, client, until};

use crate::diagnosis::doctor;

/// What is wrong in a world.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wrong {
    Nothing,
    NoLogin,
    LoginRevoked,
    StoreEmptied,
    PortalDown,
    TokenExpiredAndPortalDown,
    ProviderDown,
    AccountBlocked,
    RateLimited,
    OtherDown,
    OtherRedirects,
    OtherHasNoKey,
    OtherHasAWrongKey,
    OtherHasAWrongBaseUrl,
    OtherNeedsALogin,
    RouteToNoKey,
    AddressWantsKeys,
    FileIsBroken,
}

/// When the doctor has to know.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Told {
    Never,
    /// Before any request.
    AtOnce,
    /// What only a request shows.
    AfterRequests,
}

/// A world, whether `nous` and `other` serve requests in it, and when it is told that one of them does not.
type Row = (Wrong, bool, bool, Told);

const OF_LOGINS: &[Row] = &[
    (Wrong::Nothing, true, true, Told::Never),
    (Wrong::NoLogin, false, true, Told::AtOnce),
    (Wrong::LoginRevoked, false, true, Told::AtOnce),
    (Wrong::StoreEmptied, true, true, Told::AtOnce),
    (Wrong::AccountBlocked, false, true, Told::AfterRequests),
    (Wrong::RateLimited, false, true, Told::AfterRequests),
];
const OF_NETWORKS: &[Row] = &[
    (Wrong::PortalDown, true, true, Told::AtOnce),
    (Wrong::TokenExpiredAndPortalDown, false, true, Told::AtOnce),
    (Wrong::ProviderDown, false, true, Told::AtOnce),
    (Wrong::OtherDown, true, false, Told::AtOnce),
    (Wrong::OtherRedirects, true, false, Told::AtOnce),
    // A server that looks at the key first can't be told from one that has the path.
    (Wrong::OtherHasAWrongBaseUrl, true, false, Told::AtOnce),
];
const OF_KEYS: &[Row] = &[
    (Wrong::OtherHasNoKey, true, false, Told::AtOnce),
    (Wrong::OtherHasAWrongKey, true, false, Told::AfterRequests),
    (Wrong::OtherNeedsALogin, true, false, Told::AtOnce),
    (Wrong::RouteToNoKey, true, false, Told::AtOnce),
    (Wrong::AddressWantsKeys, false, false, Told::AtOnce),
    (Wrong::FileIsBroken, true, true, Told::AtOnce),
];

/// A daemon with the providers `nous` and `other`, and what is wrong.
struct Scene {
    wrong: Wrong,
    world: World,
    other: MockCloud,
    daemon: Daemon,
}

impl Scene {
    async fn new(wrong: Wrong) -> Self {
        let world = if wrong == Wrong::NoLogin {
            World::without_a_login().await
        } else if wrong == Wrong::LoginRevoked {
            World::with_a_refresh_due(Options::default()).await
        } else if wrong == Wrong::TokenExpiredAndPortalDown {
            World::new(Options::default().access_ttl(Duration::ZERO)).await
        } else {
            World::new(Options::default()).await
        };
        let other = MockCloud::start(Options::default()).await;
        if matches!(wrong, Wrong::PortalDown | Wrong::TokenExpiredAndPortalDown) {
            world.cloud.set_portal_open(false).await;
        }
        if wrong == Wrong::LoginRevoked {
            world.cloud.revoke(world.family());
        }
        let key = world.home.path().join("other.key");
        let text = if wrong == Wrong::OtherHasAWrongKey {
            "another-key-than-the-providers".to_owned()
        } else {
            other.login().access_token
        };
        if !matches!(wrong, Wrong::OtherHasNoKey | Wrong::RouteToNoKey) {
            std::fs::write(&key, text).unwrap();
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let config = config(wrong, &other, &key);
        if wrong == Wrong::AddressWantsKeys {
            world.write_config("");
            assert!(world.ctl(&["clients", "add", "app"]).status.success());
        }
        let daemon = world.daemon_with(&config, &[]);
        let scene = Self {
            wrong,
            world,
            other,
            daemon,
        };
        scene.breaks().await;
        scene
    }

    /// What goes wrong while the daemon runs.
    async fn breaks(&self) {
        let is = |wrong: Wrong| self.wrong == wrong;
        let (nous, other) = (&self.world.cloud, &self.other);
        if is(Wrong::LoginRevoked) {
            self.daemon.wait_for_log("login_ended");
        } else if is(Wrong::StoreEmptied) {
            std::fs::write(self.world.store_file(), "").unwrap();
            self.until_told("store_unreadable");
        } else if is(Wrong::TokenExpiredAndPortalDown) {
            self.until_told("unavailable");
        } else if is(Wrong::AddressWantsKeys) {
            let revoked = self.world.ctl(&["clients", "revoke", "app"]);
            assert!(revoked.status.success(), "{revoked:?}");
        } else if is(Wrong::ProviderDown) {
            nous.set_inference_open(false).await;
        } else if is(Wrong::OtherDown) {
            other.set_inference_open(false).await;
        } else if is(Wrong::OtherRedirects) {
            let elsewhere = Canned::redirect(301, "https://elsewhere.example/v1");
            other.break_inference(Fault::Answer(elsewhere));
        } else if is(Wrong::OtherHasAWrongBaseUrl) {
            other.break_inference(Fault::Answer(Canned::status(404)));
        } else if is(Wrong::AccountBlocked) {
            let text = "Your account is blocked";
            let blocked = Canned::api_error(403, "forbidden", "blocked", text);
            nous.break_inference(Fault::Answer(blocked));
        } else if is(Wrong::RateLimited) {
            nous.break_inference(Fault::rate_limited(30));
        } else if is(Wrong::FileIsBroken) {
            self.world.write_config("nonsense = 1\n");
        }
    }

    fn until_told(&self, code: &str) {
        until(code, || {
            self.daemon.home_screen()["findings"][0]["code"] == code
        });
    }

    /// Whether a request to this provider is answered as an app expects.
    async fn serves(&self, provider: &str) -> bool {
        let path = if self.wrong == Wrong::RouteToNoKey && provider == "other" {
            "v1/embeddings".to_owned()
        } else {
            format!("{provider}/v1/chat/completions")
        };
        let url = format!("{}/{path}", self.daemon.origin());
        let body =
            json!({"model": "m", "input": "x", "messages": [{"role": "user", "content": "x"}]});
        let answer = client().post(url).json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        answer.bytes().await.unwrap();
        status == 200
    }

    fn diagnosis(&self) -> Diagnosis {
        let (inference, portal) = (
            self.world.cloud.inference_base_url(),
            self.world.cloud.portal_url(),
        );
        let urls = [
            ("NOUS_INFERENCE_BASE_URL", inference.as_str()),
            ("HERMES_PORTAL_BASE_URL", portal.as_str()),
        ];
        let (text, exit) = doctor(self.world.home.path(), &urls, &["--json"]);
        self.world.assert_no_secret_in("the doctor", &text);
        Diagnosis {
            report: serde_json::from_str(&text).unwrap(),
            exit,
        }
    }
}

fn config(wrong: Wrong, other: &MockCloud, key: &Path) -> String {
    let base = other.inference_base_url();
    let top = if wrong == Wrong::RouteToNoKey {
        "[[route]]\npaths = [\"embeddings\"]\nprovider = \"other\"\n"
    } else if wrong == Wrong::AddressWantsKeys {
        "[[listen]]\nauth = \"keys\"\n"
    } else {
        ""
    };
    let kind = if wrong == Wrong::OtherNeedsALogin {
        let issuer = other.portal_url();
        format!("type = \"oauth2\"\nclient_id = \"my-client\"\nissuer_url = {issuer:?}\n")
    } else {
        let key = key.display();
        format!("type = \"static\"\napi_key_file = \"{key}\"\n")
    };
    format!("{top}[providers.nous]\n[providers.other]\n{kind}base_url = {base:?}\n")
}

struct Diagnosis {
    report: Value,
    exit: i32,
}

impl Diagnosis {
    fn findings(&self) -> &[Value] {
        self.report["findings"].as_array().unwrap()
    }

    /// Nothing that is wrong names the provider, and nothing fails that all requests need.
    fn is_green(&self, provider: &str) -> bool {
        const OF_ALL: [&str; 3] = ["program", "configuration", "listeners"];
        let is_about = |one: &Value| {
            let name = one["name"].as_str().unwrap();
            name.split(' ').any(|word| word == provider)
        };
        let concerns = |one: &&Value| match one["verdict"].as_str().unwrap() {
            "fail" => is_about(one) || OF_ALL.contains(&one["group"].as_str().unwrap()),
            "warn" => is_about(one),
            _ => false,
        };
        !self.findings().iter().any(|one| concerns(&one))
    }

    /// The verdict is the worst one, the exit code matches it, and it contains all of the daemon's
    /// findings with their codes.
    fn assert_consistent(&self, status: &Value, what: &str) {
        let any = |verdict: &str| self.findings().iter().any(|one| one["verdict"] == verdict);
        let worst = match (any("fail"), any("warn")) {
            (true, _) => "fail",
            (false, true) => "warn",
            (false, false) => "ok",
        };
        assert_eq!(self.report["verdict"], worst, "{what}: {:#}", self.report);
        assert_eq!(self.exit != 0, worst == "fail", "{what}: {}", self.exit);
        for found in status["findings"].as_array().unwrap() {
            let same = |one: &Value| one["code"] == found["code"] && one["verdict"] != "ok";
            let is_told = self.findings().iter().any(same);
            assert!(is_told, "{what}: {found:#} is not in {:#}", self.report);
        }
    }
}

impl Scene {
    /// A diagnosis, and a status that was the same before it and after it.
    fn seen(&self) -> (Diagnosis, Value) {
        let codes = |status: &Value| -> Vec<Value> {
            let found = status["findings"].as_array().unwrap().iter();
            found.map(|one| one["code"].clone()).collect()
        };
        let mut before = self.daemon.home_screen();
        for _ in 0..40 {
            let diagnosis = self.diagnosis();
            let after = self.daemon.home_screen();
            if codes(&before) == codes(&after) {
                return (diagnosis, after);
            }
            before = after;
        }
        panic!("its state never rests: {before:#}");
    }
}

async fn holds((wrong, nous, other, told): Row) {
    let scene = Scene::new(wrong).await;
    let providers = [("nous", nous), ("other", other)];
    for is_first in [true, false] {
        let (diagnosis, status) = scene.seen();
        let what = format!(
            "{wrong:?}, {}",
            if is_first {
                "at once"
            } else {
                "after requests"
            }
        );
        diagnosis.assert_consistent(&status, &what);
        let is_due = told == Told::AtOnce || (!is_first && told == Told::AfterRequests);
        // Daemons of other tests run on the same machine.
        let mut findings = diagnosis.findings().iter();
        let is_wrong = |one: &Value| one["verdict"] == "fail" || one["verdict"] == "warn";
        let is_well = findings.all(|one| !is_wrong(one) || one["group"] == "neighbours");
        assert_eq!(is_well, !is_due, "{what}: {:#}", diagnosis.report);
        for (name, serves) in providers {
            let is_green = diagnosis.is_green(name);
            assert!(
                serves || !is_due || !is_green,
                "{what}: {name} is said to be well: {:#}",
                diagnosis.report
            );
            for _ in 0..3 {
                assert_eq!(scene.serves(name).await, serves, "{what}: {name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_be_well_serves_whatever_is_wrong_with_logins() {
    for row in OF_LOGINS {
        holds(*row).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_be_well_serves_whatever_is_wrong_with_networks() {
    for row in OF_NETWORKS {
        holds(*row).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_be_well_serves_whatever_is_wrong_with_keys() {
    for row in OF_KEYS {
        holds(*row).await;
    }
}
