//! Which variables of a shell the service needs too; pure.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// The variables that decide where the login is stored and sent, and how the provider is reached. A
/// service manager does not know what a shell's startup files set.
const CARRIED: [&str; 12] = [
    "HERMES_HOME",
    "HERMES_SHARED_AUTH_DIR",
    "HERMES_CA_BUNDLE",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];

/// Those that are set, and those of the providers. A proxy with a password is omitted: it would be in one
/// more file.
pub fn carried<'n>(
    of_providers: impl Iterator<Item = &'n str>,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for name in CARRIED.into_iter().chain(of_providers) {
        let value = lookup(name).and_then(|value| value.into_string().ok());
        let value = value.filter(|value| {
            let has_password = name.to_ascii_lowercase().ends_with("_proxy") && value.contains('@');
            !value.is_empty() && !value.contains(char::is_control) && !has_password
        });
        if let Some(value) = value {
            found.insert(name.to_owned(), value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_stays_where_it_is() {
        let of_providers = ["A_BASE_URL", "B_BASE_URL"].into_iter();
        let found = carried(of_providers, |name| {
            let value = match name {
                "HERMES_HOME" => "/data/hermes",
                "A_BASE_URL" => "https://a.example/v1",
                "XDG_STATE_HOME" => "",
                "HTTPS_PROXY" => "http://user:secret@proxy:3128",
                "ALL_PROXY" => "socks5://proxy:1080",
                "HTTP_PROXY" => "http://proxy\nExecStart=/bin/evil",
                _ => return None,
            };
            Some(value.into())
        });
        let expected = [
            ("ALL_PROXY".to_owned(), "socks5://proxy:1080".to_owned()),
            ("A_BASE_URL".to_owned(), "https://a.example/v1".to_owned()),
            ("HERMES_HOME".to_owned(), "/data/hermes".to_owned()),
        ];
        assert_eq!(found, BTreeMap::from(expected));
    }
}
