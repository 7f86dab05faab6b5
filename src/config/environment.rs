//! Environment variables for what the file does not set of a provider; Hermes Agent honours them
//! too. Pure.

use std::time::Duration;

use url::{Host, Url};

use super::units::format_duration;
use super::values::base_url_flaw;
use super::variables::unquoted;

/// What looks a variable up.
pub type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// What names are for one setting, the one that counts first.
#[derive(Debug, Clone, Copy)]
pub struct EnvSetting {
    /// The setting that goes before it, as [`super::Setting::place`] has it.
    pub setting: &'static str,
    /// The variables.
    pub names: &'static [&'static str],
    /// What it is for, for the manual.
    pub about: &'static str,
    /// The setting's text of a value; `None` where the value is ignored.
    read: fn(&str) -> Option<String>,
    /// What a value must be, as in "it is not …".
    form: &'static str,
}

/// All of them, in the manual's order.
pub const ENV_SETTINGS: [EnvSetting; 6] = [
    EnvSetting {
        setting: "providers.nous.base_url",
        names: &["NOUS_INFERENCE_BASE_URL"],
        about: "Where requests for Nous Portal go instead. The login is sent there. Also read from `.env` in \
            Hermes Agent's home, unless it is set.",
        read: |text| Some(text.to_owned()),
        form: "a base URL",
    },
    EnvSetting {
        setting: "providers.nous.portal_url",
        names: &["HERMES_PORTAL_BASE_URL", "NOUS_PORTAL_BASE_URL"],
        about: "Where tokens of Nous Portal are refreshed instead. The login is sent there. The first is also \
            read from `.env` in Hermes Agent's home, unless either is set.",
        read: |text| Some(text.to_owned()),
        form: "a URL",
    },
    XAI_BASE_URL,
    XAI_TOKEN_TIMEOUT,
    CODEX_BASE_URL,
    CODEX_TOKEN_TIMEOUT,
];

/// The names of all of them.
pub fn env_setting_names() -> impl Iterator<Item = &'static str> {
    let names = ENV_SETTINGS.iter().map(|setting| setting.names);
    names.flatten().copied()
}

/// Where requests for xAI go; on xAI's hosts only.
pub const XAI_BASE_URL: EnvSetting = EnvSetting {
    setting: "providers.xai.base_url",
    names: &["HERMES_XAI_BASE_URL", "XAI_BASE_URL"],
    about: "Where requests for xAI go instead: an https URL on x.ai or a host below it. Any other is ignored; \
            `base_url` in the configuration takes any.",
    read: |text| {
        let is_its = base_url_flaw(text).is_none() && is_xai(&Url::parse(text).ok()?);
        is_its.then(|| text.to_owned())
    },
    form: "an https URL on x.ai, such as https://api.x.ai/v1",
};

/// The limit of one token request to xAI.
pub const XAI_TOKEN_TIMEOUT: EnvSetting = EnvSetting {
    setting: "providers.xai.token_timeout",
    names: &["HERMES_XAI_REFRESH_TIMEOUT_SECONDS"],
    about: "The time limit for one token request to xAI, in seconds, from 5 to 300. Default: 20.",
    read: |text| Some(format_duration(seconds(text)?)),
    form: "a number of seconds from 5 to 300",
};

/// Where requests for OpenAI Codex go: the operator's own word, as in Hermes Agent, but not without TLS to another machine.
pub const CODEX_BASE_URL: EnvSetting = EnvSetting {
    setting: "providers.openai-codex.base_url",
    names: &["HERMES_CODEX_BASE_URL"],
    about: "Where requests for OpenAI Codex go instead: an https URL, or an http URL on this machine. Your token \
            is sent there.",
    read: |text| {
        let url = Url::parse(text)
            .ok()
            .filter(|_| base_url_flaw(text).is_none())?;
        let is_here = match url.host()? {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        (url.scheme() == "https" || is_here).then(|| text.to_owned())
    },
    form: "an https URL, such as https://chatgpt.com/backend-api/codex",
};

/// The limit of one token request to OpenAI.
pub const CODEX_TOKEN_TIMEOUT: EnvSetting = EnvSetting {
    setting: "providers.openai-codex.token_timeout",
    names: &["HERMES_CODEX_REFRESH_TIMEOUT_SECONDS"],
    about: "The time limit for one token request to OpenAI, in seconds, from 5 to 300. Default: 20.",
    read: |text| Some(format_duration(seconds(text)?)),
    form: "a number of seconds from 5 to 300",
};

impl EnvSetting {
    /// The variable that counts, with its value; it may be one that is ignored.
    pub fn find(&self, env: Lookup<'_>) -> Option<(&'static str, String)> {
        let mut names = self.names.iter();
        names.find_map(|name| {
            let value = env(name)?;
            Some((*name, unquoted(&value)?.to_owned()))
        })
    }

    /// The setting's text, and the variable that it comes from.
    pub fn value(&self, env: Lookup<'_>) -> Option<(&'static str, String)> {
        let (name, value) = self.find(env)?;
        Some((name, (self.read)(&value)?))
    }

    /// That a value is ignored, as a sentence.
    pub fn fault(&self, env: Lookup<'_>) -> Option<String> {
        let (name, value) = self.find(env)?;
        let is_ignored = (self.read)(&value).is_none();
        is_ignored.then(|| format!("{name} is ignored: it is not {}.", self.form))
    }

    /// Whether it is about this provider.
    pub fn is_of(&self, provider: &str) -> bool {
        let mut parts = self.setting.split('.');
        parts.nth(1) == Some(provider)
    }
}

/// Whether a URL is https on `x.ai` or a host below it.
pub fn is_xai(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    url.scheme() == "https" && (host == "x.ai" || host.ends_with(".x.ai"))
}

/// The limit for a number of seconds. Hermes Agent takes 5 s for anything shorter.
pub fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    (5.0..=300.0)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_counts_and_what_can_not_be_used_is_told() {
        let env = |set: &'static [(&str, &str)]| {
            move |name: &str| {
                let mut set = set.iter();
                set.find(|(set, _)| *set == name)
                    .map(|(_, value)| (*value).to_owned())
            }
        };
        for (set, setting, is_fault) in [
            (
                &[("XAI_BASE_URL", "'https://eu.x.ai/v1' ")][..],
                Some("https://eu.x.ai/v1"),
                false,
            ),
            (
                &[
                    ("XAI_BASE_URL", "https://a.x.ai"),
                    ("HERMES_XAI_BASE_URL", "https://b.x.ai"),
                ],
                Some("https://b.x.ai"),
                false,
            ),
            (
                &[("HERMES_XAI_BASE_URL", "https://evilx.ai/v1")],
                None,
                true,
            ),
            (&[("XAI_BASE_URL", "http://api.x.ai/v1")], None, true),
            (&[("XAI_BASE_URL", "https://u:p@api.x.ai/v1")], None, true),
            (&[("XAI_BASE_URL", "x.ai")], None, true),
            (&[("XAI_BASE_URL", "")], None, false),
            (&[], None, false),
        ] {
            let env = env(set);
            let told = XAI_BASE_URL.value(&env).map(|(_, value)| value);
            assert_eq!(told.as_deref(), setting, "{set:?}");
            assert_eq!(XAI_BASE_URL.fault(&env).is_some(), is_fault, "{set:?}");
        }
        for (text, told) in [
            ("30", Some("30s")),
            ("7.5", Some("7s500ms")),
            ("0", None),
            ("1e9", None),
            ("NaN", None),
            ("soon", None),
        ] {
            let env = |name: &str| (name == XAI_TOKEN_TIMEOUT.names[0]).then(|| text.to_owned());
            let setting = XAI_TOKEN_TIMEOUT.value(&env).map(|(_, value)| value);
            assert_eq!(setting.as_deref(), told, "{text}");
            assert_eq!(
                XAI_TOKEN_TIMEOUT.fault(&env).is_some(),
                told.is_none(),
                "{text}"
            );
        }
    }
}
