//! `[[hooks]]`: programs and web addresses that are told about changes of a login.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use url::Url;

use super::form::{Optional, Text, Texts, Wait, Words};
use super::reader::TableReader;
use super::table::{Table, table};
use super::values;
use super::writer::SettingsWriter;

/// A hook that takes longer would keep the next notice waiting.
const HOOK_WAIT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(5);

table! {
    /// A program or web address that is told about changes of a login.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Hook {
        beside {
            /// How it is called.
            pub action: HookAction;
        }

        /// The events it gets; without this key, all eight.
        pub events: Vec<HookEvent> = Words(&HookEvent::NAMES),
            or HookEvent::NAMES.map(|(_, kind)| kind).to_vec(), on reload;
        /// It must finish within this time, or is killed; at most 5m. Without this key: 10s.
        pub timeout: Duration = Wait(HOOK_WAIT), or Duration::from_secs(10), on reload;
    }
}

table! {
    /// What a hook calls: one of these.
    pub(super) struct Target {
        /// A program and its arguments, run without a shell, with the JSON on its standard input.
        command: Option<Vec<String>> = Optional(Texts("notify-send", values::argument)), or None, on reload;
        /// A web address that the JSON is posted to; over `http://` anyone on the network can read it.
        url: Option<Url> = Optional(Text("https://ntfy.example/my-topic", values::webhook_url)), or None, on reload;
    }
}

/// How a hook is called.
#[derive(Clone, PartialEq, Eq)]
pub enum HookAction {
    /// A program with its arguments, run without a shell; at least one.
    Command(Vec<String>),
    /// Where the notice is posted to.
    Url(Url),
}

/// An event of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookEvent {
    /// It is dead: only the user can renew it.
    LoginEnded,
    /// It will end soon, and nothing renews it.
    LoginEndsSoon,
    /// It works again.
    LoginRestored,
    /// It was renewed and could not be written to the disk.
    LoginNotSaved,
    /// Its file can't be read.
    LoginUnreadable,
    /// A window of its quota is used to four fifths.
    QuotaLow,
    /// A window of its quota is used up.
    QuotaSpent,
    /// That window has room again.
    QuotaFree,
}

impl Hook {
    /// A hook of this kind with every other setting at its default.
    pub fn of_action(action: HookAction) -> Self {
        Self::with_defaults(action)
    }

    /// Writes its table.
    pub(super) fn write_all(&self, table: &mut SettingsWriter<'_>) {
        let mut target = Target::default();
        match self.action.clone() {
            HookAction::Command(line) => target.command = Some(line),
            HookAction::Url(url) => target.url = Some(url),
        }
        target.write(table);
        self.write(table);
    }
}

impl Target {
    /// Exactly one of the two.
    fn action(self, table: &TableReader<'_>) -> Option<HookAction> {
        match (table.has("command"), table.has("url")) {
            (true, true) => {
                let message = "set this or `command`, not both; repeat [[hooks]] for a second one";
                table.report().add(&table.place("url"), message);
                None
            }
            (false, false) => {
                let message = "is missing: name the program and its arguments, for example command = \
                               [\"notify-send\", \"hermes-proxyd\"], or a `url` to post to";
                table.report().add(&table.place("command"), message);
                None
            }
            (true, false) => self.command.and_then(|line| program(table, line)),
            (false, true) => self.url.map(HookAction::Url),
        }
    }
}

/// A hook; `None` if its action is unknown.
pub(super) fn read(table: &TableReader<'_>) -> Option<Hook> {
    let target = Target::read(table, Target::default());
    let unset = Hook::of_action(HookAction::Command(Vec::new()));
    let hook = Hook::read(table, unset);
    if table.is_empty_list("events") {
        let message = "name at least one event, or remove the key to get all of them";
        table.report().add(&table.place("events"), message);
    }
    let action = target.action(table)?;
    Some(Hook { action, ..hook })
}

fn program(table: &TableReader<'_>, mut line: Vec<String>) -> Option<HookAction> {
    match values::hook_program(line.first().map_or("", String::as_str), table.env()) {
        Ok(program) => {
            if let Some(first) = line.first_mut() {
                *first = program;
            }
            Some(HookAction::Command(line))
        }
        Err(wrong) => {
            table.report().add(&table.place("command"), wrong);
            None
        }
    }
}

/// A URL's path and query, and a program's arguments, may hold a token.
impl fmt::Debug for HookAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(line) => write!(f, "Command({:?})", line.first()),
            Self::Url(url) => write!(f, "Url({:?})", url.host_str()),
        }
    }
}

impl HookEvent {
    /// The kinds by the names that the file and the notices use.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("login_ended", Self::LoginEnded),
        ("login_ends_soon", Self::LoginEndsSoon),
        ("login_restored", Self::LoginRestored),
        ("login_not_saved", Self::LoginNotSaved),
        ("login_unreadable", Self::LoginUnreadable),
        ("quota_low", Self::QuotaLow),
        ("quota_spent", Self::QuotaSpent),
        ("quota_free", Self::QuotaFree),
    ];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoginEnded => "login_ended",
            Self::LoginEndsSoon => "login_ends_soon",
            Self::LoginRestored => "login_restored",
            Self::LoginNotSaved => "login_not_saved",
            Self::LoginUnreadable => "login_unreadable",
            Self::QuotaLow => "quota_low",
            Self::QuotaSpent => "quota_spent",
            Self::QuotaFree => "quota_free",
        }
    }
}
