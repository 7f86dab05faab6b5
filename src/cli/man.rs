//! `hermesctl man`: the man pages of both programs and of the configuration.

use std::io::Write;
use std::process::{Command, Stdio};

use super::args::{self, Man};
use super::output::{CommandFailure, CommandOutput, Exit};
use super::{documents, screen};
use crate::manual;

/// Shows one page to a person, prints its source into a pipe, or writes all.
pub(super) fn man(flags: &Man, output: &mut CommandOutput) -> Result<Exit, CommandFailure> {
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
    let page = page.ok_or_else(|| CommandFailure::new("There is no page with this name."))?;
    if !output.is_json() && screen::is_read_by_a_person() && shown(&page.text) {
        return Ok(Exit::Ok);
    }
    documents::print(page, output)
}

/// Has `man` show a page; false where there is none, or it takes no page from standard input.
fn shown(page: &str) -> bool {
    let viewer = Command::new("man")
        .args(["-l", "-"])
        .stdin(Stdio::piped())
        .spawn();
    let Ok(mut viewer) = viewer else {
        return false;
    };
    if let Some(mut stdin) = viewer.stdin.take() {
        // A reader who has seen enough does not read the rest.
        let _written = stdin.write_all(page.as_bytes());
    }
    viewer.wait().is_ok_and(|ended| ended.success())
}
