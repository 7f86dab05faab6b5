//! hermes-proxyd(1), hermesctl(1) and hermes-proxyd.toml(5); pure.

use clap::Command;

use super::Document;
use super::line;
use super::markdown;
use super::page::Page;
use crate::config::{self, Entry};
use crate::daemon::args;

/// The pages' names, as `man` takes them.
pub const PAGES: [&str; 3] = ["hermesctl", "hermes-proxyd", "hermes-proxyd.toml"];

/// What is explained, and the explanation.
type Item = (&'static str, &'static str);

const CONFIG: Item = (
    "`~/.config/hermes-proxyd/config.toml`",
    "The configuration, see `hermes-proxyd.toml`(5). `$XDG_CONFIG_HOME` takes the place of \
     `~/.config`. Nothing has to be there.",
);
const STORE: Item = (
    "`~/.hermes/auth.json`",
    "The login that Hermes Agent shares. `$HERMES_HOME` takes the place of `~/.hermes`.",
);
const STATE: Item = (
    "`~/.local/state/hermes-proxyd/`",
    "What must outlive a restart: the clients' keys (as hashes only), a login of our own, the journal \
     of refreshes. `$XDG_STATE_HOME` takes the place of `~/.local/state`.",
);
const SOCKET: Item = (
    "`$XDG_RUNTIME_DIR/hermes-proxyd/control.sock`",
    "Where `hermesctl` talks to the daemon of the same user.",
);
const UNIT: Item = (
    "`hermes-proxyd.service`, `hermes-proxyd.socket`",
    "The units of the user's systemd.",
);

const PATHS: [Item; 4] = [
    (
        "`HERMES_HOME`",
        "Hermes Agent's home, where its login lies. Without it: `~/.hermes`.",
    ),
    (
        "`HERMES_SHARED_AUTH_DIR`",
        "The folder of the login that all of Hermes Agent's profiles share. Without it: `shared` in \
         Hermes Agent's home.",
    ),
    (
        "`XDG_CONFIG_HOME`, `XDG_STATE_HOME`, `XDG_RUNTIME_DIR`",
        "Where the files above lie. Without the last one, `/run/user/UID` is looked for.",
    ),
    ("`NO_COLOR`", "Set to anything: nothing is coloured."),
];
const NETWORK: [Item; 4] = [
    (
        "`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`",
        "The proxy to the provider: `http://`, `socks5://` or `socks4://`. This machine is always \
         reached straight.",
    ),
    (
        "`HERMES_CA_BUNDLE`",
        "Certificates (PEM) that are trusted beside the system's.",
    ),
    (
        "`NOUS_INFERENCE_BASE_URL`",
        "Where requests for Nous Portal go instead. The login is sent there.",
    ),
    (
        "`HERMES_PORTAL_BASE_URL`, `NOUS_PORTAL_BASE_URL`",
        "Where tokens of Nous Portal are refreshed instead. The login is sent there.",
    ),
];
const SERVICE: Item = (
    "`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `LISTEN_FDS`, `JOURNAL_STREAM`",
    "Set by systemd: readiness and signs of life are told, sockets taken over, and the log goes to the \
     journal.",
);

/// All pages, from the shape of hermesctl's command line.
pub fn pages(hermesctl: &Command) -> Vec<Document> {
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

fn document(name: &str, page: Page) -> Document {
    Document {
        name: name.to_owned(),
        text: page.finish(),
    }
}

fn ctl(command: &Command) -> Page {
    let mut page = Page::new("hermesctl", "1", "see and steer hermes-proxyd");
    line::synopsis(&mut page, command);
    page.heading("DESCRIPTION");
    page.text(
        "`hermesctl` talks to the `hermes-proxyd`(1) of the same user: it shows how the service is, logs \
         in and out, and gives apps their keys. Logins and keys can be looked after without a running \
         service too.",
    );
    page.paragraph(
        "Answers go to standard output, all else to standard error. With `--json` the answer is JSON \
         whose form stays (docs/json.md, beside the README, has every field); a failure is {\"error\": {\"code\", \"message\", \"hint\"}}.",
    );
    line::options(&mut page, command);
    line::commands(&mut page, command);
    line::exit_status(&mut page, command);
    items(&mut page, "ENVIRONMENT", &PATHS);
    items(&mut page, "FILES", &[CONFIG, STORE, STATE, SOCKET]);
    page.heading("EXAMPLES");
    page.text("Log in, see that all is well, and give an app a key of its own:");
    page.lines([
        "hermesctl auth login",
        "hermesctl proxy status",
        "hermesctl clients add karakeep",
    ]);
    page.paragraph("Have bash complete `hermesctl`:");
    page.lines([
        "hermesctl completions bash > ~/.local/share/bash-completion/completions/hermesctl",
    ]);
    see_also(
        &mut page,
        &["hermes-proxyd(1)", "hermes-proxyd.toml(5)", "systemctl(1)"],
    );
    page
}

fn proxyd(command: &Command) -> Page {
    let words = "local service that lets every app use the AI subscription you already pay for";
    let mut page = Page::new("hermes-proxyd", "1", words);
    line::synopsis(&mut page, command);
    page.heading("DESCRIPTION");
    page.text(
        "`hermes-proxyd` is a service of your own user. It listens on `http://127.0.0.1:8645/v1`, takes \
         OpenAI-compatible requests from apps with any API key, puts your login in its place and streams \
         the answer back untouched. It keeps that login fresh, beside Hermes Agent and on the same \
         login.",
    );
    page.paragraph("Without a configuration everything is at its default.");
    line::options(&mut page, command);
    line::commands(&mut page, command);
    page.heading("SIGNALS");
    page.item(
        "`SIGHUP`",
        "Read the configuration again, as `hermesctl proxy reload` does.",
    );
    page.item(
        "`SIGTERM`, `SIGINT`",
        "Let requests finish for `timeouts.drain`, and end. A second one ends that.",
    );
    line::exit_status(&mut page, command);
    let environment: Vec<_> = PATHS.into_iter().chain(NETWORK).chain([SERVICE]).collect();
    items(&mut page, "ENVIRONMENT", &environment);
    items(&mut page, "FILES", &[CONFIG, STORE, STATE, SOCKET, UNIT]);
    page.heading("EXAMPLES");
    page.text("Run it in the foreground and ask it for its models:");
    page.lines(["hermes-proxyd &", "curl http://127.0.0.1:8645/v1/models"]);
    page.paragraph("Check a configuration without using it:");
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

fn toml() -> Page {
    let words = "configuration of hermes-proxyd";
    let mut page = Page::new("hermes-proxyd.toml", "5", words);
    page.heading("DESCRIPTION");
    page.text(
        "`hermes-proxyd`(1) reads one file in TOML. Nothing has to stand in it: what it leaves out is at \
         its default. A mistake is told with its line, all mistakes at once, and changes nothing. After a \
         change run `hermesctl proxy reload`.",
    );
    page.paragraph(&config::notation());
    settings(&mut page);
    items(&mut page, "FILES", &[CONFIG]);
    items(&mut page, "ENVIRONMENT", &PATHS[..3]);
    page.heading("EXIT STATUS");
    page.text("`hermes-proxyd` ends with 78 when the file has a mistake.");
    page.heading("EXAMPLES");
    page.text("An address for containers beside the usual one, each with a client key:");
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
fn settings(page: &mut Page) {
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

fn setting(page: &mut Page, entry: &Entry) {
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

fn items(page: &mut Page, heading: &str, items: &[Item]) {
    page.heading(heading);
    for (what, text) in items {
        page.item(what, text);
    }
}

fn see_also(page: &mut Page, pages: &[&str]) {
    page.heading("SEE ALSO");
    let pages: Vec<_> = pages
        .iter()
        .map(|page| page.replacen('(', "`(", 1))
        .collect();
    page.text(&format!("`{}", pages.join(", `")));
}
