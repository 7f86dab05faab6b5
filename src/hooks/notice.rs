//! One notice, its JSON form, and its ids in the journal.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::config::HookEvent;

/// News about a login for the user. Holds no secret.
#[derive(Debug, Clone, PartialEq)]
pub struct HookNotice {
    /// What happened.
    pub event: HookEvent,
    /// The provider's name in paths and on the command line.
    pub provider: String,
    /// The provider's name for people.
    pub display_name: String,
    /// What happened and what helps, as a sentence for people.
    pub message: String,
    /// The command that fixes it.
    pub command: Option<String>,
    /// When the login ends or ended, where that is known.
    pub ends_at: Option<DateTime<Utc>>,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// Which quota it is about, if it is about one.
    pub quota: Option<QuotaNotice>,
}

/// The quota that a notice is about.
#[derive(Debug, Clone, PartialEq)]
pub struct QuotaNotice {
    /// The login's label, where the provider has several.
    pub login: Option<String>,
    /// The provider's name for the window.
    pub window: String,
    /// How much of it is used, in percent.
    pub used_percent: f64,
    /// When it begins again, where that is known.
    pub resets_at: Option<DateTime<Utc>>,
}

/// The form that hooks get.
#[derive(Serialize)]
struct Json<'n> {
    event: &'static str,
    provider: &'n str,
    provider_name: &'n str,
    message: &'n str,
    command: Option<&'n str>,
    ends_at: Option<String>,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<JsonQuota<'n>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    version: &'static str,
}

#[derive(Serialize)]
struct JsonQuota<'n> {
    login: Option<&'n str>,
    window: &'n str,
    used_percent: f64,
    resets_at: Option<String>,
}

impl HookEvent {
    /// The journal's `MESSAGE_ID` of such a notice; it never changes.
    pub fn message_id(self) -> &'static str {
        match self {
            Self::LoginEnded => "356508951de34f57ac60f605c4494f6f",
            Self::LoginEndsSoon => "ffb7cb80ab11443496f6956c8142be84",
            Self::LoginRestored => "67617be9df5d411e857a50964d6c0786",
            Self::LoginNotSaved => "bc3dd21e95e2408dad435a0fddeb83cb",
            Self::LoginUnreadable => "acc247118a2fbce7ac50a361e0a513a9",
            Self::QuotaLow => "5f0c2f7a9b1e4c3f8d6a7b2c1e0f9a84",
            Self::QuotaSpent => "c4b1d2e87f3a4056a91b0c6d5e8f7a23",
            Self::QuotaFree => "8e7d6c5b4a394f2e91d0c3b2a1f0e5d4",
        }
    }
}

impl HookNotice {
    /// One line of JSON, without its end.
    pub fn to_json(&self) -> String {
        let json = Json {
            event: self.event.as_str(),
            provider: &self.provider,
            provider_name: &self.display_name,
            message: &self.message,
            command: self.command.as_deref(),
            ends_at: self.ends_at.map(text),
            at: text(self.at),
            quota: self.quota.as_ref().map(|quota| JsonQuota {
                login: quota.login.as_deref(),
                window: &quota.window,
                used_percent: (quota.used_percent * 10.0).round() / 10.0,
                resets_at: quota.resets_at.map(text),
            }),
            host: host(),
            version: env!("CARGO_PKG_VERSION"),
        };
        // Texts alone can't fail.
        serde_json::to_string(&json).unwrap_or_default()
    }
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// This machine's name, to distinguish several.
fn host() -> Option<String> {
    #[cfg(unix)]
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_json_form_is_one_line_with_every_key() {
        let at: DateTime<Utc> = "2026-11-23T12:00:00.5Z".parse().unwrap();
        let mut notice = HookNotice {
            event: HookEvent::LoginEnded,
            provider: "nous".into(),
            display_name: "Nous Portal".into(),
            message: "The login has ended.\nLog in \"again\".".into(),
            command: Some("hermesctl auth login nous".into()),
            ends_at: None,
            at,
            quota: None,
        };
        let line = notice.to_json();
        assert!(!line.contains('\n'));
        let mut json: serde_json::Value = serde_json::from_str(&line).unwrap();
        let host = json.as_object_mut().unwrap().remove("host");
        assert!(host.is_none_or(|host| host.as_str().is_some_and(|host| !host.is_empty())));
        let expected = serde_json::json!({
            "event": "login_ended",
            "provider": "nous",
            "provider_name": "Nous Portal",
            "message": "The login has ended.\nLog in \"again\".",
            "command": "hermesctl auth login nous",
            "ends_at": null,
            "at": "2026-11-23T12:00:00Z",
            "version": env!("CARGO_PKG_VERSION"),
        });
        assert_eq!(json, expected);
        notice.ends_at = Some(at);
        assert!(
            notice
                .to_json()
                .contains("\"ends_at\":\"2026-11-23T12:00:00Z\"")
        );
    }

    #[test]
    fn each_kind_has_its_own_id() {
        let ids: BTreeSet<_> = HookEvent::NAMES
            .iter()
            .map(|(name, kind)| {
                assert_eq!(*name, kind.as_str());
                kind.message_id()
            })
            .collect();
        assert_eq!(ids.len(), HookEvent::NAMES.len());
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(hex)));
    }
}
