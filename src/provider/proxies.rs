//! The proxies of the environment, used for everything that goes to a provider or webhook.
//!
//! Blanks and quotes around values, which shells, unit files and `.env` files leave there, are
//! removed. Unusable values are reported ([`Proxies::faults`]) and ignored.

use std::collections::BTreeMap;

use hyper::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use crate::config::unquoted;

/// The variables by what they are for, the first of a pair first, as curl has them.
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];
const EXEMPT: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// The kinds that requests can go through.
const KINDS: [&str; 5] = ["http", "socks4", "socks4a", "socks5", "socks5h"];

/// The proxies of an environment, and its exemptions.
pub struct Proxies {
    matcher: Matcher,
    /// The URLs for `https`, `http` and the rest; they may hold passwords.
    urls: [String; 3],
    /// Hosts that are exempt on one port only.
    ports: Vec<(String, u16)>,
    named: BTreeMap<String, String>,
    faults: Vec<String>,
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies")
            .field("named", &self.named)
            .finish_non_exhaustive()
    }
}

impl Proxies {
    /// The proxies of this process's environment.
    pub fn from_env() -> Self {
        Self::new(&variable)
    }

    /// Those of an environment.
    pub fn new(env: &dyn Fn(&str) -> Option<String>) -> Self {
        let (mut named, mut faults) = (BTreeMap::new(), Vec::new());
        let urls = [HTTPS, HTTP, ALL].map(|names| url(names, env, &mut named, &mut faults));
        let (hosts, ports) = exempt(env, &mut faults);
        let [https, http, all] = urls.clone();
        let builder = Matcher::builder().https(https).http(http).all(all);
        Self {
            matcher: builder.no(hosts).build(),
            urls,
            ports,
            named,
            faults,
        }
    }

    /// The proxy for a target, unless the target is exempt. Whether it is this machine is not
    /// checked.
    pub fn intercept(&self, target: &Uri) -> Option<Intercept> {
        let host = target.host()?;
        let encrypted = target.scheme_str() == Some("https");
        let port = target
            .port_u16()
            .unwrap_or(if encrypted { 443 } else { 80 });
        let is_exempt = |(name, exempt): &(String, u16)| *exempt == port && is_within(host, name);
        if self.ports.iter().any(is_exempt) {
            return None;
        }
        self.matcher.intercept(target)
    }

    /// The variables that are in use, with `host:port` of their values; without the user and
    /// password that a proxy's URL may hold.
    pub fn named(&self) -> &BTreeMap<String, String> {
        &self.named
    }

    /// What can't be used, each as one sentence, without values that may hold a password.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The same rules for reqwest's clients.
    pub fn for_reqwest(self) -> reqwest::Proxy {
        reqwest::Proxy::custom(move |target| {
            let target: Uri = target.as_str().parse().ok()?;
            self.intercept(&target)?;
            let [https, http, all] = &self.urls;
            let named = if target.scheme_str() == Some("https") {
                https
            } else {
                http
            };
            Some(if named.is_empty() { all } else { named }.clone())
        })
    }
}

pub(super) fn variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?;
    Some(value.to_string_lossy().into_owned())
}

/// The first URL that these variables hold.
fn url(
    names: [&'static str; 2],
    env: &dyn Fn(&str) -> Option<String>,
    named: &mut BTreeMap<String, String>,
    faults: &mut Vec<String>,
) -> String {
    for name in names {
        let value = env(name).unwrap_or_default();
        let Some(value) = unquoted(&value) else {
            continue;
        };
        let Some((kind, via)) = read(value) else {
            faults.push(format!(
                "{name} is ignored: it is not the URL of a proxy, such as http://HOST:PORT or \
                 socks5://HOST:PORT."
            ));
            continue;
        };
        if !KINDS.contains(&kind.as_str()) {
            // Requests fail with it, instead of going out without the proxy.
            faults.push(format!(
                "{name} names a proxy of the kind {kind}, which is not supported: use http, socks4 \
                 or socks5."
            ));
        }
        named.insert(name.to_owned(), via);
        return value.to_owned();
    }
    String::new()
}

/// A proxy's kind and its `host:port`.
fn read(value: &str) -> Option<(String, String)> {
    let uri: Uri = value.parse().ok()?;
    let kind = uri.scheme_str().unwrap_or("http").to_owned();
    let host = uri.host().filter(|host| !host.is_empty())?;
    let port = uri.port_u16().unwrap_or(match kind.as_str() {
        "http" => 80,
        "https" => 443,
        kind if kind.starts_with("socks") => 1080,
        _ => return None,
    });
    Some((kind, format!("{host}:{port}")))
}

/// What is reached without a proxy: hosts as hyper-util takes them, and hosts on one port.
fn exempt(
    env: &dyn Fn(&str) -> Option<String>,
    faults: &mut Vec<String>,
) -> (String, Vec<(String, u16)>) {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    let values = EXEMPT.map(|name| env(name).map(|value| (name, value)));
    let used = values.into_iter().flatten();
    let mut used = used.filter(|(_, value)| unquoted(value).is_some());
    let Some((name, value)) = used.next() else {
        return (String::new(), ports);
    };
    let entries = value.split(|c: char| c == ',' || c.is_whitespace());
    for entry in entries.filter_map(unquoted) {
        // "*.corp.example" means what ".corp.example" does.
        let host = entry.strip_prefix('*').filter(|rest| rest.starts_with('.'));
        let host = host.unwrap_or(entry);
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse().ok()))
            }
            _ => (host, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_host = !host.is_empty() && (host == "*" || !host.contains(['*', '@', '[', ']']));
        let is_network = host.split_once('/').is_none_or(|(address, bits)| {
            address.parse::<std::net::IpAddr>().is_ok() && bits.parse::<u8>().is_ok()
        });
        match port {
            None if is_host && is_network => hosts.push(host.to_owned()),
            Some(Some(port)) if is_host && !host.contains('/') => {
                ports.push((host.to_ascii_lowercase(), port));
            }
            _ => faults.push(format!(
                "{name} holds {entry:?}, which is ignored: use a name, .DOMAIN, HOST:PORT, an \
                 address or a network such as 10.0.0.0/8."
            )),
        }
    }
    (hosts.join(","), ports)
}

/// Whether a host has this name or is below it.
fn is_within(host: &str, name: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let name = name.trim_start_matches('.');
    let above = host.strip_suffix(name);
    name == "*" || above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Proxies {
        let variables: BTreeMap<_, _> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Proxies::new(&move |name| variables.get(name).cloned())
    }

    fn via(proxies: &Proxies, target: &str) -> Option<String> {
        let proxy = proxies.intercept(&target.parse().unwrap())?;
        Some(proxy.uri().authority().unwrap().to_string())
    }

    #[test]
    fn quotes_and_blanks_are_not_a_part_of_a_url() {
        for value in [
            "http://proxy.example:3128",
            "http://proxy.example:3128 ",
            " \"http://proxy.example:3128\"\r",
            "'http://proxy.example:3128'",
            "proxy.example:3128",
        ] {
            let proxies = of(&[("HTTPS_PROXY", value)]);
            let found = via(&proxies, "https://api.example/v1");
            assert_eq!(found.unwrap(), "proxy.example:3128", "{value:?}");
            assert!(proxies.faults().is_empty(), "{:?}", proxies.faults());
            assert_eq!(proxies.named()["HTTPS_PROXY"], "proxy.example:3128");
        }
    }

    #[test]
    fn what_cannot_be_used_is_told_and_not_shown_as_used() {
        for (value, told, is_used) in [
            ("http://me:secret@", "is ignored", false),
            ("http://a b:1", "is ignored", false),
            ("ftp://proxy.example", "is ignored", false),
            ("https://me:secret@proxy.example", "kind https", true),
            (" ", "", false),
        ] {
            let proxies = of(&[("HTTPS_PROXY", value)]);
            let faults = proxies.faults().concat();
            assert!(faults.contains(told), "{value:?}: {faults}");
            assert_eq!(faults.is_empty(), told.is_empty(), "{faults}");
            assert!(!faults.contains("secret"), "{faults}");
            assert_eq!(!proxies.named().is_empty(), is_used, "{value:?}");
            assert!(!format!("{proxies:?}").contains("secret"));
        }
    }

    #[test]
    fn exceptions_are_names_domains_ports_and_networks() {
        let all = [("HTTPS_PROXY", "http://proxy.example:3128")];
        for (exempt, target, is_straight) in [
            ("*.corp.example", "https://api.corp.example", true),
            ("'*.corp.example'", "https://api.corp.example", true),
            ("*.corp.example", "https://corp.example.org", false),
            (".corp.example", "https://a.corp.example", true),
            ("corp.example:8443", "https://corp.example:8443", true),
            ("corp.example:8443", "https://a.corp.example:8443", true),
            ("corp.example:8443", "https://corp.example", false),
            ("corp.example:443", "https://corp.example", true),
            ("*.corp.example:443", "https://a.corp.example", true),
            ("a.example b.example", "https://b.example", true),
            ("10.0.0.0/8", "https://10.1.2.3", true),
            ("10.1.2.3:443", "https://10.1.2.3", true),
            ("[fd00::1]:8443", "https://[fd00::1]:8443", true),
            ("fd00::1", "https://[fd00::1]", true),
            ("*", "https://api.example", true),
            ("notcorp.example", "https://corp.example", false),
        ] {
            let variables = [all[0], ("NO_PROXY", exempt)];
            let proxies = of(&variables);
            assert!(proxies.faults().is_empty(), "{:?}", proxies.faults());
            let straight = via(&proxies, target).is_none();
            assert_eq!(straight, is_straight, "{exempt} {target}");
        }
        for exempt in ["*corp.example", "http://corp.example", "corp.example:x"] {
            let proxies = of(&[all[0], ("NO_PROXY", exempt)]);
            assert!(proxies.faults()[0].contains(exempt), "{exempt}");
        }
    }

    #[test]
    fn the_first_of_a_pair_is_in_use() {
        let proxies = of(&[
            ("https_proxy", "http://small.example:1"),
            ("HTTPS_PROXY", "http://large.example:1"),
            ("all_proxy", "socks5://other.example"),
        ]);
        let found = via(&proxies, "https://api.example").unwrap();
        assert_eq!(found, "large.example:1");
        assert_eq!(proxies.named()["all_proxy"], "other.example:1080");
        assert!(!proxies.named().contains_key("https_proxy"));
    }
}
