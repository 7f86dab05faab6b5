//! The command that a mistyped one was meant to be. Pure.

use clap::Command;

use crate::suggest::did_you_mean;

/// The names that people use elsewhere for our commands. The first matching row counts; one with a
/// noun counts within that noun alone.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("auth add", "auth login"),
    ("auth remove", "auth logout"),
    ("clients create", "clients add"),
    ("clients delete", "clients revoke"),
    ("clients new", "clients add"),
    ("clients remove", "clients revoke"),
    ("config edit", "config path"),
    ("config get", "config show"),
    ("config set", "config path"),
    ("config validate", "config check"),
    ("proxy run", "proxy start"),
    ("service disable", "service uninstall"),
    ("service enable", "service install"),
    ("apps", "connect"),
    ("bug", "bugreport"),
    ("client", "clients list"),
    ("diagnose", "doctor"),
    ("diagnostics", "doctor"),
    ("disable", "service uninstall"),
    ("edit", "config path"),
    ("enable", "service install"),
    ("health", "doctor"),
    ("init", "setup"),
    ("key", "clients list"),
    ("keys", "clients list"),
    ("journal", "logs"),
    ("models", "proxy test"),
    ("ping", "proxy test"),
    ("ps", "status"),
    ("report", "bugreport"),
    ("restart", "proxy restart"),
    ("run", "proxy start"),
    ("serve", "proxy start"),
    ("stop", "proxy stop"),
    ("tokens", "auth status"),
    ("whoami", "auth status"),
];

/// The commands that these words may mean, without the program's name; empty if the words are a
/// command, or resemble none.
pub(super) fn meant(root: &Command, words: &[&str]) -> Vec<String> {
    let mut within = root;
    let mut rest = words;
    let mut noun = None;
    while let [word, others @ ..] = rest {
        let Some(next) = within.find_subcommand(word) else {
            let following = others.first().copied();
            return instead(root, noun, word, following);
        };
        within = next;
        noun = noun.or(Some(next));
        rest = others;
    }
    Vec::new()
}

fn instead(
    root: &Command,
    noun: Option<&Command>,
    word: &str,
    following: Option<&str>,
) -> Vec<String> {
    let word = word.to_lowercase();
    let here = noun.map(|noun| format!("{} {word}", noun.get_name()));
    let by_other_words = OTHER_WORDS.iter();
    let by_other_words =
        by_other_words.filter(|(theirs, _)| *theirs == word || here.as_deref() == Some(*theirs));
    if let Some((_, ours)) = by_other_words.into_iter().next() {
        return vec![with_verb(root, ours, following)];
    }
    let all = verbs(root);
    let last = |line: &String| line.rsplit(' ').next().map(str::to_owned);
    let same = all.iter().filter(|line| last(line).as_ref() == Some(&word));
    let same: Vec<_> = same.cloned().collect();
    if !same.is_empty() {
        return same;
    }
    let siblings = noun.unwrap_or(root).get_subcommands();
    let near = did_you_mean(&word, siblings.map(|one| one.get_name().to_owned()));
    let Some(near) = near else {
        let names = all.iter().filter_map(last);
        let Some(near) = did_you_mean(&word, names) else {
            return Vec::new();
        };
        let same = all.iter().filter(|line| last(line).as_ref() == Some(&near));
        return same.cloned().collect();
    };
    let line = noun.map_or_else(
        || near.clone(),
        |noun| format!("{} {near}", noun.get_name()),
    );
    vec![with_verb(root, &line, following)]
}

/// The command with the typed verb after its noun, if the noun has a similar one.
fn with_verb(root: &Command, line: &str, following: Option<&str>) -> String {
    let noun = line.split(' ').next().unwrap_or(line);
    let verbs = root.find_subcommand(noun).map(Command::get_subcommands);
    let verbs = verbs.into_iter().flatten();
    let verbs = verbs.map(|verb| verb.get_name().to_owned());
    match following.and_then(|word| did_you_mean(word, verbs)) {
        Some(verb) => format!("{noun} {verb}"),
        None => line.to_owned(),
    }
}

/// Every command: nouns without verbs, and each verb after its noun.
fn verbs(root: &Command) -> Vec<String> {
    let mut lines = Vec::new();
    for noun in root.get_subcommands() {
        let name = noun.get_name();
        let verbs = noun.get_subcommands();
        lines.extend(verbs.map(|verb| format!("{name} {}", verb.get_name())));
        if !noun.has_subcommands() {
            lines.push(name.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::command;
    use super::*;

    #[test]
    fn a_slip_and_another_programs_word_lead_to_the_command() {
        for (typed, meant_by_it) in [
            ("statsu", &["status"][..]),
            ("proxy stauts", &["proxy status"]),
            ("login", &["auth login"]),
            ("logout", &["auth logout"]),
            ("refresh", &["auth refresh"]),
            ("reload", &["proxy reload"]),
            ("start", &["proxy start", "service start"]),
            ("stop", &["proxy stop"]),
            ("restart", &["proxy restart"]),
            ("proxy restart", &[]),
            ("proxy stop", &[]),
            ("proxy logs", &["logs"]),
            ("service log", &["logs"]),
            ("install", &["service install"]),
            ("uninstall", &["service uninstall"]),
            ("key add karakeep", &["clients add"]),
            ("client revoke karakeep", &["clients revoke"]),
            ("clinets lsit", &["clients list"]),
            ("keys", &["clients list"]),
            ("providers", &["proxy providers"]),
            ("test", &["proxy test"]),
            ("config edit", &["config path"]),
            ("diagnose", &["doctor"]),
            ("docter", &["doctor"]),
            ("auth add nous", &["auth login"]),
            ("log", &["logs"]),
            ("Login", &["auth login"]),
            ("lgoin", &["auth login"]),
            ("xyzzy", &[]),
            ("proxy status", &[]),
        ] {
            let words: Vec<_> = typed.split(' ').collect();
            assert_eq!(meant(&command(), &words), meant_by_it, "{typed}");
        }
    }

    #[test]
    fn other_words_lead_to_commands_and_are_none() {
        for (theirs, ours) in OTHER_WORDS {
            let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
            let hints = meant(&command(), &words(theirs));
            assert_eq!(hints, [*ours], "{theirs}");
            let mut command = &command();
            for word in words(ours) {
                command = command.find_subcommand(word).expect(ours);
            }
            assert!(!command.has_subcommands(), "{ours}");
        }
    }
}
