//! Hermes Agent's home after a login.

use std::io::{self, Write};
use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::tokens::Login;

/// `now` is the user's clock: Hermes Agent takes what a JWT says of its end from the portal, and all
/// other times from its own machine.
pub(crate) fn store(login: &Login, portal_url: &str, now: DateTime<Utc>) -> Value {
    let iso = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Micros, false);
    let state = json!({
        "portal_base_url": portal_url,
        "inference_base_url": "https://inference-api.nousresearch.com/v1",
        "client_id": crate::CLIENT_ID,
        "scope": login.scope,
        "token_type": "Bearer",
        "access_token": login.access_token,
        "refresh_token": login.refresh_token,
        "obtained_at": iso(now),
        "expires_in": login.expires_in,
        "expires_at": iso(login.expires_at),
        "agent_key": login.access_token,
        "agent_key_id": null,
        "agent_key_expires_at": iso(login.expires_at),
        "agent_key_expires_in": login.expires_in,
        "agent_key_reused": false,
        "agent_key_obtained_at": iso(now),
        "tls": {"insecure": false, "ca_bundle": null},
    });
    let entry = json!({
        "id": "ab12cd", "label": "me@example.org", "auth_type": "oauth", "priority": 0,
        "source": "device_code",
        "access_token": login.access_token,
        "refresh_token": login.refresh_token,
        "last_status": null, "last_status_at": null, "last_error_code": null,
        "last_error_reason": null, "last_error_message": null, "last_error_reset_at": null,
        "expires_at": iso(login.expires_at),
        "inference_base_url": "https://inference-api.nousresearch.com/v1",
        "agent_key": login.access_token,
        "agent_key_expires_at": iso(login.expires_at),
        "request_count": 0,
    });
    json!({
        "version": 1,
        "updated_at": iso(now),
        "active_provider": "nous",
        "providers": {"nous": state},
        "credential_pool": {"nous": [entry]},
    })
}

/// The same after a login at OpenAI Codex.
pub(crate) fn codex_store(login: &Login, now: DateTime<Utc>) -> Value {
    let iso = now.to_rfc3339_opts(SecondsFormat::Secs, true);
    json!({
        "version": 1,
        "updated_at": iso,
        "active_provider": "openai-codex",
        "providers": {"openai-codex": {
            "tokens": {"access_token": login.access_token, "refresh_token": login.refresh_token},
            "last_refresh": iso,
            "auth_mode": "chatgpt",
        }},
    })
}

pub(crate) fn write(home: &Path, store: &Value) -> io::Result<()> {
    let mut folder = std::fs::DirBuilder::new();
    let mut file = std::fs::OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        folder.mode(0o700);
        file.mode(0o600);
    }
    folder.recursive(true).create(home)?;
    let text = serde_json::to_string_pretty(store)? + "\n";
    let temporary = home.join("auth.json.mock");
    file.write(true)
        .create(true)
        .truncate(true)
        .open(&temporary)?
        .write_all(text.as_bytes())?;
    std::fs::rename(temporary, home.join("auth.json"))
}
