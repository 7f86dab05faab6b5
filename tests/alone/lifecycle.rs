//! The daemon's life under load: reloads, shutdown, the watchdog; and the privacy of its process.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
#![expect(clippy::disallowed_methods, reason = "real time")]

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mock_cloud::{Endpoint, Options, PortalFault, pattern};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::app_wire::Wire;
use support::{Daemon, PATIENCE, World, chat, client, post};

fn steered(stream: bool, mock: Value) -> String {
    let mut request = chat("x");
    request["stream"] = json!(stream);
    request["mock"] = mock;
    request.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_every_50_ms_changes_nothing_in_flight() {
    let _turn = support::turn();
    let world = Arc::new(World::new(Options::default().record(false)).await);
    let key = world.home.path().join("key");
    std::fs::write(&key, &world.login.access_token).unwrap();
    let more = "[providers.nous]\nextra_paths = [\"GET /sse\"]\n";
    // It adds a provider, and sets the first one up again.
    let other = format!(
        "{more}token_timeout = \"16s\"\n[providers.other]\ntype = \"static\"\n\
         base_url = \"{{base}}\"\napi_key_file = {:?}\n",
        key.to_str().unwrap()
    );
    let daemon = Arc::new(world.daemon_with(more, &[]));
    let over = Arc::new(AtomicBool::new(false));
    let (streams, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (to, end, count) = (daemon.clone(), over.clone(), streams.clone());
        tasks.spawn(async move {
            let whole = pattern::sse(60);
            while !end.load(Ordering::Relaxed) {
                let url = to.url("/sse?events=60&chunk=77&delay_ms=10");
                let answer = client().get(url).send().await.unwrap();
                assert_eq!(answer.bytes().await.unwrap(), whole);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (to, end, count) = (daemon.clone(), over.clone(), requests.clone());
        tasks.spawn(async move {
            let client = client();
            while !end.load(Ordering::Relaxed) {
                let post = client
                    .post(to.url("/chat/completions"))
                    .json(&chat("hello"));
                let answer: Value = post.send().await.unwrap().json().await.unwrap();
                let content = &answer["choices"][0]["message"]["content"];
                assert_eq!(*content, pattern::reply_to("hello"));
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    let started = Instant::now();
    let reloads = tokio::task::spawn_blocking({
        let (world, daemon) = (world.clone(), daemon.clone());
        move || {
            let mut reloads = 0;
            // A busy machine takes longer for as many.
            while reloads < 32 || started.elapsed() < Duration::from_secs(6) {
                let text =
                    [more, &other, "[providers.nous]\nextra_paths = 7\n", &other][reloads % 4];
                world.replace_config(text);
                if reloads % 2 == 0 {
                    daemon.signal(Signal::HUP);
                } else {
                    world.ctl(&["proxy", "reload"]);
                }
                reloads += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            reloads
        }
    });
    let reloads = reloads.await.unwrap();
    over.store(true, Ordering::Relaxed);
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    let applied = daemon.logged().matches("\"reloaded\"").count();
    let refused = daemon.logged().matches("not reloaded").count();
    let counts = &daemon.status()["providers"][0]["requests"];
    println!(
        "{reloads} reloads ({applied} applied, {refused} of a broken file), {} streams identical, {} requests, {} failed",
        streams.load(Ordering::Relaxed),
        requests.load(Ordering::Relaxed),
        counts["failed"]
    );
    assert_eq!(
        (&counts["failed"], &counts["in_flight"]),
        (&json!(0), &json!(0))
    );
    assert!(applied > 10 && refused > 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_grace_does_not_suffice_for_is_told_and_cut() {
    let world = World::new(Options::default()).await;
    let config = "[timeouts]\ndrain = \"1s\"\n[providers.nous]\nextra_paths = [\"GET /sse\"]\n";
    let mut daemon = world.daemon_with(config, &[]);
    let ask = async |body: String| Wire::ask(&daemon, "/chat/completions", &body).await;
    // Ends within the grace.
    let mut short = ask(steered(true, json!({"delay_chunk_ms": 100, "events": 3}))).await;
    // Those do not: a stream between two events and one within, JSON, one without a head, and one
    // whose client does not read.
    let mut between = ask(steered(
        true,
        json!({"delay_chunk_ms": 200, "events": 100_000}),
    ))
    .await;
    let mut within = ask(steered(true, json!({"hang_after_bytes": 250}))).await;
    let mut json = ask(steered(false, json!({"hang_after_bytes": 50}))).await;
    let mut waiting = ask(steered(true, json!({"delay_head_ms": 600_000}))).await;
    let stalled = ask(steered(
        true,
        json!({"endless": true, "chunk_bytes": 16384}),
    ))
    .await;
    for wire in [&mut short, &mut between, &mut within, &mut json] {
        wire.read_until("\r\n\r\n").await;
    }
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().requests == 6)
        .await;
    let stopped = Instant::now();
    daemon.signal(Signal::TERM);

    let answer = short.answer().await;
    assert!(
        answer.complete && answer.text().ends_with("data: [DONE]\n\n"),
        "{answer:?}"
    );
    let told = between.answer().await;
    assert!(!told.complete);
    let text = told.text();
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    let event: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(event["error"]["code"], "shutting_down");
    assert_eq!(text.matches("shutting_down\",\"code").count(), 1, "{text}");
    for wire in [&mut within, &mut json] {
        let answer = wire.answer().await;
        assert!(
            !answer.complete && !answer.text().contains("shutting_down"),
            "{answer:?}"
        );
    }
    let answer = waiting.answer().await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.complete && answer.text().contains("\"shutting_down\""),
        "{answer:?}"
    );
    assert!(answer.head.contains("retry-after: 5"), "{answer:?}");
    tokio::task::block_in_place(|| assert!(daemon.wait().success()));
    let took = stopped.elapsed();
    println!(
        "stopped after {} ms of which 1000 were the grace",
        took.as_millis()
    );
    assert!(took < Duration::from_secs(6));
    let log = daemon.logged();
    assert_eq!(log.matches("cut at shutdown").count(), 3, "{log}");
    stalled.close();
    world
        .cloud
        .wait_for(PATIENCE, |cloud| cloud.counts().in_flight == 0)
        .await;
}

/// The service manager's end of `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    /// When each sign of life came.
    signs: Vec<Instant>,
}

impl Manager {
    fn hear(&mut self, until: Instant) {
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let mut message = [0; 4096];
            let left = left.max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).unwrap();
            let Ok(size) = self.socket.recv(&mut message) else {
                continue;
            };
            if message[..size].starts_with(b"WATCHDOG=1") {
                self.signs.push(Instant::now());
            }
        }
    }

    /// Signs within this time from now.
    fn signs_within(&mut self, time: Duration) -> usize {
        let before = self.signs.len();
        self.hear(Instant::now() + time);
        self.signs.len() - before
    }
}

/// A daemon whose watchdog wants a sign at least every 400 ms.
fn watched(world: &World, config: &str) -> (Daemon, Manager) {
    world.write_config(config);
    let path = world.home.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut command = world.command(&[]);
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000");
    let daemon = Daemon::start(command, world.home.path());
    let signs = Vec::new();
    (daemon, Manager { socket, signs })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_gets_its_signs_through_a_slow_refresh_and_none_from_a_stopped_process() {
    let world = World::with_a_refresh_due(Options::default()).await;
    let hang = PortalFault::DelayBefore(Duration::from_mins(10));
    world.cloud.break_portal(Endpoint::Refresh, hang);
    let (daemon, mut manager) = watched(&world, "[providers.nous]\ntoken_timeout = \"3s\"\n");
    tokio::task::block_in_place(|| {
        manager.hear(Instant::now() + Duration::from_secs(3));
        let signs = manager.signs.len();
        let gaps = manager.signs.windows(2).map(|two| two[1] - two[0]);
        let longest = gaps.max().unwrap();
        println!("{signs} signs in 3 s of a hanging refresh, at most {longest:?} apart");
        assert!((8..=17).contains(&signs) && longest < Duration::from_millis(400));
        // Through a reload that waits for the refresh, too.
        daemon.signal(Signal::HUP);
        assert!(manager.signs_within(Duration::from_secs(1)) >= 3);
        daemon.signal(Signal::STOP);
        manager.signs_within(Duration::from_millis(100));
        assert_eq!(manager.signs_within(Duration::from_secs(1)), 0);
        daemon.signal(Signal::CONT);
        assert!(manager.signs_within(Duration::from_secs(1)) >= 3);
    });
}

/// As while systemd is stopped or hangs: its socket is there and full.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_that_reads_nothing_holds_nothing_up() {
    let world = World::new(Options::default()).await;
    world.write_config("");
    let path = world.home.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"X=1", &path).is_ok() {}
    let mut command = world.command(&[]);
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000");
    let mut daemon = Daemon::start(command, world.home.path());
    for _ in 0..3 {
        assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
        daemon.signal(Signal::HUP);
        assert!(world.ctl(&["proxy", "reload"]).status.success());
        assert!(world.ctl(&["proxy", "status"]).status.success());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // Required messages are sent once it reads, in order; of the signs of life, at most the one
    // that was under way.
    let heard = |socket: &UnixDatagram| {
        let mut message = [0; 4096];
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let size = socket.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..size]).into_owned()
    };
    let told = tokio::task::block_in_place(|| {
        let mut told = Vec::new();
        while told
            .iter()
            .filter(|text: &&String| text.starts_with("READY=1"))
            .count()
            < 7
        {
            told.push(heard(&socket));
        }
        told
    });
    let kinds: Vec<_> = told
        .iter()
        .filter_map(|text| text.split('=').next())
        .collect();
    let kinds: Vec<_> = kinds.into_iter().filter(|kind| *kind != "X").collect();
    assert_eq!(kinds[0], "READY", "{kinds:?}");
    let stale = kinds.iter().rposition(|kind| *kind == "READY").unwrap();
    let signs = kinds[..stale].iter().filter(|kind| **kind == "WATCHDOG");
    assert!(signs.count() <= 1, "{kinds:?}");
    tokio::task::block_in_place(|| while !heard(&socket).starts_with("WATCHDOG=1") {});
    // Full again, and it still ends.
    while filler.send_to(b"X=1", &path).is_ok() {}
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_stands_in_the_processs_own_files_and_it_leaves_no_core() {
    let world = World::new(Options::default()).await;
    let cores = world.home.path().join("cores");
    std::fs::create_dir(&cores).unwrap();
    // The limit that a shell or a distribution may have set is not what saves us.
    let mut shell = support::program("sh", world.home.path());
    shell
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
        .current_dir(&cores)
        .args([
            "-c",
            "ulimit -c unlimited; umask 0; exec \"$0\" --port 0 --log-format json",
        ])
        .arg(env!("CARGO_BIN_EXE_hermes-proxyd"));
    let mut daemon = Daemon::start(shell, world.home.path());
    assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    let proc = |name: &str| format!("/proc/{}/{name}", daemon.pid());
    for name in ["cmdline", "environ"] {
        // As root, in whom the system trusts.
        if let Ok(text) = std::fs::read(proc(name)) {
            world.assert_no_secret_in(name, &String::from_utf8_lossy(&text));
        }
    }
    let limits = std::fs::read_to_string(proc("limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"]);
    let status = std::fs::read_to_string(proc("status")).unwrap();
    assert!(status.contains("Umask:\t0077"), "{status}");

    // Rust's own handler takes the first one for a stack that ran over, and lets go.
    for _ in 0..5 {
        daemon.signal(Signal::SEGV);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = daemon.wait();
    let dumped = std::os::unix::process::ExitStatusExt::core_dumped(&status);
    let left: Vec<_> = std::fs::read_dir(&cores).unwrap().collect();
    println!("{status}; core dumped: {dumped}");
    assert!(!dumped && left.is_empty(), "{left:?}");
}

/// As when the user's last session ends, or a service of the same name is stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_runtime_folder_was_removed_is_found_again() {
    let world = World::new(Options::default()).await;
    let daemon = world.daemon();
    let folder = world.home.path().join("run/hermes-proxyd");
    for prod in [false, true] {
        std::fs::remove_dir_all(&folder).unwrap();
        if prod {
            daemon.signal(Signal::HUP);
        }
        // hermesctl waits for as long as a daemon lives.
        let status = daemon.home_screen();
        assert_eq!(status["daemon"]["pid"], daemon.pid(), "{status}");
        assert_eq!(post(&daemon, &chat("x")).await.status(), 200);
    }
    daemon.wait_for_log_count("the control socket was removed and has been restored", 2);
    // A daemon that is found elsewhere is alive: no second one is proposed.
    let elsewhere = world.home.path().join("elsewhere");
    for (command, code) in [(&["proxy", "reload"][..], 1), (&["status"], 1)] {
        let mut hermesctl = world.hermesctl(command);
        let run = hermesctl
            .env("XDG_RUNTIME_DIR", &elsewhere)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(code), "{said}");
        let pid = format!("process {}", daemon.pid());
        assert!(
            said.contains(&pid) && said.contains("XDG_RUNTIME_DIR"),
            "{said}"
        );
        assert!(
            !said.contains("proxy start") && !said.contains("service start"),
            "{said}"
        );
    }
    drop(daemon);
    let run = world.hermesctl(&["proxy", "reload"]).output().unwrap();
    assert_eq!(run.status.code(), Some(3), "{run:?}");
}

/// The user `nobody`, on every distribution.
const NOBODY: &str = "65534";

#[tokio::test(flavor = "multi_thread")]
async fn another_process_of_the_same_user_reads_neither_its_memory_nor_its_environment() {
    let _turn = support::turn();
    if !rustix::process::geteuid().is_root() {
        support::environment::skipped("another user than root needs root");
        return;
    }
    let world = World::new(Options::default()).await;
    let home = world.home.path();
    let own = support::environment::tool("chown")
        .args(["-R", NOBODY])
        .arg(home)
        .status()
        .unwrap();
    assert!(own.success());
    let binary = home.join("hermes-proxyd");
    support::copy_program(env!("CARGO_BIN_EXE_hermes-proxyd"), &binary);
    let as_nobody = |program: &str| {
        let mut command = support::program("setpriv", home);
        command.args([
            "--reuid",
            NOBODY,
            "--regid",
            NOBODY,
            "--clear-groups",
            program,
        ]);
        command
    };
    let mut command = as_nobody(binary.to_str().unwrap());
    command
        .env("NOUS_INFERENCE_BASE_URL", world.cloud.inference_base_url())
        .env("HERMES_PORTAL_BASE_URL", world.cloud.portal_url())
        .args(["--port", "0", "--log-format", "json"]);
    let daemon = Daemon::start(command, home);
    assert_eq!(
        post(&daemon, &chat("x")).await.status(),
        200,
        "{}",
        daemon.logged()
    );
    // A process that does not close itself can be read by the same command.
    let mut open = as_nobody("sleep").arg("60").spawn().unwrap();
    let reads = |pid: u32, name: &str| {
        let mut command = as_nobody("head");
        let output = command
            .args(["-c", "1", &format!("/proc/{pid}/{name}")])
            .output()
            .unwrap();
        !String::from_utf8_lossy(&output.stderr).contains("Permission denied")
    };
    let deadline = Instant::now() + PATIENCE;
    while !reads(open.id(), "environ") {
        assert!(Instant::now() < deadline, "the control fails");
    }
    for name in ["mem", "environ", "maps", "auxv"] {
        let (ours, other) = (reads(daemon.pid(), name), reads(open.id(), name));
        println!("{name}: ours {ours}, another's {other}");
        assert!(other && !ours, "{name}");
    }
    open.kill().unwrap();
    open.wait().unwrap();
}

/// A shutdown waits for requests, and an unfinished head does not count as one.
#[tokio::test(flavor = "multi_thread")]
async fn heads_that_do_not_end_hold_no_shutdown_up() {
    let world = World::new(Options::default()).await;
    let config = "[timeouts]\nheaders = \"5m\"\ndrain = \"5m\"\n";
    let mut daemon = world.daemon_with(config, &[]);
    let mut heads = Vec::new();
    for _ in 0..5 {
        let mut wire = Wire::connect(&daemon).await;
        wire.send(b"GET /v1/models HTTP/1.1\r\nhost: ").await;
        heads.push(wire);
    }
    // What was sent before this has been read.
    let asked = client().get(daemon.url("/models")).send().await;
    assert_eq!(asked.unwrap().status(), 200);
    let began = Instant::now();
    assert!(daemon.stop().success());
    println!("it ended after {:?}", began.elapsed());
    assert!(began.elapsed() < PATIENCE);
}
