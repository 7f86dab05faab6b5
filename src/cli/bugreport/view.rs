//! What a report holds.

use std::path::PathBuf;

use serde::Serialize;

/// A part of the report.
#[derive(Debug)]
pub(super) struct ReportSection {
    pub(super) title: &'static str,
    /// Its content, before anything is shown.
    pub(super) about: &'static str,
    pub(super) text: String,
}

/// A report: what is shown before it is written, and the answer in JSON after.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Planned {
    pub(in crate::cli) file: PathBuf,
    pub(in crate::cli) sections: Vec<Contents>,
}

/// One of its sections.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Contents {
    pub(in crate::cli) title: &'static str,
    #[serde(skip)]
    pub(in crate::cli) about: &'static str,
    pub(in crate::cli) lines: usize,
}
