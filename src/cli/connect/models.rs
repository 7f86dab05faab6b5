//! Which models there are, asked of the running daemon as an app would.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use serde::Deserialize;
use tokio::time::timeout;

use super::super::wire::{Door, WireError};
use crate::control::protocol::Key;

/// Apps give up sooner.
const PATIENCE: Duration = Duration::from_secs(10);

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
    key: Option<&Key>,
) -> Result<Vec<String>, String> {
    let (status, body) = match timeout(PATIENCE, get(daemon, path, key)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(error.to_string()),
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
    key: Option<&Key>,
) -> Result<(StatusCode, Bytes), WireError> {
    let mut answer = Door::at(daemon).ask(path, None, key).await?;
    Ok((answer.status, answer.rest().await?))
}
