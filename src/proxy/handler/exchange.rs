//! A request's attempts at its provider: with a credential, and again with another if that one was
//! refused.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::header::CONTENT_ENCODING;
use hyper::{Method, Response, StatusCode, Uri};

use super::super::connection_pool::{Ask, UpstreamBody};
use super::super::error::{ErrorKind, ProxyError};
use super::super::framing::Head;
use super::super::gateway::Upstream;
use super::super::headers::{self, Onward, Passing};
use super::super::record::Underway;
use super::super::translation::is_encoded;
use super::super::upload::{Upload, UploadError};
use super::super::upstream::SendError;
use super::errors::{defect, too_large, unclear};
use super::quota_blame::{Blame, ErrorMark, LoginOutcome, blame};
use crate::config::AllowedPath;
use crate::credentials::{Lease, NoCredential, NotReplaced};
use crate::provider::{AnswerContext, ProviderReply, Verdict};

/// So much of an answer's body is enough to know what it is about.
const START: usize = 8 * 1024;

/// How long it is awaited.
const START_LIMIT: Duration = Duration::from_secs(2);

/// What came of a request with one login.
struct Settled {
    /// The credential that the answer is about.
    lease: Lease,
    answer: Response<UpstreamBody>,
    verdict: Verdict,
    /// The login had a newer credential, which was refused too.
    is_refused_twice: bool,
}

/// A login that was asked, and what it is held back for where it could not serve the request.
struct TriedLogin {
    lease: Lease,
    outcome: LoginOutcome,
    /// `None` if the answer says nothing about the login yet.
    suspicion: Option<(Verdict, StatusCode)>,
}

/// Why the provider refuses the account, in addition to its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocked(pub(super) &'static str);

/// The place of the login of an answer, if its events concern that login.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct With(pub(super) usize);

impl With {
    /// The one of this answer.
    pub(super) fn of<T>(answer: &Response<T>) -> Self {
        let with = answer.extensions().get::<Self>();
        with.copied().unwrap_or_default()
    }
}

/// An answer, and the credential that it came with.
pub(in crate::proxy) type AuthorizedAnswer = (Lease, Response<UpstreamBody>);

/// One request to one provider, ready to be sent as often as needed.
pub(in crate::proxy) struct Exchange<'r> {
    pub(in crate::proxy) upstream: &'r Upstream,
    /// As it is listed.
    pub(in crate::proxy) allowed: &'r AllowedPath,
    /// As the provider is asked for it.
    pub(in crate::proxy) path: &'r str,
    pub(in crate::proxy) method: Method,
    pub(in crate::proxy) head: &'r Head,
    pub(in crate::proxy) upload: Option<Upload>,
    /// The place of the login that it went with.
    pub(in crate::proxy) login: AtomicUsize,
}

/// What [`Exchange::login`] is before a login has answered.
pub(in crate::proxy) fn no_login() -> AtomicUsize {
    AtomicUsize::new(usize::MAX)
}

impl Exchange<'_> {
    /// Tells by which of several logins the request was answered.
    pub(super) fn tell_login(&self, underway: &mut Underway) {
        let place = self.login.load(Ordering::Relaxed);
        underway.goes_with(|| self.upstream.credentials.label_of(place));
    }

    /// Sends the request, and once more with another credential if the provider refused this one, nothing of the answer
    /// went out and the body can be sent again. If the replay fails, the first answer is final. After many renewals in
    /// a row it is sent with the same credential before that is replaced: the provider may refuse at random. If the
    /// login's quota is used up and the provider has other logins, it is sent once more with the next one; if its token
    /// is refused, with each of the others until one is accepted.
    pub(in crate::proxy) async fn run(&self) -> Result<Response<UpstreamBody>, ProxyError> {
        let (lease, answer) = self.attempts().await?;
        self.login.store(lease.stamp().login, Ordering::Relaxed);
        Ok(answer)
    }

    /// The same, with the credential that the answer came with.
    pub(in crate::proxy) async fn attempts(&self) -> Result<AuthorizedAnswer, ProxyError> {
        let credentials = &self.upstream.credentials;
        let lease = if self.uses_something_up() {
            credentials.lease().await
        } else {
            credentials.lease_for_nothing().await
        };
        let lease = lease.map_err(|refusal| no_credential(refusal, self.upstream))?;
        let mut first = self.send(&lease).await?;
        match self.judge(&first) {
            // Rare, so not a part of every request's future.
            Verdict::ReadOn | Verdict::RenewAndRetry => {
                Box::pin(self.reconsider(lease, first)).await
            }
            Verdict::NextLogin { .. } | Verdict::Blocked(_) if credentials.has_rows() => {
                Box::pin(self.reconsider(lease, first)).await
            }
            verdict @ (Verdict::Pass | Verdict::NextLogin { .. } | Verdict::Blocked(_)) => {
                self.counts(&lease, &first, verdict);
                self.forget();
                note(&mut first, verdict);
                Ok((lease, first))
            }
        }
    }

    /// Whether it counts against what a login has left. A look at the models does not.
    fn uses_something_up(&self) -> bool {
        self.method == Method::POST
    }

    /// An answer that may have refused the credential. If a login's quota is used up, one other is asked; if its token
    /// is refused, or the request may be the cause, each of the others until one considers the request. Their answers
    /// show the cause: if all are the same, it is not a login's.
    async fn reconsider(
        &self,
        lease: Lease,
        first: Response<UpstreamBody>,
    ) -> Result<AuthorizedAnswer, ProxyError> {
        let credentials = &self.upstream.credentials;
        let may_be_another = self.uses_something_up();
        let mut asked: Vec<TriedLogin> = Vec::new();
        let mut last = self.settled(lease, first).await;
        loop {
            let one = self.asked(&last);
            let asks_for_another = match last.verdict {
                Verdict::RenewAndRetry => true,
                Verdict::NextLogin { may_be_request, .. } => may_be_request || asked.is_empty(),
                Verdict::Blocked(_) => asked.is_empty(),
                Verdict::Pass | Verdict::ReadOn => false,
            };
            if one.suspicion.is_none() && last.verdict != Verdict::RenewAndRetry {
                self.counts(&last.lease, &last.answer, last.verdict);
            }
            asked.push(one);
            let next = (asks_for_another && may_be_another && self.can_replay())
                .then(|| credentials.next(&asked.iter().map(|one| &one.lease)));
            let Some(next) = next.flatten() else {
                break;
            };
            let Ok(answer) = self.send(&next).await else {
                break;
            };
            last = self.settled(next, answer).await;
        }
        if may_be_another {
            self.blames(asked, last.verdict == Verdict::RenewAndRetry);
        }
        self.forget();
        Ok((last.lease, last.answer))
    }

    /// What a login made of the request.
    fn asked(&self, settled: &Settled) -> TriedLogin {
        let (verdict, status) = (settled.verdict, settled.answer.status());
        let lease = settled.lease.clone();
        match verdict {
            Verdict::NextLogin {
                may_be_request: true,
                ..
            } if self.upstream.credentials.has_rows() => TriedLogin {
                lease,
                outcome: LoginOutcome::Doubtful(ErrorMark::of(
                    status,
                    settled.answer.body().start(),
                )),
                suspicion: Some((verdict, status)),
            },
            Verdict::RenewAndRetry => TriedLogin {
                lease,
                outcome: LoginOutcome::Untold,
                suspicion: settled
                    .is_refused_twice
                    .then_some((verdict, StatusCode::UNAUTHORIZED)),
            },
            Verdict::NextLogin { .. } | Verdict::Blocked(_) => TriedLogin {
                lease,
                outcome: LoginOutcome::Untold,
                suspicion: None,
            },
            Verdict::Pass | Verdict::ReadOn => TriedLogin {
                lease,
                outcome: LoginOutcome::of_status(status),
                suspicion: None,
            },
        }
    }

    /// Holds those back that could not serve the request, where that is their fault. A token's refusal is where a later
    /// login did not refuse its own.
    fn blames(&self, asked: Vec<TriedLogin>, are_all_refused: bool) {
        let credentials = &self.upstream.credentials;
        let outcomes: Vec<_> = asked.iter().map(|one| one.outcome.clone()).collect();
        for (place, one) in asked.into_iter().enumerate() {
            let Some((verdict, status)) = one.suspicion else {
                continue;
            };
            match blame(&outcomes, place) {
                None if !are_all_refused => credentials.judged(&one.lease, verdict, status),
                Some(Blame::Login) => credentials.judged(&one.lease, verdict, status),
                Some(Blame::Unknown) => credentials.suspected(&one.lease, verdict, status),
                None | Some(Blame::Request) => {}
            }
        }
    }

    /// The result of an answer with the same login: if that refused the credential, the answer to the request sent once
    /// more with another one. With its credential, and what it says about that.
    async fn settled(&self, lease: Lease, mut answer: Response<UpstreamBody>) -> Settled {
        let verdict = self.verdict(&mut answer).await;
        let mut settled = Settled {
            lease,
            answer,
            verdict,
            is_refused_twice: false,
        };
        if verdict != Verdict::RenewAndRetry {
            return settled;
        }
        // The refresh happens whether or not this request can be replayed.
        let (credentials, path) = (&self.upstream.credentials, &self.allowed.path);
        let mut replacement = credentials.replacement(&settled.lease, path).await;
        if matches!(replacement, Err(NotReplaced::Paced)) && self.can_replay() {
            let Ok(second) = self.send(&settled.lease).await else {
                return settled;
            };
            settled.answer = second;
            settled.verdict = self.verdict(&mut settled.answer).await;
            if settled.verdict != Verdict::RenewAndRetry {
                return settled;
            }
            replacement = credentials.replacement_at_last(&settled.lease, path).await;
        }
        let (Ok(newer), true) = (replacement, self.can_replay()) else {
            return settled;
        };
        let replay = credentials.replay(path, &newer);
        let Ok(second) = self.send(&newer).await else {
            return settled;
        };
        settled.answer = second;
        settled.verdict = self.verdict(&mut settled.answer).await;
        if settled.verdict == Verdict::RenewAndRetry {
            replay.refused();
            settled.is_refused_twice = true;
        } else {
            drop(replay);
        }
        settled.lease = newer;
        settled
    }

    fn can_replay(&self) -> bool {
        self.upload.as_ref().is_none_or(Upload::can_replay)
    }

    /// What the answer says counts for the login.
    fn counts(&self, lease: &Lease, answer: &Response<UpstreamBody>, verdict: Verdict) {
        let status = answer.status();
        if self.uses_something_up() {
            self.upstream.credentials.judged(lease, verdict, status);
        } else if status.is_success() {
            lease.prove();
        }
    }

    /// What the answer says of its credential, as far as it is known.
    fn judge(&self, answer: &Response<UpstreamBody>) -> Verdict {
        self.upstream.adapter.verdict(&ProviderReply {
            status: answer.status(),
            fields: answer.headers(),
            start: answer.body().start(),
            is_whole: answer.body().is_whole(),
        })
    }

    /// The same; if the head is not enough, or the answer is compared with other logins' answers, the beginning of the
    /// body is awaited for a moment.
    async fn verdict(&self, answer: &mut Response<UpstreamBody>) -> Verdict {
        let verdict = self.judge(answer);
        let is_compared = matches!(
            verdict,
            Verdict::NextLogin {
                may_be_request: true,
                ..
            }
        ) && self.upstream.credentials.has_rows();
        if verdict != Verdict::ReadOn && !is_compared {
            return verdict;
        }
        let most = if is_encoded(answer.headers().get_all(CONTENT_ENCODING)) {
            0
        } else {
            START
        };
        answer.body_mut().read_ahead(most, START_LIMIT).await;
        let verdict = self.judge(answer);
        note(answer, verdict);
        verdict
    }

    async fn send(&self, lease: &Lease) -> Result<Response<UpstreamBody>, ProxyError> {
        let credential = lease.credential();
        let fields = Onward {
            client: &self.head.headers,
            passing: Passing {
                extra: &self.upstream.forward_headers,
                prefix: self.upstream.forward_prefix,
                agent: self.upstream.user_agent,
                body: self.allowed.body,
            },
            is_plain: self.upstream.adapter.reads_errors().is_some(),
            mark: self.upstream.own_mark.as_ref(),
            credential: Some(credential),
        };
        let ask = Ask {
            method: &self.method,
            base_url: &credential.base_url,
            path: self.path,
            query: self.head.uri.query(),
            fields: &fields,
        };
        if !ask.is_sendable() {
            return Err(defect());
        }
        let limited = self.upstream.adapter.limited(self.upstream.client.now());
        let mut answer = self
            .upstream
            .client
            .send(&ask, self.upload.as_ref())
            .await
            .map_err(|error| match error {
                SendError::Upstream(error) => error,
                SendError::Upload(error) => match &self.upload {
                    Some(upload) => upload_error(error, upload),
                    None => defect(),
                },
            })?;
        if is_unknown_there(answer.status()) {
            doubt(self.upstream, &ask, answer.status());
        }
        if self.method == Method::POST {
            let reply = ProviderReply {
                status: answer.status(),
                fields: answer.headers(),
                start: None,
                is_whole: false,
            };
            let heard = AnswerContext {
                at: self.upstream.client.now(),
                while_limited: limited.is_some(),
                login: lease.stamp().login,
            };
            // With several logins each has limits of its own.
            let credentials = &self.upstream.credentials;
            let shared = || !credentials.has_rows() && !credentials.is_separate();
            self.upstream.adapter.hear(&reply, heard, &shared);
        }
        if self.upstream.adapter.quota_event().is_some() {
            answer.extensions_mut().insert(With(lease.stamp().login));
        }
        if answer.status().is_redirection() {
            headers::keep_own_location(answer.headers_mut(), &credential.base_url);
        }
        Ok(answer)
    }

    fn forget(&self) {
        if let Some(upload) = &self.upload {
            upload.forget();
        }
    }
}

/// Whether a server says that it has no such path.
fn is_unknown_there(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
    )
}

/// Says once of a base URL of the operator's that it looks wrong: nothing has worked, and the server has no such path.
fn doubt(upstream: &Upstream, asked: &Ask<'_>, status: StatusCode) {
    let may_be_wrong = upstream.own_mark.is_some() && upstream.counters.counts().served == 0;
    if !may_be_wrong || upstream.doubted.swap(true, Ordering::Relaxed) {
        return;
    }
    let Some(asked) = asked.base_url.join(asked.path, None) else {
        return;
    };
    tracing::warn!(
        provider = %upstream.name,
        status = status.as_u16(),
        asked = format!("{}://{}{}", asked.scheme_str().unwrap_or_default(), authority(&asked), asked.path()),
        key = format!("providers.{}.base_url", upstream.name),
        "the base URL looks wrong: the server has no such path; many servers want one that ends in /v1"
    );
}

/// Host and port, without what may be secret before them.
fn authority(url: &Uri) -> &str {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

/// Records why the provider refuses the account.
fn note(answer: &mut Response<UpstreamBody>, verdict: Verdict) {
    let code = match verdict {
        Verdict::Blocked(code) => Some(code),
        Verdict::NextLogin { code, .. } => code,
        Verdict::Pass | Verdict::RenewAndRetry | Verdict::ReadOn => None,
    };
    if let Some(code) = code {
        answer.extensions_mut().insert(Blocked(code));
    }
}

pub(in crate::proxy) fn no_credential(refusal: NoCredential, upstream: &Upstream) -> ProxyError {
    match refusal {
        NoCredential::CoolingDown { until, retry_after } => {
            let message = format!(
                "hermes-proxyd: all logins of {} are cooling down, the first until {}; `hermesctl auth \
                 list` shows why, `hermesctl auth reset {}` uses them at once",
                upstream.display_name,
                until.format("%H:%M:%S UTC"),
                upstream.name
            );
            let error = ProxyError::new(ErrorKind::CredentialsCoolingDown, message);
            error.retry_after(retry_after)
        }
        NoCredential::LoginNeeded { message } => {
            ProxyError::new(ErrorKind::UpstreamAuthFailed, message)
        }
        NoCredential::Unavailable {
            message,
            retry_after,
        } => ProxyError::new(ErrorKind::CredentialsUnavailable, message).retry_after(retry_after),
    }
}

/// The error for a body that ended too soon.
pub(super) fn upload_error(error: UploadError, upload: &Upload) -> ProxyError {
    match error {
        UploadError::TooLarge => too_large(upload.limit()),
        UploadError::TooSlow => ProxyError::new(
            ErrorKind::RequestTimeout,
            "hermes-proxyd: the request body arrived too slowly (`timeouts.body`)",
        ),
        UploadError::Malformed(violation) => violation.error(),
        UploadError::Unclear(flaw) => unclear(flaw, upload.is_alone()),
        UploadError::Broken | UploadError::Superseded => ProxyError::new(
            ErrorKind::BadRequest,
            "hermes-proxyd: the request body was cut off",
        ),
    }
}
