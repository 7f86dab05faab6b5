//! The network between the daemon and its provider, and between apps and the port.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly"
)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::diagnosis::{Diagnosis, as_somebody, chmod, give, world};
use mock_cloud::{Options, Tls};
use support::{Daemon, World, program};

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_told_by_how_much() {
    for (ahead, verdict, says) in [
        (10, "ok", "agrees"),
        (-90, "warn", "ahead of"),
        (90, "warn", "behind"),
        (3605, "fail", "1 h behind"),
    ] {
        let world = World::new(Options::default().clock_ahead(ahead)).await;
        let diagnosis = Diagnosis::of(&world, &[]);
        diagnosis.assert(("network", "clock"), verdict, says, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_told_what_is_wrong_with_it() {
    for (tls, trusted, verdict, fix) in [
        (Tls::On, true, "ok", ""),
        (Tls::On, false, "fail", "ca_file"),
        (Tls::Expired, true, "fail", "date"),
        (Tls::WrongName, true, "fail", "Something else answers"),
    ] {
        let world = World::new(Options::default().tls(tls)).await;
        let ca = world.home.path().join("ca.pem");
        world.cloud.write_ca(&ca).unwrap();
        if trusted {
            world.write_config(&format!("[providers.nous]\nca_file = {ca:?}\n"));
        }
        let diagnosis = Diagnosis::of(&world, &[]);
        for name in ["nous portal", "nous inference"] {
            diagnosis.assert(("network", name), verdict, "localhost", fix);
        }
        if trusted {
            let trust = ("network", "trust of nous");
            diagnosis.assert(trust, "info", "`ca_file` in the configuration", "");
        }
    }
    let world = world().await;
    world.write_config("[providers.nous]\nca_file = \"/nonexistent.pem\"\n");
    let diagnosis = Diagnosis::of(&world, &[]);
    let trust = ("network", "trust of nous");
    diagnosis.assert(trust, "fail", "/nonexistent.pem", "correct it there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_told_in_time() {
    let world = world().await;
    world.cloud.set_portal_open(false).await;
    // An address that swallows what is sent to it, and a name that does not exist (RFC 2606).
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", silent.local_addr().unwrap());
    let config = format!(
        "[providers.silent]\ntype = \"static\"\nbase_url = {base:?}\napi_key_env = \"KEY\"\n\
         [providers.lost]\ntype = \"static\"\nbase_url = \"https://nobody.invalid/v1\"\n\
         api_key_env = \"KEY\"\n"
    );
    world.write_config(&config);
    let began = Instant::now();
    let diagnosis = Diagnosis::of(&world, &[]);
    // Two runs, of text and of JSON.
    let took = began.elapsed() / 2;
    assert!(took < Duration::from_secs(15), "{took:?}");
    let portal = ("network", "nous portal");
    let curl = format!("curl -sSI {}", world.cloud.portal_url());
    diagnosis.assert(portal, "fail", "Connection refused", &curl);
    let silent = ("network", "silent inference");
    let curl = format!("curl -sSI {base}\"");
    diagnosis.assert(silent, "fail", "no answer within", &curl);
    let lost = ("network", "name nobody.invalid");
    diagnosis.assert(
        lost,
        "fail",
        "can't be resolved",
        "getent hosts nobody.invalid",
    );
    diagnosis.assert(("network", "lost inference"), "skip", "nobody.invalid", "");
    diagnosis.assert(
        ("login", "lost"),
        "warn",
        "KEY is not set",
        "Restart hermes-proxyd with KEY",
    );
    diagnosis.assert_no_command(("login", "lost"));
    // Silent checks take their time, and are known to do so.
    let lost = config.find("[providers.lost]").unwrap();
    let _daemon = world.daemon_with(config.split_at(lost).1, &[]);
    let running = Diagnosis::of(&world, &[]);
    let says = "There is no usable API key for lost: the environment variable KEY is not set.";
    running.assert(
        ("login", "lost"),
        "warn",
        says,
        "Restart hermes-proxyd with KEY",
    );
    running.assert_no_command(("login", "lost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_shell_is_compared_with_the_daemons() {
    let world = world().await;
    let proxy = [("HTTPS_PROXY", "http://me:hidden@127.0.0.1:3128")];
    let without = Diagnosis::of(&world, &proxy);
    let place = ("network", "proxy");
    without.assert(place, "info", "HTTPS_PROXY is 127.0.0.1:3128", "");
    let daemon = world.daemon();
    let differs = Diagnosis::of(&world, &proxy);
    differs.assert(
        place,
        "warn",
        "hermes-proxyd has none",
        "hermesctl proxy stop",
    );
    drop(daemon);
    let mut command = world.command(&[]);
    command.envs(proxy);
    let _daemon = Daemon::start(command, world.home.path());
    let same = Diagnosis::of(&world, &proxy);
    same.assert(place, "info", "here and in hermes-proxyd", "");
    let other = Diagnosis::of(&world, &[]);
    other.assert(place, "info", "this shell has none", "");
    for one in [without, differs, same, other] {
        assert!(!one.report.to_string().contains("hidden"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_our_port_is_named() {
    let world = world().await;
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    world.write_config(&format!("[[listen]]\naddress = \"{address}\"\n"));
    let diagnosis = Diagnosis::of(&world, &[]);
    let us = format!("(process {})", std::process::id());
    let place = ("listeners", address.as_str());
    diagnosis.assert(place, "fail", &us, "[[listen]]");
    // With its command line, and without the advice to end an unknown program.
    let own = std::env::args().next().unwrap();
    let own: String = own.chars().take(100).collect();
    diagnosis.assert(place, "fail", &own, "hermesctl proxy start --port");
    diagnosis.assert_no_command(place);
    let running = ("program", "hermes-proxyd");
    let says = format!("fixed: listeners/{address}");
    diagnosis.assert(running, "fail", &says, "hermesctl proxy start");
    diagnosis.assert_no_command(running);
    assert_eq!(diagnosis.code, 3);
    drop(holder);
    let free = Diagnosis::of(&world, &[]);
    free.assert(
        running,
        "fail",
        "It is not running.",
        "hermesctl proxy start",
    );
    assert!(free.find(running.0, running.1).unwrap()["fix"][0]["run"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_and_keys_are_looked_at() {
    let world = world().await;
    let keys = ("listeners", "client keys");
    world.write_config("[[listen]]\naddress = \"127.0.0.1:0\"\nauth = \"keys\"\n");
    let none = Diagnosis::of(&world, &[]);
    none.assert(keys, "fail", "none exists", "hermesctl clients add my-app");
    assert!(world.ctl(&["clients", "add", "my-app"]).status.success());
    let one = Diagnosis::of(&world, &[]);
    one.assert(keys, "ok", "There is 1 client key.", "");

    let socket = world.home.path().join("apps/proxy.sock");
    let config = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\nunix = {socket:?}\nauth = \"keys\"\n"
    );
    let daemon = world.daemon_with(&config, &[]);
    let unix = format!("unix:{}", socket.display());
    let mode = format!("mode of {}", socket.display());
    let good = Diagnosis::of(&world, &[]);
    good.assert(("listeners", &unix), "ok", "requires a client key", "");
    good.assert(
        ("listeners", &format!("guard of {unix}")),
        "ok",
        "refused",
        "",
    );
    good.assert(("listeners", &mode), "ok", "0600", "");
    good.assert(("listeners", daemon.address()), "ok", "It answers.", "");
    chmod(&socket, 0o666);
    let wide = Diagnosis::of(&world, &[]);
    let fix = format!("chmod 0600 {}", socket.display());
    wide.assert(("listeners", &mode), "warn", "0666", &fix);
    // The daemon makes it again within seconds, which may be sooner than a diagnosis on a busy machine.
    let mut looks = (0..20).map(|_| {
        std::fs::remove_file(&socket).ok();
        Diagnosis::of(&world, &[])
    });
    let is_told = |gone: &Diagnosis| {
        let finding = gone.find("listeners", &mode);
        finding.is_some_and(|one| one["verdict"] == "fail")
    };
    let gone = looks.find(is_told).unwrap();
    gone.assert(
        ("listeners", &mode),
        "fail",
        "was removed",
        "hermesctl proxy restart",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_for_everybody_is_warned_of() {
    let world = world().await;
    world.write_config("[[listen]]\naddress = \"0.0.0.0:0\"\nallow_unauthenticated = true\n");
    let diagnosis = Diagnosis::of(&world, &[]);
    let place = ("listeners", "access to 0.0.0.0:0");
    diagnosis.assert(place, "warn", "Everyone", "hermesctl clients add my-app");
}

/// Only root sees the open files of a hermes-proxyd, so an ordinary user looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_is_known_as_the_one_with_the_port_by_an_ordinary_user_too() {
    let world = world().await;
    let home = world.home.path();
    let elsewhere = home.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    world.write_config("[[listen]]\naddress = \"127.0.0.1:0\"\n");
    let start = |runtime: &Path| {
        let mut command = world.command(&[]);
        command.env("XDG_RUNTIME_DIR", runtime);
        if let Some(user) = as_somebody() {
            give(home, user);
            command.uid(user).gid(user);
        }
        Daemon::start(command, home)
    };
    let diagnose = || {
        let mut outer = program("env", home);
        if let Some(user) = as_somebody() {
            give(home, user);
            outer.uid(user).gid(user);
        }
        Diagnosis::of_wrapped(&world, outer)
    };
    let take = |address: &str| {
        world.write_config(&format!("[[listen]]\naddress = \"{address}\"\n"));
    };
    // One that hermesctl does not find, and then one that hangs.
    let lost = start(&elsewhere);
    let address = lost.address().to_owned();
    take(&address);
    let diagnosis = diagnose();
    let place = ("listeners", address.as_str());
    diagnosis.assert(place, "fail", "uses it", "--port");
    let text = diagnosis.find(place.0, place.1).unwrap()["text"].to_string();
    // An ordinary user's other daemons, as those of the tests beside this one, are hidden in the same way.
    let alone = format!("hermes-proxyd (process {}) uses it", lost.pid());
    let pid = lost.pid().to_string();
    let pids = text.split(|letter: char| !letter.is_ascii_digit());
    let among = text.contains("One of several hermes-proxyd (processes ")
        && pids.into_iter().any(|one| one == pid);
    assert!(text.contains(&alone) || among, "{pid}: {text}");
    drop(lost);

    world.write_config("[[listen]]\naddress = \"127.0.0.1:0\"\n");
    let hangs = start(&home.join("run"));
    let address = hangs.address().to_owned();
    hangs.signal(rustix::process::Signal::STOP);
    take(&address);
    let diagnosis = diagnose();
    let kill = format!("kill -9 {}", hangs.pid());
    let place = ("listeners", address.as_str());
    diagnosis.assert(place, "fail", "does not answer", &kill);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_users_program_with_our_port_is_told_as_such() {
    let Some(user) = as_somebody() else {
        support::environment::skipped("it takes root to become another user");
        return;
    };
    let world = world().await;
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    world.write_config(&format!("[[listen]]\naddress = \"{address}\"\n"));
    give(world.home.path(), user);
    let mut outer = program("env", world.home.path());
    outer.uid(user).gid(user);
    let diagnosis = Diagnosis::of_wrapped(&world, outer);
    let says = "A program of another user (id 0) uses it";
    diagnosis.assert(("listeners", &address), "fail", says, "sudo ss -ltnp");
}

/// Answers every request with this head.
async fn answering(head: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = listener.into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            stream.write_all(head.as_bytes()).ok();
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_sends_us_elsewhere_is_told() {
    for (head, verdict, says, fixes) in [
        (
            "HTTP/1.1 302 Found\r\nlocation: http://hotel.example/terms\r\nconnection: \
             close\r\n\r\n",
            "warn",
            "but redirects to hotel.example",
            ["open a web page first", "[providers.nous]"],
        ),
        (
            "HTTP/1.1 308 Permanent Redirect\r\nlocation: https://new.example/\r\nconnection: \
             close\r\n\r\n",
            "warn",
            "but redirects to new.example",
            ["has moved there", "hermes-proxyd does not follow redirects"],
        ),
        (
            "HTTP/1.1 511 Network Authentication Required\r\nconnection: close\r\n\r\n",
            "fail",
            "the network requires you to sign in",
            ["open a web page first", ""],
        ),
    ] {
        let world = world().await;
        let there = answering(head).await;
        let base = format!("{there}/v1");
        let diagnosis = Diagnosis::of(
            &world,
            &[
                ("HERMES_PORTAL_BASE_URL", &there),
                ("NOUS_INFERENCE_BASE_URL", &base),
            ],
        );
        for (name, key) in [
            ("nous portal", "portal_url"),
            ("nous inference", "base_url"),
        ] {
            for fix in fixes {
                diagnosis.assert(("network", name), verdict, says, fix);
            }
            if verdict == "warn" {
                diagnosis.assert(("network", name), verdict, says, key);
            }
        }
    }
}

/// A base URL that lacks its end, and one of a server that speaks http.
#[tokio::test(flavor = "multi_thread")]
async fn a_base_url_that_looks_wrong_is_named_by_doctor_test_and_log() {
    let world = world().await;
    let there =
        answering("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let key = world.home.path().join("key");
    std::fs::write(&key, "sk-x").unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let table = |name: &str, base: &str| {
        format!(
            "[providers.{name}]\ntype = \"static\"\nbase_url = {base:?}\napi_key_file = {key:?}\n"
        )
    };
    let secure = there.replace("http://127.0.0.1", "https://localhost");
    let config = table("short", &there) + &table("plain", &secure);
    let daemon = world.daemon_with(&config, &[]);
    let tested = world.ctl(&["proxy", "test", "short"]);
    let told = String::from_utf8(tested.stderr).unwrap();
    let told: Vec<_> = told.split_whitespace().collect();
    let told = told.join(" ");
    let asked = format!("It was asked for {there}/models");
    assert!(
        told.contains(&asked) && told.contains("[providers.short]"),
        "{told}"
    );
    let line = daemon.wait_for_log("the base URL looks wrong");
    assert!(
        line.contains("providers.short.base_url") && line.contains("/models"),
        "{line}"
    );
    let tested = world.ctl(&["proxy", "test", "plain", "--model", "m"]);
    let told = String::from_utf8(tested.stderr).unwrap();
    assert!(told.contains("may speak http"), "{told}");
    let diagnosis = Diagnosis::of(&world, &[]);
    let place = ("network", "short inference");
    diagnosis.assert(
        place,
        "warn",
        "/models",
        "`base_url` under [providers.short] looks wrong",
    );
    let place = ("network", "plain inference");
    diagnosis.assert(
        place,
        "fail",
        "can't be reached",
        "may speak http instead of https",
    );
}
