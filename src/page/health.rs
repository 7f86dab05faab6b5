//! How well something is, and the pill that says so. Pure.

use super::markup::{Html, put};
use crate::control::protocol::{Finding, Severity};

/// How well something is, as a word and a class of the style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HealthLevel {
    Good,
    Attention,
    Bad,
}

impl HealthLevel {
    /// Of the worst of these findings.
    pub(super) fn of<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Self {
        let mut level = Self::Good;
        for finding in findings {
            match finding.severity {
                Severity::Bad => return Self::Bad,
                Severity::Attention | Severity::Other(_) => level = Self::Attention,
            }
        }
        level
    }

    /// As JSON has it, and the style's class.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Attention => "attention",
            Self::Bad => "bad",
        }
    }

    /// As a person reads it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Good => "Good",
            Self::Attention => "Attention",
            Self::Bad => "Failing",
        }
    }
}

/// A pill with the level's colour and its word.
pub(super) fn pill(page: &mut Html, level: HealthLevel) {
    put!(
        page,
        "<span class=\"pill ",
        level.word(),
        "\">",
        level.label(),
        "</span>"
    );
}
