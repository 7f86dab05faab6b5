//! What of the environment, and of the file that adds to it, can't be used.

use super::proxies::{Proxies, variable};
use super::registry;
use crate::config::{ProviderKind, Variables};

/// What of our environment can't be used: proxies, exceptions and what these kinds of providers honour,
/// each as one sentence. What a file adds to it is [`file_faults`]'s.
pub fn environment_faults<'k>(kinds: impl Iterator<Item = &'k ProviderKind>) -> Vec<String> {
    let mut faults = Proxies::from_env().faults().to_vec();
    faults.extend(registry::environment_faults(kinds, &variable));
    faults
}

/// What can't be used of the file that adds to the environment, each as one sentence.
pub fn file_faults(variables: &Variables) -> Vec<String> {
    let unread = variables
        .fault()
        .map(|fault| format!("{fault}, so the addresses of providers in it are ignored."));
    let in_file = |name: &str| {
        variables.file_of(name)?;
        variables.get(name)
    };
    let faults = registry::file_faults(&in_file).into_iter();
    let file = variables
        .names_in_file()
        .find_map(|name| variables.file_of(name));
    let named = faults.map(|fault| match file {
        Some(file) => format!("In {}, {fault}", file.display()),
        None => fault,
    });
    unread.into_iter().chain(named).collect()
}
