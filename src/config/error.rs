//! What is wrong with a configuration, for the person who wrote it.

use std::fmt;
use std::path::PathBuf;

/// A configuration that cannot be used, with everything that is wrong with it.
///
/// Prints one line for each problem: `FILE:LINE: KEY: message (did you mean `x`?)`. No value of
/// a key that may hold a secret is ever part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file that was read.
    pub file: PathBuf,
    /// At least one, in the order of their lines.
    pub problems: Vec<Problem>,
}

/// One mistake in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// The key with its tables (`limits.body`, `listen[0].address`); empty when the line is not
    /// TOML or the file as a whole is meant.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The text that was probably meant.
    pub suggestion: Option<String>,
}

impl ConfigError {
    /// The file as a whole cannot be used.
    pub(super) fn of_file(file: PathBuf, message: String) -> Self {
        let problem = Problem {
            line: 0,
            key: String::new(),
            message,
            suggestion: None,
        };
        Self {
            file,
            problems: vec![problem],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.file.display())?;
            if problem.line > 0 {
                write!(f, "{}:", problem.line)?;
            }
            write!(f, " {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(meant) => write!(f, " (did you mean `{meant}`?)"),
            None => Ok(()),
        }
    }
}
