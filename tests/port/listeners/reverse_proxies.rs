//! Behind nginx, Caddy and Traefik, configured as the documentation says.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::listeners::{ask, bearer, key};
use mock_cloud::Options;
use support::environment::works;
use support::{Daemon, PATIENCE, World, chat, program, until};

/// A reverse proxy in front of the daemon.
pub(crate) struct Front(Child, String);

impl Front {
    /// Starts a program that serves at the address that it is given, and waits until it does. Over TCP:
    /// for a client on a Unix socket Caddy has no address to tell.
    pub(crate) fn start(command: impl Fn(&str) -> Command) -> Self {
        loop {
            // Another program may take the port in between; then there is another one.
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap().to_string();
            drop(free);
            let child = command(&address).stdin(Stdio::null()).spawn().unwrap();
            let mut front = Self(child, address);
            let mut has_ended = false;
            until("the reverse proxy serves", || {
                has_ended = front.0.try_wait().unwrap().is_some();
                has_ended || front.connect().is_ok()
            });
            if !has_ended {
                return front;
            }
        }
    }

    pub(crate) fn nginx(folder: &Path, location: &str) -> Self {
        let here = folder.display();
        Self::start(|address| {
            let config = format!(
                "daemon off; master_process off; pid {here}/pid; error_log stderr;\nevents {{}}\n\
                 http {{ access_log off; client_body_temp_path {here}/a; proxy_temp_path {here}/b; \
                 fastcgi_temp_path {here}/c; uwsgi_temp_path {here}/d; scgi_temp_path {here}/e;\n\
                 server {{ listen {address};\n{location}\n}} }}\n"
            );
            std::fs::write(folder.join("nginx.conf"), config).unwrap();
            let mut command = program("nginx", folder);
            command.arg("-c").arg(folder.join("nginx.conf"));
            command.args(["-e", "stderr"]).arg("-p").arg(folder);
            command
        })
    }

    fn caddy(folder: &Path, site: &str) -> Self {
        Self::start(|address| {
            let (host, port) = address.rsplit_once(':').unwrap();
            let bind = format!("http://llm.example:{port} {{\nbind {host}\n");
            let site = site.replace("llm.example {\n", &bind);
            assert!(site.contains("bind"), "{site}");
            let global = "{\nadmin off\nauto_https off\n}\n";
            std::fs::write(folder.join("Caddyfile"), format!("{global}{site}")).unwrap();
            let mut command = program("caddy", folder);
            command.args(["run", "--adapter", "caddyfile", "--config"]);
            command.arg(folder.join("Caddyfile")).stderr(Stdio::null());
            command
        })
    }

    pub(crate) fn address(&self) -> &str {
        &self.1
    }

    pub(crate) fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(&self.1)
    }

    /// The whole answer to a chat.
    pub(crate) fn ask(&self, more: &str) -> String {
        ask(self.connect().unwrap(), "llm.example", more)
    }

    /// What has come of a stream whose second piece comes a minute later, with the first event.
    pub(crate) fn first_of_stream(&self, key: &str) -> String {
        let more = ",\"stream\":true,\"mock\":{\"delay_chunk_ms\":60000}}";
        let body = chat("x").to_string();
        let body = body.trim_end_matches('}').to_owned() + more;
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: llm.example\r\n{}\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            bearer(key),
            body.len()
        );
        let mut stream = self.connect().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let (mut text, mut piece) = (String::new(), [0; 4096]);
        while !text.contains("data: {") {
            let read = stream.read(&mut piece).unwrap_or_default();
            assert!(read > 0, "it ends or stalls: {text}");
            text += &String::from_utf8_lossy(piece.get(..read).unwrap());
        }
        text
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The lines of the documentation, for a daemon at this address.
pub(crate) fn documented(fence: &str, daemon: &Daemon) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reverse-proxies.md");
    let page = std::fs::read_to_string(page).unwrap();
    let lines = page.split(&format!("```{fence}\n")).nth(1).unwrap();
    let lines = lines.split("```").next().unwrap();
    lines.replace("127.0.0.1:8645", daemon.address())
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_real_nginx_a_key_is_needed_and_streams_arrive_at_once() {
    if !works("nginx", &["-v"]) {
        return;
    }
    let world = World::new(Options::default()).await;
    let secret = key(&world, "phone", &[]);
    let mut daemon = world.daemon();
    let folder = support::scratch();
    let front = Front::nginx(folder.path(), &documented("nginx", &daemon));
    let answer = front.ask("");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("`x-forwarded-for`"), "{answer}");
    let answer = front.ask(&bearer(&secret));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let stream = front.first_of_stream(&secret);
    assert!(stream.starts_with("HTTP/1.1 200 "), "{stream}");
    drop((front, folder));

    // As it comes it does not say that it forwards, so the address has to want keys.
    assert!(daemon.stop().success());
    let daemon = world.daemon_with("[[listen]]\nauth = \"keys\"\n", &[]);
    let folder = support::scratch();
    let plain = format!("location / {{ proxy_pass {}; }}", daemon.origin());
    let front = Front::nginx(folder.path(), &plain);
    let answer = front.ask("");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let stream = front.first_of_stream(&secret);
    assert!(stream.starts_with("HTTP/1.1 200 "), "{stream}");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_real_caddy_a_key_is_needed_and_streams_arrive_at_once() {
    if !works("caddy", &["version"]) {
        return;
    }
    let world = World::new(Options::default()).await;
    let secret = key(&world, "phone", &[]);
    let daemon = world.daemon();
    let folder = support::scratch();
    let front = Front::caddy(folder.path(), &documented("caddy", &daemon));
    let answer = front.ask("");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("hermesctl clients add NAME"), "{answer}");
    assert!(!answer.contains("allowed_hosts"), "{answer}");
    let answer = front.ask(&bearer(&secret));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let stream = front.first_of_stream(&secret);
    assert!(stream.starts_with("HTTP/1.1 200 "), "{stream}");
}
