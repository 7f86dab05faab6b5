//! All client keys: a snapshot for requests, and changes to the file behind it.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use chrono::{DateTime, Local, TimeZone, Utc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ClientsError;
use super::allowance::AllowanceUse;
use super::client::{Client, ClientMeter, ClientUse, KeyLimits, UnsavedUse};
use super::disk::{self, ClientsStamp, Lock, PreparedClients};
use super::document::{ClientRecord, ClientsContent, ClientsDocument, DocumentFault, is_name};
use super::error::shortened;
use super::import::{self, Imported, KnownClients, Token};
use super::key::{self, Hash};
use crate::clock::{Clock, LONGEST_NAP};
use crate::files::FileWorker;
use crate::secret::Secret;

/// How long to wait for another process's lock.
const LOCK_LIMIT: Duration = Duration::from_secs(15);
/// The shortest interval between two saves of the use.
const FLUSH: Duration = Duration::from_mins(1);

/// This user's client keys. Cheap to clone; clones share their state.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    file: PathBuf,
    clock: Arc<dyn Clock>,
    keys: ArcSwap<ClientKeys>,
    /// Runs all file work except the first read.
    file_work: FileWorker,
    /// Held while the snapshot is brought up to date with the file, but never during a sync.
    following: Mutex<()>,
    /// Why the latest read failed, if it did.
    fault: ArcSwapOption<Unread>,
    /// The end of the day in this machine's time zone, in seconds since 1970; 0 until it is known.
    midnight: Arc<AtomicI64>,
    /// Runs the time zone look-up, which may hang.
    time_zone: FileWorker,
}

/// Why the keys can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The reason, for people.
    pub reason: String,
    /// The command that fixes it, if there is one.
    pub command: Option<String>,
}

/// The file as it was last read or written.
#[derive(Debug, Default)]
struct ClientKeys {
    stamp: ClientsStamp,
    entries: Vec<(Hash, Arc<Client>)>,
    revoked: Vec<Hash>,
    /// The first eight bytes of each hash, contiguous.
    heads: Vec<u64>,
    revoked_heads: Vec<u64>,
}

/// Finds a hash. All heads are compared in every case, so that timing reveals nothing about how close a guess is. Two
/// hundred of them cost less than comparing three hashes.
fn find<'h>(
    hash: &Hash,
    heads: &[u64],
    whole: impl Fn(usize) -> Option<&'h Hash>,
) -> Option<usize> {
    let wanted = hash.head();
    let mut alike: u64 = 0;
    for head in heads {
        alike += u64::from(*head == wanted);
    }
    if alike == 0 {
        return None;
    }
    let mut indices = (0..heads.len()).filter(|at| heads.get(*at) == Some(&wanted));
    indices.find(|at| whole(*at).is_some_and(|known| known.is(hash)))
}

/// Whose key was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientIdentity<C = Arc<Client>> {
    /// This client's.
    Client(C),
    /// An imported token that was revoked or replaced.
    Revoked,
    /// Not a known key.
    Unknown,
}

/// One client, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The client's name.
    pub name: String,
    /// The key's limits.
    pub limits: KeyLimits,
    /// When the client was added.
    pub created: Option<DateTime<Utc>>,
    /// When its key was last replaced.
    pub rotated: Option<DateTime<Utc>>,
    /// The use of its keys so far.
    pub usage: ClientUse,
    /// Today's use, if a daily limit is set.
    pub today: Option<AllowanceUse>,
    /// Unknown fields of its entry in the file, such as a misspelled limit.
    pub unknown_fields: Vec<String>,
}

impl Registry {
    /// Reads `file`. A file that does not exist means no clients.
    ///
    /// # Errors
    /// When the file can't be read, belongs to another user, can be read by others, or is not a file of client keys.
    /// None of these counts as a file without clients.
    pub fn open(file: PathBuf, clock: Arc<dyn Clock>) -> Result<Self, ClientsError> {
        let registry = Self {
            inner: Arc::new(Inner {
                file,
                clock,
                keys: ArcSwap::default(),
                file_work: FileWorker::default(),
                following: Mutex::new(()),
                fault: ArcSwapOption::empty(),
                midnight: Arc::default(),
                time_zone: FileWorker::default(),
            }),
        };
        registry.inner.reload()?;
        Ok(registry)
    }

    /// Whether no client exists.
    pub fn is_empty(&self) -> bool {
        self.inner.keys.load().entries.is_empty()
    }

    /// How many clients there are.
    pub fn count(&self) -> u64 {
        u64::try_from(self.inner.keys.load().entries.len()).unwrap_or(u64::MAX)
    }

    /// How many clients may use the provider with this lower-case name.
    pub fn count_for(&self, provider: &str) -> u64 {
        let keys = self.inner.keys.load();
        let clients = keys.entries.iter().map(|(_, client)| client);
        let count = clients
            .filter(|client| client.allows_provider(provider))
            .count();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// Whether any client has a daily limit.
    pub fn has_days(&self) -> bool {
        let keys = self.inner.keys.load();
        let mut clients = keys.entries.iter();
        clients.any(|(_, client)| client.limits.rates.has_days())
    }

    /// Updates the end of the day. May wait for a disk.
    pub async fn follow_the_day(&self) {
        let inner = Arc::clone(&self.inner);
        let look = move || next_midnight(inner.clock.now());
        // Without a known time zone, days end at midnight UTC.
        let midnight = self.inner.time_zone.run(look).await.unwrap_or_default();
        self.inner.midnight.store(midnight, Ordering::Relaxed);
    }

    /// Why the latest read failed, if it did; the former keys stay in force.
    pub fn fault(&self) -> Option<Unread> {
        self.inner.fault.load().as_deref().cloned()
    }

    /// The client that this key belongs to; see [`Self::look_up`].
    pub fn identify(&self, presented: &[u8]) -> Option<Arc<Client>> {
        match self.look_up(presented) {
            ClientIdentity::Client(client) => Some(client),
            ClientIdentity::Revoked | ClientIdentity::Unknown => None,
        }
    }

    /// Looks up a presented key, without a lock or file access. Every unknown key costs the same: one SHA-256 and a
    /// comparison with the head of each hash. Without any client, nothing is hashed.
    pub fn look_up(&self, presented: &[u8]) -> ClientIdentity {
        let keys = self.inner.keys.load();
        if keys.entries.is_empty() && keys.revoked.is_empty() {
            return ClientIdentity::Unknown;
        }
        let hash = Hash::of(presented);
        let found = find(&hash, &keys.heads, |at| {
            keys.entries.get(at).map(|(hash, _)| hash)
        });
        if let Some((_, client)) = found.and_then(|at| keys.entries.get(at)) {
            return ClientIdentity::Client(client.clone());
        }
        let was_revoked = find(&hash, &keys.revoked_heads, |at| keys.revoked.get(at));
        match was_revoked {
            Some(_) => ClientIdentity::Revoked,
            None => ClientIdentity::Unknown,
        }
    }

    /// Reads the file again. On an error, the former keys stay in force.
    pub async fn reload(&self) -> Result<(), ClientsError> {
        self.work(Inner::reload).await
    }

    /// Runs file work, which may hang, off the serving threads.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, ClientsError> + Send + 'static,
    ) -> Result<T, ClientsError> {
        let inner = Arc::clone(&self.inner);
        let done = self.inner.file_work.run(move || work(&inner)).await;
        done.unwrap_or_else(|source| {
            Err(ClientsError::Read {
                file: self.inner.file.clone(),
                source,
            })
        })
    }

    /// All clients, without a lock or file access.
    pub fn all(&self) -> Vec<Arc<Client>> {
        let keys = self.inner.keys.load();
        keys.entries.iter().map(|(_, one)| one.clone()).collect()
    }

    /// All clients, sorted by name, with their current use.
    pub fn list(&self) -> Vec<Listed> {
        let _following = self.inner.follow();
        let keys = self.inner.keys.load();
        let mut listed: Vec<_> = keys
            .entries
            .iter()
            .map(|(_, client)| listed(client))
            .collect();
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        listed
    }

    /// Adds a client and returns its key, which is not stored. The key works at once.
    ///
    /// # Errors
    /// When the name is invalid or taken, a limit is invalid, or the file can't be used.
    pub async fn add(
        &self,
        name: &str,
        limits: KeyLimits,
    ) -> Result<(Listed, Secret), ClientsError> {
        if !is_name(name) {
            let name = shortened(name);
            return Err(ClientsError::InvalidName { name });
        }
        let limits = checked(limits)?;
        let key = key::make()?;
        let (hash, name) = (Hash::of_secret(&key), name.to_owned());
        let listed = self.change(move |document, ClientsContent { records, .. }, now| {
            if records.iter().any(|record| record.name == name) {
                return Err(ClientsError::Exists { name: name.clone() });
            }
            document.add(&name, hash, &limits, now);
            Ok(name)
        });
        Ok((self.listed(&listed.await?)?, key))
    }

    /// Revokes a client's key, from the next request on.
    ///
    /// # Errors
    /// When the client does not exist, or the file can't be used.
    pub async fn revoke(&self, name: &str) -> Result<(), ClientsError> {
        let name = name.to_owned();
        self.change(move |document, content, now| {
            known(&name, &content.records)?;
            document.remove(&name, now);
            Ok(())
        })
        .await
    }

    /// Replaces a client's key; the old one stops working from the next request on. Name, limits and use stay.
    ///
    /// # Errors
    /// When the client does not exist, or the file can't be used.
    pub async fn rotate(&self, name: &str) -> Result<(Listed, Secret), ClientsError> {
        let key = key::make()?;
        let (hash, name) = (Hash::of_secret(&key), name.to_owned());
        let rotated = self.change(move |document, content, now| {
            known(&name, &content.records)?;
            document.replace_key(&name, hash, now);
            Ok(name)
        });
        Ok((self.listed(&rotated.await?)?, key))
    }

    /// Replaces a client's limits with what `change` makes of them. Name, key and use stay.
    ///
    /// # Errors
    /// When the client does not exist, a limit is invalid, or the file can't be used.
    pub async fn change_limits(
        &self,
        name: &str,
        change: impl FnOnce(KeyLimits) -> KeyLimits + Send + 'static,
    ) -> Result<Listed, ClientsError> {
        let name = name.to_owned();
        let changed = self.change(move |document, ClientsContent { records, .. }, _| {
            known(&name, records)?;
            let record = records.iter().find(|record| record.name == name);
            let limits = record.map(|record| record.limits.clone());
            document.set_limits(&name, &checked(change(limits.unwrap_or_default()))?);
            Ok(name)
        });
        self.listed(&changed.await?)
    }

    /// Imports tokens of another proxy's apps unchanged, and reports on each of them.
    ///
    /// # Errors
    /// When the file can't be used; then no token was imported.
    pub async fn import(&self, tokens: Vec<Token>) -> Result<Vec<Imported>, ClientsError> {
        self.change(move |document, ClientsContent { records, revoked }, now| {
            let there = records.iter();
            let there = there.map(|record| (record.name.as_str(), record.hash));
            let known = KnownClients::new(there, revoked.iter().copied());
            let (results, new) = import::plan(&tokens, known);
            for (name, hash) in new {
                document.add_imported(&name, hash, now);
            }
            Ok(results)
        })
        .await
    }

    /// Saves the use that the file does not have yet.
    ///
    /// # Errors
    /// When the file can't be used; then the use stays pending until the next save.
    pub async fn flush(&self) -> Result<(), ClientsError> {
        let unwritten = |(_, client): &(Hash, Arc<Client>)| !client.meter.pending().is_empty();
        if !self.inner.keys.load().entries.iter().any(unwritten) {
            return Ok(());
        }
        // Every change saves the pending use, so an empty one does only that.
        self.change(|_, _, _| Ok(())).await
    }

    /// Saves the use once a minute, or on every tick while a daily limit is set; reloads the file after another program
    /// wrote it; saves once more when cancelled.
    pub async fn keep(self, stop: CancellationToken) {
        let mut flush_due = Instant::now() + FLUSH;
        let (mut refused, mut is_told) = (None, false);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep_until(Instant::now() + LONGEST_NAP) => {}
            }
            self.notice(&mut refused).await;
            // A key may receive its first limit in the middle of a day.
            if !self.is_empty() {
                self.follow_the_day().await;
            }
            if Instant::now() >= flush_due || self.has_days() {
                flush_due = Instant::now() + FLUSH;
                self.flush_or_warn(&mut is_told).await;
            }
        }
        self.flush_or_warn(&mut is_told).await;
    }

    /// Reloads the file if another program wrote it. `refused` is the last version that could not be read.
    async fn notice(&self, refused: &mut Option<ClientsStamp>) {
        // If the file can't be inspected, treat it as unchanged.
        let Ok(stamp) = self.work(|inner| Ok(disk::stamp(&inner.file))).await else {
            return;
        };
        if stamp == self.inner.keys.load().stamp || *refused == Some(stamp) {
            return;
        }
        match self.reload().await {
            Ok(()) => {
                *refused = None;
                tracing::info!(
                    clients = self.inner.keys.load().entries.len(),
                    "the client keys were reloaded"
                );
            }
            Err(error) => {
                *refused = Some(stamp);
                tracing::error!(%error, "the changed client keys can't be read; the earlier ones \
                                         stay in use");
            }
        }
    }

    /// Saves the use, and warns once per run of failures.
    async fn flush_or_warn(&self, is_told: &mut bool) {
        match self.flush().await {
            Ok(()) if std::mem::take(is_told) => {
                tracing::info!("the use of client keys is saved again");
            }
            Err(error) if !std::mem::replace(is_told, true) => {
                tracing::warn!(%error, "the use of client keys can't be saved; it is tried again, and \
                                        a restart would forget it for their limits of a day");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Changes the file's current content under its lock. Requests are served meanwhile. Once started, a change runs to
    /// its end even if its caller is gone.
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(
            &mut ClientsDocument,
            &ClientsContent,
            DateTime<Utc>,
        ) -> Result<T, ClientsError>
        + Send
        + 'static,
    ) -> Result<T, ClientsError> {
        let lock = Lock::acquire(&self.inner.file_work, &self.inner.file, LOCK_LIMIT).await?;
        let begun = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&begun);
        let changed = self.work(move |inner| {
            begins.store(true, Ordering::Relaxed);
            let result = inner.change(change);
            drop(lock);
            Ok(result)
        });
        match changed.await {
            Ok(result) => result,
            Err(_) if begun.load(Ordering::Relaxed) => Err(ClientsError::Unfinished {
                file: self.inner.file.clone(),
            }),
            Err(error) => Err(error),
        }
    }

    fn listed(&self, name: &str) -> Result<Listed, ClientsError> {
        let listed = self.list();
        let found = listed.iter().find(|client| client.name == name);
        let names = || listed.iter().map(|client| client.name.as_str());
        found
            .cloned()
            .ok_or_else(|| ClientsError::unknown(name, names()))
    }
}

impl Inner {
    fn follow(&self) -> MutexGuard<'_, ()> {
        self.following
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn reload(&self) -> Result<(), ClientsError> {
        let _following = self.follow();
        let read = self.read();
        let fault = read.as_ref().err().map(|error| {
            Arc::new(Unread {
                reason: error.to_string(),
                command: error.command(),
            })
        });
        self.fault.store(fault);
        let (_, content, stamp) = read?;
        if stamp != self.keys.load().stamp {
            warn_of_unknown(&content.records);
        }
        self.publish(content, stamp);
        Ok(())
    }

    fn read(&self) -> Result<(ClientsDocument, ClientsContent, ClientsStamp), ClientsError> {
        let Some((content, stamp)) = disk::read(&self.file)? else {
            return Ok((ClientsDocument::empty(), ClientsContent::default(), None));
        };
        let file = self.file.clone();
        match ClientsDocument::parse(&content) {
            Ok((document, content)) => Ok((document, content, stamp)),
            Err(DocumentFault::Malformed(reason)) => Err(ClientsError::Malformed { file, reason }),
            Err(DocumentFault::Version(version)) => Err(ClientsError::Version { file, version }),
        }
    }

    /// The caller holds the file's lock.
    fn change<T>(
        &self,
        change: impl FnOnce(
            &mut ClientsDocument,
            &ClientsContent,
            DateTime<Utc>,
        ) -> Result<T, ClientsError>,
    ) -> Result<T, ClientsError> {
        let fault = |source| ClientsError::Write {
            file: self.file.clone(),
            source,
        };
        let (mut document, content, stamp) = self.read()?;
        let before = document.to_bytes();
        let written = self.count(&mut document, &content.records);
        let result = change(&mut document, &content, self.clock.now())?;
        let bytes = document.to_bytes();
        if bytes == before {
            let _following = self.follow();
            self.publish(content, stamp);
            return Ok(result);
        }
        // Parse it back: what is written must be readable.
        let (_, content) = ClientsDocument::parse(&bytes).map_err(|_| ClientsError::BrokeOff)?;
        let prepared = PreparedClients::beside(&self.file, &bytes).map_err(fault)?;
        {
            let _following = self.follow();
            let stamp = prepared.persist().map_err(fault)?;
            self.publish(content, stamp);
            for (meter, pending) in &written {
                meter.settle(pending);
            }
        }
        if let Err(error) = disk::sync_folder(&self.file) {
            // The change is in force, and its result can be shown only once: a warning, not an error.
            tracing::warn!(%error, "a change of the client keys may not outlive a crash of the \
                                    machine");
        }
        Ok(result)
    }

    /// Adds the pending use to the document and returns it.
    fn count(
        &self,
        document: &mut ClientsDocument,
        records: &[ClientRecord],
    ) -> Vec<(Arc<ClientMeter>, UnsavedUse)> {
        let keys = self.keys.load();
        let by_name = by_name(&keys);
        let mut written = Vec::new();
        for (index, record) in records.iter().enumerate() {
            let Some(client) = same(&by_name, record) else {
                continue;
            };
            let pending = client.meter.pending();
            if !pending.is_empty() {
                document.count(index, &record.usage, &pending);
                written.push((Arc::clone(&client.meter), pending));
            }
        }
        written
    }

    /// The caller holds `following`.
    fn publish(&self, content: ClientsContent, stamp: ClientsStamp) {
        let old = self.keys.load();
        let by_name = by_name(&old);
        let entry = |record: ClientRecord| {
            let meter = match same(&by_name, &record) {
                Some(client) => Arc::clone(&client.meter),
                None => Arc::new(ClientMeter::new(
                    Arc::clone(&self.clock),
                    Arc::clone(&self.midnight),
                    record.days,
                )),
            };
            let client = Client {
                name: record.name,
                limits: record.limits,
                created: record.created,
                rotated: record.rotated,
                recorded: record.usage,
                unknown: record.unknown,
                meter,
            };
            (record.hash, Arc::new(client))
        };
        let entries: Vec<_> = content.records.into_iter().map(entry).collect();
        self.keys.store(Arc::new(ClientKeys {
            stamp,
            heads: entries.iter().map(|(hash, _)| hash.head()).collect(),
            revoked_heads: content.revoked.iter().map(Hash::head).collect(),
            entries,
            revoked: content.revoked,
        }));
    }
}

/// Warns of unknown fields: a misspelled limit would limit nothing.
fn warn_of_unknown(records: &[ClientRecord]) {
    for record in records {
        for field in &record.unknown {
            tracing::warn!(
                client = record.name,
                field,
                "clients.json has a field that means nothing; a limit may be misspelled"
            );
        }
    }
}

/// Client names are unique.
fn by_name(keys: &ClientKeys) -> HashMap<&str, &Arc<Client>> {
    let clients = keys.entries.iter();
    clients
        .map(|(_, client)| (client.name.as_str(), client))
        .collect()
}

/// The existing client that a record describes. A client that was revoked and added again is a new one.
fn same<'k>(
    by_name: &HashMap<&str, &'k Arc<Client>>,
    record: &ClientRecord,
) -> Option<&'k Arc<Client>> {
    let client = by_name.get(record.name.as_str()).copied();
    client.filter(|client| client.created == record.created)
}

/// The end of the day in this machine's time zone, in seconds since 1970; 0 if it is unknown.
fn next_midnight(now: DateTime<Utc>) -> i64 {
    let tomorrow = now.with_timezone(&Local).date_naive().succ_opt();
    let midnight = tomorrow.and_then(|day| day.and_hms_opt(0, 0, 0));
    let there = midnight.and_then(|midnight| Local.from_local_datetime(&midnight).earliest());
    there.map_or(0, |midnight| midnight.timestamp())
}

fn known(name: &str, records: &[ClientRecord]) -> Result<(), ClientsError> {
    let mut names = records.iter().map(|record| record.name.as_str());
    if names.any(|known| known == name) {
        return Ok(());
    }
    let names = records.iter().map(|record| record.name.as_str());
    Err(ClientsError::unknown(name, names))
}

/// Validates limits and brings them into the form that they are compared in.
fn checked(limits: KeyLimits) -> Result<KeyLimits, ClientsError> {
    let path = |path: String| {
        let wrong = |c: char| c.is_whitespace() || c.is_control() || c == '?' || c == '#';
        if !path.starts_with('/') || path.len() < 2 || path.contains(wrong) {
            let what = format!(
                "{:?} is not a path below /v1, such as /chat/completions",
                shortened(&path)
            );
            return Err(ClientsError::InvalidLimit { what });
        }
        Ok(path)
    };
    let mut limits = KeyLimits {
        providers: limits.providers,
        paths: limits
            .paths
            .into_iter()
            .map(path)
            .collect::<Result<_, _>>()?,
        models: limits.models,
        in_flight: limits.in_flight,
        rates: limits.rates,
    };
    if let Some(what) = limits.models.iter().find_map(|name| flaw(name)) {
        return Err(ClientsError::InvalidLimit { what });
    }
    for list in [&mut limits.providers, &mut limits.paths, &mut limits.models] {
        list.sort();
        list.dedup();
    }
    Ok(limits)
}

/// Why a request can never name this model, if so.
fn flaw(model: &str) -> Option<String> {
    let start = model.strip_suffix('*').unwrap_or(model);
    let name = shortened(model);
    if model.trim().is_empty() {
        Some("a model's name is empty".to_owned())
    } else if start.is_empty() {
        Some("`*` as a model allows all of them; omit the limit for that".to_owned())
    } else if start.contains('*') {
        Some(format!(
            "{name:?} has a `*` before its end: it stands for any ending only"
        ))
    } else if model.trim() != model || model.chars().any(char::is_control) {
        Some(format!(
            "the model {name:?} has spaces around it or control characters"
        ))
    } else {
        None
    }
}

fn listed(client: &Arc<Client>) -> Listed {
    Listed {
        name: client.name.clone(),
        limits: client.limits.clone(),
        created: client.created,
        rotated: client.rotated,
        usage: client.usage(),
        today: client.today(),
        unknown_fields: client.unknown.clone(),
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("file", &self.inner.file)
            .field("clients", &self.inner.keys.load().entries.len())
            .finish_non_exhaustive()
    }
}
