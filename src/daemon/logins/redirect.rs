//! The browser's destination after a login (RFC 8252 §7.3): a loopback port that is open for one login and accepts one
//! answer.
//!
//! Every program on this machine can reach it, and so can every web page in the user's browser. Only an answer with the
//! login's own `state` counts. Connections of other users are closed, host names other than loopback's are refused, and
//! nothing of a request is echoed.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use hyper::body::Incoming;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use url::{Host, Url};

use crate::daemon::port_holder;
use crate::files::FileWorker;
use crate::provider::{BrowserAttempt, Callback, Redirect, Stray};
use crate::proxy;

/// How long a browser may take to send its request head; it normally does so at once.
const HEAD: Duration = Duration::from_secs(10);
/// How long the browser waits for the outcome before it is told to look at the terminal.
const END: Duration = Duration::from_secs(30);
/// The longest lifetime of a connection.
const LIFE: Duration = Duration::from_mins(1);
/// The limit of a request head in bytes: hyper's smallest buffer that holds the longest such address.
const HEAD_SIZE: usize = 16 * 1024;
/// How many connections are served at once.
const CONNECTIONS: usize = 16;
/// Pause after a failed accept.
const REST: Duration = Duration::from_millis(100);

/// The redirect URI of one login, and its listener.
pub(super) struct LoginRedirect {
    /// The redirect URI.
    pub(super) uri: Url,
    /// The listener; `None` if it can't be opened.
    pub(super) door: Option<RedirectListener>,
    /// Why it can't be opened, as a sentence.
    pub(super) deaf: Option<String>,
}

/// An open redirect listener.
#[derive(Debug)]
pub(super) struct RedirectListener {
    listeners: Vec<TcpListener>,
    port: u16,
    path: String,
}

/// The provider's answer, brought by the browser or the user.
#[derive(Debug)]
pub(super) struct RedirectAnswer {
    pub(super) callback: Callback,
    /// Where the outcome for the waiting browser is sent.
    pub(super) browser: Option<oneshot::Sender<LoginResult>>,
}

/// A login's outcome, for the browser.
#[derive(Debug)]
pub(super) enum LoginResult {
    /// The user is logged in to this provider.
    Done(String),
    /// The login failed for this reason.
    Failed(String),
}

/// Opens the redirect listener. If another program has a fixed port, this succeeds: the user then
/// pastes the address.
///
/// # Errors
/// When every port is taken.
pub(super) async fn open(redirect: &Redirect) -> io::Result<LoginRedirect> {
    match redirect {
        Redirect::AnyPort(path) => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let port = listener.local_addr()?.port();
            let uri = Url::parse(&format!("http://127.0.0.1:{port}{path}"));
            let uri = uri.map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
            let door = RedirectListener {
                listeners: vec![listener],
                port,
                path: uri.path().to_owned(),
            };
            Ok(LoginRedirect {
                uri,
                door: Some(door),
                deaf: None,
            })
        }
        Redirect::Fixed(uri) => {
            let port = uri.port_or_known_default().unwrap_or_default();
            let (door, deaf) = match bind_all(uri, port).await {
                Ok(listeners) => {
                    let door = RedirectListener {
                        listeners,
                        port,
                        path: uri.path().to_owned(),
                    };
                    (Some(door), None)
                }
                Err((address, error)) => (None, Some(taken(address, &error).await)),
            };
            Ok(LoginRedirect {
                uri: uri.clone(),
                door,
                deaf,
            })
        }
    }
}

/// Binds every address that the browser may resolve the name to: a program on one of the others would receive the code.
async fn bind_all(uri: &Url, port: u16) -> Result<Vec<TcpListener>, (SocketAddr, io::Error)> {
    let (v4, v6) = (
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    );
    let addresses = match uri.host() {
        Some(Host::Ipv4(_)) => vec![v4],
        Some(Host::Ipv6(_)) => vec![v6],
        Some(Host::Domain(_)) | None => vec![v4, v6],
    };
    let mut listeners = Vec::new();
    for address in addresses {
        let address = SocketAddr::new(address, port);
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            // Without IPv6, the name resolves to IPv4 alone.
            Err(error) if address.is_ipv6() && !listeners.is_empty() && !is_taken(&error) => {}
            Err(error) => return Err((address, error)),
        }
    }
    Ok(listeners)
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrInUse
}

/// Why the port can't be opened, and which program uses it.
async fn taken(address: SocketAddr, error: &io::Error) -> String {
    let holder = if is_taken(error) {
        // This reads the process table.
        let asked = FileWorker::default()
            .run(move || port_holder::name(address))
            .await;
        asked.ok().flatten()
    } else {
        None
    };
    match holder {
        Some(holder) => format!("Port {} is used by {holder}", address.port()),
        None => format!("Port {} can't be opened ({error})", address.port()),
    }
}

impl RedirectListener {
    /// Answers all requests until the login's first answer has been sent to `arrivals`, and after that until it is
    /// dropped. Open connections stay.
    pub(super) async fn answer(
        self,
        attempt: &Arc<BrowserAttempt>,
        arrivals: &mpsc::Sender<RedirectAnswer>,
        tasks: &TaskTracker,
    ) {
        let desk = Arc::new(RedirectServer {
            attempt: attempt.clone(),
            arrivals: arrivals.clone(),
            port: self.port,
            path: self.path.clone(),
        });
        let places = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
        loop {
            let accepting = self.listeners.iter().map(|one| Box::pin(one.accept()));
            let (accepted, ..) = select_all(accepting).await;
            let Ok((stream, remote)) = accepted else {
                tokio::time::sleep(REST).await;
                continue;
            };
            if !is_ours(&stream, remote) {
                tracing::warn!(
                    "a connection to a login's redirect address was closed: it is not known to be \
                     this user's"
                );
                continue;
            }
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let desk = desk.clone();
            tasks.spawn(async move {
                let _place = place;
                drop(timeout(LIFE, desk.serve(stream)).await);
            });
        }
    }
}

fn is_ours(stream: &TcpStream, remote: SocketAddr) -> bool {
    let local = stream.local_addr();
    local.is_ok_and(|local| proxy::is_ours(remote, local))
}

/// Serves the connections of one listener.
struct RedirectServer {
    attempt: Arc<BrowserAttempt>,
    arrivals: mpsc::Sender<RedirectAnswer>,
    port: u16,
    path: String,
}

impl RedirectServer {
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(|request| {
            let desk = self.clone();
            async move { Ok::<_, std::convert::Infallible>(desk.response(request).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(HEAD_SIZE)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%error, "a connection to a login's way back ended");
        }
    }

    async fn response(&self, request: Request<Incoming>) -> Response<String> {
        let (status, title, text) = self.said(&request).await;
        page(status, title, &text)
    }

    async fn said(&self, request: &Request<Incoming>) -> (StatusCode, &'static str, String) {
        const OTHER: &str = "Not this login";
        if !self.is_for_us(request) {
            let text = "This address is for the login that hermesctl waits for.";
            return (StatusCode::FORBIDDEN, OTHER, text.to_owned());
        }
        if request.uri().path() != self.path {
            let text = "There is nothing at this address.";
            return (StatusCode::NOT_FOUND, OTHER, text.to_owned());
        }
        if request.method() != Method::GET {
            let text = "This address accepts only GET.";
            return (StatusCode::METHOD_NOT_ALLOWED, OTHER, text.to_owned());
        }
        let callback = self.attempt.read(request.uri().query().unwrap_or_default());
        let callback = match callback {
            Ok(callback) => callback,
            Err(stray) => {
                tracing::warn!(%stray, "a request to a login's redirect address does not answer that login");
                return (StatusCode::BAD_REQUEST, OTHER, explain(stray));
            }
        };
        let (browser, told) = oneshot::channel();
        let arrival = RedirectAnswer {
            callback,
            browser: Some(browser),
        };
        if self.arrivals.try_send(arrival).is_err() {
            let text = "This login has its answer already. The terminal shows how it went.";
            return (StatusCode::CONFLICT, "Already answered", text.to_owned());
        }
        match timeout(END, told).await {
            Ok(Ok(LoginResult::Done(provider))) => {
                let text = format!(
                    "hermes-proxyd is logged in to {provider}. You can close this page and go \
                     back to the terminal."
                );
                (StatusCode::OK, "Logged in", text)
            }
            Ok(Ok(LoginResult::Failed(why))) => {
                let text = format!("{why} You can close this page and go back to the terminal.");
                (StatusCode::OK, "Not logged in", text)
            }
            Ok(Err(_)) => {
                let text = "The login was cancelled. You can close this page.";
                (StatusCode::OK, "Not logged in", text.to_owned())
            }
            Err(_) => {
                let text = "The terminal shows the next step. You can close this page.";
                (StatusCode::OK, "Still at it", text.to_owned())
            }
        }
    }

    /// Whether the request names loopback. Another name that resolves here belongs to a web page.
    fn is_for_us(&self, request: &Request<Incoming>) -> bool {
        let mut hosts = request.headers().get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let names = ["127.0.0.1", "localhost", "[::1]"];
        let port = self.port;
        names.iter().any(|name| {
            let with_port = format!("{name}:{port}");
            let host = host.as_bytes();
            host.eq_ignore_ascii_case(with_port.as_bytes())
                || port == 80 && host.eq_ignore_ascii_case(name.as_bytes())
        })
    }
}

/// The text for an answer that does not belong to this login.
fn explain(stray: Stray) -> String {
    match stray {
        Stray::Foreign => "This answer belongs to another login. If you started the login again, \
                           use the page of the last one."
            .to_owned(),
        Stray::Twice | Stray::Empty | Stray::LoginPage | Stray::Elsewhere | Stray::Unreadable => {
            format!("This answer can't be used: {stray}. The login is still waiting.")
        }
    }
}

/// A plain HTML page without scripts, caching or a referrer.
fn page(status: StatusCode, title: &str, text: &str) -> Response<String> {
    let (title, text) = (escaped(title), escaped(text));
    let body = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <h1>{title}</h1>\n<p>{text}</p>\n"
    );
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter if letter.is_control() => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
