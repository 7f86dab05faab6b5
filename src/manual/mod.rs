//! The man pages and the completions of shells, made from the command lines of both programs.
//!
//! - `generated`: a file with its name.
//! - `page`: the form of a man page.
//! - `line`: a command line's shape as parts of a page.
//! - `pages`: the pages.
//! - `markdown`: the configuration reference on the web.
//! - `completions`: what shells load.

mod completions;
mod generated;
mod line;
mod markdown;
mod page;
mod pages;

pub use self::completions::{COMPLETE, Shell, completions, scripts};
pub use self::generated::GeneratedFile;
pub use self::markdown::configuration;
pub use self::pages::{PAGES, pages};
