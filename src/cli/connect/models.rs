//! The available models, requested from the running daemon as an app would.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use serde::Deserialize;
use tokio::time::timeout;

use super::super::models::{self, ListedModel};
use super::super::wire::{PortAddress, WireError};
use super::fill::is_plain;
use crate::control::protocol::IssuedKey;
use crate::suggest::did_you_mean;

/// Shorter than the timeouts of apps.
const PATIENCE: Duration = Duration::from_secs(10);

/// The models for the app.
#[derive(Debug, Default)]
pub(super) struct AppModels {
    /// The model, if it is known.
    pub(super) model: Option<String>,
    /// The one for embeddings, if it is known.
    pub(super) embedding: Option<String>,
    /// Notes about the choice.
    pub(super) notes: Vec<String>,
}

impl AppModels {
    /// Takes the provider's first chat model, preferably one whose name begins with `preferred`, and the first for
    /// embeddings, if the user named none, and notes those that the provider does not list.
    pub(super) fn choose(&mut self, listed: &[ListedModel], preferred: &str) {
        for named in [&self.model, &self.embedding].into_iter().flatten() {
            if !listed.is_empty() && !listed.iter().any(|model| model.id == *named) {
                self.notes.push(unlisted(named, listed));
            }
        }
        let is_named = self.model.is_some();
        let first = |is_wanted: &dyn Fn(&ListedModel) -> bool| {
            let mut plain = listed.iter().filter(|model| is_plain(&model.id));
            let found = plain.find(|model| is_wanted(model));
            found.map(|model| model.id.clone())
        };
        let is_preferred = |model: &ListedModel| model.chats() && model.id.starts_with(preferred);
        let model = || first(&is_preferred).or_else(|| first(&ListedModel::chats));
        self.model = self.model.take().or_else(model);
        self.embedding = self
            .embedding
            .take()
            .or_else(|| first(&ListedModel::embeds));
        let is_other = |model: &String| !model.starts_with(preferred);
        if let Some(model) = self.model.as_ref().filter(|model| is_other(model)) {
            self.notes.push(if is_named {
                format!("This app is made for models {preferred}…, and may not work with {model}.")
            } else {
                format!(
                    "The provider lists no model {preferred}…, and others may not work with this app: choose one \
                     with --model."
                )
            });
        }
        if self.model.is_none() {
            let note = "The provider lists no chat model: replace YOUR-MODEL with a name, or use \
                        --model.";
            self.notes.push(note.to_owned());
        }
    }
}

fn unlisted(named: &str, listed: &[ListedModel]) -> String {
    const SHOWN: usize = 5;
    let names = || listed.iter().map(|model| model.id.clone());
    let plain = || names().filter(|name| is_plain(name));
    let near = did_you_mean(named, plain());
    let like = near.map(|near| format!("Did you mean {near}?"));
    let like = like.unwrap_or_else(|| {
        let more = if plain().count() > SHOWN { ", …" } else { "" };
        let some: Vec<_> = plain().take(SHOWN).collect();
        format!("It lists {}{more}.", some.join(", "))
    });
    format!("The provider does not list the model {named}. {like}")
}

#[derive(Deserialize)]
struct ModelsRefusal {
    error: ErrorMessage,
}

#[derive(Deserialize)]
struct ErrorMessage {
    message: String,
}

/// The models' names, in the provider's order; or why there are none, for people.
pub(super) async fn list(
    daemon: SocketAddr,
    path: &str,
    key: Option<&IssuedKey>,
) -> Result<Vec<ListedModel>, String> {
    let (status, body) = match timeout(PATIENCE, get(daemon, path, key)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("the list of models did not arrive in time".to_owned()),
    };
    if status != StatusCode::OK {
        let refusal: Result<ModelsRefusal, _> = serde_json::from_slice(&body);
        return Err(refusal.map_or_else(|_| status.to_string(), |it| it.error.message));
    }
    models::read(&body).ok_or_else(|| "the provider's answer is not a list of models".to_owned())
}

async fn get(
    daemon: SocketAddr,
    path: &str,
    key: Option<&IssuedKey>,
) -> Result<(StatusCode, Bytes), WireError> {
    let mut answer = PortAddress::at(daemon).ask(path, None, key).await?;
    Ok((answer.status, answer.rest().await?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listed(names: &[&str]) -> Vec<ListedModel> {
        let data: Vec<_> = names.iter().map(|id| json!({"id": id})).collect();
        models::read(json!({"data": data}).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_model_that_does_not_chat_is_filled_in_nowhere() {
        let mut found = AppModels::default();
        found.choose(
            &listed(&["whisper-1", "text-embedding-3-small", "gpt-5", "tts-1"]),
            "",
        );
        assert_eq!(found.model.as_deref(), Some("gpt-5"));
        assert_eq!(found.embedding.as_deref(), Some("text-embedding-3-small"));
        assert!(found.notes.is_empty(), "{found:?}");
        let mut none = AppModels::default();
        none.choose(&listed(&["whisper-1", "dall-e-3"]), "");
        assert_eq!(none.model, None);
        assert!(
            none.notes.concat().contains("lists no chat model"),
            "{none:?}"
        );
    }

    #[test]
    fn an_app_gets_a_model_that_it_works_with_if_there_is_one() {
        let all = listed(&[
            "Hermes-4-405B",
            "anthropic/claude-sonnet-4.5",
            "anthropic/x",
        ]);
        for (preferred, model) in [
            ("", "Hermes-4-405B"),
            ("anthropic/", "anthropic/claude-sonnet-4.5"),
            ("nothing/", "Hermes-4-405B"),
        ] {
            let mut found = AppModels::default();
            found.choose(&all, preferred);
            assert_eq!(found.model.as_deref(), Some(model));
            let note = found.notes.concat();
            let told = note.contains("lists no model nothing/…") && note.contains("--model");
            assert_eq!(told, preferred == "nothing/", "{note}");
        }
        let mut named = AppModels {
            model: Some("Hermes-4-405B".to_owned()),
            ..AppModels::default()
        };
        named.choose(&all, "");
        assert!(named.notes.is_empty(), "{named:?}");
        named.choose(&all, "anthropic/");
        let note = "may not work with Hermes-4-405B";
        assert!(named.notes.concat().contains(note), "{named:?}");
    }

    #[test]
    fn a_model_that_is_not_listed_is_told_and_kept() {
        let listed = listed(&["whisper-1", "Hermes-4-405B", "Hermes-4-70B", "embed-1"]);
        for (named, told) in [
            ("Hermes-4-70B", None),
            ("hermes-4-70b", Some("Did you mean Hermes-4-70B?")),
            ("Hermes-4-70", Some("Did you mean Hermes-4-70B?")),
            (
                "gpt",
                Some("It lists whisper-1, Hermes-4-405B, Hermes-4-70B, embed-1."),
            ),
        ] {
            let mut models = AppModels {
                model: Some(named.to_owned()),
                ..AppModels::default()
            };
            models.choose(&listed, "");
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
