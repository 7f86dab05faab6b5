//! Texts of the file, parsed into values; pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use hyper::header::HeaderName;
use url::{Host, Url};

use super::ProviderName;
use super::reader::Wrong;
use crate::paths::Environment;
use crate::suggest::did_you_mean;

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Where apps put their key.
pub const KEY_FIELDS: [&str; 5] = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-auth-token",
];

/// Other headers that carry a login, say where the request goes, or frame it on one connection.
const NEVER_FORWARDED: [&str; 12] = [
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// What people copy with a base URL from a provider's page.
const ENDS: [&str; 4] = [
    "/chat/completions",
    "/completions",
    "/responses",
    "/messages",
];
/// How paths of the API and of the port itself begin: an app that leaves out `/v1` would get to a provider of that name.
const TAKEN_BY_PATHS: [&str; 18] = [
    "api",
    "audio",
    "batches",
    "chat",
    "completions",
    "embeddings",
    "files",
    "health",
    "healthz",
    "images",
    "livez",
    "messages",
    "metrics",
    "models",
    "moderations",
    "readyz",
    "responses",
    "v1",
];

pub(super) fn provider_name(text: &str) -> Result<ProviderName, Wrong> {
    match ProviderName::new(text) {
        Some(name) if TAKEN_BY_PATHS.contains(&name.as_str()) => {
            Err(format!("the name `{name}` is taken by the path /{name}; choose another").into())
        }
        Some(name) => Ok(name),
        None => Err(format!(
            "{text:?} is not a provider's name: write letters, digits, `-` and `_`, starting with \
             a letter or digit"
        )
        .into()),
    }
}

/// A Unix socket's file, after a leading `~` or `%t` (the runtime folder, as systemd calls it) was
/// replaced.
pub(super) fn socket_path(text: &str, env: &Environment) -> Result<PathBuf, Wrong> {
    /// `sun_path` of `unix(7)` on every system, with room for its end mark and a temporary name.
    const LONGEST: usize = 99;
    let path = match text.strip_prefix("%t") {
        Some(rest) => match env.runtime_base() {
            Some(base) => base.join(rest.trim_start_matches('/')),
            None => return Err("the runtime folder is unknown; set XDG_RUNTIME_DIR".into()),
        },
        None => path(text, env)?,
    };
    if path.file_name().is_none() || text.ends_with('/') {
        return Err(format!("{text:?} is a folder: name the socket's file in it").into());
    }
    if path.as_os_str().len() > LONGEST {
        return Err(format!(
            "{} is longer than the {LONGEST} bytes that a socket's path may have",
            path.display()
        )
        .into());
    }
    Ok(path)
}

/// A socket's permissions in octal.
pub(super) fn socket_mode(text: &str) -> Result<u32, Wrong> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| digits);
    match mode {
        Some(mode) if mode & !0o666 == 0 && mode & 0o600 == 0o600 => Ok(mode),
        _ => Err(format!(
            "{text:?} is not a socket's mode: \"0600\" is for you alone, \"0660\" for your group \
             too"
        )
        .into()),
    }
}

/// An address without a port, as on the command line.
pub(super) fn listen_host(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    if bare == "localhost" {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    bare.parse().ok()
}

/// Whether only this machine can reach the address.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// An absolute path, after a leading `~` was replaced by the home folder.
pub(super) fn path(text: &str, env: &Environment) -> Result<PathBuf, Wrong> {
    let path = env.expand_home(Path::new(text));
    if path.is_absolute() {
        return Ok(path);
    }
    if path.starts_with("~") {
        return Err("the home folder is unknown, so write the full path".into());
    }
    Err(format!("{text:?} is not absolute: start it with `/` or `~/`").into())
}

/// Whether only this machine's own network can reach the address: loopback, link-local, RFC 1918, RFC 4193.
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// A base URL without a slash at its end; plain http only to this machine.
///
/// Its text is in no message: it may hold a password.
pub(super) fn base_url(text: &str) -> Result<Url, Wrong> {
    let plain = "over http:// anyone on the network could read the credential: use https:// (http:// is for \
                 127.0.0.1, [::1] and localhost only)";
    local_url(text, plain)
}

/// The same where a provider could also do without a credential.
pub(super) fn keyed_url(text: &str) -> Result<Url, Wrong> {
    let plain = "over http:// anyone on the network could read the credential: use https:// (http:// is for \
                 127.0.0.1, [::1] and localhost only, or for a server on your network without a key: \
                 auth = \"none\")";
    local_url(text, plain)
}

fn local_url(text: &str, plain: &str) -> Result<Url, Wrong> {
    let is_here = |host: &Host<&str>| match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => is_loopback((*address).into()),
        Host::Ipv6(address) => is_loopback((*address).into()),
    };
    url(text, is_here, plain)
}

/// The same for a server without a credential: also plain http to a private address, or to a name without a dot,
/// which is looked up in this network.
pub(super) fn keyless_url(text: &str) -> Result<Url, Wrong> {
    let is_near = |host: &Host<&str>| match host {
        Host::Domain(name) => !name.contains('.'),
        Host::Ipv4(address) => is_private((*address).into()),
        Host::Ipv6(address) => is_private((*address).into()),
    };
    let plain = "over http:// anyone on the network path could read your prompts: use https:// (http:// is for private \
                 addresses and names without a dot)";
    url(text, is_near, plain)
}

fn url(text: &str, is_near: impl Fn(&Host<&str>) -> bool, plain: &str) -> Result<Url, Wrong> {
    if let Some(with_scheme) = without_scheme(text) {
        return Err(Wrong {
            message: "the URL must start with https:// (or, on this machine, http://)".to_owned(),
            suggestion: Some(with_scheme),
        });
    }
    let mut url = Url::parse(text)
        .map_err(|error| format!("not a URL such as \"https://api.example.com/v1\": {error}"))?;
    let here = match url.host() {
        Some(host) => is_near(&host),
        None => return Err("the URL has no host".into()),
    };
    // What follows more slashes is a host to the `url` crate, and a path to people.
    let behind = text.split_once("://").map(|(_, behind)| behind);
    if behind.is_none_or(|behind| behind.starts_with(['/', '\\'])) {
        return Err("the URL has no host".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL must not contain a user name or password".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the URL must end with its path: no `?` and no `#`".into());
    }
    match url.scheme() {
        "https" => {}
        "http" if here => {}
        "http" => return Err(plain.into()),
        _ => return Err("the URL must start with https://".into()),
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// Where a provider's API begins: apps add the path of each request themselves.
pub(super) fn api_url(url: Url) -> Result<Url, Wrong> {
    let mut ends = ENDS.iter();
    let Some((before, end)) = ends.find_map(|end| Some((url.path().strip_suffix(end)?, end)))
    else {
        return Ok(url);
    };
    let mut meant = url.clone();
    meant.set_path(before);
    Err(Wrong {
        message: format!("must end before {end}, which is added for each request"),
        suggestion: Some(meant.to_string()),
    })
}

/// An OAuth endpoint: like a base URL, with the path unchanged.
///
/// Its text is in no message: it may hold a password.
pub(super) fn endpoint(text: &str) -> Result<Url, Wrong> {
    let mut url = base_url(text)?;
    if let Ok(whole) = Url::parse(text) {
        url.set_path(whole.path());
    }
    Ok(url)
}

/// What keeps a text from being a base URL; the file's rule for one that comes from elsewhere.
pub fn base_url_flaw(text: &str) -> Option<String> {
    base_url(text).err().map(|wrong| wrong.message)
}

/// The URL that is meant by one that lacks its scheme, such as `api.example.com/v1`.
fn without_scheme(text: &str) -> Option<String> {
    // The part before an `@` may be a password.
    if text.contains("://") || text.contains(['@', '?', '#']) {
        return None;
    }
    let authority = text.split('/').next().unwrap_or_default();
    let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
    let is_named = name == "localhost" || name.contains('.');
    if !is_named || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let is_here = name == "localhost" || name.parse().is_ok_and(is_loopback);
    let scheme = if is_here { "http" } else { "https" };
    let url = format!("{scheme}://{text}");
    Url::parse(&url).is_ok().then_some(url)
}

/// A host name without a port, in lower case.
pub(super) fn host_name(text: &str) -> Result<String, Wrong> {
    if is_host(text) {
        return Ok(text.to_ascii_lowercase());
    }
    let hint = if text.contains('*') {
        "name each host: there are no wildcards"
    } else if text.contains("://") {
        "omit the scheme"
    } else if text.contains(':') {
        "omit the port, and write an IPv6 address in brackets"
    } else {
        "write a name such as \"my-machine.lan\""
    };
    Err(format!("{text:?} is not a host name: {hint}").into())
}

/// An origin as a browser sends it: `scheme://host` or `scheme://host:port`.
pub(super) fn origin(text: &str) -> Result<String, Wrong> {
    let wrong = |hint: &str| Wrong::from(format!("{text:?} is not an origin: {hint}"));
    if text.contains('*') {
        return Err(wrong("name each one, there are no wildcards"));
    }
    if text == "null" {
        return Err(wrong(
            "any web site can make a page that sends it; serve the page from an address, such as \
             \"http://127.0.0.1:8000\", and name that",
        ));
    }
    // Apps that are built on a browser send it, and web sites can't.
    if text == "file://" {
        return Ok(text.to_owned());
    }
    let Some((scheme, authority)) = text.split_once("://") else {
        return Err(wrong(
            "write scheme://host, such as \"https://app.example\"",
        ));
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let scheme_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    let scheme_valid =
        scheme.starts_with(|c: char| c.is_ascii_lowercase()) && scheme.bytes().all(scheme_byte);
    let port_valid = port.is_none_or(|port| {
        port.parse::<u16>()
            .is_ok_and(|number| number.to_string() == port)
    });
    if scheme_valid && is_host(host) && port_valid && !host.contains(|c: char| c.is_uppercase()) {
        match Url::parse(text) {
            Ok(url) if matches!(scheme, "http" | "https") => {
                let sent = url.origin().ascii_serialization();
                if sent != text {
                    return Err(Wrong {
                        suggestion: Some(sent),
                        ..wrong("browsers send it in another form")
                    });
                }
            }
            Ok(_) => {}
            Err(error) => return Err(wrong(&error.to_string())),
        }
        return Ok(text.to_owned());
    }
    let sent = Url::parse(text).ok().map(|url| url.origin());
    Err(Wrong {
        suggestion: sent
            .filter(url::Origin::is_tuple)
            .map(|origin| origin.ascii_serialization()),
        ..wrong("write scheme://host or scheme://host:port in lower case, and nothing after it")
    })
}

/// A level, or a list of `target=level` and levels separated by commas.
pub(super) fn log_level(text: &str) -> Result<String, Wrong> {
    let target = |name: &str| {
        let byte = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b':' || b == b'-';
        !name.is_empty() && name.bytes().all(byte)
    };
    for directive in text.split(',').map(str::trim) {
        let valid = match directive.split_once('=') {
            Some((name, level)) => target(name) && LEVELS.contains(&level),
            None => LEVELS.contains(&directive),
        };
        if !valid {
            return Err(Wrong {
                message: format!(
                    "{directive:?} is not one of error, warn, info, debug, trace, nor a \
                     directive such as \"hermes_proxy=debug\""
                ),
                suggestion: did_you_mean(text, LEVELS),
            });
        }
    }
    let directives: Vec<_> = text.split(',').map(str::trim).collect();
    Ok(directives.join(","))
}

/// A path of a route: `embeddings`, with or without what apps put in front of it.
pub(super) fn route_path(text: &str) -> Result<String, Wrong> {
    let path = text.trim_matches('/');
    let path = path.strip_prefix("v1/").unwrap_or(path);
    let segment = |segment: &str| {
        let byte = |b: u8| b.is_ascii_alphanumeric() || b"-_.{}".contains(&b);
        !matches!(segment, "" | "." | "..") && segment.bytes().all(byte)
    };
    if !path.split('/').all(segment) {
        return Err(format!(
            "{text:?} is not a path below /v1, such as \"embeddings\" or \"chat/completions\""
        )
        .into());
    }
    Ok(format!("/{path}"))
}

/// A request header that may go to a provider.
pub(super) fn forwarded_header(text: &str) -> Result<HeaderName, Wrong> {
    let Ok(name) = HeaderName::try_from(text) else {
        return Err(format!("{text:?} is not a header's name").into());
    };
    if name == "user-agent" {
        return Err("set `user_agent = \"client\"` to forward this header".into());
    }
    let lower = name.as_str();
    let is_kept = KEY_FIELDS.contains(&lower) || NEVER_FORWARDED.contains(&lower);
    if is_kept || lower.starts_with("proxy-") {
        return Err(format!(
            "`{lower}` is never forwarded: it is the client's own login, or belongs to its \
             connection"
        )
        .into());
    }
    Ok(name)
}

/// The name of a credential as systemd takes it: a file's name; the text is in no message: it may be the key itself.
pub(super) fn credential_name(text: &str) -> Result<String, Wrong> {
    let byte = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !text.is_empty() && text.len() <= 255 && !text.starts_with('.') && text.bytes().all(byte) {
        return Ok(text.to_owned());
    }
    Err("write the name that LoadCredential= gives it, such as \"example.key\", never the key itself".into())
}

/// The name of an environment variable; the text is in no message: it may be the key itself.
pub(super) fn variable_name(text: &str) -> Result<String, Wrong> {
    let byte = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts && text.bytes().all(byte) {
        return Ok(text.to_owned());
    }
    Err(
        "write the name of an environment variable such as \"EXAMPLE_API_KEY\", never the key \
         itself"
            .into(),
    )
}

/// Where notices are posted to. Plain http may go to any host: a notice holds no secret.
///
/// Its text is in no message: it may hold a token.
pub(super) fn webhook_url(text: &str) -> Result<Url, Wrong> {
    if without_scheme(text).is_some() {
        return Err("the URL must start with https:// or http://".into());
    }
    let url = Url::parse(text)
        .map_err(|error| format!("not a URL such as \"https://ntfy.example/topic\": {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the URL must start with https:// or http://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL must not contain a user name or password".into());
    }
    Ok(url)
}

/// What a system can hand to a program.
pub(super) fn argument(text: &str) -> Result<String, Wrong> {
    if text.contains('\0') {
        return Err("it contains a NUL character".into());
    }
    Ok(text.to_owned())
}

/// A program: a name to look up in `PATH`, or a path, in which a leading `~` is replaced.
pub(super) fn hook_program(text: &str, env: &Environment) -> Result<String, Wrong> {
    if text.trim().is_empty() {
        return Err(
            "the program is missing: write [\"program\", \"argument\", …]; it is run without a \
             shell"
                .into(),
        );
    }
    if !Path::new(text).starts_with("~") {
        return Ok(text.to_owned());
    }
    let path = path(text, env)?;
    path.into_os_string()
        .into_string()
        .map_err(|_| "the home folder's name is not UTF-8, so write another path".into())
}

/// Whether the text can be the host of a URL, with an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    let byte = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    match text.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => text.len() <= 253 && !text.is_empty() && text.bytes().all(byte),
    }
}
