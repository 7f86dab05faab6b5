//! What a check found, and what fixes it.

use serde::Serialize;

use crate::control::protocol::{FindingCode, Severity};

/// One line of the doctor's: what was checked, the result, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DoctorFinding {
    /// Its group.
    pub group: FindingGroup,
    /// What was checked; unique in its group.
    pub name: String,
    /// How it is.
    pub verdict: FindingVerdict,
    /// What a program branches on, where every look at a daemon finds the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<FindingCode>,
    /// The same in words: full sentences, without secrets.
    pub text: String,
    /// The fixes, in this order; empty if none is needed.
    pub fix: Vec<Fix>,
    /// Whether hermes-proxyd can't start before it is fixed.
    #[serde(skip)]
    pub stops_start: bool,
}

/// The groups, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingGroup {
    /// The daemon and hermesctl.
    Program,
    /// The configuration and the files that it names.
    Configuration,
    /// The logins and their ends.
    Login,
    /// The files that hold the logins.
    Store,
    /// The way to the providers.
    Network,
    /// Where apps connect.
    Listeners,
    /// What starts the daemon, and where it lives.
    Service,
    /// Other programs with the same login.
    Neighbours,
    /// What the machine gives.
    Machine,
    /// The ways from containers.
    Containers,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingVerdict {
    /// Good.
    Ok,
    /// Worth knowing, and neither good nor bad.
    Info,
    /// It could not be checked, or need not be.
    Skip,
    /// It works, but should be fixed.
    Warn,
    /// It does not work.
    Fail,
}

impl FindingVerdict {
    /// Of something that is wrong.
    pub(super) fn of(severity: &Severity) -> Self {
        match severity {
            Severity::Bad => Self::Fail,
            Severity::Attention | Severity::Other(_) => Self::Warn,
        }
    }
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fix {
    /// A command, on one line, that can be copied.
    Run(String),
    /// Lines for the configuration file, that can be copied.
    Configure(Vec<String>),
    /// What no line can do.
    Advice(String),
}

/// What the worst of it means for the one who asked, as `hermesctl` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoctorExit {
    /// Nothing failed.
    Nothing,
    /// The configuration has mistakes.
    Configuration,
    /// The daemon does not run.
    NotRunning,
    /// The default provider needs a login.
    Login,
    /// Something else failed.
    Other,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DoctorReport {
    /// The worst verdict: `ok`, `warn` or `fail`.
    pub verdict: FindingVerdict,
    /// The findings, by groups.
    pub findings: Vec<DoctorFinding>,
    /// The reason for the worst verdict.
    #[serde(skip)]
    pub cause: DoctorExit,
}

impl DoctorFinding {
    /// A finding without a fix.
    pub(super) fn new(
        group: FindingGroup,
        name: impl Into<String>,
        verdict: FindingVerdict,
        text: impl Into<String>,
    ) -> Self {
        Self {
            group,
            name: name.into(),
            verdict,
            code: None,
            text: text.into(),
            fix: Vec::new(),
            stops_start: false,
        }
    }

    /// The same, which hermes-proxyd can't start with.
    pub(super) fn stops_start(mut self) -> Self {
        self.stops_start = true;
        self
    }

    /// The same with the code that [`judge`](crate::control::judge) has for it.
    pub(super) fn code(mut self, code: FindingCode) -> Self {
        self.code = Some(code);
        self
    }

    /// The same with one more thing to do.
    pub(super) fn fix(mut self, fix: Fix) -> Self {
        self.fix.push(fix);
        self
    }

    /// The same with a command.
    pub(super) fn run(self, command: impl Into<String>) -> Self {
        self.fix(Fix::Run(command.into()))
    }

    /// The same with more things to do.
    pub(super) fn fixes(mut self, fixes: impl IntoIterator<Item = Fix>) -> Self {
        self.fix.extend(fixes);
        self
    }

    /// The same with advice.
    pub(super) fn advice(self, text: impl Into<String>) -> Self {
        self.fix(Fix::Advice(text.into()))
    }
}

impl FindingGroup {
    /// The heading.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Configuration => "configuration",
            Self::Login => "login",
            Self::Store => "store",
            Self::Network => "network",
            Self::Listeners => "listeners",
            Self::Service => "service",
            Self::Neighbours => "neighbours",
            Self::Machine => "machine",
            Self::Containers => "containers",
        }
    }

    /// Findings of this group, for short.
    pub(super) fn finds(
        self,
        name: impl Into<String>,
        verdict: FindingVerdict,
        text: impl Into<String>,
    ) -> DoctorFinding {
        DoctorFinding::new(self, name, verdict, text)
    }
}

impl DoctorReport {
    /// Puts the findings in order and judges them.
    pub(super) fn new(mut findings: Vec<DoctorFinding>, default_provider: &str) -> Self {
        findings.sort_by_key(|finding| finding.group);
        let worst = findings.iter().map(|finding| finding.verdict).max();
        let verdict = match worst {
            Some(verdict @ (FindingVerdict::Warn | FindingVerdict::Fail)) => verdict,
            Some(FindingVerdict::Ok | FindingVerdict::Info | FindingVerdict::Skip) | None => {
                FindingVerdict::Ok
            }
        };
        let failed = |is: &dyn Fn(&DoctorFinding) -> bool| {
            let mut failed = findings
                .iter()
                .filter(|one| one.verdict == FindingVerdict::Fail);
            failed.any(is)
        };
        let has = |finding: &DoctorFinding, code: FindingCode| finding.code == Some(code);
        let cause = if verdict != FindingVerdict::Fail {
            DoctorExit::Nothing
        } else if failed(&|one| one.group == FindingGroup::Configuration) {
            DoctorExit::Configuration
        } else if failed(&|one| one.group == FindingGroup::Program && one.name == RUNNING) {
            DoctorExit::NotRunning
        } else if failed(&|one| has(one, FindingCode::LoginNeeded) && one.name == default_provider)
        {
            DoctorExit::Login
        } else {
            DoctorExit::Other
        };
        Self {
            verdict,
            findings,
            cause,
        }
    }
}

/// The finding on whether the daemon runs.
pub(super) const RUNNING: &str = "hermes-proxyd";

/// An error's text with a capital letter and a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut rest = text.trim_end_matches('.').chars();
    let first = rest.next().map(|c| c.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), rest.as_str())
}
