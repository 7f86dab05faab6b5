//! The mock cloud as a program, for tests that are not Rust and for benches.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use mock_cloud::{MockCloud, Options, Tls};
use tokio::io::AsyncReadExt;

/// Run a portal and an inference API on free ports of 127.0.0.1 until standard input ends
#[derive(Debug, Parser)]
struct Args {
    /// Write a fresh login to HOME/auth.json
    #[arg(long, value_name = "HOME")]
    home: Option<PathBuf>,
    /// How long access tokens live
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    access_ttl: u64,
    /// How long a spent refresh token gets its successor once more
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    grace: u64,
    /// Speak OpenAI Codex's dialect, with logins of this ACCOUNT
    #[arg(long, value_name = "ACCOUNT")]
    codex: Option<String>,
    /// Speak TLS at the inference API
    #[arg(long)]
    tls: bool,
    /// Offer HTTP/2 over TLS
    #[arg(long)]
    http2: bool,
    /// Keep no record of requests
    #[arg(long)]
    no_record: bool,
    /// Write the certificate authority here
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let args = Args::parse();
    let mut options = Options::default()
        .access_ttl(Duration::from_secs(args.access_ttl))
        .grace(Duration::from_secs(args.grace))
        .inference_tls(if args.tls { Tls::On } else { Tls::Off })
        .http2(args.http2)
        .record(!args.no_record);
    if let Some(account) = &args.codex {
        options = options.codex(account, None);
    }
    let cloud = MockCloud::start(options).await;
    if let Some(file) = &args.ca_file {
        cloud.write_ca(file)?;
    }
    let login = cloud.login();
    if let Some(home) = &args.home {
        cloud.write_hermes_home(home, &login)?;
    }
    let ready = serde_json::json!({
        "portal_url": cloud.portal_url(),
        "inference_base_url": cloud.inference_base_url(),
        "codex_base_url": cloud.codex_base_url(),
        "access_token": login.access_token,
    });
    writeln!(std::io::stdout(), "{ready}")?;
    let (mut input, mut rest) = (tokio::io::stdin(), Vec::new());
    tokio::select! {
        _ = input.read_to_end(&mut rest) => {}
        _ = tokio::signal::ctrl_c() => {}
        () = terminated() => {}
    }
    cloud.stop().await;
    Ok(())
}

#[cfg(unix)]
async fn terminated() {
    let kind = tokio::signal::unix::SignalKind::terminate();
    match tokio::signal::unix::signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending::<()>().await;
}
