//! A command line's shape as parts of a page; pure.

use std::collections::BTreeSet;

use clap::{Arg, Command};

use super::page::ManPage;

/// How the program is called.
pub(super) fn synopsis(page: &mut ManPage, command: &Command) {
    page.heading("SYNOPSIS");
    page.text(&usage(command));
}

/// The options that stand beside every verb, or a program's own.
pub(super) fn options(page: &mut ManPage, command: &Command) {
    page.heading("OPTIONS");
    arguments(page, command, &BTreeSet::new());
}

/// Each verb with what it does and takes, without the options that all have.
pub(super) fn commands(page: &mut ManPage, command: &Command) {
    page.heading("COMMANDS");
    let common: BTreeSet<_> = command
        .get_arguments()
        .map(|arg| arg.get_id().to_string())
        .collect();
    for verb in verbs(command, &[]) {
        page.subheading(&verb.words.join(" "));
        page.text(&usage(&verb.command));
        page.paragraph(&described(&verb.command));
        arguments(page, &verb.command, &common);
        if let Some(more) = verb.command.get_after_help() {
            page.paragraph(&more.to_string());
        }
    }
}

/// The exit codes as a program's help lists them.
pub(super) fn exit_status(page: &mut ManPage, command: &Command) {
    page.heading("EXIT STATUS");
    let help = command.get_after_help().map(ToString::to_string);
    let codes = help
        .as_deref()
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let (code, meaning) = line.trim().split_once(' ')?;
            let number = code.bytes().all(|byte| byte.is_ascii_digit());
            number.then(|| (code, meaning.trim()))
        });
    for (code, meaning) in codes {
        page.item(&format!("`{code}`"), &sentence(meaning));
    }
}

/// A command that does something, with the words that lead to it.
struct Verb {
    words: Vec<String>,
    command: Command,
}

/// All commands that do something, in the order of the help.
fn verbs(command: &Command, before: &[String]) -> Vec<Verb> {
    let mut found = Vec::new();
    for sub in command.get_subcommands() {
        if sub.is_hide_set() || sub.get_name() == "help" {
            continue;
        }
        let words: Vec<_> = before
            .iter()
            .cloned()
            .chain([sub.get_name().to_owned()])
            .collect();
        let below = verbs(sub, &words);
        if below.is_empty() || !sub.is_subcommand_required_set() {
            let command = sub.clone();
            found.push(Verb { words, command });
        }
        found.extend(below);
    }
    found
}

fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage:").unwrap_or(&usage).trim();
    let lines: Vec<_> = usage.lines().map(str::trim).collect();
    format!("`{}`", lines.join("` or `"))
}

fn described(command: &Command) -> String {
    let text = command.get_long_about().or_else(|| command.get_about());
    sentence(&text.map(ToString::to_string).unwrap_or_default())
}

fn arguments(page: &mut ManPage, command: &Command, without: &BTreeSet<String>) {
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        if arg.is_hide_set() || id == "help" || without.contains(id) {
            continue;
        }
        page.item(&name(arg), &explained(arg));
    }
}

/// `--flag VALUE`, or what stands for a value without a flag.
fn name(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default();
    let value = values
        .iter()
        .map(clap::builder::Str::as_str)
        .collect::<Vec<_>>()
        .join(" ");
    let takes = arg.get_action().takes_values();
    let flags: Vec<_> = arg
        .get_short()
        .map(|short| format!("`-{short}`"))
        .into_iter()
        .chain(arg.get_long().map(|long| format!("`--{long}`")))
        .collect();
    match (flags.is_empty(), takes) {
        (true, _) => value,
        (false, true) => format!("{} {value}", flags.join(", ")),
        (false, false) => flags.join(", "),
    }
}

fn explained(arg: &Arg) -> String {
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let text = sentence(&help.map(ToString::to_string).unwrap_or_default());
    let mut sentences = vec![text];
    let values = arg.get_possible_values();
    let values: Vec<_> = values
        .iter()
        .filter(|value| !value.is_hide_set() && arg.get_action().takes_values())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() {
        sentences.push(format!("One of {}.", values.join(", ")));
    }
    let default = arg
        .get_default_values()
        .first()
        .filter(|_| arg.get_action().takes_values());
    if let Some(default) = default {
        let default = default.to_string_lossy();
        sentences.push(format!("Default: `{default}`."));
    }
    sentences.join(" ")
}

fn sentence(text: &str) -> String {
    let mut letters = text.trim().chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    let text = first + letters.as_str();
    if text.is_empty() || text.trim_end_matches('`').ends_with(['.', ':', '?']) {
        text
    } else {
        text + "."
    }
}
