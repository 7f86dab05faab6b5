//! The man pages and the completions of shells, made from the command lines of both programs.
//!
//! - `page`: the form of a man page.
//! - `line`: a command line's shape as parts of a page.
//! - `pages`: the pages.
//! - `markdown`: the configuration reference on the web.
//! - `completions`: what shells load.

mod completions;
mod line;
mod markdown;
mod page;
mod pages;

pub use self::completions::{COMPLETE, Shell, completions, scripts};
pub use self::markdown::configuration;
pub use self::pages::{PAGES, pages};

/// A file's name and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Where it belongs, as a name without folders.
    pub name: String,
    /// Its content.
    pub text: String,
}
