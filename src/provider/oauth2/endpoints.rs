//! A provider's token endpoints: those of the configuration, and the rest from the issuer's discovery document
//! (RFC 8414). A document that can't be trusted gives no endpoint at all.

use url::Url;

use crate::config::{Flow, OAuth2, ProviderName};
use crate::provider::TokenError;
use crate::provider::token_client::TokenClient;

/// RFC 8414 §3, and `OpenID` Connect Discovery 1.0 §4.
const DOCUMENTS: [&str; 2] = ["oauth-authorization-server", "openid-configuration"];

/// RFC 9207 §3.
const NAMES_ISSUER: &str = "authorization_response_iss_parameter_supported";

/// Where a provider's tokens are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OAuth2Endpoints {
    pub(super) token: Url,
    /// The start of the user's login: a code, or a page.
    pub(super) begin: Option<Url>,
    /// Whether the client's secret goes into a header (RFC 6749 §2.3.1) instead of the form.
    pub(super) basic: bool,
    /// Whether each code comes with the issuer that has made it (RFC 9207 §3).
    pub(super) names_issuer: bool,
}

/// The key of the endpoint that a login begins at, and its name in a discovery document.
fn beginning(flow: Flow) -> (&'static str, &'static str) {
    match flow {
        Flow::Device => ("device_url", "device_authorization_endpoint"),
        Flow::Browser => ("authorize_url", "authorization_endpoint"),
    }
}

/// The endpoint that the configuration names for the beginning of a login.
fn configured(settings: &OAuth2) -> Option<&Url> {
    match settings.flow {
        Flow::Device => settings.device_url.as_ref(),
        Flow::Browser => settings.authorize_url.as_ref(),
    }
}

/// The endpoints, discovered over the network if the configuration omits one.
///
/// # Errors
/// [`TokenError::Transient`], which has spent nothing: no document, or one that can't be believed; with the key to set.
pub(super) async fn find(
    name: &ProviderName,
    settings: &OAuth2,
    client: &TokenClient,
) -> Result<OAuth2Endpoints, TokenError> {
    let begin = configured(settings);
    let Some(issuer) = settings.issuer_url.as_ref() else {
        let token = settings.token_url.clone();
        let token = token.ok_or_else(|| unusable(format!("set `providers.{name}.token_url`")))?;
        return Ok(OAuth2Endpoints {
            token,
            begin: begin.cloned(),
            basic: false,
            names_issuer: false,
        });
    };
    if let (Some(token), Some(begin)) = (&settings.token_url, begin) {
        return Ok(OAuth2Endpoints {
            token: token.clone(),
            begin: Some(begin.clone()),
            basic: false,
            names_issuer: false,
        });
    }
    let document = document(name, issuer, client).await?;
    let is_ours = |url: &Url| is_trusted(url, issuer, &settings.allowed_hosts);
    let named = |key: &str, field: &str| {
        let Some(text) = document.get(field).and_then(|value| value.as_str()) else {
            return Ok(None);
        };
        let url = Url::parse(text).ok();
        if url
            .as_ref()
            .is_some_and(|url| url.scheme() == "http" && !is_ours(url))
        {
            return Err(unusable(format!(
                "the discovery document of {issuer} names a {field} that begins with http://, over which no token \
                 is sent; set `providers.{name}.{key}` to the provider's https address"
            )));
        }
        let url = url.filter(&is_ours);
        let url = url.ok_or_else(|| {
            let host = Url::parse(text).ok().and_then(|url| url.host_str().map(str::to_owned));
            let host = host.unwrap_or_else(|| "no host".to_owned());
            unusable(format!(
                "the discovery document of {issuer} names a {field} at {host}, which is not https on \
                 the issuer's own host; if that host is the provider's, add it to \
                 `providers.{name}.allowed_hosts`, or set `providers.{name}.{key}`"
            ))
        })?;
        Ok(Some(url))
    };
    let token = match &settings.token_url {
        Some(token) => token.clone(),
        None => named("token_url", "token_endpoint")?.ok_or_else(|| {
            unusable(format!(
                "the discovery document of {issuer} names no token_endpoint; set \
                 `providers.{name}.token_url`"
            ))
        })?,
    };
    let (key, field) = beginning(settings.flow);
    let begin = match begin {
        Some(begin) => Some(begin.clone()),
        None => named(key, field)?,
    };
    let methods = document.get("token_endpoint_auth_methods_supported");
    let takes = |method: &str| {
        let methods = methods.and_then(|methods| methods.as_array());
        methods.is_some_and(|methods| methods.iter().any(|one| one.as_str() == Some(method)))
    };
    Ok(OAuth2Endpoints {
        token,
        begin,
        // RFC 8414 §2: without a list it is `client_secret_basic`.
        basic: settings.token_url.is_none() && !takes("client_secret_post"),
        names_issuer: document.get(NAMES_ISSUER) == Some(&serde_json::Value::Bool(true)),
    })
}

/// The message if the provider has no such endpoint.
pub(super) fn lacking(name: &ProviderName, settings: &OAuth2) -> String {
    let (key, field) = beginning(settings.flow);
    let other = match settings.flow {
        Flow::Device => "browser",
        Flow::Browser => "device",
    };
    format!(
        "the provider's discovery document names no {field}; set `providers.{name}.{key}`, or \
         `flow = \"{other}\"`"
    )
}

type DiscoveryDocument = serde_json::Map<String, serde_json::Value>;

/// The issuer's document, if it is the issuer's.
async fn document(
    name: &ProviderName,
    issuer: &Url,
    client: &TokenClient,
) -> Result<DiscoveryDocument, TokenError> {
    let mut trouble = None;
    for address in addresses(issuer) {
        let answer = client.send(client.get(address.as_str())).await;
        let fields = match answer.and_then(|answer| answer.granted_by("the server", "issuer")) {
            Ok(fields) => fields,
            Err(error) => {
                trouble.get_or_insert(nothing_spent(&error, &address));
                continue;
            }
        };
        let told = fields.get("issuer").and_then(|value| value.as_str());
        // RFC 8414 §3.3: it must be the same, or a stranger's document would redirect our tokens.
        let is_same = told.is_some_and(|told| {
            told.trim_end_matches('/') == issuer.as_str().trim_end_matches('/')
        });
        if !is_same {
            return Err(unusable(format!(
                "the discovery document at {address} is of another issuer; correct \
                 `providers.{name}.issuer_url`, or set `providers.{name}.token_url`"
            )));
        }
        return Ok(fields);
    }
    Err(trouble.unwrap_or_else(|| unusable(format!("set `providers.{name}.token_url`"))))
}

/// Where the document may be: RFC 8414 §3.1 puts the well-known part before the issuer's path, `OpenID` Connect behind it.
fn addresses(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/').to_owned();
    let [oauth, openid] = DOCUMENTS;
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    [
        at(format!("/.well-known/{oauth}{path}")),
        at(format!("{path}/.well-known/{openid}")),
    ]
}

/// Whether a token may go to an address that a document names: to the issuer's own origin, or by https to a host that
/// the configuration lists.
pub(super) fn is_trusted(url: &Url, issuer: &Url, hosts: &[String]) -> bool {
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let listed = || {
        url.scheme() == "https"
            && url.port().is_none()
            && url
                .host_str()
                .is_some_and(|host| hosts.iter().any(|listed| listed == host))
    };
    plain && (url.origin() == issuer.origin() || listed())
}

/// An outage that has spent nothing.
pub(super) fn unusable(what: String) -> TokenError {
    TokenError::Transient {
        may_be_spent: false,
        what,
        retry_after: None,
    }
}

/// What a request came to that carried no token.
fn nothing_spent(error: &TokenError, address: &Url) -> TokenError {
    let wait = match error {
        TokenError::Lost { retry_after, .. } | TokenError::Transient { retry_after, .. } => {
            *retry_after
        }
        TokenError::Rejected { .. } | TokenError::AccessTokenRefused => None,
    };
    TokenError::Transient {
        may_be_spent: false,
        what: format!("no discovery document at {address}: {error}"),
        retry_after: wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn the_document_is_looked_for_where_both_standards_put_it() {
        let [oauth, openid] = addresses(&url("https://auth.example/tenant/"));
        let expected = "https://auth.example/.well-known/oauth-authorization-server/tenant";
        assert_eq!(oauth.as_str(), expected);
        let expected = "https://auth.example/tenant/.well-known/openid-configuration";
        assert_eq!(openid.as_str(), expected);
        let [oauth, _] = addresses(&url("https://auth.example"));
        let expected = "https://auth.example/.well-known/oauth-authorization-server";
        assert_eq!(oauth.as_str(), expected);
    }

    #[test]
    fn a_document_leads_to_its_own_issuer_and_to_listed_hosts_alone() {
        let issuer = url("https://auth.example");
        let hosts = ["tokens.example".to_owned()];
        for (text, trusted) in [
            ("https://auth.example/token", true),
            ("https://auth.example:443/token?a=b", true),
            ("https://tokens.example/token", true),
            ("http://auth.example/token", false),
            ("https://auth.example:8443/token", false),
            ("http://tokens.example/token", false),
            ("https://tokens.example:8443/token", false),
            ("https://auth.example.evil.example/token", false),
            ("https://evil.tokens.example/token", false),
            ("https://auth.example@evil.example/token", false),
            ("https://me@auth.example/token", false),
            ("https://evil.example/auth.example", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(is_trusted(&url(text), &issuer, &hosts), trusted, "{text}");
        }
    }
}
