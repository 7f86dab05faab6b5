//! The APIs for chats that a provider serves: the names that apps use for them, by path.

use serde::{Deserialize, Serialize};

/// A path that is forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathEntry {
    /// Below `/v1`, such as `/chat/completions`.
    pub path: String,
    /// The methods it takes, in capitals.
    pub methods: Vec<String>,
    /// Which bodies keep their type: `multipart` or `any`; `None` where all are JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The provider's own path that it is served in terms of; `None` where it is that itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translated_to: Option<String>,
}

/// An API for chats. An app speaks one of them, or lets its user choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatApi {
    /// OpenAI's Chat Completions.
    Chat,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
}

impl ChatApi {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Chat, Self::Responses, Self::Messages];

    /// Its path below `/v1`.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Responses => "/responses",
            Self::Messages => "/messages",
        }
    }

    /// Its name for people, within a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "Chat Completions",
            Self::Responses => "the Responses API",
            Self::Messages => "Anthropic's Messages API",
        }
    }

    /// What it is translated to where a provider has only that; none for Anthropic's.
    pub fn other(self) -> Option<Self> {
        match self {
            Self::Chat => Some(Self::Responses),
            Self::Responses => Some(Self::Chat),
            Self::Messages => None,
        }
    }
}

/// How a provider serves a wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiSupport {
    /// The provider's own API.
    Native,
    /// Requests and answers are translated to another API of the provider's.
    Translated,
    /// Something of a newer daemon.
    #[serde(untagged)]
    Other(String),
}

/// The wires of a provider; `None` for those that it does not serve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatApis {
    /// OpenAI's Chat Completions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<ApiSupport>,
    /// OpenAI's Responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responses: Option<ApiSupport>,
    /// Anthropic's Messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<ApiSupport>,
}

impl ChatApis {
    /// What these paths amount to.
    pub fn of(paths: &[PathEntry]) -> Self {
        let service = |wire: ChatApi| {
            let takes = |method: &String| method == "POST";
            let is_it = |one: &&PathEntry| one.path == wire.path() && one.methods.iter().any(takes);
            let path = paths.iter().find(is_it)?;
            Some(match path.translated_to {
                Some(_) => ApiSupport::Translated,
                None => ApiSupport::Native,
            })
        };
        Self {
            chat: service(ChatApi::Chat),
            responses: service(ChatApi::Responses),
            messages: service(ChatApi::Messages),
        }
    }

    /// How this one is served.
    pub fn get(&self, wire: ChatApi) -> Option<&ApiSupport> {
        match wire {
            ChatApi::Chat => self.chat.as_ref(),
            ChatApi::Responses => self.responses.as_ref(),
            ChatApi::Messages => self.messages.as_ref(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        ChatApi::ALL.iter().all(|wire| self.get(*wire).is_none())
    }
}
