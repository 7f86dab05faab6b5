//! `clients.json`: parsing, and changes that preserve everything else in it. Pure.

use std::collections::{HashMap, HashSet};
use std::num::{NonZeroU32, NonZeroU64};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::allowance::{AllowanceUse, ClientRates, Day};
use super::client::{ClientUse, KeyLimits, MOST_SOURCES, UnsavedUse};
use super::error::shortened;
use super::key::Hash;

/// The format version that this program reads and writes.
const VERSION: u64 = 1;
/// The field with a client's use per day.
const DAYS: &str = "days";

/// The file's JSON object. Unknown fields are preserved.
#[derive(Debug, Clone)]
pub(super) struct ClientsDocument(Map<String, Value>);

/// A client as the file describes it.
#[derive(Debug, Clone)]
pub(super) struct ClientRecord {
    pub(super) name: String,
    pub(super) hash: Hash,
    pub(super) limits: KeyLimits,
    pub(super) created: Option<DateTime<Utc>>,
    pub(super) rotated: Option<DateTime<Utc>>,
    pub(super) usage: ClientUse,
    /// Its use on the latest days.
    pub(super) days: Vec<Day>,
    /// Fields that this version does not know.
    pub(super) unknown: Vec<String>,
}

/// The file's content.
#[derive(Debug, Clone, Default)]
pub(super) struct ClientsContent {
    pub(super) records: Vec<ClientRecord>,
    /// Hashes of imported tokens that were revoked or replaced. An address without key checking accepts any text, so
    /// these must be recognised to be refused; our own keys are recognised by their prefix.
    pub(super) revoked: Vec<Hash>,
}

/// Why the document can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DocumentFault {
    /// Not the expected structure; the text says what is wrong, without any hash.
    Malformed(String),
    /// Another format version.
    Version(String),
}

impl ClientsDocument {
    /// A document without clients.
    pub(super) fn empty() -> Self {
        let mut fields = Map::new();
        fields.insert("version".to_owned(), VERSION.into());
        fields.insert("clients".to_owned(), Value::Array(Vec::new()));
        Self(fields)
    }

    /// Parses the file with all its clients.
    pub(super) fn parse(content: &[u8]) -> Result<(Self, ClientsContent), DocumentFault> {
        let malformed = |reason: String| DocumentFault::Malformed(reason);
        let fields: Map<String, Value> = serde_json::from_slice(content).map_err(|error| {
            // serde's message could quote the content.
            malformed(format!(
                "not a JSON object: line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
        let version = fields
            .get("version")
            .ok_or_else(|| malformed("`version` is missing".to_owned()))?;
        if version.as_u64() != Some(VERSION) {
            return Err(DocumentFault::Version(
                version.to_string().chars().take(20).collect(),
            ));
        }
        let clients = fields.get("clients").and_then(Value::as_array);
        let clients = clients.ok_or_else(|| malformed("`clients` is not a list".to_owned()))?;
        let mut records: Vec<ClientRecord> = Vec::with_capacity(clients.len());
        let (mut names, mut keys) = (HashSet::new(), HashMap::new());
        for (position, client) in clients.iter().enumerate() {
            let number = position + 1;
            let record = record(client)
                .map_err(|what| malformed(format!("client number {number}: {what}")))?;
            if !names.insert(record.name.clone()) {
                return Err(malformed(format!("the name {} appears twice", record.name)));
            }
            if let Some(one) = keys.insert(record.hash.digest(), record.name.clone()) {
                let other = &record.name;
                return Err(malformed(format!("{one} and {other} have the same key")));
            }
            records.push(record);
        }
        let revoked = revoked(&fields).map_err(malformed)?;
        Ok((Self(fields), ClientsContent { records, revoked }))
    }

    /// The document as bytes for the file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{:#}", Value::Object(self.0.clone()));
        text.push('\n');
        text.into_bytes()
    }

    /// Appends a client.
    pub(super) fn add(&mut self, name: &str, hash: Hash, limits: &KeyLimits, now: DateTime<Utc>) {
        self.push(entry(name, hash, limits, now));
    }

    /// Appends a client whose key came from another proxy.
    pub(super) fn add_imported(&mut self, name: &str, hash: Hash, now: DateTime<Utc>) {
        let mut client = entry(name, hash, &KeyLimits::default(), now);
        client.insert("imported".to_owned(), true.into());
        self.push(client);
    }

    fn push(&mut self, client: Map<String, Value>) {
        if let Some(clients) = self.clients() {
            clients.push(Value::Object(client));
        }
    }

    pub(super) fn remove(&mut self, name: &str, now: DateTime<Utc>) {
        self.remember(name, now);
        if let Some(clients) = self.clients() {
            clients.retain(|client| client.get("name").and_then(Value::as_str) != Some(name));
        }
    }

    pub(super) fn replace_key(&mut self, name: &str, hash: Hash, now: DateTime<Utc>) {
        self.remember(name, now);
        if let Some(client) = self.client(name) {
            client.remove("imported");
            client.insert("sha256".to_owned(), hash.to_hex().into());
            client.insert("rotated_at".to_owned(), time(now));
        }
    }

    pub(super) fn set_limits(&mut self, name: &str, limits: &KeyLimits) {
        if let Some(client) = self.client(name) {
            for (field, limit) in limits_of(limits) {
                match limit {
                    Some(limit) => client.insert(field.to_owned(), limit),
                    None => client.remove(field),
                };
            }
        }
    }

    /// Adds to the use of the client at this index, as it was read.
    pub(super) fn count(&mut self, index: usize, known: &ClientUse, pending: &UnsavedUse) {
        let mut usage = known.clone();
        pending.add_to(&mut usage);
        let clients = self.clients();
        let client = clients.and_then(|clients| clients.get_mut(index)?.as_object_mut());
        if let Some(client) = client {
            client.insert("requests".to_owned(), usage.requests.into());
            client.insert(
                "last_used_at".to_owned(),
                usage.last.map_or(Value::Null, time),
            );
            client.insert("last_used_from".to_owned(), json!(usage.from));
            if let Some(days) = pending.days() {
                let days = days.iter().filter_map(day).collect();
                client.insert(DAYS.to_owned(), Value::Array(days));
            }
        }
    }

    /// Records the hash of an imported client's token before it is removed or replaced.
    fn remember(&mut self, name: &str, now: DateTime<Utc>) {
        let client = self.client(name);
        let token = client.filter(|client| client.get("imported") == Some(&Value::Bool(true)));
        let Some(hash) = token.and_then(|client| client.get("sha256").cloned()) else {
            return;
        };
        let all = self.0.entry("revoked");
        if let Some(all) = all.or_insert_with(|| json!([])).as_array_mut() {
            all.push(json!({"name": name, "sha256": hash, "revoked_at": time(now)}));
        }
    }

    fn clients(&mut self) -> Option<&mut Vec<Value>> {
        self.0.get_mut("clients")?.as_array_mut()
    }

    fn client(&mut self, name: &str) -> Option<&mut Map<String, Value>> {
        let mut clients = self.clients()?.iter_mut();
        clients
            .find(|client| client.get("name").and_then(Value::as_str) == Some(name))?
            .as_object_mut()
    }
}

/// Whether this is a valid client name: 1 to 64 lower-case letters, digits, `-`, `_` and `.`, starting with a letter or
/// digit.
pub(super) fn is_name(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= 64
        && text.bytes().next().is_some_and(word)
        && text
            .bytes()
            .all(|byte| word(byte) || b"-_.".contains(&byte))
}

/// A client's entry in the file.
fn entry(name: &str, hash: Hash, limits: &KeyLimits, now: DateTime<Utc>) -> Map<String, Value> {
    let mut client = Map::new();
    client.insert("name".to_owned(), name.into());
    client.insert("sha256".to_owned(), hash.to_hex().into());
    client.insert("created_at".to_owned(), time(now));
    for (field, limit) in limits_of(limits) {
        if let Some(limit) = limit {
            client.insert(field.to_owned(), limit);
        }
    }
    client
}

/// Every limit's field and value; `None` where it is not set.
fn limits_of(limits: &KeyLimits) -> [(&'static str, Option<Value>); 7] {
    let list = |list: &[String]| (!list.is_empty()).then(|| Value::from(list));
    let rates = &limits.rates;
    let small = |limit: Option<NonZeroU32>| limit.map(|limit| Value::from(u64_of(limit)));
    [
        ("providers", list(&limits.providers)),
        ("paths", list(&limits.paths)),
        ("models", list(&limits.models)),
        ("in_flight", small(limits.in_flight)),
        ("requests_per_minute", small(rates.requests_per_minute)),
        ("requests_per_day", small(rates.requests_per_day)),
        (
            "tokens_per_day",
            rates.tokens_per_day.map(|limit| limit.get().into()),
        ),
    ]
}

fn u64_of(limit: NonZeroU32) -> u64 {
    limit.get().into()
}

/// A limit of at least 1.
fn number(client: &Map<String, Value>, field: &str) -> Result<Option<NonZeroU64>, String> {
    let Some(limit) = present(client, field) else {
        return Ok(None);
    };
    let limit = limit.as_u64().and_then(NonZeroU64::new);
    let limit = limit.ok_or_else(|| format!("`{field}` is not a number of 1 or more"))?;
    Ok(Some(limit))
}

/// A limit that fits 32 bits.
fn small(client: &Map<String, Value>, field: &str) -> Result<Option<NonZeroU32>, String> {
    let limit = number(client, field)?.map(NonZeroU32::try_from).transpose();
    limit.map_err(|_| format!("`{field}` is not a number of 1 or more"))
}

fn time(time: DateTime<Utc>) -> Value {
    time.to_rfc3339_opts(SecondsFormat::Micros, true).into()
}

fn revoked(fields: &Map<String, Value>) -> Result<Vec<Hash>, String> {
    let Some(list) = present(fields, "revoked") else {
        return Ok(Vec::new());
    };
    let list = list.as_array().ok_or("`revoked` is not a list")?;
    let hash = |token: &Value| Hash::from_hex(token.get("sha256")?.as_str()?);
    let hashes = list.iter().map(hash).collect::<Option<Vec<_>>>();
    hashes.ok_or_else(|| "`sha256` in `revoked` is not 64 lower-case hexadecimal digits".to_owned())
}

fn record(client: &Value) -> Result<ClientRecord, String> {
    let client = client.as_object().ok_or("it is not an object")?;
    let name = client.get("name").and_then(Value::as_str);
    let name = name
        .filter(|name| is_name(name))
        .ok_or("`name` is missing, or can't be a name")?;
    let hash = client.get("sha256").and_then(Value::as_str);
    let hash = hash
        .and_then(Hash::from_hex)
        .ok_or("`sha256` is not 64 lower-case hexadecimal digits")?;
    let in_flight = small(client, "in_flight")?;
    let rates = ClientRates {
        requests_per_minute: small(client, "requests_per_minute")?,
        requests_per_day: small(client, "requests_per_day")?,
        tokens_per_day: number(client, "tokens_per_day")?,
    };
    let requests = match present(client, "requests") {
        None => 0,
        Some(count) => count.as_u64().ok_or("`requests` is not a count")?,
    };
    let mut from = texts(client, "last_used_from")?;
    from.truncate(MOST_SOURCES);
    Ok(ClientRecord {
        name: name.to_owned(),
        hash,
        limits: KeyLimits {
            providers: limit(client, "providers")?,
            paths: limit(client, "paths")?,
            models: limit(client, "models")?,
            in_flight,
            rates,
        },
        created: moment(client, "created_at")?,
        rotated: moment(client, "rotated_at")?,
        usage: ClientUse {
            requests,
            last: moment(client, "last_used_at")?,
            from,
        },
        days: days(client)?,
        unknown: unknown(client),
    })
}

/// All fields that this version reads or writes.
const FIELDS: [&str; 15] = [
    "name",
    "sha256",
    "created_at",
    "rotated_at",
    "imported",
    "providers",
    "paths",
    "models",
    "in_flight",
    "requests_per_minute",
    "requests_per_day",
    "tokens_per_day",
    "requests",
    "last_used_at",
    "last_used_from",
];

/// Fields that this version does not know: a misspelled limit, or a field of a newer version.
fn unknown(client: &Map<String, Value>) -> Vec<String> {
    let names = client.keys();
    let is_known = |name: &str| name == DAYS || FIELDS.contains(&name);
    let unknown = names.filter(|name| !is_known(name));
    unknown.map(|name| shortened(name)).collect()
}

/// A day's entry in the file. Its end identifies the day in every time zone.
fn day(day: &Day) -> Option<Value> {
    let ends = DateTime::from_timestamp(day.ends, 0)?;
    let used = &day.used;
    Some(json!({
        "ends_at": ends.to_rfc3339_opts(SecondsFormat::Secs, true),
        "requests": used.requests,
        "tokens": used.tokens,
        "estimated_tokens": used.estimated,
    }))
}

fn days(client: &Map<String, Value>) -> Result<Vec<Day>, String> {
    let Some(list) = present(client, DAYS) else {
        return Ok(Vec::new());
    };
    let read = |day: &Value| {
        let fields = day.as_object()?;
        let count = |field: &str| match present(fields, field) {
            None => Some(0),
            Some(count) => count.as_u64(),
        };
        Some(Day {
            ends: moment(fields, "ends_at").ok()??.timestamp(),
            used: AllowanceUse {
                requests: count("requests")?,
                tokens: count("tokens")?,
                estimated: count("estimated_tokens")?,
            },
        })
    };
    let list = list.as_array().map(|list| list.iter().map(read).collect());
    list.flatten()
        .ok_or_else(|| "`days` is not a list of days with their use".to_owned())
}

fn present<'c>(client: &'c Map<String, Value>, field: &str) -> Option<&'c Value> {
    client.get(field).filter(|value| !value.is_null())
}

fn moment(client: &Map<String, Value>, field: &str) -> Result<Option<DateTime<Utc>>, String> {
    let Some(value) = present(client, field) else {
        return Ok(None);
    };
    let time = value
        .as_str()
        .and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    let time = time.ok_or_else(|| format!("`{field}` is not a time as in RFC 3339"))?;
    Ok(Some(time.to_utc()))
}

/// A list of allowed values. An empty list is refused: it could mean nothing or everything.
fn limit(client: &Map<String, Value>, field: &str) -> Result<Vec<String>, String> {
    let list = texts(client, field)?;
    if list.is_empty() && present(client, field).is_some() {
        return Err(format!("`{field}` is empty; omit it to allow all"));
    }
    Ok(list)
}

fn texts(client: &Map<String, Value>, field: &str) -> Result<Vec<String>, String> {
    let Some(value) = present(client, field) else {
        return Ok(Vec::new());
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = value.as_array().into_iter().flatten().map(text).collect();
    value
        .is_array()
        .then_some(list)
        .flatten()
        .ok_or_else(|| format!("`{field}` is not a list of strings"))
}
