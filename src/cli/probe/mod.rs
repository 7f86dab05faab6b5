//! A request as an app sends one, through the running daemon's own port.

mod reading;
pub(in crate::cli) mod render;
pub(in crate::cli) mod view;

use std::io;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::HeaderMap;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::bugreport;
use super::output::{CommandFailure, Exit};
use super::text::inline;
use super::wire::{PortAddress, RawResponse, WireError};
use crate::control::protocol::{CredentialKind, IssuedKey, ListenerStatus, Providers, Status};
use reading::ProbeReading;
pub(super) use view::ProbeReport;
use view::{ProbeApi, ProbeRequest, StreamPiece};

/// What is asked for.
const WORDS: &str = "Say hello in one short sentence.";

/// The paths of the two ways to ask.
const CHAT: &str = "/chat/completions";
const RESPONSES: &str = "/responses";

/// What to send.
#[derive(Debug, Default)]
pub(super) struct ProbeQuestion {
    /// The provider; `None` is the one that the address means.
    pub(super) provider: Option<String>,
    /// The model; `None` is the provider's first that chats.
    pub(super) model: Option<String>,
    /// Whether the answer is to come as a stream.
    pub(super) stream: bool,
    /// A client key.
    pub(super) key: Option<IssuedKey>,
}

/// What happens while it is under way.
#[derive(Debug)]
pub(super) enum ProbeEvent<'a> {
    /// The request is on its way.
    Asking(&'a ProbeRequest),
    /// A piece of the stream has come.
    Words(&'a StreamPiece),
}

/// Where to, with what is the same for both requests.
struct ProbeTransport<'a> {
    port: PortAddress,
    url: String,
    provider: String,
    api: ProbeApi,
    /// Whether it has a fixed API key.
    keyed: bool,
    /// Where the provider is, as far as that is known.
    base_url: Option<String>,
    question: &'a ProbeQuestion,
}

/// Sends a small request through the port of the daemon that has this status and these providers.
pub(super) async fn send(
    status: &Status,
    providers: &Providers,
    question: &ProbeQuestion,
    news: &mut dyn FnMut(ProbeEvent<'_>) -> io::Result<()>,
) -> Result<ProbeReport, CommandFailure> {
    let transport = ProbeTransport::find(status, providers, question)?;
    let model = match &question.model {
        Some(model) => model.clone(),
        None => transport.first_model().await?,
    };
    let asked = ProbeRequest {
        url: transport.url.clone(),
        provider: transport.provider.clone(),
        model,
        stream: question.stream,
        question: WORDS,
    };
    news(ProbeEvent::Asking(&asked))?;
    transport.converse(asked, news).await
}

impl ProbeApi {
    /// The one that most apps speak, where the provider has it.
    fn of(providers: &Providers, name: &str) -> Self {
        let mut all = providers.providers.iter();
        let provider = all.find(|one| one.name == name);
        let has = |path: &str| {
            let mut paths = provider.iter().flat_map(|one| &one.paths);
            paths.any(|one| one.path == path && one.translated_to.is_none())
        };
        if has(RESPONSES) && !has(CHAT) {
            Self::Responses
        } else {
            Self::Chat
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Chat => CHAT,
            Self::Responses => RESPONSES,
        }
    }

    /// No limit of tokens: some models take only `max_tokens`, others only `max_completion_tokens`, and a short
    /// sentence costs next to nothing.
    fn body(self, asked: &ProbeRequest) -> Value {
        let message = json!([{"role": "user", "content": asked.question}]);
        match self {
            Self::Chat => {
                json!({"model": asked.model, "messages": message, "stream": asked.stream})
            }
            Self::Responses => {
                json!({"model": asked.model, "input": message, "stream": asked.stream})
            }
        }
    }
}

impl<'a> ProbeTransport<'a> {
    fn find(
        status: &Status,
        providers: &Providers,
        question: &'a ProbeQuestion,
    ) -> Result<Self, CommandFailure> {
        let listener = listener(&status.listeners, question)?;
        let port = PortAddress::of(&listener.url).ok_or_else(|| {
            let url = inline(&listener.url);
            CommandFailure::new(format!("hermesctl can't use the address {url}."))
        })?;
        let mut url = port.origin().to_owned();
        let provider = match &question.provider {
            Some(provider) => {
                if !status.providers.iter().any(|one| one.name == *provider) {
                    return Err(unknown_provider(provider));
                }
                url = format!("{url}/{provider}");
                provider.clone()
            }
            None => listener.provider.clone(),
        };
        url += "/v1";
        let mut known = status.providers.iter();
        let meant = known.find(|one| one.name == provider);
        Ok(Self {
            port,
            url,
            api: ProbeApi::of(providers, &provider),
            keyed: meant.is_some_and(|one| one.credential == Some(CredentialKind::ApiKey)),
            base_url: meant.and_then(|one| one.base_url.clone()),
            provider,
            question,
        })
    }

    /// The first model of the list that looks as if it chats.
    async fn first_model(&self) -> Result<String, CommandFailure> {
        let mut answer = self.ask("/models", None).await?;
        let body = answer.rest().await.map_err(|error| self.broken(&error))?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(&answer, &body, None).await);
        }
        reading::first_chat_model(&body).ok_or_else(|| {
            CommandFailure::new(format!("{} lists no chat model.", self.provider))
                .with_code(Exit::Failed, "no_model")
                .with_hint("Name one: `hermesctl proxy test --model MODEL`.")
        })
    }

    async fn converse(
        &self,
        asked: ProbeRequest,
        news: &mut dyn FnMut(ProbeEvent<'_>) -> io::Result<()>,
    ) -> Result<ProbeReport, CommandFailure> {
        let body = self.api.body(&asked).to_string();
        let started = Instant::now();
        let broken = |error: WireError| self.broken(&error);
        let mut answer = self.ask(self.api.path(), Some(body)).await?;
        if answer.status != StatusCode::OK {
            let body = answer.rest().await.map_err(broken)?;
            return Err(self.refused(&answer, &body, Some(&asked.model)).await);
        }
        let mut reading = ProbeReading::of(self.api, &answer.headers);
        let mut first_byte = None;
        while let Some(bytes) = answer.next().await.map_err(broken)? {
            let after_ms = milliseconds(started.elapsed());
            first_byte.get_or_insert(after_ms);
            let text = reading.take(&bytes);
            if !text.is_empty() {
                news(ProbeEvent::Words(&StreamPiece { text, after_ms }))?;
            }
        }
        let total_ms = milliseconds(started.elapsed());
        let answered = match reading.end() {
            Ok(answered) => answered,
            Err(error) => {
                let code = error.code.as_deref().unwrap_or("broken_answer");
                let model = Some(asked.model.as_str());
                return Err(self.failure(&answer, code, &error.message, model).await);
            }
        };
        Ok(ProbeReport {
            status: answer.status.as_u16(),
            request_id: request_id(&answer.headers),
            first_byte_ms: first_byte.unwrap_or(total_ms),
            total_ms,
            tokens: answered.tokens,
            finish_reason: answered.finish_reason,
            text: answered.text,
            reasoning: answered.reasoning,
            asked,
        })
    }

    async fn ask(&self, path: &str, body: Option<String>) -> Result<RawResponse, CommandFailure> {
        let prefix = match &self.question.provider {
            Some(provider) => format!("/{provider}/v1{path}"),
            None => format!("/v1{path}"),
        };
        let key = self.question.key.as_ref();
        let answer = self.port.ask(&prefix, body, key).await;
        answer.map_err(|error| self.broken(&error))
    }

    /// What to look at where the provider has no such path. Without a model it was asked for its list.
    fn wrong_base_url(&self, is_list: bool) -> Option<String> {
        let base = self.base_url.as_deref()?.trim_end_matches('/');
        let path = if is_list { "/models" } else { self.api.path() };
        Some(format!(
            "It was asked for {}{path}: if the provider has no such address, correct `base_url` under \
             [providers.{}].",
            inline(base),
            self.provider
        ))
    }

    /// There is no answer.
    fn broken(&self, error: &WireError) -> CommandFailure {
        let url = inline(&self.url);
        let failure = CommandFailure::new(format!("The request to {url} failed: {error}."));
        match error {
            WireError::Key => failure.with_code(Exit::Failed, "bad_key"),
            WireError::Connect(_) => failure
                .with_code(Exit::Failed, "port_unreachable")
                .with_hint("`hermesctl proxy status` shows where hermes-proxyd listens."),
            WireError::Http(_) | WireError::Silent(_) => {
                failure.with_code(Exit::Failed, "broken_answer").with_hint(
                    "`hermesctl proxy status` shows whether hermes-proxyd is still running.",
                )
            }
        }
    }

    /// The answer is an error: ours, or the provider's, which passed.
    async fn refused(
        &self,
        answer: &RawResponse,
        body: &Bytes,
        model: Option<&str>,
    ) -> CommandFailure {
        let ours = answer.headers.get("x-hermes-error");
        let ours = ours.and_then(|code| code.to_str().ok());
        let error = reading::error_of(body);
        self.failure(
            answer,
            ours.unwrap_or("provider_error"),
            &error.message,
            model,
        )
        .await
    }

    async fn failure(
        &self,
        answer: &RawResponse,
        code: &str,
        said: &str,
        model: Option<&str>,
    ) -> CommandFailure {
        let status = answer.status.as_u16();
        let who = if code == "provider_error" {
            self.provider.as_str()
        } else {
            "hermes-proxyd"
        };
        let said = said.strip_prefix("hermes-proxyd: ").unwrap_or(said);
        // Some providers repeat the key or token that they refuse.
        let said = bugreport::without_secrets(said).await;
        let said = said.as_str();
        let message = format!("{} answered {status} ({code}): {said}", inline(who));
        let needs_login = reading::needs_login(code, status);
        let exit = if needs_login {
            Exit::LoginNeeded
        } else {
            Exit::Failed
        };
        let id = request_id(&answer.headers);
        let logged = id.as_deref().filter(|_| !needs_login);
        let lost = matches!((code, status), ("provider_error", 404 | 405));
        let hint = [
            self.wrong_base_url(model.is_none()).filter(|_| lost),
            reading::hint(code, status, said, self.keyed).map(str::to_owned),
            logged.map(|id| format!("Its log entries: `hermesctl logs --request {id}`.")),
        ];
        let hint: Vec<_> = hint.into_iter().flatten().collect();
        let hint = (!hint.is_empty()).then(|| hint.join(" "));
        let report = json!({"error": {
            "code": code,
            "message": said,
            "hint": hint,
            "status": status,
            "request_id": id,
            "url": self.url,
            "provider": self.provider,
            "model": model,
        }});
        let failure = CommandFailure::new(message).with_code(exit, code);
        let failure = failure.with_json(report);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

/// The listener to go through: with a key one that asks for it, without one one that does not; and
/// rather a port than a socket, as most apps do.
fn listener<'l>(
    listeners: &'l [ListenerStatus],
    question: &ProbeQuestion,
) -> Result<&'l ListenerStatus, CommandFailure> {
    let usable = || listeners.iter().filter(|listener| !listener.waiting);
    let rank = |listener: &&ListenerStatus| {
        (
            listener.needs_key != question.key.is_some(),
            !listener.url.starts_with("http://"),
        )
    };
    let Some(best) = usable().min_by_key(rank) else {
        return Err(
            CommandFailure::new("hermes-proxyd is not listening on any address.")
                .with_code(Exit::Failed, "no_listener")
                .with_hint("`hermesctl proxy status` shows what it waits for."),
        );
    };
    if best.needs_key && question.key.is_none() {
        let message = "Every address of hermes-proxyd needs a client key.";
        return Err(CommandFailure::new(message)
            .with_code(Exit::Failed, "key_needed")
            .with_hint(
                "Make one with `hermesctl clients add NAME`, put it in a file and run `hermesctl \
                 proxy test --key FILE`.",
            ));
    }
    Ok(best)
}

fn unknown_provider(name: &str) -> CommandFailure {
    CommandFailure::new(format!("No provider {name:?} is configured."))
        .with_code(Exit::Failed, "unknown_provider")
        .with_hint("`hermesctl proxy providers` lists them.")
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-hermes-request-id")?;
    id.to_str().ok().map(str::to_owned)
}

/// To a tenth.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests;
