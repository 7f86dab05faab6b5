//! Where apps connect: whether each listener answers, whether its guard works, which program has a
//! port that we want, and whether there are keys where keys are needed.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::facts::{DaemonAnswers, DoctorFacts};
use super::neighbours;
use super::pending::is_at;
use super::system::{self, quoted};
use super::{DoctorFinding, FindingGroup, FindingVerdict, judged};
use crate::config::{ListenAddress, Listener};
use crate::control::protocol::{Finding, FindingCode, IssuedKey, ListenerStatus};

const GROUP: FindingGroup = FindingGroup::Listeners;
/// The service is on this machine and answers `/health` from memory.
const LIMIT: Duration = Duration::from_secs(3);
/// A reserved name (RFC 2606 §2), as a page that rebinds its own name would use it.
const STRANGER: &str = "rebound.invalid";
/// How many ports are tried for a free one.
const PORTS_TRIED: usize = 100;
/// More than `/health` answers with.
const LARGEST: u64 = 64 * 1024;

pub(super) async fn examine(facts: Arc<DoctorFacts>) -> Vec<DoctorFinding> {
    let next = facts.next_listeners();
    let served = facts
        .running()
        .map_or(&[][..], |answers| &answers.status.listeners);
    let asked = join_all(served.iter().map(|listener| living(listener, &facts)));
    // The next start needs what a running daemon does not have yet.
    let new = next.iter().filter(|one| !is_held(&one.address, served));
    let new = join_all(new.map(|listener| free(listener, &facts)));
    let (asked, new) = tokio::join!(asked, new);
    let mut findings = asked.concat();
    findings.extend(new);
    findings.extend(beside(served, &facts).await);
    findings.extend(open_to_all(&facts));
    findings.extend(keys(&facts));
    findings.extend(reverse_proxies(&facts));
    findings
}

/// Whether the running daemon has this address, alone or as part of another one.
fn is_held(address: &ListenAddress, served: &[ListenerStatus]) -> bool {
    served.iter().any(|served| {
        let port = match address {
            ListenAddress::Ip(address) => address.port(),
            ListenAddress::Interface { .. } | ListenAddress::Unix { .. } => 0,
        };
        let theirs = ListenTarget::of_status(served);
        is_at(address, served)
            || port != 0
                && matches!(theirs, Some(ListenTarget::Tcp(theirs)) if theirs.port() == port)
    })
}

/// Where a listener is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ListenTarget {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl ListenTarget {
    fn of_status(listener: &ListenerStatus) -> Option<Self> {
        if let Some(path) = listener.address.strip_prefix("unix:") {
            return Some(Self::Unix(path.into()));
        }
        let url = listener.url.strip_prefix("http://")?;
        let address = url.strip_suffix("/v1").unwrap_or(url);
        address.parse().ok().map(Self::Tcp)
    }

    /// What an app would call it.
    fn host(&self) -> String {
        match self {
            Self::Tcp(address) => reachable(*address).to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// All addresses of the machine are reached at its own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A listener of the running daemon: it answers under its own name, and not under a strange one.
async fn living(listener: &ListenerStatus, facts: &DoctorFacts) -> Vec<DoctorFinding> {
    let name = listener.address.clone();
    if listener.waiting && listener.is_unix() {
        let text = "The socket was removed and can't be restored yet; `hermesctl logs` says why.";
        let finding = GROUP.finds(name, FindingVerdict::Warn, text);
        return vec![finding.code(FindingCode::SocketMissing)];
    }
    if listener.waiting {
        let text = "This machine does not have the address yet; the listener opens when it \
                    appears.";
        let finding = GROUP.finds(name, FindingVerdict::Warn, text);
        return vec![finding.code(FindingCode::AddressMissing)];
    }
    let Some(target) = ListenTarget::of_status(listener) else {
        return vec![GROUP.finds(name, FindingVerdict::Skip, "Its address can't be tested.")];
    };
    let mut findings = Vec::new();
    if let ListenTarget::Unix(path) = &target {
        findings.extend(socket_file(path, facts));
    }
    let answer = get(&target, &target.host(), facts.own_mark()).await;
    let text = match &answer {
        Ok(200) if listener.needs_key => {
            "It answers without the client key that it should require."
        }
        Ok(200) => "It answers.",
        Ok(401) if listener.needs_key => "It answers and requires a client key.",
        Ok(status) => &format!("It answers /health with {status}."),
        Err(error) => &format!("It does not answer: {error}."),
    };
    let good = matches!(answer, Ok(200)) != listener.needs_key && matches!(answer, Ok(200 | 401));
    if !good {
        let finding = GROUP.finds(name, FindingVerdict::Fail, text);
        findings.push(finding.fixes(facts.restart_as_it_is()));
        return findings;
    }
    findings.push(GROUP.finds(name.clone(), FindingVerdict::Ok, text));
    findings.extend(guard(&name, &target, facts.own_mark()).await);
    findings
}

/// Whether another program has the extra addresses of our listeners.
async fn beside(served: &[ListenerStatus], facts: &DoctorFacts) -> Vec<DoctorFinding> {
    let addresses = if facts.running().is_some() {
        listeners_of_loopback(served.iter().filter_map(|one| {
            let Some(ListenTarget::Tcp(address)) = ListenTarget::of_status(one) else {
                return None;
            };
            let also = one.also.iter().filter_map(|also| also.parse().ok());
            Some((address, also.collect()))
        }))
    } else if facts.silent().is_some() {
        // A daemon that does not answer has it.
        Vec::new()
    } else {
        let own = facts.config.listeners.iter();
        let own = own.filter_map(Listener::ip_address);
        listeners_of_loopback(own.map(|address| (address, Vec::new())))
    };
    let asked = join_all(addresses.into_iter().map(localhost)).await;
    asked.into_iter().flatten().collect()
}

/// For each listener and its extra addresses: whether another program has `[::1]`, given that no
/// listener of ours has it.
fn listeners_of_loopback(
    listeners: impl Iterator<Item = (SocketAddr, Vec<SocketAddr>)>,
) -> Vec<SocketAddr> {
    let listeners: Vec<_> = listeners.collect();
    let has = |wanted: SocketAddr| {
        listeners
            .iter()
            .any(|(own, also)| *own == wanted || also.contains(&wanted))
    };
    let four = listeners.iter().map(|(own, _)| reachable(*own));
    let four = four.filter(|own| own.ip() == IpAddr::from(Ipv4Addr::LOCALHOST));
    let mut six: Vec<_> = four
        .map(|own| SocketAddr::new(Ipv6Addr::LOCALHOST.into(), own.port()))
        .filter(|six| !has(*six) && !has(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), six.port())))
        .collect();
    six.dedup();
    six
}

/// A program that listens on `[::1]` where we don't gets the requests of apps that are given
/// `localhost`.
async fn localhost(address: SocketAddr) -> Option<DoctorFinding> {
    let connected = timeout(LIMIT, TcpStream::connect(address)).await;
    if !matches!(connected, Ok(Ok(_))) {
        return None;
    }
    let text = format!(
        "Another program has {address}: an app that is configured with `localhost` may reach it \
         instead of hermes-proxyd and send it prompts and its key."
    );
    let finding = GROUP.finds(address.to_string(), FindingVerdict::Warn, text);
    let advice = "Configure apps with 127.0.0.1, or stop that program if it is not needed.";
    Some(finding.run("ss -ltnp").advice(advice))
}

async fn guard(
    name: &str,
    target: &ListenTarget,
    mark: Option<&IssuedKey>,
) -> Option<DoctorFinding> {
    let label = format!("guard of {name}");
    match get(target, STRANGER, mark).await {
        Ok(401 | 403) => {
            let text = "Requests with a foreign host name are refused.";
            Some(GROUP.finds(label, FindingVerdict::Ok, text))
        }
        Ok(status) => {
            let text = format!(
                "A request with a foreign host name was answered with {status}: a web page could \
                 use the service."
            );
            let finding = GROUP.finds(label, FindingVerdict::Fail, text);
            Some(finding.advice(
                "That is a defect, or another program answers there. Please report it with the \
                 output of `hermesctl doctor --json`.",
            ))
        }
        Err(_) => None,
    }
}

fn socket_file(path: &Path, facts: &DoctorFacts) -> Option<DoctorFinding> {
    let name = format!("mode of {}", path.display());
    let Some(attributes) = system::attributes(path) else {
        let text = "The socket's file was removed.";
        let finding = GROUP.finds(name, FindingVerdict::Fail, text);
        return Some(finding.fixes(facts.restart_as_it_is()));
    };
    let wanted = facts
        .config
        .listeners
        .iter()
        .find_map(|listener| match &listener.address {
            ListenAddress::Unix { path: own, mode } if own == path => Some(*mode),
            ListenAddress::Unix { .. } | ListenAddress::Ip(_) | ListenAddress::Interface { .. } => {
                None
            }
        })?;
    let mode = attributes.mode & 0o777;
    if mode == wanted {
        let text = format!("It is {mode:04o}, as configured.");
        return Some(GROUP.finds(name, FindingVerdict::Ok, text));
    }
    let text = format!("It is {mode:04o}, but the configuration says {wanted:04o}.");
    let finding = GROUP.finds(name, FindingVerdict::Warn, text);
    Some(finding.run(format!("chmod {wanted:04o} {}", quoted(path))))
}

/// Asks `/health` under this name; the status.
async fn get(target: &ListenTarget, host: &str, mark: Option<&IssuedKey>) -> Result<u16, String> {
    let asking = async {
        match target {
            ListenTarget::Tcp(address) => {
                let stream = TcpStream::connect(reachable(*address)).await?;
                exchange(stream, host, mark).await
            }
            ListenTarget::Unix(path) => exchange(system::connect(path).await?, host, mark).await,
        }
    };
    let answer = timeout(LIMIT, asking).await;
    let answer = answer.map_err(|_| format!("silent for {} s", LIMIT.as_secs()))?;
    answer.map_err(|error: std::io::Error| error.to_string())
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    mark: Option<&IssuedKey>,
) -> std::io::Result<u16> {
    let mark = mark.map(|mark| format!("{}: {}\r\n", crate::OWN_REQUEST, mark.expose()));
    let request = format!(
        "GET /health HTTP/1.1\r\nhost: {host}\r\nuser-agent: {}\r\n{}connection: close\r\n\r\n",
        crate::USER_AGENT,
        mark.unwrap_or_default()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer).await?;
    let head = String::from_utf8_lossy(&answer);
    let status = head
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
}

/// A listener that the daemon would open: is its place free?
async fn free(listener: &Listener, facts: &DoctorFacts) -> DoctorFinding {
    let name = listener.address.to_string();
    let taken = match &listener.address {
        ListenAddress::Ip(address) => {
            let address = reachable(*address);
            let connected = timeout(LIMIT, TcpStream::connect(address)).await;
            let taken = matches!(connected, Ok(Ok(_)));
            taken.then(|| (ListenTarget::Tcp(address), tcp_holder(address, facts)))
        }
        ListenAddress::Unix { path, .. } => {
            let connected = timeout(LIMIT, system::connect(path)).await;
            let stream = connected.ok().and_then(Result::ok);
            stream.map(|stream| (ListenTarget::Unix(path.clone()), unix_holder(&stream)))
        }
        ListenAddress::Interface { .. } => None,
    };
    let Some((target, holder)) = taken else {
        return GROUP.finds(name, FindingVerdict::Ok, "It is free for hermes-proxyd.");
    };
    let who = match &holder {
        PortHolder::Silent(pid) => {
            let text = format!("The hermes-proxyd that does not answer (process {pid}) uses it.");
            let finding = GROUP.finds(name, FindingVerdict::Fail, text);
            return finding.fixes(facts.restart());
        }
        PortHolder::Program(name, pid) => format!("{name} (process {pid})"),
        PortHolder::OneOf(pids) => {
            let pids: Vec<_> = pids.iter().map(ToString::to_string).collect();
            format!(
                "One of several hermes-proxyd (processes {})",
                pids.join(", ")
            )
        }
        PortHolder::OtherUser(user) => format!("A program of another user (id {user})"),
        PortHolder::Unknown => "Another program".to_owned(),
    };
    let line = match &holder {
        PortHolder::Program(_, pid) => system::command_line(*pid),
        PortHolder::Silent(_)
        | PortHolder::OneOf(_)
        | PortHolder::OtherUser(_)
        | PortHolder::Unknown => None,
    };
    let line = line.map(|line| format!(": {line}")).unwrap_or_default();
    let text = format!("{who} uses it, so hermes-proxyd can't start{line}.");
    let finding = GROUP.finds(name, FindingVerdict::Fail, text).stops_start();
    let finding = match &target {
        ListenTarget::Tcp(address) => finding.advice(format!(
            "Give hermes-proxyd another port, as `address` under [[listen]] in the configuration \
             or with `hermesctl proxy start --port {}`; or stop that program if it is not \
             needed.",
            another(address.port())
        )),
        ListenTarget::Unix(_) => finding.advice(
            "Choose another `unix` under [[listen]] in the configuration, or stop that program if \
             it is not needed.",
        ),
    };
    match (holder, &target) {
        (PortHolder::OtherUser(_), ListenTarget::Tcp(_)) | (PortHolder::OneOf(_), _) => {
            finding.run("sudo ss -ltnp")
        }
        (PortHolder::OtherUser(_), ListenTarget::Unix(_)) => finding.run("sudo ss -lxp"),
        (PortHolder::Unknown, ListenTarget::Tcp(_)) => finding.run("ss -ltnp"),
        (PortHolder::Unknown, ListenTarget::Unix(_)) => finding.run("ss -lxp"),
        (PortHolder::Silent(_) | PortHolder::Program(..), _) => finding,
    }
}

/// Who has a place that we want.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PortHolder {
    /// The daemon that has the control socket and does not answer there.
    Silent(u32),
    /// A program that can be named, and its process.
    Program(String, u32),
    /// A hermes-proxyd; only root can distinguish it from others of this user.
    OneOf(Vec<u32>),
    /// A program of the user with this id.
    OtherUser(u32),
    Unknown,
}

/// A socket's process is found by its open files, which a hermes-proxyd shows to root alone. The
/// socket's user is public: a socket of ours without a visible process belongs to a hermes-proxyd.
fn tcp_holder(address: SocketAddr, facts: &DoctorFacts) -> PortHolder {
    let silent = facts.silent();
    if let Some((name, pid)) = system::port_holder(address.port()) {
        return if Some(pid) == silent {
            PortHolder::Silent(pid)
        } else {
            PortHolder::Program(name, pid)
        };
    }
    match system::listening_user(address) {
        Some(user) if user == system::our_user() => {
            if let Some(pid) = silent.filter(|pid| !system::shows_files(*pid)) {
                return PortHolder::Silent(pid);
            }
            let daemons = system::processes().unwrap_or_default().into_iter();
            let hidden = daemons
                .filter(|one| neighbours::is_daemon(&one.arguments))
                .filter(|one| !system::shows_files(one.pid));
            let hidden: Vec<_> = hidden.map(|one| one.pid).collect();
            match hidden.as_slice() {
                [] => PortHolder::Unknown,
                [pid] => PortHolder::Program("hermes-proxyd".to_owned(), *pid),
                _ => PortHolder::OneOf(hidden),
            }
        }
        Some(user) => PortHolder::OtherUser(user),
        None => PortHolder::Unknown,
    }
}

fn unix_holder(stream: &system::Socket) -> PortHolder {
    match system::peer(stream) {
        Some((user, _)) if user != system::our_user() => PortHolder::OtherUser(user),
        Some((_, Some(pid))) => match system::process_name(pid) {
            Some(name) => PortHolder::Program(name, pid),
            None => PortHolder::Unknown,
        },
        Some((_, None)) | None => PortHolder::Unknown,
    }
}

/// The next port that is free on this machine now.
fn another(port: u16) -> u16 {
    let mut next = (port.saturating_add(1)..=u16::MAX).take(PORTS_TRIED);
    let free = next.find(|port| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.unwrap_or(0)
}

fn open_to_all(facts: &DoctorFacts) -> Vec<DoctorFinding> {
    let open = facts.config.listeners.iter().filter(|listener| {
        listener.allow_unauthenticated
            && listener.address.is_reachable_by_others()
            && !listener.needs_key()
    });
    open.map(|listener| {
        let name = format!("access to {}", listener.address);
        let text = "Everyone who can reach it may use your subscription \
                    (`allow_unauthenticated`).";
        GROUP
            .finds(name, FindingVerdict::Warn, text)
            .run("hermesctl clients add my-app")
            .advice("Then take `allow_unauthenticated` out of the configuration and restart.")
    })
    .collect()
}

/// Reverse proxies that may pass as programs of ours, if a listener needs no key.
fn reverse_proxies(facts: &DoctorFacts) -> Option<DoctorFinding> {
    let is_open = match facts.running() {
        Some(answers) => {
            let mut listeners = answers.status.listeners.iter();
            listeners.any(|one| !one.needs_key)
        }
        None => facts.config.listeners.iter().any(|one| !one.needs_key()),
    };
    let mut running: Vec<&str> = system::processes()?
        .iter()
        .filter_map(|process| reverse_proxy(process.arguments.first()?))
        .collect();
    running.sort_unstable();
    running.dedup();
    if !is_open || running.is_empty() {
        return None;
    }
    let text = format!(
        "{} is running on this machine. If it forwards to an address of hermes-proxyd that needs \
         no key, everyone who reaches it may use your subscription.",
        running.join(" and ")
    );
    let finding = GROUP.finds("reverse proxies", FindingVerdict::Info, text);
    Some(finding.advice(
        "If it does, put `auth = \"keys\"` under that [[listen]] in the configuration; `hermesctl \
         clients add NAME` makes a key for each app.",
    ))
}

/// The reverse proxy that a process is: `nginx: master process …` or a path.
fn reverse_proxy(program: &str) -> Option<&'static str> {
    const KNOWN: [&str; 9] = [
        "nginx", "caddy", "haproxy", "traefik", "apache2", "httpd", "lighttpd", "envoy", "socat",
    ];
    let program = program.split([':', ' ']).next().unwrap_or_default();
    let name = Path::new(program).file_name()?.to_str()?;
    let mut known = KNOWN.into_iter();
    known.find(|known| *known == name.trim_end_matches(".exe"))
}

/// Whether there are client keys where they are needed, and whether their file is private.
fn keys(facts: &DoctorFacts) -> Vec<DoctorFinding> {
    let mut findings = Vec::new();
    let files = facts.files.as_ref();
    let file = files.map(|files| files.own.with_file_name("clients.json"));
    let mut is_readable = true;
    if let Some(file) = &file {
        let told = unreadable_keys(file, facts);
        is_readable = told.is_none();
        let exposed = key_file(file).filter(|_| is_readable || facts.running().is_none());
        findings.extend(exposed.or(told));
    }
    let imported = files.map(|files| files.active.with_file_name("proxy-clients.json"));
    findings.extend(imported.and_then(|file| key_file(&file)));

    let serves = facts.running().is_some_and(|answers| {
        let mut listeners = answers.status.listeners.iter();
        listeners.any(|one| one.needs_key)
    });
    let will = facts.next_listeners().iter().any(Listener::needs_key);
    if !serves && !will {
        return findings;
    }
    let of_daemon = facts
        .running()
        .and_then(|answers: &DaemonAnswers| answers.clients);
    if of_daemon.is_none() && !is_readable {
        // How many are in the file is unknown.
        return findings;
    }
    let count = of_daemon.or_else(|| count_keys(&file?).ok());
    if count.unwrap_or_default() == 0 {
        let text = match (facts.running(), serves, will) {
            (Some(_), true, true) => {
                "An address requires a client key, but none exists: it rejects everyone, and the \
                 next start will fail."
            }
            (Some(_), true, false) => {
                "An address requires a client key, but none exists: it rejects everyone."
            }
            (Some(_), false, _) => {
                "An address in the configuration requires a client key, but none exists: the next \
                 start will fail."
            }
            (None, ..) => {
                "An address requires a client key, but none exists: hermes-proxyd can't start."
            }
        };
        let mut finding = GROUP
            .finds(judged::CLIENT_KEYS, FindingVerdict::Fail, text)
            .stops_start();
        finding.code = serves.then_some(FindingCode::NoClientKeys);
        findings.push(finding.run("hermesctl clients add my-app"));
    } else {
        let text = match count.unwrap_or_default() {
            1 => "There is 1 client key.".to_owned(),
            count => format!("There are {count} client keys."),
        };
        findings.push(GROUP.finds(judged::CLIENT_KEYS, FindingVerdict::Ok, text));
    }
    findings
}

fn key_file(file: &Path) -> Option<DoctorFinding> {
    let attributes = system::attributes(file)?;
    let name = file.display().to_string();
    let is_ours = file.file_name().is_some_and(|name| name == "clients.json");
    if attributes.user != system::our_user() && system::our_user() != 0 {
        let text = format!("It belongs to another user (id {}).", attributes.user);
        let mut finding = GROUP.finds(name, FindingVerdict::Fail, text);
        finding.stops_start = is_ours;
        return Some(finding.run(system::give(file)));
    }
    if !system::is_open(attributes.mode) {
        return None;
    }
    let (verdict, then) = if is_ours {
        (
            FindingVerdict::Fail,
            ", and hermes-proxyd can't start with it",
        )
    } else {
        (FindingVerdict::Warn, "")
    };
    let text = format!(
        "Other users can read it (mode {:04o}){then}.",
        attributes.mode
    );
    let mut finding = GROUP.finds(name, verdict, text);
    finding.stops_start = is_ours;
    Some(finding.run(format!("chmod 600 {}", quoted(file))))
}

/// A file that the running daemon, or else the next one, can't read its keys from.
fn unreadable_keys(file: &Path, facts: &DoctorFacts) -> Option<DoctorFinding> {
    const NAME: &str = "client key file";
    let finding = if facts.running().is_some() {
        let mut told = judged::found(facts).into_iter();
        let told = told.find(|one| one.code == FindingCode::ClientKeysUnreadable)?;
        // All remedies are listed below.
        let told = Finding {
            command: None,
            ..told
        };
        let mut finding = judged::finding(&told, GROUP, NAME);
        // It works until then.
        finding.verdict = FindingVerdict::Fail;
        finding
    } else {
        let why = count_keys(file).err()?;
        let text = format!("{}: {why}, so hermes-proxyd can't start.", file.display());
        GROUP.finds(NAME, FindingVerdict::Fail, text)
    };
    Some(mend_keys(finding.stops_start(), file))
}

fn mend_keys(finding: DoctorFinding, file: &Path) -> DoctorFinding {
    let (shown, ours) = (quoted(file), system::our_user());
    match system::attributes(file) {
        Some(there) if there.user != ours && ours != 0 => finding.run(system::give(file)),
        Some(there) if there.mode & 0o777 != 0o600 && file.is_file() => {
            finding.run(format!("chmod 600 {shown}"))
        }
        Some(_) => finding
            .advice("Restore an intact copy; or move it away and add the keys again:")
            .run(format!("mv {shown} {shown}.corrupt"))
            .run("hermesctl clients add my-app"),
        None => finding.run(format!("ls -l {shown}")),
    }
}

/// How many keys there are: none without a file. Else why the file can't be read.
fn count_keys(file: &Path) -> Result<usize, String> {
    let text = match system::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound && !file.is_symlink() => return Ok(0),
        text => text.map_err(|error| format!("the client keys can't be read ({error})"))?,
    };
    let document: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let clients = document
        .as_ref()
        .and_then(|document| document.get("clients"));
    let clients = clients.and_then(serde_json::Value::as_array);
    let clients = clients.ok_or("it is not a client key file")?;
    Ok(clients.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_proxies_are_known_by_their_programs() {
        for (program, known) in [
            ("nginx: master process nginx -g daemon off;", Some("nginx")),
            ("/usr/sbin/nginx", Some("nginx")),
            ("caddy", Some("caddy")),
            ("/opt/traefik.exe", Some("traefik")),
            ("vim nginx", None),
            ("/etc/nginx/reload", None),
            ("", None),
        ] {
            assert_eq!(reverse_proxy(program), known, "{program}");
        }
    }
}
