//! The dialect of OpenAI's Codex backend and of the issuer before it. It refuses what the real one refuses.

use hyper::header::HOST;
use hyper::http::request::Parts;
use hyper::{Method, Response};
use serde_json::{Value, json};

use crate::body::AnswerBody;
use crate::faults::Canned;
use crate::lock;
use crate::portal::{Form, Portal, render};
use crate::shapes;
use crate::tokens::{Device, span};

/// The client that the issuer knows.
pub const CODEX_CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";

/// The account behind a login of a cloud that speaks this dialect.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) id: String,
    /// Where its data has to stay.
    pub(crate) residency: Option<String>,
}

const REFUSED: [&str; 12] = [
    "max_output_tokens",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "user",
    "metadata",
    "truncation",
    "previous_response_id",
    "stream_options",
    "safety_identifier",
    "prompt_cache_retention",
];

/// An error as the issuer's token endpoint forms it.
pub(crate) fn error_object(status: u16, code: &str, message: &str) -> Canned {
    let kind = "invalid_request_error";
    Canned::json(
        status,
        &json!({"error": {"message": message, "type": kind, "param": null, "code": code}}),
    )
}

impl Portal {
    pub(crate) fn codex_user_code(&self, body: &[u8]) -> Canned {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        if asked["client_id"] != self.options.client_id.as_str() {
            return error_object(400, "invalid_client", "unknown client_id");
        }
        let mut tokens = lock(&self.tokens);
        let id = tokens.secret("da");
        let user_code = format!(
            "{:04}-{:05}",
            fastrand::u32(..10_000),
            fastrand::u32(..100_000)
        );
        let device = Device {
            user_code: user_code.clone(),
            expires_at: self.clock.now() + span(self.options.device_lifetime),
            interval: self.options.interval,
            last_poll: None,
            verdict: None,
        };
        tokens.devices.insert(id.clone(), device);
        Canned::json(
            200,
            &json!({
                "device_auth_id": id, "user_code": user_code,
                "interval": self.options.interval.to_string(),
            }),
        )
    }

    pub(crate) fn codex_poll(&self, body: &[u8]) -> Canned {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let id = asked["device_auth_id"].as_str().unwrap_or_default();
        let now = self.clock.now();
        let mut tokens = lock(&self.tokens);
        let known = tokens.devices.get_mut(id);
        let Some(device) = known.filter(|device| asked["user_code"] == device.user_code.as_str())
        else {
            return error_object(404, "not_found", "unknown device");
        };
        device.last_poll = Some(now);
        if device.verdict != Some(true) || device.expires_at <= now {
            return error_object(403, "authorization_pending", "not yet");
        }
        tokens.devices.remove(id);
        let (code, verifier) = (tokens.secret("ac"), tokens.secret("cv"));
        tokens.device_codes.insert(code.clone(), verifier.clone());
        Canned::json(
            200,
            &json!({
                "authorization_code": code, "code_verifier": verifier, "code_challenge": "mock",
            }),
        )
    }

    /// Why the login page of this dialect refuses what it is asked.
    pub(crate) fn codex_page_lacks(&self, asked: &Form) -> Option<&'static str> {
        self.options.policy.account.as_ref()?;
        let is = |key: &str, value: &str| asked.get(key).is_some_and(|found| found == value);
        if !is("redirect_uri", "http://localhost:1455/auth/callback") {
            return Some("the redirect_uri is not registered");
        }
        let scope = "openid profile email offline_access";
        if !is("scope", scope) || !is("id_token_add_organizations", "true") {
            return Some("unknown scope");
        }
        None
    }

    /// Whether the code is one of this device login.
    pub(crate) fn is_of_device(&self, form: &Form) -> bool {
        let code = form.get("code");
        code.is_some_and(|code| lock(&self.tokens).device_codes.contains_key(code))
    }

    pub(crate) fn codex_exchange(&self, head: &Parts, form: &Form) -> Canned {
        let is = |key: &str, value: &str| form.get(key).is_some_and(|found| found == value);
        if !is("client_id", &self.options.client_id) {
            return error_object(400, "invalid_client", "unknown client_id");
        }
        let host = head.headers.get(HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !is(
            "redirect_uri",
            &format!("http://{host}/deviceauth/callback"),
        ) {
            return error_object(400, "invalid_request", "the redirect_uri is another one");
        }
        let mut tokens = lock(&self.tokens);
        let code = form.get("code").cloned().unwrap_or_default();
        let verifier = tokens.device_codes.remove(&code);
        if verifier.is_none_or(|verifier| !is("code_verifier", &verifier)) {
            return error_object(400, "invalid_grant", "the code is not valid");
        }
        let policy = lock(&self.policy).clone();
        let login = tokens.login(&policy, self.clock.now());
        Canned::json(200, &self.token_answer(&login))
    }
}

/// An answer of the backend; `None` where the path is not one of its.
pub(crate) fn serve(
    account: Option<&Account>,
    head: &Parts,
    request: &[u8],
) -> Option<Response<AnswerBody>> {
    let path = head.uri.path().strip_prefix("/backend-api/")?;
    let Some(account) = account else {
        return Some(detail(404, "Not Found"));
    };
    let sent = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    if sent("chatgpt-account-id") != Some(&account.id) {
        return Some(detail(
            403,
            "The account of the request is not the token's.",
        ));
    }
    if sent("x-openai-internal-codex-residency") != account.residency.as_deref() {
        return Some(detail(401, "The workspace is in another region."));
    }
    if sent("originator").is_none() || sent("user-agent").is_none() {
        return Some(detail(403, "Who asks?"));
    }
    let request: Value = serde_json::from_slice(request).unwrap_or_default();
    Some(match (&head.method, path) {
        (&Method::POST, "codex/responses") => match refused(&request) {
            Some(why) => detail(400, &why),
            None => limited(streamed(&request)),
        },
        (&Method::POST, "codex/responses/compact") => match refused_of_all(&request) {
            Some(why) => detail(400, &why),
            None if request.get("stream").or(request.get("store")).is_some() => {
                detail(400, "Unsupported parameter: stream or store")
            }
            None => render(Canned::json(
                200,
                &json!({"object": "response.compaction", "output": [
                    {"type": "compaction", "encrypted_content": "mock"},
                ]}),
            )),
        },
        (&Method::GET, "codex/models") => {
            let query = head.uri.query().unwrap_or_default();
            if query
                .split('&')
                .any(|pair| pair.starts_with("client_version="))
            {
                render(Canned::json(200, &models()))
            } else {
                detail(422, "client_version: Field required")
            }
        }
        (&Method::GET, "wham/usage") => render(Canned::json(
            200,
            &json!({"plan_type": "plus", "rate_limit": {
                "allowed": true, "limit_reached": false,
                "primary_window": {"used_percent": 34, "limit_window_seconds": 18_000,
                                   "reset_after_seconds": 900, "reset_at": 4_000_000_000_u64},
                "secondary_window": {"used_percent": 56, "limit_window_seconds": 604_800,
                                     "reset_after_seconds": 9000, "reset_at": 4_000_100_000_u64},
            }}),
        )),
        _ => detail(404, "Not Found"),
    })
}

fn streamed(request: &Value) -> Response<AnswerBody> {
    let mut completed = shapes::response(request);
    // The items are in the events before it alone.
    completed["output"] = json!([]);
    let chunks = AnswerBody::chunks(shapes::response_events(request, &completed));
    crate::inference::events(chunks.paced(std::time::Duration::ZERO, true))
}

/// The fields that tell how much of the quota is used.
fn limited(mut answer: Response<AnswerBody>) -> Response<AnswerBody> {
    for (name, value) in [
        ("x-codex-primary-used-percent", "12"),
        ("x-codex-primary-window-minutes", "300"),
        ("x-codex-primary-reset-at", "4000000000"),
        ("x-codex-secondary-used-percent", "7"),
        ("x-codex-secondary-window-minutes", "10080"),
        ("x-codex-secondary-reset-at", "4000100000"),
    ] {
        let value = hyper::header::HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// Why a body is refused.
fn refused(request: &Value) -> Option<String> {
    if request["stream"] != true {
        return Some("Stream must be set to true".to_owned());
    }
    if request["store"] != false {
        return Some("Store must be set to false".to_owned());
    }
    refused_of_all(request)
}

fn refused_of_all(request: &Value) -> Option<String> {
    let Some(fields) = request.as_object() else {
        return Some("The body is no JSON object".to_owned());
    };
    if !request["instructions"].is_string() {
        return Some("Instructions are required".to_owned());
    }
    let Some(items) = request["input"].as_array() else {
        return Some("Input must be a list".to_owned());
    };
    if items.iter().any(|item| item["role"] == "system") {
        return Some("System messages are not allowed".to_owned());
    }
    if fields
        .get("service_tier")
        .is_some_and(|tier| tier != "priority")
    {
        return Some("Unsupported service_tier".to_owned());
    }
    let refused = REFUSED.iter().find(|name| fields.contains_key(**name));
    refused.map(|name| format!("Unsupported parameter: {name}"))
}

fn models() -> Value {
    let model = |slug: &str, visibility: &str, priority: u64| {
        json!({"slug": slug, "display_name": slug, "visibility": visibility,
               "supported_in_api": true, "priority": priority, "minimal_client_version": "0.1.0"})
    };
    json!({"models": [
        model("gpt-6-codex-mini", "list", 2), model("gpt-6-review", "hide", 3),
        model("gpt-6-codex", "list", 1),
    ]})
}

fn detail(status: u16, text: &str) -> Response<AnswerBody> {
    render(Canned::json(status, &json!({ "detail": text })))
}
