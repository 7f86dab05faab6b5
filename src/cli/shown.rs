//! Golden files of every command's output: as text at three widths, plain and coloured, and as JSON.
//!
//! Each verb has a row in [`all`] or a reason in [`ELSEWHERE`]. `UPDATE_GOLDEN=1` rewrites the files
//! `tests/golden/cli/shown/NAME.txt` and `NAME.json`.

pub(super) mod samples;
mod tests;

use std::fmt::Write as _;
use std::path::PathBuf;

use chrono::Utc;
use clap::CommandFactory;
use serde::Serialize;
use serde_json::Value;

use self::samples::{answer, golden};
use crate::cli::args::{Arguments, SetupFlags};
use crate::cli::auth as login_screens;
use crate::cli::auth::render::{self as auth, pools};
use crate::cli::auth::view::AuthStatusOutput;
use crate::cli::bugreport::render as bugreport;
use crate::cli::bugreport::view::Planned;
use crate::cli::clients::render as clients;
use crate::cli::config;
use crate::cli::config::render as render_config;
use crate::cli::config::view::{Valid, WrittenConfig as NewFile};
use crate::cli::connect::known;
use crate::cli::connect::render as connect;
use crate::cli::connect::view::ConnectOutput;
use crate::cli::doctor::render as doctor;
use crate::cli::documents::WrittenFiles;
use crate::cli::documents::made as files;
use crate::cli::logs::LogEntry;
use crate::cli::logs::render as logs;
use crate::cli::output::CommandFailure;
use crate::cli::probe::render as probe;
use crate::cli::proxy;
use crate::cli::proxy::render::{ended, providers, reload};
use crate::cli::proxy::routes::render as routes;
use crate::cli::service::render as service;
use crate::cli::service::view::{ServiceJson, ServiceReport, StepLine, Uninstalled};
use crate::cli::setup::render as setup;
use crate::cli::setup::view::SetUp;
use crate::cli::setup::{begin_again, unconfirmed};
use crate::cli::status::render as home;
use crate::cli::status::view::Home;
use crate::cli::terminal::TerminalSize;
use crate::cli::text::*;
use crate::cli::top::TopOutput;
use crate::cli::usage::render as usage;
use crate::cli::version::Versions;
use crate::cli::version::shown as version;
use crate::control::client::ClientError;
use crate::control::pools::LoginList;
use crate::control::protocol::{
    ClientChanged, ClientList, ControlError, ErrorCode, LoginBegun, LoginProgress, NewKey,
    RefreshOutcome,
};
use crate::control::usage::UsageReport;
use crate::paths::Environment;

struct ShownOutput {
    /// The command and, after ` · `, the case.
    name: &'static str,
    text: Box<dyn Fn(Style) -> String>,
    json: Value,
    form: LineForm,
}

/// Which line lengths the test accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineForm {
    /// Lines must wrap at the width.
    Text,
    /// Lines stay whole, because a program reads them or they can't be broken.
    Whole,
    /// The output contains a picture, whose inverted colours are expected.
    Picture,
}

/// Commands without a row, and where they are tested instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("status", "the same as `proxy status`"),
    (
        "proxy start",
        "becomes hermes-proxyd, which prints nothing on standard output",
    ),
    (
        "config schema",
        "a JSON schema either way, which tests/docs/schema.rs compares at each width",
    ),
];

fn shown<T: Serialize + 'static>(
    name: &'static str,
    data: T,
    render: impl Fn(&T, Style) -> String + 'static,
) -> ShownOutput {
    ShownOutput {
        name,
        json: serde_json::to_value(&data).unwrap(),
        text: Box::new(move |style| render(&data, style)),
        form: LineForm::Text,
    }
}

impl ShownOutput {
    fn in_form(self, form: LineForm) -> Self {
        Self { form, ..self }
    }
}

/// All rows, one function per noun.
fn all() -> Vec<ShownOutput> {
    let nouns = [
        home_screens(),
        proxies(),
        services(),
        logins(),
        clients_shown(),
        of_configuration(),
        others(),
    ];
    let mut all: Vec<ShownOutput> = nouns.into_iter().flatten().collect();
    let address = "/run/user/1000/x.sock".into();
    all.push(failed(
        "an error",
        ClientError::NotRunning { address }.into(),
    ));
    all.push(shown(
        "logs",
        samples::log(),
        |entries: &Vec<LogEntry>, style| {
            let lines = entries.iter().map(|one| logs::entry(one, &Utc, style));
            lines.collect()
        },
    ));
    all.push(shown("top", samples::now(), |now: &TopOutput, style| {
        crate::cli::top::text(now, &Utc, style)
    }));
    all.push(shown("usage", answer("reply_usage.json"), usage::report));
    let trouble = answer("reply_usage_trouble.json");
    all.push(shown("usage · trouble", trouble, usage::report));
    let csv = |report: &UsageReport, _: Style| usage::csv(report);
    let csv = shown("usage · csv", answer("reply_usage_trouble.json"), csv);
    all.push(csv.in_form(LineForm::Whole));
    all.push(failed("logs · no log", crate::cli::logs::nowhere()));
    all.push(shown("version", Versions::sample(), version));
    all.push(shown("doctor", doctor::tests::example(), doctor::report));
    all
}

fn of_configuration() -> Vec<ShownOutput> {
    let file = || PathBuf::from("/home/u/.config/hermes-proxyd/config.toml");
    let valid = |file| Valid { valid: true, file };
    let said = |place: &config::ConfigLocation, style: Style| {
        render_config::place(place, style) + &style.prose(&place.said().join("\n"))
    };
    let text = "[limits]\nbodi = 3\n";
    let wrong = crate::config::parse(text, &file(), &Environment::default()).unwrap_err();
    let backup = Some(file().with_extension("toml.bak"));
    let new = NewFile {
        file: file(),
        backup,
    };
    vec![
        shown("config path", config::sample(), said),
        shown("config check", valid(Some(file())), render_config::valid),
        shown("config check · no file", valid(None), render_config::valid),
        failed("config check · a mistake", config::invalid(&wrong)),
        shown(
            "config show",
            config::settings_sample(),
            |all: &config::Effective, _| all.text(false),
        )
        .in_form(LineForm::Whole),
        shown(
            "config show · origin",
            config::settings_sample(),
            |all: &config::Effective, _| all.text(true),
        )
        .in_form(LineForm::Whole),
        shown("config init", new, render_config::written),
    ]
}

/// Rows that need more than a reply of the daemon: apps, a first run, files.
fn others() -> Vec<ShownOutput> {
    let report = samples::bug_report();
    let both = |report: &Planned, style: Style| {
        bugreport::planned(report, style) + &bugreport::written(report, style)
    };
    let snippet = |connected: &ConnectOutput, style: Style| {
        connect::lead(&connected.lead, style)
            + &connect::files(connected, style)
            + &connect::notes(connected, style)
    };
    let all_set = |set_up: &SetUp, style: Style| {
        let lines = set_up.steps.iter().map(|one| service::line(one, style));
        lines.collect::<String>() + &setup::outcome(set_up, style)
    };
    let denied = ClientError::Daemon(ControlError {
        code: ErrorCode::LoginDenied,
        message: "The login was denied in the browser.".to_owned(),
        hint: Some("hermesctl auth login nous".to_owned()),
    });
    let denied = CommandFailure::from(denied);
    let flags = SetupFlags {
        provider: None,
        yes: false,
        no_service: false,
        no_browser: true,
    };
    let file = PathBuf::from("/home/u/.config/hermes-proxyd/config.toml");
    let plan = crate::cli::setup::plan(&file, &flags);
    let made = |name: &str| WrittenFiles {
        files: vec![PathBuf::from("out").join(name)],
    };
    vec![
        shown("bugreport", report, both),
        shown("connect", known(), connect::list),
        shown("connect · an app", samples::connected(), snippet),
        shown("setup", samples::set_up(true), all_set),
        shown("setup · no service", samples::set_up(false), all_set),
        shown(
            "setup · no manager",
            samples::set_up_without_manager(),
            all_set,
        ),
        failed("setup · login denied", begin_again(denied)),
        failed("setup · no terminal to ask", unconfirmed(&plan, &flags)),
        shown("completions", made("bash/hermesctl"), files),
        shown("man", made("hermesctl.1"), files),
    ]
}

fn home_screens() -> Vec<ShownOutput> {
    let home = |home: &Home, style: Style| home::home(home, &Utc, style);
    let clients = || answer::<ClientList>("reply_clients.json").clients;
    let mut well = samples::status_with_login();
    well.providers.truncate(1);
    let well = Home {
        service: Some(samples::service(Some(4242))),
        ..Home::of(Some(well), Some(clients()))
    };
    let missing = Home::of(Some(samples::status()), Some(clients()));
    let trouble = Home::of(Some(samples::troubled_status()), None);
    let failing = Home::of(Some(samples::failing_status()), None);
    let stopped = Home::of(None, None).beside(Some(samples::service(None)));
    vec![
        shown("proxy status", well, home),
        shown("proxy status · watch", watched(), |home: &Home, style| {
            let foot = style.paint(TextTone::Label, &home::foot("20:31:00", 2));
            home::home(home, &Utc, style) + "\n" + &foot
        }),
        shown("proxy status · one login is missing", missing, home),
        shown("proxy status · trouble", trouble, home),
        shown("proxy status · requests fail", failing, home),
        shown("proxy status · not running", Home::of(None, None), home),
        shown("proxy status · service stopped", stopped, home),
    ]
}

/// A screen that `--watch` redraws.
fn watched() -> Home {
    Home::of(Some(samples::status_with_login()), None)
}

fn proxies() -> Vec<ShownOutput> {
    let (whole, streamed) = (samples::report(false), samples::report(true));
    vec![
        shown("proxy providers", answer("reply_providers.json"), providers),
        shown("proxy routes", proxy::routes_sample(None), routes::routes),
        shown(
            "proxy routes · one request",
            proxy::routes_sample(Some("gpt-5-mini")),
            routes::routes,
        ),
        shown("proxy reload", answer("reply_reload.json"), reload),
        shown("proxy stop", samples::ended(None), ended),
        shown("proxy restart", samples::ended(Some(4711)), ended),
        shown("proxy test", whole, probe::report),
        shown("proxy test · streamed", streamed, probe::report),
    ]
}

fn services() -> Vec<ShownOutput> {
    let runs = samples::service(Some(4242));
    let done = |lines: Vec<StepLine>, pid| ServiceReport {
        steps: lines,
        service: samples::service(pid),
    };
    let line = |step, what| StepLine::done_unless(false, step, what);
    let already = |step, what| StepLine::done_unless(true, step, what);
    let unit = "unit /home/u/.config/systemd/user/hermes-proxyd.service";
    let linger = "it needs an administrator: `sudo loginctl enable-linger 1000`";
    let installed = vec![
        line("definition", unit),
        already("enable", "start hermes-proxyd.service at login"),
        StepLine::left(
            "linger",
            "start at boot, keep running after logout (linger)",
            linger,
        ),
        line("start", "start the service: process 4242, ready"),
    ];
    let uninstalled = Uninstalled {
        steps: vec![
            line("stop", "stop hermes-proxyd.service and disable it"),
            line(
                "remove",
                "remove /home/u/.config/systemd/user/hermes-proxyd.service",
            ),
        ],
        kept: vec!["/home/u/.config/hermes-proxyd/config.toml".to_owned()],
    };
    let nothing = Uninstalled {
        steps: Vec::new(),
        kept: Vec::new(),
    };
    let start = done(vec![line("start", "start the service")], Some(4242));
    let stop = done(vec![already("stop", "stop the service")], None);
    let restart = done(vec![line("restart", "restart the service")], Some(4242));
    let stopped = samples::service(None);
    let absent = ServiceJson {
        installed: false,
        file: None,
        ..samples::service(None)
    };
    vec![
        shown("service status", runs, service::status),
        shown("service status · stopped", stopped, service::status),
        shown("service status · not installed", absent, service::status),
        shown(
            "service install",
            done(installed, Some(4242)),
            service::report,
        ),
        shown("service uninstall", uninstalled, service::uninstalled),
        shown("service uninstall · none", nothing, service::uninstalled),
        shown("service start", start, service::report),
        shown("service stop", stop, service::report),
        shown("service restart", restart, service::report),
    ]
}

fn logins() -> Vec<ShownOutput> {
    let status = AuthStatusOutput::of(samples::status_with_login(), true);
    let logins = |logins: &AuthStatusOutput, style: Style| auth::logins(logins, &Utc, style);
    let refresh =
        |outcome: &RefreshOutcome, style: Style| auth::refresh(outcome, None, &Utc, style);
    let begun = |name| answer::<LoginBegun>(name);
    let code = begun("reply_login_code.json");
    let screen = |begun: &LoginBegun, style: Style| {
        let LoginBegun::Code(code) = begun else {
            return String::new();
        };
        let columns = style.columns();
        let room = TerminalSize { columns, rows: 24 };
        login_screens::screen(code, room, style)
    };
    let piped = |begun: &LoginBegun, _| match begun {
        LoginBegun::Code(code) => login_screens::plain(code),
        LoginBegun::Page(page) => login_screens::page(page, Style::PLAIN),
        LoginBegun::Existing(_) => String::new(),
    };
    let done = |done: &LoginProgress, style: Style| auth::login_done(done, &Utc, style);
    let listed = |list: &LoginList, style: Style| pools::list(list, &Utc, style);
    let cancelled = serde_json::json!({"cancelled": {}});
    vec![
        shown("auth login", code.clone(), screen).in_form(LineForm::Picture),
        shown("auth login · in a pipe", code, piped).in_form(LineForm::Whole),
        shown(
            "auth login · on a page",
            begun("reply_login_page.json"),
            piped,
        )
        .in_form(LineForm::Whole),
        shown(
            "auth login · existing",
            begun("reply_login_existing.json"),
            auth::login_begun,
        ),
        shown("auth login · done", answer("reply_login_done.json"), done),
        shown("auth login · cancelled", cancelled, |_, _| {
            auth::LOGIN_CANCELLED.to_owned()
        }),
        shown("auth status", status, logins),
        shown("auth list", answer("reply_logins.json"), listed),
        shown("auth reset", answer("reply_login_reset.json"), pools::reset),
        shown("auth logout", answer("reply_logout.json"), auth::logout),
        shown("auth refresh", answer("reply_refresh.json"), refresh),
    ]
}

fn clients_shown() -> Vec<ShownOutput> {
    let list = |list: &ClientList, style: Style| clients::list(list, &Utc, style);
    let changed = |changed: &ClientChanged, style: Style| clients::changed(changed, &Utc, style);
    let (revoked, imported) = (
        answer("reply_client_revoked.json"),
        answer("reply_client_import.json"),
    );
    let new = || answer::<NewKey>("reply_client_new_key.json");
    let added = |new: &NewKey, style: Style| {
        crate::cli::clients::key(new) + &clients::about_key(new, false, style)
    };
    let rotated = |new: &NewKey, style: Style| {
        crate::cli::clients::key(new) + &clients::about_key(new, true, style)
    };
    vec![
        shown("clients add", new(), added),
        shown("clients rotate", new(), rotated),
        shown(
            "clients change",
            answer("reply_client_changed.json"),
            changed,
        ),
        shown("clients list", answer("reply_clients.json"), list),
        shown("clients revoke", revoked, clients::revoked),
        shown("clients import", imported, clients::imported),
    ]
}

/// An error on standard error.
fn failed(name: &'static str, failure: CommandFailure) -> ShownOutput {
    ShownOutput {
        name,
        json: failure.to_json(),
        text: Box::new(move |style| failure.to_text(style)),
        form: LineForm::Text,
    }
}

#[test]
fn every_output_is_as_it_was() {
    let folder = golden("cli", "shown");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut known = Vec::new();
    let mut changed = Vec::new();
    for one in all() {
        let name = one.name.replace(" · ", "__").replace(' ', "_");
        let json = serde_json::to_string_pretty(&one.json).unwrap() + "\n";
        for (file, text) in [
            (format!("{name}.txt"), pages(&*one.text, one.form)),
            (format!("{name}.json"), json),
        ] {
            let path = folder.join(&file);
            if update {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&path, &text).unwrap();
            }
            if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
                changed.push(format!("── {file} ──\n{text}"));
            }
            known.push(file);
        }
    }
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name), "{name} is no longer an output");
    }
    let files = changed.join("\n");
    assert!(
        changed.is_empty(),
        "UPDATE_GOLDEN=1 takes these over:\n{files}"
    );
}

/// The output at three widths, plain and coloured.
fn pages(text: &dyn Fn(Style) -> String, form: LineForm) -> String {
    let mut pages = String::new();
    for columns in [60, 80, 120] {
        let plain = text(Style::PLAIN.in_columns(columns));
        let coloured = text(Style::COLOURED.in_columns(columns));
        let as_text = |page: &str| {
            let page = without_colours(page);
            if form != LineForm::Picture {
                return page;
            }
            let lines = page.lines().map(|line| line.replace(['█', '▀', '▄'], " "));
            lines.map(|line| line.trim().to_owned() + "\n").collect()
        };
        assert_eq!(
            as_text(&coloured),
            as_text(&plain),
            "colours change the text"
        );
        assert!(!plain.contains('\u{1b}'), "colours where none are wanted");
        for line in plain.lines() {
            let fits = visible(line) <= columns;
            assert!(
                fits || form == LineForm::Whole || is_one_piece(line) || is_logged(line),
                "too long: {line}"
            );
        }
        writeln!(pages, "── {columns} columns ──\n{plain}").unwrap();
        let coloured = coloured.replace('\u{1b}', "␛");
        writeln!(pages, "── {columns} columns, coloured ──\n{coloured}").unwrap();
    }
    pages
}

/// Whether this is a log line, which stays whole so that it can be searched.
fn is_logged(line: &str) -> bool {
    line.starts_with("2026-11-23 19:44:0")
}

/// Whether an overlong line ends in a piece that can't be broken: a URL, a path or a command.
fn is_one_piece(line: &str) -> bool {
    let last = line.rsplit('`').nth(1).unwrap_or_default();
    let word = line.split(' ').map(visible).max().unwrap_or_default();
    word > 30 || last.len() > 20
}

fn without_colours(text: &str) -> String {
    let mut pieces = text.split('\u{1b}');
    let first = pieces.next().unwrap_or_default().to_owned();
    let rest = pieces.map(|piece| piece.split_once('m').map_or(piece, |(_, rest)| rest));
    first + &rest.collect::<String>()
}

/// A user's first screen fits in an 80-column window of 50 rows.
#[test]
fn the_help_of_hermesctl_fits_on_a_screen() {
    let mut command = Arguments::command().term_width(USUAL);
    for help in [command.render_help(), command.render_long_help()] {
        let help = help.to_string();
        let widest = help.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(USUAL), "{widest:?} columns:\n{help}");
        let rows = help.lines().count();
        assert!(rows < 50, "{rows} rows:\n{help}");
    }
}

/// The `--help` of each command: `tests/golden/cli/help/NAME.txt`.
#[test]
fn every_help_is_as_it_was() {
    let folder = golden("cli", "help");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut root = Arguments::command();
    root.build();
    let mut known = Vec::new();
    let mut changed = Vec::new();
    each(&root, "hermesctl", &mut |name, command| {
        let help = |style: Style| {
            let mut command = command.clone().term_width(style.columns());
            let help = command.render_long_help();
            if style.is_coloured() {
                help.ansi().to_string()
            } else {
                help.to_string()
            }
        };
        let file = format!("{}.txt", name.replace(' ', "_"));
        let text = pages(&help, LineForm::Text);
        let path = folder.join(&file);
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            changed.push(file.clone());
        }
        known.push(file);
    });
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            known.contains(&name),
            "{name} no longer belongs to a command"
        );
    }
    assert!(known.len() > 30, "{known:?}");
    assert!(
        changed.is_empty(),
        "UPDATE_GOLDEN=1 takes these over: {changed:?}"
    );
}

/// Visits a command and everything below it.
fn each(command: &clap::Command, path: &str, visit: &mut dyn FnMut(&str, &clap::Command)) {
    visit(path, command);
    for verb in command.get_subcommands() {
        if verb.get_name() != "help" {
            each(verb, &format!("{path} {}", verb.get_name()), visit);
        }
    }
}

#[test]
fn every_command_is_shown_here_or_says_why_not() {
    let shown: Vec<_> = all().iter().map(|one| one.name).collect();
    let is_shown = |line: &str| {
        let mut names = shown.iter().map(|name| name.split(" · ").next().unwrap());
        names.any(|name| name == line) || ELSEWHERE.iter().any(|(name, _)| *name == line)
    };
    let mut missing = Vec::new();
    leaves(&Arguments::command(), "", &mut |line| {
        if !is_shown(line) {
            missing.push(line.to_owned());
        }
    });
    assert!(missing.is_empty(), "no snapshot of: {missing:?}");
}

fn leaves(command: &clap::Command, path: &str, visit: &mut dyn FnMut(&str)) {
    let mut verbs = command
        .get_subcommands()
        .filter(|verb| verb.get_name() != "help")
        .peekable();
    if verbs.peek().is_none() {
        return visit(path.trim());
    }
    for verb in verbs {
        leaves(verb, &format!("{path} {}", verb.get_name()), visit);
    }
}
