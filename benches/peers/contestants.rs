//! Who is measured: each is started when it is installed, with one worker and the credential to attach.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::common::cloud::Cloud;
use super::common::daemon::{Daemon, Setting};
use super::common::process::{PATIENCE, Process, free_port};
use super::load::Target;
use super::upstream::{Upstream, Way, tls_client};

/// Where `hermes` of an environment with aiohttp is, which its proxy needs.
const HERMES: &str = "HERMES_BENCH_HERMES";

/// As it is by default, but that there is a place for each client.
const CONFIG: &str = "[limits]\nconnections = 20000\n";

/// A column of the table.
#[derive(Debug, Clone)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No proxy: the clients ask the upstream, whose CPU is counted.
    Straight,
    Nginx(PathBuf),
    Haproxy(PathBuf),
    Hermes(PathBuf),
    Daemon(PathBuf),
}

/// The provider and the portals.
pub(crate) struct World {
    pub(crate) upstream: Upstream,
    /// Our daemons' and Hermes Agent's, so that none reads what another one writes.
    ours: Cloud,
    hermes: Cloud,
}

/// A contestant at work.
pub(crate) struct Running {
    pub(crate) target: Target,
    held: Held,
}

enum Held {
    /// The upstream itself is asked.
    Nothing,
    Program(
        Process,
        #[expect(dead_code, reason = "is kept as long")] TempDir,
    ),
    Daemon(Daemon),
}

impl World {
    pub(crate) fn start() -> Self {
        Self {
            upstream: Upstream::start(),
            ours: Cloud::start(super::common::cloud::Kind::Plain),
            hermes: Cloud::start(super::common::cloud::Kind::Plain),
        }
    }

    /// How our daemon is started before the upstream.
    pub(crate) fn setting(&self, way: Way) -> Setting {
        self.setting_of(&self.ours, way)
    }

    fn setting_of(&self, cloud: &Cloud, way: Way) -> Setting {
        let mut setting = Setting::before(cloud);
        setting.base_url = self.upstream.base_url(way);
        setting.ca_file = self.upstream.ca_file(way);
        setting.log_file = true;
        setting.config = Some(CONFIG.to_owned());
        setting
    }
}

impl Contestant {
    fn new(name: &str, version: String, kind: Kind) -> Self {
        let name = name.to_owned();
        Self {
            name,
            version,
            kind,
        }
    }

    /// Whether it has a login of its own.
    pub(crate) fn logs_in(&self) -> bool {
        matches!(self.kind, Kind::Hermes(_) | Kind::Daemon(_))
    }

    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Daemon(_))
    }

    pub(crate) fn is_nginx(&self) -> bool {
        matches!(self.kind, Kind::Nginx(_))
    }

    /// The bytes of its program.
    pub(crate) fn size(&self) -> Option<u64> {
        match &self.kind {
            Kind::Straight => None,
            Kind::Nginx(path) | Kind::Haproxy(path) | Kind::Daemon(path) => {
                Some(path.metadata().ok()?.len())
            }
            // It is its environment: Python's own is not counted.
            Kind::Hermes(path) => Some(size_of(path.parent()?.parent()?)),
        }
    }

    /// Starts it before the upstream, and waits until it accepts.
    pub(crate) async fn start(&self, world: &World, way: Way) -> Result<Running, String> {
        let cloud = if matches!(self.kind, Kind::Hermes(_)) {
            &world.hermes
        } else {
            &world.ours
        };
        self.start_with(world, way, cloud).await
    }

    /// The same with this cloud's login.
    pub(crate) async fn start_with(
        &self,
        world: &World,
        way: Way,
        cloud: &Cloud,
    ) -> Result<Running, String> {
        let folder = tempfile::Builder::new().prefix("hp").tempdir();
        let folder = folder.map_err(|error| error.to_string())?;
        let port = free_port();
        let upstream = &world.upstream;
        let mut command = match &self.kind {
            Kind::Straight => {
                let tls = upstream.ca_file(way).map(|file| tls_client(Some(&file)));
                return Ok(Running {
                    target: Target::new(upstream.port(way), tls),
                    held: Held::Nothing,
                });
            }
            Kind::Daemon(program) => {
                let mut setting = world.setting_of(cloud, way);
                setting.program.clone_from(program);
                let daemon = Daemon::start(&setting).await;
                return Ok(Running {
                    target: Target::new(daemon.port, None),
                    held: Held::Daemon(daemon),
                });
            }
            Kind::Nginx(program) => {
                let text = nginx_config(folder.path(), port, &cloud.token, (upstream, way));
                let file = written(&folder, "nginx.conf", &text)?;
                let mut command = Command::new(program);
                command.arg("-p").arg(folder.path()).arg("-c").arg(file);
                command
            }
            Kind::Haproxy(program) => {
                let file = written(
                    &folder,
                    "haproxy.cfg",
                    &haproxy_config(port, &cloud.token, upstream, way),
                )?;
                let mut command = Command::new(program);
                command.arg("-db").arg("-f").arg(file);
                command
            }
            Kind::Hermes(program) => hermes_command(program, port, cloud, upstream, way),
        };
        let log = std::fs::File::create(folder.path().join("said")).map_err(|e| e.to_string())?;
        let copy = log.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(log).stderr(copy);
        let mut process = Process::start(&mut command);
        if !accepts(&mut process, port).await {
            let said = std::fs::read_to_string(folder.path().join("said"));
            let said = said.unwrap_or_default();
            let last = said.lines().last().unwrap_or_default();
            return Err(format!("does not start: {last}"));
        }
        Ok(Running {
            target: Target::new(port, None),
            held: Held::Program(process, folder),
        })
    }
}

impl Running {
    /// None where the upstream itself is asked.
    fn process(&self) -> Option<&Process> {
        match &self.held {
            Held::Nothing => None,
            Held::Program(process, _) => Some(process),
            Held::Daemon(daemon) => Some(&daemon.process),
        }
    }

    /// The CPU time of who is measured.
    pub(crate) fn cpu(&self, world: &World) -> Result<Duration, String> {
        let process = self.process().unwrap_or(&world.upstream.process);
        process.cpu().ok_or_else(|| "it has ended".to_owned())
    }

    /// The memory of the proxy, in bytes; of none where there is none.
    pub(crate) fn resident(&self) -> Option<u64> {
        self.process()?.resident()
    }
}

/// Those that are installed, and what is not.
pub(crate) fn installed(daemon: &Path, also: &[PathBuf]) -> (Vec<Contestant>, Vec<String>) {
    let mut found = vec![Contestant::new("straight", String::new(), Kind::Straight)];
    let mut skipped = Vec::new();
    match program("nginx") {
        Some(path) => {
            let version = said(Command::new(&path).arg("-v"));
            let version = version.rsplit('/').next().unwrap_or_default().to_owned();
            found.push(Contestant::new("nginx", version, Kind::Nginx(path)));
        }
        None => skipped.push("nginx: install it (Debian, Ubuntu: apt install nginx-light)".into()),
    }
    match program("haproxy") {
        Some(path) => {
            let version = said(Command::new(&path).arg("-v"));
            let version = version.split_whitespace().nth(2).unwrap_or_default();
            let version = version.to_owned();
            found.push(Contestant::new("haproxy", version, Kind::Haproxy(path)));
        }
        None => skipped.push("haproxy: install it (Debian, Ubuntu: apt install haproxy)".into()),
    }
    let hermes = std::env::var_os(HERMES).map(PathBuf::from);
    match hermes.or_else(|| program("hermes")) {
        Some(path) if has_aiohttp(&path) => {
            let version = said(Command::new(&path).arg("--version"));
            let version = version.split_whitespace().nth(2).unwrap_or_default();
            let version = version.trim_start_matches('v').to_owned();
            found.push(Contestant::new(
                "hermes proxy",
                version,
                Kind::Hermes(path),
            ));
        }
        Some(path) => skipped.push(format!(
            "hermes proxy: {} has no aiohttp beside it: pip install aiohttp",
            path.display()
        )),
        None => skipped.push(format!(
            "hermes proxy: in an environment of its own, pip install hermes-agent aiohttp; then {HERMES}=…/bin/hermes"
        )),
    }
    for (index, path) in std::iter::once(&daemon.to_owned()).chain(also).enumerate() {
        let version = said(Command::new(path).arg("--version"));
        let version = version.split_whitespace().nth(1).unwrap_or_default();
        let name = match index {
            0 => "hermes-proxyd".to_owned(),
            _ => format!("hermes-proxyd ({index})"),
        };
        let kind = Kind::Daemon(path.clone());
        found.push(Contestant::new(&name, version.to_owned(), kind));
    }
    (found, skipped)
}

/// In `PATH`, or where Debian has what only root runs.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(more);
    folders.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()))
}

fn has_aiohttp(hermes: &Path) -> bool {
    let python = hermes.with_file_name("python");
    let mut command = Command::new(python);
    let output = command.args(["-c", "import aiohttp"]).output();
    output.is_ok_and(|output| output.status.success())
}

/// What a program says of itself, on one line.
fn said(command: &mut Command) -> String {
    let Ok(output) = command.output() else {
        return String::new();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

async fn accepts(process: &mut Process, port: u16) -> bool {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return true;
        }
        if !matches!(process.child().try_wait(), Ok(None)) {
            return false;
        }
        sleep(Duration::from_millis(1)).await;
    }
    false
}

fn written(folder: &TempDir, name: &str, text: &str) -> Result<PathBuf, String> {
    let file = folder.path().join(name);
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    Ok(file)
}

fn hermes_command(
    program: &Path,
    port: u16,
    cloud: &Cloud,
    upstream: &Upstream,
    way: Way,
) -> Command {
    let home = cloud.home.path();
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("HERMES_HOME", home.join(".hermes"))
        .env("HERMES_PORTAL_BASE_URL", &cloud.portal_url)
        .env("NOUS_INFERENCE_BASE_URL", upstream.base_url(way))
        .args(["proxy", "start", "--port", &port.to_string()]);
    if let Some(file) = upstream.ca_file(way) {
        command.env("SSL_CERT_FILE", file);
    }
    command
}

/// One worker, unbuffered, upstream connections that are kept, no access log.
fn nginx_config(
    folder: &Path,
    port: u16,
    token: &str,
    (upstream, way): (&Upstream, Way),
) -> String {
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let (scheme, tls) = match upstream.ca_file(way) {
        None => ("http", String::new()),
        Some(file) => {
            let tls = format!(
                "proxy_ssl_verify on; proxy_ssl_trusted_certificate {}; proxy_ssl_name localhost;\
                 proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.2 TLSv1.3;",
                file.display()
            );
            ("https", tls)
        }
    };
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = paths.map(|name| format!("{name}_temp_path {}/{name};\n", folder.display()));
    format!(
        "daemon off; {user} worker_processes 1; worker_rlimit_nofile 30000;\n\
         pid {folder}/pid; error_log {folder}/errors;\n\
         events {{ worker_connections 25000; }}\n\
         http {{\n\
         access_log off; client_max_body_size 0; keepalive_requests 1000000000; keepalive_timeout 1h;\n\
         {paths}\
         upstream provider {{ server 127.0.0.1:{to}; keepalive 1024; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{port} backlog=4096;\n\
         location / {{ proxy_pass {scheme}://provider; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_set_header Authorization \"Bearer {token}\"; proxy_set_header Host localhost; {tls}\n\
         proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 15m; }} }} }}\n",
        folder = folder.display(),
        paths = paths.concat(),
        to = upstream.port(way),
    )
}

/// One thread, upstream connections that are kept, no log.
fn haproxy_config(port: u16, token: &str, upstream: &Upstream, way: Way) -> String {
    let tls = upstream.ca_file(way).map(|file| {
        format!(
            " ssl verify required ca-file {} verifyhost localhost sni str(localhost) alpn http/1.1",
            file.display()
        )
    });
    format!(
        "global\n  nbthread 1\n  maxconn 12000\n  no strict-limits\n\
         defaults\n  mode http\n  http-reuse always\n  timeout connect 5s\n  timeout client 15m\n  timeout server 15m\n\
         frontend apps\n  bind 127.0.0.1:{port} backlog 4096\n  http-request set-header Authorization \"Bearer {token}\"\n\
         \x20 default_backend provider\n\
         backend provider\n  server provider 127.0.0.1:{to}{tls}\n",
        to = upstream.port(way),
        tls = tls.unwrap_or_default(),
    )
}

fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(of) if of.is_dir() => size_of(&entry.path()),
            Ok(of) if of.is_file() => of.len(),
            _ => 0,
        })
        .sum()
}
