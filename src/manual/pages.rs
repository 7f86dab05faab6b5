//! hermes-proxyd(1), hermesctl(1) and hermes-proxyd.toml(5); pure.

use clap::Command;

use super::generated::GeneratedFile;
use super::line;
use super::markdown;
use super::page::ManPage;
use crate::config::{self, ReferenceEntry};
use crate::daemon::args;

/// The pages' names, as `man` takes them.
pub const PAGES: [&str; 3] = ["hermesctl", "hermes-proxyd", "hermes-proxyd.toml"];

/// What is explained, and the explanation.
type ManualItem = (&'static str, &'static str);

const CONFIG: ManualItem = (
    "`~/.config/hermes-proxyd/config.toml`",
    "The configuration, see `hermes-proxyd.toml`(5). `$XDG_CONFIG_HOME` replaces `~/.config`. The \
     file is optional.",
);
const STORE: ManualItem = (
    "`~/.hermes/auth.json`",
    "The login that Hermes Agent shares. `$HERMES_HOME` replaces `~/.hermes`.",
);
const STATE: ManualItem = (
    "`~/.local/state/hermes-proxyd/`",
    "What must survive a restart: the clients' keys (as hashes only), a separate login, the \
     journal of refreshes. `$XDG_STATE_HOME` replaces `~/.local/state`.",
);
const SOCKET: ManualItem = (
    "`$XDG_RUNTIME_DIR/hermes-proxyd/control.sock`",
    "Where `hermesctl` talks to the daemon of the same user.",
);
const UNIT: ManualItem = (
    "`hermes-proxyd.service`, `hermes-proxyd.socket`",
    "The units for `systemd --user`.",
);

const PATHS: [ManualItem; 4] = [
    (
        "`HERMES_HOME`",
        "Hermes Agent's home, where its login is stored. Default: `~/.hermes`.",
    ),
    (
        "`HERMES_SHARED_AUTH_DIR`",
        "The folder of the login that all of Hermes Agent's profiles share. Default: `shared` in \
         Hermes Agent's home.",
    ),
    (
        "`XDG_CONFIG_HOME`, `XDG_STATE_HOME`, `XDG_RUNTIME_DIR`",
        "Where the files above are. Without the last one, `/run/user/UID` is tried.",
    ),
    ("`NO_COLOR`", "Set to any value: no colours."),
];
const NETWORK: [ManualItem; 2] = [
    (
        "`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`",
        "The proxy to the provider: `http://`, `socks5://` or `socks4://`. This machine is always \
         reached directly.",
    ),
    (
        "`HERMES_CA_BUNDLE`",
        "Certificates (PEM) to trust in addition to the system's.",
    ),
];
const SERVICE: ManualItem = (
    "`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `LISTEN_FDS`, `JOURNAL_STREAM`",
    "Set by systemd: for readiness and watchdog messages, inherited sockets, and the log in the \
     journal.",
);

/// All pages, from the shape of hermesctl's command line.
pub fn pages(hermesctl: &Command) -> Vec<GeneratedFile> {
    let mut hermesctl = hermesctl.clone();
    hermesctl.build();
    let mut daemon = args::command();
    daemon.build();
    vec![
        document("hermesctl.1", ctl(&hermesctl)),
        document("hermes-proxyd.1", proxyd(&daemon)),
        document("hermes-proxyd.toml.5", toml()),
    ]
}

fn document(name: &str, page: ManPage) -> GeneratedFile {
    GeneratedFile {
        name: name.to_owned(),
        text: page.finish(),
    }
}

fn ctl(command: &Command) -> ManPage {
    let mut page = ManPage::new("hermesctl", "1", "inspect and control hermes-proxyd");
    line::synopsis(&mut page, command);
    page.heading("DESCRIPTION");
    page.text(
        "`hermesctl` talks to the `hermes-proxyd`(1) of the same user: it shows the state of the \
         service, logs in and out, and manages the keys of apps. Logins and keys can be managed \
         without a running service too.",
    );
    page.paragraph(
        "Answers go to standard output, everything else to standard error. With `--json` the \
         answer is JSON in a stable form (docs/json.md, beside the README, has every field); a \
         failure is {\"error\": {\"code\", \"message\", \"hint\"}}.",
    );
    line::options(&mut page, command);
    line::commands(&mut page, command);
    line::exit_status(&mut page, command);
    items(&mut page, "ENVIRONMENT", &PATHS);
    items(&mut page, "FILES", &[CONFIG, STORE, STATE, SOCKET]);
    page.heading("EXAMPLES");
    page.text("Log in, check that all is well, and give an app its own key:");
    page.lines([
        "hermesctl auth login",
        "hermesctl proxy status",
        "hermesctl clients add karakeep",
    ]);
    page.paragraph("Set up completion in bash:");
    page.lines([
        "hermesctl completions bash > ~/.local/share/bash-completion/completions/hermesctl",
    ]);
    see_also(
        &mut page,
        &["hermes-proxyd(1)", "hermes-proxyd.toml(5)", "systemctl(1)"],
    );
    page
}

fn proxyd(command: &Command) -> ManPage {
    let words = "local service that lets every app use the AI subscription you already pay for";
    let mut page = ManPage::new("hermes-proxyd", "1", words);
    line::synopsis(&mut page, command);
    page.heading("DESCRIPTION");
    page.text(
        "`hermes-proxyd` is a service of your own user. It listens on `http://127.0.0.1:8645/v1`, \
         takes OpenAI-compatible requests from apps with any API key, replaces that key with your \
         login and streams the answer back untouched. It keeps that login fresh and shares it \
         with Hermes Agent.",
    );
    page.paragraph("Without a configuration every setting has its default.");
    line::options(&mut page, command);
    line::commands(&mut page, command);
    page.heading("SIGNALS");
    page.item(
        "`SIGHUP`",
        "Reload the configuration, as `hermesctl proxy reload` does.",
    );
    page.item(
        "`SIGTERM`, `SIGINT`",
        "Let running requests finish for up to `timeouts.drain`, then exit. A second signal exits \
         at once.",
    );
    line::exit_status(&mut page, command);
    let environment: Vec<_> = PATHS.into_iter().chain(NETWORK).collect();
    items(&mut page, "ENVIRONMENT", &environment);
    for variable in config::ENV_SETTINGS {
        let names: Vec<_> = variable
            .names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        page.item(&names.join(", "), variable.about);
    }
    page.item(SERVICE.0, SERVICE.1);
    items(&mut page, "FILES", &[CONFIG, STORE, STATE, SOCKET, UNIT]);
    page.heading("EXAMPLES");
    page.text("Run it in the foreground and list the models:");
    page.lines(["hermes-proxyd &", "curl http://127.0.0.1:8645/v1/models"]);
    page.paragraph("Check a configuration without applying it:");
    page.lines(["hermes-proxyd --check --config new.toml"]);
    see_also(
        &mut page,
        &[
            "hermesctl(1)",
            "hermes-proxyd.toml(5)",
            "systemd.service(5)",
        ],
    );
    page
}

fn toml() -> ManPage {
    let words = "configuration of hermes-proxyd";
    let mut page = ManPage::new("hermes-proxyd.toml", "5", words);
    page.heading("DESCRIPTION");
    page.text(
        "`hermes-proxyd`(1) reads one file in TOML. Every key is optional: a key that the file \
         omits has its default. All mistakes are reported at once, each with its line, and then \
         nothing is changed. After a change run `hermesctl proxy reload`.",
    );
    page.paragraph(&config::notation());
    settings(&mut page);
    items(&mut page, "FILES", &[CONFIG]);
    items(&mut page, "ENVIRONMENT", &PATHS[..3]);
    page.heading("EXIT STATUS");
    page.text("`hermes-proxyd` exits with 78 if the file has a mistake.");
    page.heading("EXAMPLES");
    page.text("An address for containers in addition to the usual one:");
    page.lines([
        "[[listen]]",
        "address = \"127.0.0.1:8645\"",
        "",
        "[[listen]]",
        "address = \"docker0:8645\"",
    ]);
    see_also(&mut page, &["hermes-proxyd(1)", "hermesctl(1)"]);
    page
}

/// Every key, table by table.
fn settings(page: &mut ManPage) {
    for table in config::tables() {
        if table.pattern.is_empty() {
            page.heading("TOP LEVEL");
        } else {
            page.heading(&markdown::heading(&table.pattern));
            page.text(&table.text);
        }
        for entry in &table.keys {
            setting(page, entry);
        }
    }
}

fn setting(page: &mut ManPage, entry: &ReferenceEntry) {
    let default = entry.default.as_ref();
    let default = default.map_or_else(
        || "No default".to_owned(),
        |value| format!("Default: {value}"),
    );
    let takes = entry.key.takes.describe();
    page.item(
        &format!("`{}`", entry.name()),
        &format!("{} {default}; {takes}.", entry.text),
    );
}

fn items(page: &mut ManPage, heading: &str, items: &[ManualItem]) {
    page.heading(heading);
    for (what, text) in items {
        page.item(what, text);
    }
}

fn see_also(page: &mut ManPage, pages: &[&str]) {
    page.heading("SEE ALSO");
    let pages: Vec<_> = pages
        .iter()
        .map(|page| page.replacen('(', "`(", 1))
        .collect();
    page.text(&format!("`{}", pages.join(", `")));
}
