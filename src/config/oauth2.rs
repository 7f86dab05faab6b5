//! The settings of a provider of type `oauth2`: how they are read, written and compared; pure.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use hyper::header::{HeaderName, HeaderValue};
use url::{Host, Url};

use super::form::{AsText, Optional, Path, Text, Texts, UnlessEmpty, Word};
use super::reader::{TableReader, Wrong};
use super::table::table;
use super::values;

/// How a user logs in, as the file calls it.
const FLOWS: [(&str, Flow); 2] = [("device", Flow::Device), ("browser", Flow::Browser)];

/// What a request to a token endpoint says itself.
const OF_OAUTH: [&str; 14] = [
    "audience",
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "device_code",
    "grant_type",
    "redirect_uri",
    "refresh_token",
    "response_type",
    "scope",
    "state",
];

table! {
    /// A provider that speaks OAuth 2.0: where its logins are made, and as whom.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct OAuth2 {
        beside {
            /// Who issues the tokens; its discovery document (RFC 8414) names the endpoints that are not set.
            pub issuer_url: Option<Url>;
        }

        /// Where tokens are granted and renewed; needed without `issuer_url`.
        pub token_url: Option<Url> = Optional(Text("https://auth.example.com/oauth/token", values::endpoint)),
            or None, on reload;
        /// Where codes are asked for; needed for `flow = "device"` without `issuer_url`.
        pub device_url: Option<Url> = Optional(Text("https://auth.example.com/oauth/device", values::endpoint)),
            or None, on reload;
        /// The login page; needed for `flow = "browser"` without `issuer_url`.
        pub authorize_url: Option<Url> = Optional(Text("https://auth.example.com/oauth/authorize", values::endpoint)),
            or None, on reload;
        /// Hosts, besides the issuer's own, that its discovery document may send your tokens to.
        pub allowed_hosts: Vec<String> = UnlessEmpty(Texts("login.example.com", values::host_name)),
            or Vec::new(), on reload;
        /// How you log in: device (with a code) or browser (on a page).
        pub flow: Flow = Word(&FLOWS), or Flow::default(), on reload;
        /// Where the page sends the browser back to, if the provider accepts only one address. Without this key it
        /// is `http://127.0.0.1` with a free port and the path /callback.
        pub redirect_uri: Option<Url> = Optional(Text("http://localhost:1455/auth/callback", redirect_uri)),
            or None, on reload;
        /// The client id that the provider has registered for you, or for programs like this one.
        pub client_id: String = Text("my-client", word), or String::new(), on reload;
        /// The file with the client's secret, if the provider has given you one. Only you may be able to read it.
        pub client_secret_file: Option<PathBuf> = Optional(Path("~/.config/hermes-proxyd/example.secret", values::path)),
            or None, on reload;
        /// The scopes of the login. Many providers give a refresh token only with `"offline_access"`.
        pub scopes: Vec<String> = UnlessEmpty(Texts("offline_access", scope)), or Vec::new(), on reload;
        /// The audience of the tokens, if the provider asks for one.
        pub audience: Option<String> = Optional(Text("https://api.example.com", word)), or None, on reload;
        /// Further fields of every request to the provider's login and token endpoints, as "name=value".
        pub form_fields: Vec<(String, String)> = UnlessEmpty(Texts("resource=https://api.example.com", form_field)),
            or Vec::new(), on reload;
        /// The header that carries the refresh token; without this key it is in the form, as RFC 6749 says.
        pub refresh_token_header: Option<HeaderName> = Optional(Text("x-refresh-token", values::forwarded_header)),
            or None, on reload;
        /// Headers of every request to the provider, which override those of the app, as "name: value".
        pub headers: Vec<(HeaderName, HeaderValue)> = UnlessEmpty(Texts("x-organization: example", header)),
            or Vec::new(), on reload;
    }
}

/// How a user logs in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Flow {
    /// With a code that is entered on any device (RFC 8628).
    #[default]
    Device,
    /// On a page that sends the browser back to this machine (RFC 7636, RFC 8252).
    Browser,
}

impl OAuth2 {
    /// With every other key at its default.
    pub(super) fn of_issuer(issuer_url: Option<Url>) -> Self {
        Self::with_defaults(issuer_url)
    }

    /// The settings of a provider of this type; `None` without a client.
    pub(super) fn checked(self, table: &TableReader<'_>) -> Option<Self> {
        let missing = |key: &'static str, what: &str| {
            table
                .report()
                .add(&table.place(key), format!("is missing: {what}"));
        };
        if !table.has("client_id") {
            missing(
                "client_id",
                "name the client that the provider has registered for you",
            );
        }
        if !table.has("issuer_url") {
            let (needed, what) = match self.flow {
                Flow::Device => ("device_url", "asks for codes"),
                Flow::Browser => ("authorize_url", "shows the login page"),
            };
            let none = !table.has("token_url") && !table.has(needed);
            if none {
                let what = "name the issuer of the tokens, or the endpoints themselves with `token_url` and the like";
                missing("issuer_url", what);
            } else if !table.has("token_url") {
                missing(
                    "token_url",
                    "it grants the tokens; or name the `issuer_url`",
                );
            } else if !table.has(needed) {
                missing(needed, &format!("it {what}; or name the `issuer_url`"));
            }
        }
        if table.has("redirect_uri") && self.flow == Flow::Device {
            let message = "is for flow = \"browser\" only";
            table.report().add(&table.place("redirect_uri"), message);
        }
        (!self.client_id.is_empty()).then_some(self)
    }
}

/// `name=value`.
impl AsText for (String, String) {
    fn as_text(&self) -> String {
        let (name, value) = self;
        format!("{name}={value}")
    }
}

/// `name: value`.
impl AsText for (HeaderName, HeaderValue) {
    fn as_text(&self) -> String {
        let (name, value) = self;
        format!("{name}: {}", value.to_str().unwrap_or_default())
    }
}

/// What VSCHAR is in RFC 6749 appendix A, without the space.
fn word(text: &str) -> Result<String, Wrong> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is empty, or has spaces or characters that are not ASCII").into())
}

/// One scope (RFC 6749 §3.3).
fn scope(text: &str) -> Result<String, Wrong> {
    if text.contains(' ') {
        return Err(
            "write each scope as a separate string: [\"openid\", \"offline_access\"]".into(),
        );
    }
    if text.contains(['"', '\\']) {
        return Err(format!("{text:?} is not a scope").into());
    }
    word(text)
}

/// `name=value`.
fn form_field(text: &str) -> Result<(String, String), Wrong> {
    let Some((name, value)) = text.split_once('=') else {
        return Err("write it as \"name=value\"".into());
    };
    let name = word(name)?;
    if OF_OAUTH.contains(&name.as_str()) {
        let message = format!(
            "`{name}` is set by hermes-proxyd; if you can choose it, it has a separate key"
        );
        return Err(message.into());
    }
    if value.chars().any(char::is_control) {
        return Err("the value has control characters".into());
    }
    Ok((name, value.to_owned()))
}

/// `name: value`. The value is in no message.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), Wrong> {
    let Some((name, value)) = text.split_once(':') else {
        return Err("write it as \"name: value\"".into());
    };
    let name = match HeaderName::try_from(name.trim()) {
        Ok(name) if name == "user-agent" || name == "content-type" => {
            return Err(format!("`{name}` can't be set here").into());
        }
        Ok(_) => values::forwarded_header(name.trim())?,
        Err(_) => return Err("write it as \"name: value\"".into()),
    };
    let value = HeaderValue::from_str(value.trim());
    let value =
        value.map_err(|_| Wrong::from("the value has characters that a header can't carry"))?;
    if value.to_str().is_err() {
        return Err("the value has characters that are not ASCII".into());
    }
    Ok((name, value))
}

/// Where a browser is sent back to (RFC 8252 §7.3): this machine, with a port.
fn redirect_uri(text: &str) -> Result<Url, Wrong> {
    let wrong = || {
        Wrong::from(
            "write an address of this machine with a port, such as \
             \"http://localhost:1455/auth/callback\"",
        )
    };
    let url = Url::parse(text).map_err(|_| wrong())?;
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        // Of 127.0.0.0/8 only this one is opened and known.
        Some(Host::Ipv4(address)) => address == Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == Ipv6Addr::LOCALHOST,
        None => false,
    };
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if url.scheme() == "http" && here && plain && url.port().is_some() {
        return Ok(url);
    }
    Err(wrong())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, ConfigError, ProviderKind, diff, parse, settings, to_toml};
    use crate::paths::Environment;

    const WHOLE: &str = "[providers.acme]\ntype = \"oauth2\"\nbase_url = \"https://api.acme.example/v1\"\n\
                         client_id = \"me\"\n";

    fn read(settings: &str) -> Result<Config, ConfigError> {
        let text = format!("{WHOLE}{settings}");
        parse(&text, Path::new("config.toml"), &Environment::default())
    }

    fn wrong(settings: &str) -> Vec<(String, String)> {
        let problems = read(settings).unwrap_err().problems;
        let problems = problems.into_iter();
        problems.map(|one| (one.key, one.message)).collect()
    }

    #[test]
    fn what_is_missing_is_named_with_its_key() {
        let issuer = "issuer_url = \"https://auth.acme.example\"\n";
        assert!(read(issuer).is_ok());
        let token = "token_url = \"https://auth.acme.example/token/\"\n";
        let device = "device_url = \"https://auth.acme.example/device\"\n";
        let page = "flow = \"browser\"\n";
        let authorize = "authorize_url = \"https://auth.acme.example/authorize\"\n";
        for right in [[token, device, ""], [token, page, authorize]] {
            assert!(read(&right.concat()).is_ok(), "{right:?}");
        }
        for (settings, key) in [
            (String::new(), "issuer_url"),
            (device.to_owned(), "token_url"),
            (token.to_owned(), "device_url"),
            ([token, page].concat(), "authorize_url"),
            ([token, device, page].concat(), "authorize_url"),
        ] {
            let wrong = wrong(&settings);
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            assert_eq!(wrong[0].0, format!("providers.acme.{key}"), "{settings}");
        }
        let bare = "[providers.acme]\ntype = \"oauth2\"\nissuer_url = \"https://a.example\"\n";
        let error = parse(bare, Path::new("c"), &Environment::default()).unwrap_err();
        let keys: Vec<_> = error.problems.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, ["providers.acme.client_id"]);
    }

    #[test]
    fn an_endpoint_keeps_its_last_slash_and_goes_by_https_alone() {
        let config = read(
            "token_url = \"https://auth.acme.example/o/token/\"\n\
             device_url = \"http://127.0.0.1:1/device\"\n",
        )
        .unwrap();
        let acme = config
            .providers
            .iter()
            .find(|(name, _)| name.as_str() == "acme");
        let ProviderKind::OAuth2(oauth2) = &acme.unwrap().1.kind else {
            panic!("another kind")
        };
        let token = oauth2.token_url.as_ref().unwrap();
        assert_eq!(token.as_str(), "https://auth.acme.example/o/token/");
        for url in [
            "http://auth.acme.example/token",
            "https://u:p@a.example/",
            "ftp://a.example",
        ] {
            let wrong = wrong(&format!(
                "token_url = {url:?}\ndevice_url = \"https://a.example\"\n"
            ));
            assert_eq!(wrong[0].0, "providers.acme.token_url", "{url}");
            assert!(!wrong[0].1.contains("u:p"), "{wrong:?}");
        }
    }

    #[test]
    fn what_oauth_itself_says_and_what_a_header_must_not_carry_is_refused() {
        let issuer = "issuer_url = \"https://auth.acme.example\"\n";
        for (setting, key) in [
            ("scopes = [\"openid email\"]", "scopes[0]"),
            ("scopes = [\"\"]", "scopes[0]"),
            ("form_fields = [\"grant_type=password\"]", "form_fields[0]"),
            ("form_fields = [\"client_secret=x\"]", "form_fields[0]"),
            ("form_fields = [\"tenant\"]", "form_fields[0]"),
            ("headers = [\"authorization: x\"]", "headers[0]"),
            ("headers = [\"host: evil.example\"]", "headers[0]"),
            ("headers = [\"user-agent: x\"]", "headers[0]"),
            ("headers = [\"x-a: \\u0007\"]", "headers[0]"),
            ("headers = [\"x-a\"]", "headers[0]"),
            (
                "refresh_token_header = \"authorization\"",
                "refresh_token_header",
            ),
            ("client_secret = \"x\"", "client_secret"),
            ("portal_url = \"https://a.example\"", "portal_url"),
            ("api_key_env = \"X\"", "api_key_env"),
            ("redirect_uri = \"http://localhost:1/a\"", "redirect_uri"),
            (
                "flow = \"browser\"\nredirect_uri = \"https://localhost:1/a\"",
                "redirect_uri",
            ),
            (
                "flow = \"browser\"\nredirect_uri = \"http://evil.example:1/a\"",
                "redirect_uri",
            ),
            (
                "flow = \"browser\"\nredirect_uri = \"http://localhost/a\"",
                "redirect_uri",
            ),
            (
                "flow = \"browser\"\nredirect_uri = \"http://127.0.0.2:1/a\"",
                "redirect_uri",
            ),
            (
                "allowed_hosts = [\"https://a.example\"]",
                "allowed_hosts[0]",
            ),
        ] {
            let wrong = wrong(&format!("{issuer}{setting}\n"));
            assert_eq!(wrong.len(), 1, "{setting}: {wrong:?}");
            assert_eq!(wrong[0].0, format!("providers.acme.{key}"), "{wrong:?}");
        }
        let secret = wrong(&format!("{issuer}client_secret = \"x\"\n"));
        assert!(secret[0].1.contains("client_secret_file"), "{secret:?}");
        let of_static = "[providers.b]\ntype = \"static\"\nbase_url = \"https://b.example\"\n\
                         api_key_env = \"K\"\nscopes = []\n";
        let error = parse(of_static, Path::new("c"), &Environment::default()).unwrap_err();
        assert_eq!(error.problems[0].key, "providers.b.scopes");
    }

    #[test]
    fn what_is_written_reads_as_the_same_and_a_difference_is_named_by_its_key() {
        let config = read(
            "issuer_url = \"https://auth.acme.example\"\nflow = \"browser\"\nscopes = [\"a\", \"b\"]\n\
             redirect_uri = \"http://localhost:1455/auth/callback\"\naudience = \"x\"\n\
             form_fields = [\"tenant=a=b\"]\nheaders = [\"x-a: b: c\"]\nallowed_hosts = [\"t.example\"]\n\
             refresh_token_header = \"x-refresh\"\nclient_secret_file = \"/run/secret\"\n",
        )
        .unwrap();
        let written = to_toml(&settings(&config), |_| None);
        let again = parse(&written, Path::new("c"), &Environment::default()).unwrap();
        assert_eq!(again.providers, config.providers, "{written}");
        let other = written
            .replace("\"tenant=a=b\"", "\"tenant=c\"")
            .replace("\"b\"]", "\"c\"]");
        let other = parse(&other, Path::new("c"), &Environment::default()).unwrap();
        let applied = diff(&config, &other).applied;
        assert_eq!(
            applied,
            ["providers.acme.scopes", "providers.acme.form_fields"]
        );
    }
}
