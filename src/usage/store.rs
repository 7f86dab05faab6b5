//! The counts on disk: one SQLite file, ours alone. Everything here may wait for a disk.

mod fault;
mod open;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{Days, NaiveDate};
use rusqlite::{Connection, ErrorCode, Row, params};

pub(super) use self::fault::UsageStoreFault;
use self::fault::io;
use self::open::{check, make, set_aside};
use super::key::UsageKey;
use super::report::{CountsReport, CountsSums, GroupBy, Query};
use super::rows::{RowCounts, UsageRows, first_kept};
use super::tokens::TokenCounts;

/// A clock that is ahead on this many days removes no older row.
const DAYS_AHEAD: u32 = 3;

const UPSERT: &str = "
    INSERT INTO usage (day, client, provider, login, model, path, requests, failed, untold, bytes_in, bytes_out,
                       prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, total_tokens)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
    ON CONFLICT (day, client, provider, login, model, path) DO UPDATE SET
        requests = requests + excluded.requests,
        failed = failed + excluded.failed,
        untold = untold + excluded.untold,
        bytes_in = bytes_in + excluded.bytes_in,
        bytes_out = bytes_out + excluded.bytes_out,
        prompt_tokens = prompt_tokens + excluded.prompt_tokens,
        completion_tokens = completion_tokens + excluded.completion_tokens,
        cached_tokens = cached_tokens + excluded.cached_tokens,
        reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
        total_tokens = total_tokens + excluded.total_tokens
    RETURNING id";

const UPSERT_ERROR: &str = "
    INSERT INTO errors (usage, kind, requests) VALUES (?1, ?2, ?3)
    ON CONFLICT (usage, kind) DO UPDATE SET requests = requests + excluded.requests";

/// Integers that overflow become floats, which `TOTAL` still adds up.
const SUMS: &str = "
    CAST(TOTAL(requests) AS INTEGER), CAST(TOTAL(failed) AS INTEGER), CAST(TOTAL(untold) AS INTEGER),
    CAST(TOTAL(bytes_in) AS INTEGER), CAST(TOTAL(bytes_out) AS INTEGER),
    CAST(TOTAL(prompt_tokens) AS INTEGER), CAST(TOTAL(completion_tokens) AS INTEGER),
    CAST(TOTAL(cached_tokens) AS INTEGER), CAST(TOTAL(reasoning_tokens) AS INTEGER),
    CAST(TOTAL(total_tokens) AS INTEGER)";

/// The open file.
#[derive(Debug)]
pub(super) struct UsageStore {
    connection: Connection,
    file: PathBuf,
    /// The day of the last look for rows that are too old.
    pruned: Option<NaiveDate>,
}

/// What became of a file that was damaged: where it is now.
pub(super) type SetAside = Option<PathBuf>;

impl UsageStore {
    /// Opens the file, or makes it. A damaged one is set aside under another name.
    ///
    /// # Errors
    /// When neither is possible.
    pub(super) fn open(file: &Path) -> Result<(Self, SetAside), UsageStoreFault> {
        check(file)?;
        match make(file) {
            Err(UsageStoreFault::Sqlite(error, _)) if is_damage(&error) => {
                let aside = set_aside(file)?;
                Ok((Self::of(make(file)?, file), Some(aside)))
            }
            connection => Ok((Self::of(connection?, file), None)),
        }
    }

    /// The same for an existing file; `None` without one.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn look(file: &Path) -> Result<Option<Self>, UsageStoreFault> {
        if !file.try_exists().map_err(|error| io(error, file))? {
            return Ok(None);
        }
        check(file)?;
        let connection = open::there(file)?;
        // One that could not be made has nothing in it.
        let is_made = open::version(&connection)
            .map_err(|error| UsageStoreFault::Sqlite(error, file.to_owned()))?
            > 0;
        Ok(is_made.then(|| Self::of(connection, file)))
    }

    fn of(connection: Connection, file: &Path) -> Self {
        Self {
            connection,
            file: file.to_owned(),
            pruned: None,
        }
    }

    /// Adds these rows, all or none, and removes those that are older than this many days.
    ///
    /// # Errors
    /// When they can't be written; then nothing has changed.
    pub(super) fn write(
        &mut self,
        rows: &UsageRows<NaiveDate>,
        today: NaiveDate,
        days: u32,
    ) -> Result<(), UsageStoreFault> {
        let prunes = self.pruned != Some(today);
        let write = |connection: &mut Connection| {
            let batch = connection.transaction()?;
            {
                let mut upsert = batch.prepare(UPSERT)?;
                let mut upsert_error = batch.prepare(UPSERT_ERROR)?;
                for (key, counts) in rows {
                    let id: i64 = upsert.query_row(parameters(key, counts), |row| row.get(0))?;
                    for (kind, requests) in &counts.errors {
                        upsert_error.execute(params![id, kind.as_ref(), whole(*requests)])?;
                    }
                }
            }
            if prunes {
                let first = first_kept(known(&batch, today)?, days).to_string();
                batch.execute("DELETE FROM usage WHERE day < ?1", params![first])?;
            }
            batch.commit()
        };
        write(&mut self.connection).map_err(|error| self.fault(error))?;
        self.pruned = Some(today);
        Ok(())
    }

    /// The keys of a day's rows.
    ///
    /// # Errors
    /// When they can't be read.
    pub(super) fn keys(&self, day: NaiveDate) -> Result<Vec<UsageKey<NaiveDate>>, UsageStoreFault> {
        let read = || {
            let sql = "SELECT client, provider, login, model, path FROM usage WHERE day = ?1";
            let mut statement = self.connection.prepare(sql)?;
            let key = |row: &Row<'_>| {
                let text = |at| row.get::<_, String>(at);
                Ok(UsageKey {
                    when: day,
                    client: text(0)?.into(),
                    provider: Arc::from(text(1)?),
                    login: text(2)?.into(),
                    model: text(3)?.into(),
                    path: Arc::from(text(4)?),
                })
            };
            statement
                .query_map(params![day.to_string()], key)?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| self.fault(error))
    }

    /// What the rows say, with those that are not saved.
    ///
    /// # Errors
    /// When they can't be read.
    pub(super) fn report(
        &self,
        query: Query,
        today: NaiveDate,
        unsaved: &UsageRows<NaiveDate>,
    ) -> Result<CountsReport, UsageStoreFault> {
        let report = self.read(query, today).map_err(|error| self.fault(error))?;
        Ok(report.with(query.by, unsaved))
    }

    fn read(&self, query: Query, today: NaiveDate) -> rusqlite::Result<CountsReport> {
        let mut report = CountsReport::empty(query, today);
        // A clock that was ahead has left rows of days to come.
        let (from, to) = (report.from.to_string(), report.to.to_string());
        let name = query.by.column();
        let sql =
            format!("SELECT {name}, {SUMS} FROM usage WHERE day BETWEEN ?1 AND ?2 GROUP BY 1");
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([&from, &to])?;
        let mut errors = self.errors(name, [&from, &to])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let mut sums = sums(row)?;
            sums.errors = errors.remove(&name).unwrap_or_default();
            report.total.add(&sums);
            report.rows.push((name, sums));
        }
        Ok(report)
    }

    /// Failures by name and kind.
    fn errors(
        &self,
        name: &str,
        days: [&String; 2],
    ) -> rusqlite::Result<BTreeMap<String, BTreeMap<String, u64>>> {
        let sql = format!(
            "SELECT {name}, kind, CAST(TOTAL(errors.requests) AS INTEGER)
             FROM errors JOIN usage ON errors.usage = usage.id WHERE day BETWEEN ?1 AND ?2 GROUP BY 1, 2"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query(days)?;
        let mut errors: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let of_name = errors.entry(row.get(0)?).or_default();
            of_name.insert(row.get(1)?, count(row, 2)?);
        }
        Ok(errors)
    }

    fn fault(&self, error: rusqlite::Error) -> UsageStoreFault {
        UsageStoreFault::Sqlite(error, self.file.clone())
    }
}

impl UsageStoreFault {
    /// Whether another program has the file locked.
    pub(super) fn is_locked(&self) -> bool {
        let code = match self {
            Self::Sqlite(error, _) => error.sqlite_error_code(),
            Self::Io(..) | Self::NotOurs(_) | Self::Newer(_) => None,
        };
        matches!(
            code,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        )
    }

    /// Whether the file itself is damaged.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Sqlite(error, _) if is_damage(error))
    }
}

impl GroupBy {
    fn column(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Login => "login",
            Self::Path => "path",
            Self::Day => "day",
        }
    }
}

/// The day from which rows are too old: today, if there are rows of the days before as of a clock that goes right. One
/// that is ahead for some days would remove all that was before.
fn known(batch: &Connection, today: NaiveDate) -> rusqlite::Result<NaiveDate> {
    let sql = "SELECT MIN(day) FROM (SELECT DISTINCT day FROM usage WHERE day < ?1 ORDER BY day DESC LIMIT ?2)";
    let earlier: Option<String> =
        batch.query_row(sql, params![today.to_string(), DAYS_AHEAD], |row| {
            row.get(0)
        })?;
    let earlier = earlier.and_then(|day| day.parse::<NaiveDate>().ok());
    let known = earlier.and_then(|day| day.checked_add_days(Days::new(DAYS_AHEAD.into())));
    Ok(known.map_or(today, |known| known.min(today)))
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

fn parameters(key: &UsageKey<NaiveDate>, counts: &RowCounts) -> impl rusqlite::Params {
    let TokenCounts {
        prompt,
        completion,
        cached,
        reasoning,
        total,
    } = counts.tokens;
    rusqlite::params_from_iter([
        text(&key.when.to_string()),
        text(&key.client),
        text(&key.provider),
        text(&key.login),
        text(&key.model),
        text(&key.path),
        number(counts.requests),
        number(counts.failed),
        number(counts.untold),
        number(counts.bytes_in),
        number(counts.bytes_out),
        number(prompt),
        number(completion),
        number(cached),
        number(reasoning),
        number(total),
    ])
}

fn text(text: &str) -> rusqlite::types::Value {
    text.to_owned().into()
}

fn number(count: u64) -> rusqlite::types::Value {
    whole(count).into()
}

/// SQLite's integers have a sign.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(at)?).unwrap_or_default())
}

/// The sums after a row's name.
fn sums(row: &Row<'_>) -> rusqlite::Result<CountsSums> {
    Ok(CountsSums {
        requests: count(row, 1)?,
        failed: count(row, 2)?,
        untold: count(row, 3)?,
        bytes_in: count(row, 4)?,
        bytes_out: count(row, 5)?,
        tokens: TokenCounts {
            prompt: count(row, 6)?,
            completion: count(row, 7)?,
            cached: count(row, 8)?,
            reasoning: count(row, 9)?,
            total: count(row, 10)?,
        },
        errors: BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests;
