//! The counts of usage: this daemon's, or those that an earlier one has left.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};

use super::clients;
use crate::clock::Clock;
use crate::config;
use crate::control::protocol::{ControlError, ErrorCode};
use crate::control::usage::{UsageBy, UsageQuery, UsageReport, UsageRow, UsageSums};
use crate::credentials::StoreFiles;
use crate::files::FileWorker;
use crate::proxy::Ledger;
use crate::usage::{
    self, CountedSince, CountsReport, CountsSums, FILE, GroupBy, Query, UsageCounter,
    UsageSettings, UsageWriter,
};

/// The default range, in days.
const DAYS: u32 = 7;

/// Where usage is counted and kept.
#[derive(Debug, Clone)]
pub(super) struct Counting {
    file: PathBuf,
    /// Whether the configuration wants requests counted.
    is_enabled: bool,
    /// Where requests are counted, if they are.
    book: Option<UsageCounter>,
}

impl Counting {
    /// Counts nothing: only reads the file.
    pub(super) fn looks(files: &StoreFiles, config: config::Usage) -> Self {
        Self {
            file: clients::file(files).with_file_name(FILE),
            is_enabled: config.enabled,
            book: None,
        }
    }

    /// Counts from now on, if enabled. Requests don't depend on it.
    pub(super) fn start(
        files: &StoreFiles,
        config: config::Usage,
        clock: Arc<dyn Clock>,
        ledger: &Ledger,
    ) -> (Self, Option<UsageWriter>) {
        let counting = Self::looks(files, config);
        if !config.enabled {
            return (counting, None);
        }
        let settings = UsageSettings {
            file: counting.file.clone(),
            days: config.keep_days,
        };
        match UsageCounter::start(settings, clock) {
            Ok((book, keeper)) => {
                ledger.counts_in(book.clone());
                let book = Some(book);
                (Self { book, ..counting }, Some(keeper))
            }
            Err(error) => {
                tracing::warn!(%error, "usage is not counted: there is no thread for it");
                (counting, None)
            }
        }
    }

    /// What the file says.
    async fn look(&self, query: Query, now: DateTime<Utc>) -> Result<CountsReport, String> {
        let file = self.file.clone();
        let look = move || usage::look(&file, query, now);
        let looked = FileWorker::default().run(look).await;
        looked.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Writes the rest.
    pub(super) async fn end(keeper: Option<UsageWriter>) {
        if let Some(keeper) = keeper {
            keeper.end().await;
        }
    }

    /// Where requests are counted, if they are.
    pub(super) fn book(&self) -> Option<&UsageCounter> {
        self.book.as_ref()
    }

    /// Why the last requests are not saved, if they are not.
    pub(super) fn fault(&self) -> Option<String> {
        self.book.as_ref()?.health().fault
    }

    /// The report for hermesctl.
    pub(super) async fn report(
        &self,
        asked: UsageQuery,
        now: DateTime<Utc>,
    ) -> Result<UsageReport, ControlError> {
        let query = Query {
            by: by(asked.by),
            since: since(&asked)?,
        };
        let report = if let Some(book) = &self.book {
            book.ask(query).await
        } else {
            self.look(query, now).await
        };
        let report = report.map_err(|why| {
            let message = format!("The counts of usage can't be read: {why}.");
            ControlError::new(ErrorCode::Internal, message)
                .with_hint("`hermesctl logs` may show more.")
        })?;
        Ok(told(report, asked.by, self.is_enabled))
    }
}

fn since(asked: &UsageQuery) -> Result<CountedSince, ControlError> {
    let Some(day) = &asked.since else {
        return Ok(CountedSince::Days(asked.days.unwrap_or(DAYS)));
    };
    let day: NaiveDate = day.parse().map_err(|_| {
        let message = format!("{day:?} is not a day.");
        ControlError::new(ErrorCode::Internal, message).with_hint("Write it as 2026-11-23.")
    })?;
    Ok(CountedSince::Day(day))
}

fn by(asked: UsageBy) -> GroupBy {
    match asked {
        UsageBy::Client => GroupBy::Client,
        UsageBy::Model => GroupBy::Model,
        UsageBy::Provider => GroupBy::Provider,
        UsageBy::Login => GroupBy::Login,
        UsageBy::Path => GroupBy::Path,
        UsageBy::Day => GroupBy::Day,
    }
}

fn told(report: CountsReport, by: UsageBy, enabled: bool) -> UsageReport {
    let rows = report.rows.into_iter().map(|(name, one)| UsageRow {
        name,
        sums: sums(one),
    });
    UsageReport {
        enabled,
        by,
        from: report.from.to_string(),
        to: report.to.to_string(),
        rows: rows.collect(),
        total: sums(report.total),
        unlisted: report.unlisted,
        fault: report.fault,
        dropped: report.dropped,
    }
}

fn sums(of: CountsSums) -> UsageSums {
    UsageSums {
        requests: of.requests,
        failed: of.failed,
        errors: of.errors,
        bytes_in: of.bytes_in,
        bytes_out: of.bytes_out,
        prompt_tokens: of.tokens.prompt,
        completion_tokens: of.tokens.completion,
        cached_tokens: of.tokens.cached,
        reasoning_tokens: of.tokens.reasoning,
        total_tokens: of.tokens.total,
        without_tokens: of.untold,
    }
}
