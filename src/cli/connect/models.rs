//! Which models there are, asked of the running daemon as an app would.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use serde::Deserialize;
use tokio::time::timeout;

use super::super::args::meant;
use super::super::wire::{Door, WireError};
use super::fill::is_plain;
use crate::control::protocol::Key;

/// Apps give up sooner.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the app is told to ask for.
#[derive(Debug, Default)]
pub(super) struct Models {
    /// The model, if it is known.
    pub(super) model: Option<String>,
    /// The one for embeddings, if it is known.
    pub(super) embedding: Option<String>,
    /// What is to be said of them.
    pub(super) notes: Vec<String>,
}

impl Models {
    /// Takes the first of the provider's where the user named none, and tells of those that the
    /// provider does not list.
    pub(super) fn choose(&mut self, listed: &[String]) {
        for named in [&self.model, &self.embedding].into_iter().flatten() {
            if !listed.is_empty() && !listed.contains(named) {
                self.notes.push(unlisted(named, listed));
            }
        }
        let plain = listed.iter().filter(|name| is_plain(name));
        let (embedding, other): (Vec<_>, Vec<_>) =
            plain.partition(|name| name.to_ascii_lowercase().contains("embed"));
        let first = |names: Vec<&String>| names.first().copied().cloned();
        self.model = self.model.take().or_else(|| first(other));
        self.embedding = self.embedding.take().or_else(|| first(embedding));
    }
}

fn unlisted(named: &str, listed: &[String]) -> String {
    const SHOWN: usize = 5;
    let plain = || listed.iter().filter(|name| is_plain(name)).cloned();
    let near = meant::nearest(&named.to_lowercase(), plain());
    let like = near.map(|near| format!("Did you mean {near}?"));
    let like = like.unwrap_or_else(|| {
        let more = if plain().count() > SHOWN { ", …" } else { "" };
        let some: Vec<_> = plain().take(SHOWN).collect();
        format!("It lists {}{more}.", some.join(", "))
    });
    format!("The provider does not list the model {named}. {like}")
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_not_listed_is_told_and_kept() {
        let listed = ["Hermes-4-405B", "Hermes-4-70B", "embed-1"].map(str::to_owned);
        for (named, told) in [
            ("Hermes-4-70B", None),
            ("hermes-4-70b", Some("Did you mean Hermes-4-70B?")),
            ("Hermes-4-70", Some("Did you mean Hermes-4-70B?")),
            (
                "gpt",
                Some("It lists Hermes-4-405B, Hermes-4-70B, embed-1."),
            ),
        ] {
            let mut models = Models {
                model: Some(named.to_owned()),
                ..Models::default()
            };
            models.choose(&listed);
            assert_eq!(models.model.as_deref(), Some(named));
            assert_eq!(models.embedding.as_deref(), Some("embed-1"));
            assert_eq!(models.notes.is_empty(), told.is_none(), "{models:?}");
            assert!(
                models.notes.concat().contains(told.unwrap_or_default()),
                "{models:?}"
            );
        }
    }
}
