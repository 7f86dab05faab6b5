//! hermesctl's requests about client keys.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::timeout;

use super::providers::ProviderReport;
use crate::clients::{
    ClientRates, ClientsError, Imported, KeyLimits, Listed, OwnMark, Registry, Token, TokenOutcome,
};
use crate::control::protocol::{
    ClientAdd, ClientChange, ClientChanged, ClientEntry, ClientImport, ClientImportReport,
    ClientImportResult, ClientLimit, ClientLimits, ClientList, ClientRevoked, ClientToday,
    ControlError, ErrorCode, ImportOutcome, ImportedKey, IssuedKey, NewKey, Timestamp,
};
use crate::credentials::StoreFiles;
use crate::secret::Secret;

/// The file of the client keys, in our own folder.
pub(super) fn file(files: &StoreFiles) -> PathBuf {
    files.own.with_file_name("clients.json")
}

/// The start waits for the time zone no longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks up when the day ends, where a client's use of a day is limited. A time zone that hangs does not hold up the start.
pub(super) async fn begin_the_day(clients: &Registry) {
    if clients.has_days() {
        timeout(PATIENCE, clients.follow_the_day()).await.ok();
    }
}

/// All clients, including those that another program has written to the file, if it can be read.
pub(super) async fn list(
    clients: &Registry,
    now: DateTime<Utc>,
    providers: &[ProviderReport],
) -> Result<ClientList, ControlError> {
    clients.reload().await.map_err(|error| refused(&error))?;
    let listed = clients.list();
    let is_unknown = |name: &&String| {
        let mut known = providers.iter();
        !known.any(|one| one.upstream.name.as_str() == **name)
    };
    let limits = listed.iter().flat_map(|client| &client.limits.providers);
    let unknown: BTreeSet<_> = limits.filter(is_unknown).cloned().collect();
    Ok(ClientList {
        now: Timestamp(now),
        clients: listed.into_iter().map(entry).collect(),
        unknown_providers: unknown.into_iter().collect(),
    })
}

/// All clients in memory, without a look at the file.
pub(super) fn known(clients: &Registry) -> Vec<ClientEntry> {
    clients.list().into_iter().map(entry).collect()
}

/// The limits that are wanted, which the `providers` can be asked about; those of a key for `chosen`.
fn limits(
    wanted: ClientAdd,
    chosen: &[String],
    providers: &[ProviderReport],
) -> Result<KeyLimits, ControlError> {
    let mut paths = Vec::with_capacity(wanted.paths.len());
    for path in &wanted.paths {
        paths.push(known_path(path, chosen, providers)?);
    }
    let in_flight = match wanted.in_flight {
        None => None,
        Some(limit) => Some(NonZeroU32::new(limit).ok_or_else(no_places)?),
    };
    let more = wanted.limits;
    Ok(KeyLimits {
        providers: wanted.providers,
        paths,
        models: more.models,
        in_flight,
        rates: ClientRates {
            requests_per_minute: some(more.requests_per_minute, NonZeroU32::new)?,
            requests_per_day: some(more.requests_per_day, NonZeroU32::new)?,
            tokens_per_day: some(more.tokens_per_day, NonZeroU64::new)?,
        },
    })
}

/// Adds a client, with limits that the `providers` can be asked about.
pub(super) async fn add(
    clients: &Registry,
    wanted: ClientAdd,
    providers: &[ProviderReport],
) -> Result<NewKey, ControlError> {
    let (name, chosen) = (wanted.name.clone(), wanted.providers.clone());
    let limits = limits(wanted, &chosen, providers)?;
    let notes = unlisted(&limits, providers);
    let added = clients.add(&name, limits).await;
    let (client, key) = added.map_err(|error| {
        // Its key was never shown.
        let then =
            format!("if it lists {name}, `hermesctl clients rotate {name}` shows a key for it.");
        unfinished(&error, &then)
    })?;
    tracing::info!(client = client.name, "a client key was added");
    Ok(NewKey {
        notes,
        ..new_key(client, &key)
    })
}

/// Changes a client's limits.
pub(super) async fn change(
    clients: &Registry,
    wanted: ClientChange,
    providers: &[ProviderReport],
    now: DateTime<Utc>,
) -> Result<ClientChanged, ControlError> {
    let ClientChange { set, clear } = wanted;
    let name = set.name.clone();
    let known = clients.list().into_iter().find(|one| one.name == name);
    let known = known.map(|one| one.limits.providers).unwrap_or_default();
    let chosen = match &set.providers[..] {
        [] if clear.contains(&ClientLimit::Providers) => Vec::new(),
        [] => known,
        chosen => chosen.to_vec(),
    };
    let set = limits(set, &chosen, providers)?;
    let changed = clients.change_limits(&name, move |limits| merged(limits, &clear, set));
    let client = changed.await.map_err(|error| {
        let then = format!("if the limits of {name} are the old ones, change them again.");
        unfinished(&error, &then)
    })?;
    tracing::info!(
        client = client.name,
        "the limits of a client key were changed"
    );
    let notes = unlisted(&client.limits, providers);
    Ok(ClientChanged {
        now: Timestamp(now),
        client: entry(client),
        notes,
    })
}

/// The limits without those that are cleared, and with those that are set.
fn merged(mut limits: KeyLimits, clear: &[ClientLimit], set: KeyLimits) -> KeyLimits {
    for limit in clear {
        match limit {
            ClientLimit::Providers => limits.providers.clear(),
            ClientLimit::Paths => limits.paths.clear(),
            ClientLimit::Models => limits.models.clear(),
            ClientLimit::InFlight => limits.in_flight = None,
            ClientLimit::RequestsPerMinute => limits.rates.requests_per_minute = None,
            ClientLimit::RequestsPerDay => limits.rates.requests_per_day = None,
            ClientLimit::TokensPerDay => limits.rates.tokens_per_day = None,
        }
    }
    let list = |set: Vec<String>, old: Vec<String>| if set.is_empty() { old } else { set };
    let rates = limits.rates;
    KeyLimits {
        providers: list(set.providers, limits.providers),
        paths: list(set.paths, limits.paths),
        models: list(set.models, limits.models),
        in_flight: set.in_flight.or(limits.in_flight),
        rates: ClientRates {
            requests_per_minute: set.rates.requests_per_minute.or(rates.requests_per_minute),
            requests_per_day: set.rates.requests_per_day.or(rates.requests_per_day),
            tokens_per_day: set.rates.tokens_per_day.or(rates.tokens_per_day),
        },
    }
}

/// What to look at again: models that no provider of the key lists, where their lists are known.
fn unlisted(limits: &KeyLimits, providers: &[ProviderReport]) -> Vec<String> {
    let is_meant = |report: &&ProviderReport| {
        let name = report.upstream.name.as_str();
        limits.providers.is_empty() || limits.providers.iter().any(|chosen| chosen == name)
    };
    let lists = providers.iter().filter(is_meant);
    let lists: Vec<_> = lists
        .map(|report| (report.upstream.name.as_str(), report.upstream.models.ids()))
        .collect();
    if lists.iter().any(|(_, ids)| ids.is_empty()) {
        return Vec::new();
    }
    let is_listed = |model: &str| {
        lists.iter().any(|(provider, ids)| {
            let own = model.strip_prefix(provider);
            let own = own.and_then(|rest| rest.strip_prefix('/')).unwrap_or(model);
            let fits = |id: &String| match own.strip_suffix('*') {
                Some(start) => id.starts_with(start),
                None => id == own,
            };
            ids.iter().any(fits)
        })
    };
    let unlisted = limits.models.iter().filter(|model| !is_listed(model));
    unlisted
        .map(|model| {
            format!(
                "No provider of this key lists the model {model}: it is of use only as an alias of yours."
            )
        })
        .collect()
}

/// Takes a client's key away.
pub(super) async fn revoke(
    clients: &Registry,
    name: String,
) -> Result<ClientRevoked, ControlError> {
    let revoked = clients.revoke(&name).await;
    revoked.map_err(|error| {
        let then = format!("if it lists {name}, run `hermesctl clients revoke {name}` again.");
        unfinished(&error, &then)
    })?;
    tracing::info!(client = name, "a client key was revoked");
    let was_last = clients.is_empty();
    Ok(ClientRevoked {
        name,
        was_last,
        keyless: false,
    })
}

/// Gives a client another key.
pub(super) async fn rotate(clients: &Registry, name: &str) -> Result<NewKey, ControlError> {
    let rotated = clients.rotate(name).await;
    let (client, key) = rotated.map_err(|error| {
        let then = format!(
            "the old key of {name} may have stopped working, and `hermesctl clients rotate {name}` \
             shows another."
        );
        unfinished(&error, &then)
    })?;
    tracing::info!(client = client.name, "a client key was rotated");
    Ok(new_key(client, &key))
}

/// Takes over the tokens of another proxy's apps.
pub(super) async fn import(
    clients: &Registry,
    tokens: ClientImport,
) -> Result<ClientImportReport, ControlError> {
    let token = |token: ImportedKey| Token {
        label: token.label,
        key: Secret::new(token.key.expose().to_owned()),
    };
    let tokens = tokens.keys.into_iter().map(token).collect();
    let results = clients.import(tokens).await;
    let results = results.map_err(|error| {
        unfinished(
            &error,
            "run the import again for those that it does not list.",
        )
    })?;
    let taken = results
        .iter()
        .filter(|one| one.outcome == TokenOutcome::Imported);
    tracing::info!(clients = taken.count(), "client keys were imported");
    Ok(ClientImportReport {
        results: results.into_iter().map(import_result).collect(),
    })
}

/// Why a change stopped; one that may still be made, with what to look at `then`.
fn unfinished(error: &ClientsError, then: &str) -> ControlError {
    let refused = refused(error);
    if !matches!(error, ClientsError::Unfinished { .. }) {
        return refused;
    }
    let hint =
        format!("When the file system answers again, look at `hermesctl clients list`: {then}");
    refused.with_hint(hint)
}

/// Why a reload stopped at the file of client keys, or a change did.
pub(super) fn refused(error: &ClientsError) -> ControlError {
    let (code, hint) = match error {
        ClientsError::InvalidName { .. } => (
            ErrorCode::InvalidClient,
            "Choose another name, such as open-webui.",
        ),
        ClientsError::InvalidLimit { .. } => {
            (ErrorCode::InvalidClient, "Correct it, or omit the limit.")
        }
        ClientsError::Exists { .. } => (
            ErrorCode::ClientExists,
            "`hermesctl clients rotate NAME` replaces its key.",
        ),
        ClientsError::Unknown { .. } => (
            ErrorCode::UnknownClient,
            "`hermesctl clients list` shows all.",
        ),
        ClientsError::Random(_) | ClientsError::BrokeOff => {
            (ErrorCode::Internal, "Then try again.")
        }
        ClientsError::Read { .. }
        | ClientsError::Exposed { .. }
        | ClientsError::Foreign { .. }
        | ClientsError::Malformed { .. }
        | ClientsError::Version { .. }
        | ClientsError::Lock { .. }
        | ClientsError::LockHeld { .. }
        | ClientsError::Unfinished { .. }
        | ClientsError::Write { .. } => (ErrorCode::ClientsUnusable, "Then try again."),
    };
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    let message = first.unwrap_or_default() + letters.as_str();
    let end = if message.ends_with('?') { "" } else { "." };
    ControlError::new(code, message + end).with_hint(hint)
}

/// A path in the form that requests are compared in, if a provider has it that the key is for.
fn known_path(
    path: &str,
    chosen: &[String],
    providers: &[ProviderReport],
) -> Result<String, ControlError> {
    let mut segments: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    if segments.first() == Some(&"v1") {
        segments.remove(0);
    }
    let wanted = format!("/{}", segments.join("/"));
    let meant = |report: &&ProviderReport| {
        let name = report.upstream.name.as_str();
        chosen.is_empty() || chosen.iter().any(|chosen| chosen == name)
    };
    let mut paths: Vec<_> = providers
        .iter()
        .filter(meant)
        .flat_map(|report| &report.upstream.paths)
        .map(|allowed| allowed.path.as_str())
        .collect();
    if paths.contains(&wanted.as_str()) {
        return Ok(wanted);
    }
    paths.sort_unstable();
    paths.dedup();
    let path: String = path.chars().take(64).collect();
    let message = format!("None of the key's providers has the path {path:?}.");
    Err(ControlError::new(ErrorCode::InvalidClient, message)
        .with_hint(format!("The paths are: {}", paths.join(", "))))
}

/// A limit of 1 or more, if there is one.
fn some<N, M>(limit: Option<N>, of: impl Fn(N) -> Option<M>) -> Result<Option<M>, ControlError> {
    let limit = limit.map(|limit| of(limit).ok_or_else(nothing));
    limit.transpose()
}

fn nothing() -> ControlError {
    let message = "A key must allow at least one request and one token.";
    ControlError::new(ErrorCode::InvalidClient, message)
        .with_hint("Give 1 or more, or omit the limit.")
}

fn no_places() -> ControlError {
    let message = "A key must allow at least one request in flight.";
    ControlError::new(ErrorCode::InvalidClient, message)
        .with_hint("Give 1 or more, or omit the limit.")
}

fn new_key(client: Listed, key: &Secret) -> NewKey {
    NewKey {
        client: entry(client),
        key: IssuedKey::new(key.expose().to_owned()),
        notes: Vec::new(),
    }
}

/// What hermesctl's own requests show.
pub(super) fn own_mark(mark: &OwnMark) -> IssuedKey {
    IssuedKey::new(mark.expose().to_owned())
}

fn entry(client: Listed) -> ClientEntry {
    let rates = client.limits.rates;
    ClientEntry {
        name: client.name,
        created_at: client.created.map(Timestamp),
        rotated_at: client.rotated.map(Timestamp),
        providers: client.limits.providers,
        paths: client.limits.paths,
        in_flight: client.limits.in_flight.map(NonZeroU32::get),
        limits: ClientLimits {
            models: client.limits.models,
            requests_per_minute: rates.requests_per_minute.map(NonZeroU32::get),
            requests_per_day: rates.requests_per_day.map(NonZeroU32::get),
            tokens_per_day: rates.tokens_per_day.map(NonZeroU64::get),
        },
        today: client.today.map(|today| ClientToday {
            requests: today.requests,
            tokens: today.tokens,
            estimated_tokens: today.estimated,
        }),
        requests: client.usage.requests,
        last_used_at: client.usage.last.map(Timestamp),
        last_used_from: client.usage.from,
        unknown_fields: client.unknown_fields,
    }
}

fn import_result(imported: Imported) -> ClientImportResult {
    ClientImportResult {
        label: imported.label,
        name: imported.name,
        outcome: match imported.outcome {
            TokenOutcome::Imported => ImportOutcome::Imported,
            TokenOutcome::Skipped => ImportOutcome::Skipped,
            TokenOutcome::Refused => ImportOutcome::Refused,
        },
        detail: imported.detail,
    }
}
