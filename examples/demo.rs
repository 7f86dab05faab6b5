//! hermes-proxyd at work, without an account: `cargo run --example demo`.
//!
//! A mock of the provider's cloud runs in this process, with a login in a scratch home. The
//! daemon runs as a process of its own, and so does hermesctl: Cargo builds no programs for an
//! example, so this one starts itself again, as the programs whose `main` is one call into the
//! library. `--once` ends it after everything was shown.

#![expect(clippy::print_stdout, reason = "it is there to be read")]

use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use mock_cloud::{Fault, Login, MockCloud, Options, Steering, pattern};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Where apps look for the daemon.
const PORT: u16 = 8645;
const QUESTION: &str = "what does an app need, to use the subscription I already pay for?";

fn main() -> ExitCode {
    let mut line = std::env::args_os().skip(1).peekable();
    let role = line.next_if(|word| !word.to_string_lossy().starts_with("--"));
    match role.as_ref().and_then(|role| role.to_str()) {
        Some("hermes-proxyd") => hermes_proxy::daemon::main(role.into_iter().chain(line)),
        Some("hermesctl") => hermes_proxy::cli::main(role.into_iter().chain(line)),
        _ => run(&line.collect::<Vec<_>>()),
    }
}

fn run(flags: &[OsString]) -> ExitCode {
    let once = flags.iter().any(|flag| flag == "--once");
    let result = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(demo(once)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nThe demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(once: bool) -> Result<()> {
    let cloud = MockCloud::start(Options::default()).await;
    let login = cloud.login();
    let home = scratch_home()?;
    // Where Hermes Agent keeps its login, and the daemon looks for it.
    let hermes_home = if cfg!(windows) { "hermes" } else { ".hermes" };
    cloud.write_hermes_home(&home.path().join(hermes_home), &login)?;
    println!("A mock of Nous Portal runs in this process, with a login in a scratch home.");

    let mut daemon = Daemon::start(&cloud, home.path(), free_port()?).await?;
    let work = async {
        show(&cloud, &login, &daemon.base, home.path()).await?;
        if !once {
            println!(
                "\nIt runs until Ctrl-C, so that you can try your own apps. The daemon's log:\n"
            );
            daemon.show_log().await?;
        }
        Ok(())
    };
    let result = tokio::select! {
        result = work => result,
        result = interrupted() => result.map_err(Into::into),
    };
    let status = daemon.stop().await?;
    home.close()?;
    println!("\nThe daemon has stopped ({status}); the scratch home is removed.");
    result
}

/// What the daemon does for an app, and what hermesctl says of it.
async fn show(cloud: &MockCloud, login: &Login, base: &str, home: &Path) -> Result<()> {
    println!(
        "\nAn app needs a base URL, and any API key:\n\n  \
         OPENAI_BASE_URL={base}\n  OPENAI_API_KEY=anything\n\n  \
         curl {base}/chat/completions -H 'content-type: application/json' \\\n    \
         -d '{{\"model\": \"Hermes-4-405B\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hi\"}}]}}'\n"
    );
    println!("An app asks: {QUESTION}");
    // So that it can be seen to stream.
    let slowly = Steering {
        delay_chunk_ms: 60,
        ..Steering::default()
    };
    cloud.fail_next(1, &Fault::Steer(Box::new(slowly)));
    ask(base).await?;
    let requests = cloud.requests();
    let seen = requests.last().ok_or("the cloud saw no request")?;
    if seen.header("authorization") != [format!("Bearer {}", login.access_token)] {
        return Err("the cloud did not see the login's own token".into());
    }
    println!("The app sent the key \"anything\"; the cloud saw the login's token instead.");

    println!(
        "\nThe output of `hermesctl proxy status`, run by the demo itself; it is not in your \
         PATH:\n"
    );
    let mut hermesctl = program("hermesctl", home)?;
    let status = hermesctl.args(["proxy", "status"]).status().await?;
    if !status.success() {
        return Err(format!("hermesctl ended with {status}").into());
    }
    Ok(())
}

/// A folder that stands for a user's home; its name is short, because a socket's path must be.
fn scratch_home() -> Result<TempDir> {
    let home = tempfile::Builder::new().prefix("hp").tempdir()?;
    std::fs::create_dir(home.path().join("run"))?;
    Ok(home)
}

/// The daemon's usual port, or a free one if that is taken.
fn free_port() -> Result<u16> {
    let usual = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT));
    let listener = usual.or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(listener.local_addr()?.port())
}

/// This executable as one of the two programs, in the scratch home, with nothing of the
/// environment that would lead it out of there.
fn program(role: &str, home: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role).env_clear().kill_on_drop(true);
    for name in ["PATH", "SystemRoot", "TERM", "NO_COLOR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    for name in ["HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"] {
        command.env(name, home);
    }
    command.env("XDG_RUNTIME_DIR", home.join("run"));
    Ok(command)
}

struct Daemon {
    process: Child,
    log: Lines<BufReader<ChildStderr>>,
    base: String,
}

impl Daemon {
    /// Starts it against the cloud, and waits until it listens.
    async fn start(cloud: &MockCloud, home: &Path, port: u16) -> Result<Self> {
        let mut command = program("hermes-proxyd", home)?;
        command
            .args(["--port", &port.to_string(), "--log-format", "pretty"])
            .env("NOUS_INFERENCE_BASE_URL", cloud.inference_base_url())
            .env("HERMES_PORTAL_BASE_URL", cloud.portal_url())
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        // A group of its own: the terminal's Ctrl-C is for us, who stop it in order.
        #[cfg(unix)]
        command.process_group(0);
        let mut process = command.spawn()?;
        let stderr = process.stderr.take().ok_or("the daemon has no log")?;
        let mut log = BufReader::new(stderr).lines();
        let mut said = String::new();
        while let Some(line) = log.next_line().await? {
            if let Some((_, url)) = line.split_once("listening url=") {
                let base = url.trim_matches('"').to_owned();
                println!(
                    "hermes-proxyd is running as process {}.",
                    process.id().unwrap_or(0)
                );
                if port != PORT {
                    println!("Port {PORT} is taken on this machine, so it listens on {port}.");
                }
                return Ok(Self { process, log, base });
            }
            said = said + "\n" + &line;
        }
        Err(format!("the daemon did not start:{said}").into())
    }

    async fn show_log(&mut self) -> Result<()> {
        while let Some(line) = self.log.next_line().await? {
            println!("{line}");
        }
        Err("the daemon is gone".into())
    }

    /// SIGTERM, as a service manager does it, and its end.
    async fn stop(mut self) -> Result<std::process::ExitStatus> {
        #[cfg(unix)]
        {
            use rustix::process::{Pid, Signal, kill_process};
            let pid = self.process.id().and_then(|pid| pid.try_into().ok());
            let pid = pid.and_then(Pid::from_raw);
            kill_process(pid.ok_or("the daemon is gone")?, Signal::TERM)?;
        }
        #[cfg(not(unix))]
        self.process.start_kill()?;
        let end = async {
            // Its log is read to the end, so that it never waits for a reader.
            while self.log.next_line().await?.is_some() {}
            self.process.wait().await
        };
        Ok(tokio::time::timeout(Duration::from_secs(35), end).await??)
    }
}

/// Asks as an app does, and prints the answer as it comes.
async fn ask(base: &str) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut answer = client
        .post(format!("{base}/chat/completions"))
        .bearer_auth("anything")
        .json(&json!({
            "model": "Hermes-4-405B",
            "stream": true,
            "messages": [{"role": "user", "content": QUESTION}],
        }))
        .send()
        .await?
        .error_for_status()?;
    let (mut unread, mut text) = (Vec::new(), String::new());
    while let Some(piece) = answer.chunk().await? {
        unread.extend_from_slice(&piece);
        while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            let Some(data) = line.strip_prefix(b"data: {") else {
                continue;
            };
            let event: Value = serde_json::from_slice(&[b"{", data].concat())?;
            let word = event.pointer("/choices/0/delta/content");
            let word = word.and_then(Value::as_str).unwrap_or_default();
            text.push_str(word);
            print!("{word}");
            std::io::stdout().flush()?;
        }
    }
    println!();
    if text == pattern::reply_to(QUESTION) {
        Ok(())
    } else {
        Err("the answer is not what the cloud sent".into())
    }
}

/// Ctrl-C or SIGTERM.
async fn interrupted() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            result = tokio::signal::ctrl_c() => result,
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
