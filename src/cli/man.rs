//! `hermesctl man`: the man pages of both programs and of the configuration.

use super::args::{self, Man};
use super::documents;
use super::output::{Exit, Failure, Output};
use crate::manual;

/// Prints one page, or writes all.
pub(super) fn man(flags: &Man, output: &mut Output) -> Result<Exit, Failure> {
    let pages = manual::pages(&args::command());
    if let Some(folder) = &flags.dir {
        let pages = pages.into_iter().map(|page| (folder.clone(), page));
        return documents::write(pages, output);
    }
    let wanted = |name: &str| {
        let name = name.rsplit_once('.').map_or(name, |(name, _)| name);
        name == flags.page
    };
    let page = pages.into_iter().find(|page| wanted(&page.name));
    let page = page.ok_or_else(|| Failure::new("There is no page of this name."))?;
    documents::print(page, output)
}
