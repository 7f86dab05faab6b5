//! Which models there are, asked of the running daemon as an app would.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::body::Body;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// Apps give up sooner.
const PATIENCE: Duration = Duration::from_secs(10);
/// No list of models is longer, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;

#[derive(Deserialize)]
struct List {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

#[derive(Deserialize)]
struct Refusal {
    error: Message,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

/// The models' names, in the provider's order; or why there are none, for people.
pub(super) async fn list(
    daemon: SocketAddr,
    path: &str,
    key: Option<&str>,
) -> Result<Vec<String>, String> {
    let (status, body) = match timeout(PATIENCE, get(daemon, path, key)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(error),
        Err(_) => return Err("the list of models did not come in time".to_owned()),
    };
    if status != StatusCode::OK {
        let refusal: Result<Refusal, _> = serde_json::from_slice(&body);
        return Err(refusal.map_or_else(|_| status.to_string(), |it| it.error.message));
    }
    let list: List = serde_json::from_slice(&body)
        .map_err(|_| "the provider's list of models is none".to_owned())?;
    Ok(list.data.into_iter().map(|model| model.id).collect())
}

async fn get(
    daemon: SocketAddr,
    path: &str,
    key: Option<&str>,
) -> Result<(StatusCode, Vec<u8>), String> {
    let stream = TcpStream::connect(daemon)
        .await
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake::<_, String>(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // It ends when the sender and the answer are dropped.
    let _carrying = TaskTracker::new().spawn(connection);
    let mut request = Request::get(path)
        .header(HOST, daemon.to_string())
        .header(ACCEPT, "application/json");
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request
        .body(String::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status();
    Ok((status, read(answer.into_body()).await?))
}

async fn read(body: hyper::body::Incoming) -> Result<Vec<u8>, String> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
    {
        let frame = frame.map_err(|error| error.to_string())?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
        if bytes.len() > LONGEST {
            return Err("the list of models is too long".to_owned());
        }
    }
    Ok(bytes)
}
