//! The models in a provider's list. Pure.

use serde_json::Value;

/// Words in the names of models that don't chat.
const NO_CHAT: &[&str] = &[
    "embed",
    "rerank",
    "moderation",
    "whisper",
    "transcribe",
    "tts",
    "speech",
    "audio",
    "realtime",
    "dall-e",
    "image",
    "video",
    "sora",
    "diffusion",
    "flux",
    "minilm",
    "davinci-002",
    "babbage",
];

/// A model of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedModel {
    /// Its name.
    pub(super) id: String,
    /// Whether the list says that it makes something other than text.
    makes_no_text: bool,
}

impl ListedModel {
    /// Whether it looks as if it chats.
    pub(super) fn chats(&self) -> bool {
        let id = self.id.to_lowercase();
        !self.makes_no_text && !NO_CHAT.iter().any(|word| id.contains(word))
    }

    /// Whether it looks as if it makes embeddings.
    pub(super) fn embeds(&self) -> bool {
        self.id.to_lowercase().contains("embed")
    }
}

/// The models of a list, in the provider's order; `None` if it is not a list.
pub(super) fn read(body: &[u8]) -> Option<Vec<ListedModel>> {
    let list: Value = serde_json::from_slice(body).ok()?;
    let models = list.get("data")?.as_array()?.iter();
    let read = |model: &Value| {
        // As OpenRouter and those that follow it have it.
        let makes = model.pointer("/architecture/output_modalities");
        let makes = makes.and_then(Value::as_array);
        Some(ListedModel {
            id: model.get("id")?.as_str()?.to_owned(),
            makes_no_text: makes.is_some_and(|makes| !makes.iter().any(|one| one == "text")),
        })
    };
    Some(models.filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_models_that_write_text_chat() {
        let image = json!({"id": "artist-1", "architecture": {"output_modalities": ["image"]}});
        let both =
            json!({"id": "both-1", "architecture": {"output_modalities": ["image", "text"]}});
        let plain = [
            "whisper-1",
            "text-embedding-3-small",
            "Hermes-4-405B",
            "gpt-image-1",
        ];
        let plain = plain.map(|id| json!({"id": id}));
        let data: Vec<_> = [image, both].into_iter().chain(plain).collect();
        let models = read(json!({"data": data}).to_string().as_bytes()).unwrap();
        let chatting: Vec<_> = models
            .iter()
            .filter(|one| one.chats())
            .map(|one| &*one.id)
            .collect();
        assert_eq!(chatting, ["both-1", "Hermes-4-405B"]);
        let embedding: Vec<_> = models
            .iter()
            .filter(|one| one.embeds())
            .map(|one| &*one.id)
            .collect();
        assert_eq!(embedding, ["text-embedding-3-small"]);
        assert_eq!(read(b"<html>"), None);
    }
}
