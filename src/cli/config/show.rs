//! `hermesctl config show`: every setting in effect, and its origin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::super::args::ShowFlags;
use super::super::output::{CommandFailure, CommandOutput, Exit};
use super::super::text;
use super::check;
use super::place::{ConfigLocation, talk};
use crate::config::{self, EnvSetting, Loaded, Setting, Variables};
use crate::doctor;
use crate::paths::Environment;
use crate::redact;

/// Where the logins are, by the environment.
const HOME: (&str, &str) = ("hermes_home", "HERMES_HOME");

/// Every setting with its origin.
#[derive(Serialize)]
pub(in crate::cli) struct Effective {
    file: Option<PathBuf>,
    settings: Vec<ShownSetting>,
    #[serde(skip)]
    written: Vec<Setting>,
}

#[derive(Serialize)]
struct ShownSetting {
    key: String,
    value: Value,
    origin: SettingOrigin,
}

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "from")]
enum SettingOrigin {
    Default,
    File {
        file: PathBuf,
        line: usize,
    },
    Environment {
        variable: &'static str,
    },
    HermesEnv {
        file: PathBuf,
        variable: &'static str,
    },
    CommandLine {
        pid: u32,
    },
}

/// Shows the settings.
pub(super) async fn show(
    flags: ShowFlags,
    output: &mut CommandOutput,
) -> Result<Exit, CommandFailure> {
    let place = ConfigLocation::find(flags.file).await?;
    let effective = effective(&place)?;
    output.answer(&effective, |effective, _| effective.text(flags.origin))?;
    if !output.is_json() && !place.was_named() {
        let warning: Vec<_> = place.warning().into_iter().collect();
        talk(&warning)?;
    }
    Ok(Exit::Ok)
}

/// What is in force by that file, and by the daemon that runs with it.
pub(super) fn effective(place: &ConfigLocation) -> Result<Effective, CommandFailure> {
    let env = Environment::from_process();
    let loaded = config::load(place.to_load(), &env).map_err(|error| check::invalid(&error))?;
    let home = loaded
        .config
        .hermes_home
        .clone()
        .or_else(|| env.hermes_home());
    let variables = home
        .as_deref()
        .map_or_else(Variables::of_process, Variables::read);
    Ok(of(loaded, place, &variables))
}

fn of(loaded: Loaded, place: &ConfigLocation, variables: &Variables) -> Effective {
    let written = config::settings(&loaded.config);
    let names = loaded.config.providers.keys();
    let providers: Vec<_> = names.map(ToString::to_string).collect();
    let mut origins = of_file(&written, &loaded.lines, loaded.file.as_deref());
    let daemon = place.daemon.as_ref().filter(|_| !place.was_named());
    let (written, pid) = match daemon {
        Some(daemon) => {
            let config = doctor::with_flags(loaded.config, &daemon.status.daemon.command_line);
            (config::settings(&config), Some(daemon.pid))
        }
        None => (written, None),
    };
    let settings = written.iter().map(|setting| {
        let before = origins.remove(&setting.place);
        let origin = match (before, pid) {
            (Some((value, origin)), _) if value == setting.value => origin,
            (_, Some(pid)) => SettingOrigin::CommandLine { pid },
            (_, None) => SettingOrigin::Default,
        };
        ShownSetting {
            key: setting.place.clone(),
            value: json(&setting.value),
            origin,
        }
    });
    let mut settings: Vec<_> = settings.collect();
    for shown in of_environment(&providers, variables) {
        match settings.iter_mut().find(|setting| setting.key == shown.key) {
            None => settings.push(shown),
            // The default is for where the environment is silent too.
            Some(setting) if setting.origin == SettingOrigin::Default => *setting = shown,
            Some(_) => {}
        }
    }
    Effective {
        file: loaded.file,
        settings,
        written,
    }
}

/// For a file with one key, beside a daemon.
#[cfg(test)]
pub(in crate::cli) fn sample() -> Effective {
    let place = super::place::sample();
    let env = Environment::from_lookup(|name| (name == "HOME").then(|| "/home/u".into()));
    let config = config::parse("[limits]\nbody = \"8 MiB\"\n", &place.file, &env).unwrap();
    let file = Some(place.file.clone());
    let loaded = Loaded {
        config,
        file,
        lines: BTreeMap::from([("limits.body".to_owned(), 2)]),
        digest: None,
    };
    of(loaded, &place, &Variables::of_process())
}

/// The values of a file with where they come from.
fn of_file(
    written: &[Setting],
    lines: &BTreeMap<String, usize>,
    file: Option<&Path>,
) -> BTreeMap<String, (String, SettingOrigin)> {
    let origin = |setting: &Setting| match (lines.get(&setting.place), file) {
        (Some(line), Some(file)) => SettingOrigin::File {
            file: file.to_owned(),
            line: *line,
        },
        _ => SettingOrigin::Default,
    };
    let entry = |setting: &Setting| {
        let value = (setting.value.clone(), origin(setting));
        (setting.place.clone(), value)
    };
    written.iter().map(entry).collect()
}

/// What the environment says of these providers, or the file that adds to it, and where the logins are.
fn of_environment(providers: &[String], variables: &Variables) -> Vec<ShownSetting> {
    let env = |name: &str| variables.get(name);
    let shown = |key: &str, (variable, value): (&'static str, String)| ShownSetting {
        key: key.to_owned(),
        value: Value::String(Url::parse(&value).map_or(value, |url| redact::url(&url))),
        origin: match variables.file_of(variable) {
            Some(file) => SettingOrigin::HermesEnv {
                file: file.to_owned(),
                variable,
            },
            None => SettingOrigin::Environment { variable },
        },
    };
    let home = env(HOME.1).and_then(|value| Some(config::unquoted(&value)?.to_owned()));
    let home = home.map(|home| shown(HOME.0, (HOME.1, home)));
    let is_there = |setting: &&EnvSetting| providers.iter().any(|name| setting.is_of(name));
    let settings = config::ENV_SETTINGS.iter().filter(is_there);
    let settings =
        settings.filter_map(|setting| Some(shown(setting.setting, setting.value(&env)?)));
    home.into_iter().chain(settings).collect()
}

/// A TOML value as JSON.
fn json(value: &str) -> Value {
    let table: Option<toml::Table> = toml::from_str(&format!("value = {value}")).ok();
    let value = table.and_then(|mut table| table.remove("value"));
    value
        .and_then(|value| serde_json::to_value(value).ok())
        .unwrap_or(Value::Null)
}

impl Effective {
    /// The settings as they would be written.
    pub(super) fn into_written(self) -> Vec<Setting> {
        self.written
    }

    /// The settings as a file; those of the environment alone are comments.
    pub(in crate::cli) fn text(&self, origins: bool) -> String {
        let origin = |setting: &Setting| {
            let mut shown = self.settings.iter();
            let origin = match &shown.find(|shown| shown.key == setting.place)?.origin {
                // This is the default; the variable has its own line below.
                SettingOrigin::Environment { .. } | SettingOrigin::HermesEnv { .. } => {
                    &SettingOrigin::Default
                }
                origin @ (SettingOrigin::Default
                | SettingOrigin::File { .. }
                | SettingOrigin::CommandLine { .. }) => origin,
            };
            Some(text::inline(&origin.to_string()))
        };
        let mut text = String::new();
        if origins {
            let file = self.file.as_ref().map(|file| file.display().to_string());
            let file = file.unwrap_or_else(|| "no file, all defaults".to_owned());
            text.extend(["# ", &text::inline(&file), "\n"]);
        }
        text += &config::to_toml(&self.written, |setting| origin(setting).filter(|_| origins));
        for shown in &self.settings {
            if let SettingOrigin::Environment { .. } | SettingOrigin::HermesEnv { .. } =
                shown.origin
            {
                let value = text::inline(&shown.value.to_string());
                let line = format!("\n# {} = {value}  # {}\n", shown.key, shown.origin);
                text.push_str(&line);
            }
        }
        text
    }
}

impl std::fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line } => {
                let name = file.file_name().unwrap_or(file.as_os_str());
                write!(f, "{}:{line}", name.display())
            }
            Self::Environment { variable } => {
                write!(f, "environment of this shell: {variable}")
            }
            Self::HermesEnv { file, variable } => write!(f, "{}: {variable}", file.display()),
            Self::CommandLine { pid } => write!(f, "command line of hermes-proxyd (pid {pid})"),
        }
    }
}
