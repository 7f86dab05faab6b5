//! The locations of configuration, control socket and Hermes Agent's home, per platform.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folder of ours below the configuration and runtime folders.
const NAME: &str = "hermes-proxyd";

/// The values of the environment that decide where things lie.
///
/// A value, so that tests need not change the process's environment.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    home: Option<PathBuf>,
    hermes_home: Option<PathBuf>,
    shared_auth_dir: Option<PathBuf>,
    config_home: Option<PathBuf>,
    state_home: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    /// Another user's, which `sudo -E` has left us.
    others_runtime_dir: Option<PathBuf>,
}

/// The name of a log's file after its rotation: `FILE.1`.
pub fn older_log(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

impl Environment {
    /// Reads the process's environment.
    pub fn from_process() -> Self {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// Reads the values from `lookup`; empty ones count as absent.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| lookup(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let absolute = |name: &str| path(name).filter(|p| p.is_absolute());
        let (home, config_home, state_home) = if cfg!(windows) {
            let local = path("LOCALAPPDATA")
                .or_else(|| path("USERPROFILE").map(|home| home.join("AppData").join("Local")));
            (path("USERPROFILE"), path("APPDATA"), local)
        } else {
            (
                path("HOME"),
                absolute("XDG_CONFIG_HOME"),
                absolute("XDG_STATE_HOME"),
            )
        };
        let (runtime_dir, others_runtime_dir) = match absolute("XDG_RUNTIME_DIR") {
            Some(folder) if !is_ours(&folder) => (None, Some(folder)),
            folder => (folder, None),
        };
        Self {
            home,
            hermes_home: path("HERMES_HOME"),
            shared_auth_dir: path("HERMES_SHARED_AUTH_DIR"),
            config_home,
            state_home,
            runtime_dir,
            others_runtime_dir,
        }
    }

    /// The home folder.
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// `~/Library/Logs/hermes-proxyd.log`, where the agent of launchd logs to. `None` without a home.
    pub fn agent_log(&self) -> Option<PathBuf> {
        Some(self.home()?.join("Library/Logs/hermes-proxyd.log"))
    }

    /// `hermes-proxyd.log` in the state folder, where the logon task of Windows logs to. `None`
    /// without a home.
    pub fn task_log(&self) -> Option<PathBuf> {
        Some(self.state_dir()?.join("hermes-proxyd.log"))
    }

    /// Where the service logs to on this system, unless its manager keeps the log itself.
    pub fn service_log(&self) -> Option<PathBuf> {
        if cfg!(windows) {
            self.task_log()
        } else {
            self.agent_log()
        }
    }

    /// `$XDG_CONFIG_HOME/hermes-proxyd/config.toml` (`~/.config` by default; Windows:
    /// `%APPDATA%`). `None` without a home.
    pub fn config_file(&self) -> Option<PathBuf> {
        Some(self.config_home()?.join(NAME).join("config.toml"))
    }

    /// The folder of the user's own systemd units, `$XDG_CONFIG_HOME/systemd/user`. `None` without
    /// a home.
    pub fn unit_dir(&self) -> Option<PathBuf> {
        Some(self.config_home()?.join("systemd").join("user"))
    }

    fn config_home(&self) -> Option<PathBuf> {
        let home = || Some(self.home.as_ref()?.join(".config"));
        self.config_home.clone().or_else(home)
    }

    /// Whether `$XDG_CONFIG_HOME` (Windows: `%APPDATA%`) says where configurations lie.
    pub fn has_config_home(&self) -> bool {
        self.config_home.is_some()
    }

    /// The folder of the control socket and its lock: `$XDG_RUNTIME_DIR/hermes-proxyd`, else
    /// `/run/user/<uid>/hermes-proxyd` where that exists (a shell without a session, such as
    /// cron's, lacks the variable but must find the daemon), else the state folder
    /// `~/.local/state/hermes-proxyd`; `/run/hermes-proxyd` for root in another user's home. `None`
    /// without any of them.
    pub fn runtime_dir(&self) -> Option<PathBuf> {
        let base = self.runtime_base().or_else(|| {
            let state = self.state_home()?;
            Some(if user() == 0 && !is_ours_above(&state) {
                PathBuf::from(ROOTS_RUNTIME_DIR)
            } else {
                state
            })
        });
        Some(base?.join(NAME))
    }

    /// The folders in which a daemon's control socket may be, the usual one first. As root in another
    /// user's home, as after `sudo -E`, also those of the home's owner, whose daemon uses the same logins.
    pub fn runtime_dirs(&self) -> Vec<PathBuf> {
        let mut folders: Vec<_> = self.runtime_dir().into_iter().collect();
        for folder in self.owners_runtime_dirs() {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders
    }

    #[cfg(unix)]
    fn owners_runtime_dirs(&self) -> Vec<PathBuf> {
        let owner = self.home.as_deref().and_then(owner_of);
        let Some(owner) = owner.filter(|owner| *owner != 0 && user() == 0) else {
            return Vec::new();
        };
        let inherited = self.others_runtime_dir.clone();
        let inherited = inherited.filter(|folder| owner_of(folder) == Some(owner));
        let theirs = [inherited, runtime_dir_of(owner), self.state_home()];
        let folders = theirs.into_iter().flatten();
        folders.map(|folder| folder.join(NAME)).collect()
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "the same shape as on Unix")]
    fn owners_runtime_dirs(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// What systemd calls `%t`: `$XDG_RUNTIME_DIR`, else `/run/user/<uid>` where that exists.
    pub fn runtime_base(&self) -> Option<PathBuf> {
        self.runtime_dir.clone().or_else(default_runtime_dir)
    }

    /// The folder for what is ours and must outlive a restart: `$XDG_STATE_HOME/hermes-proxyd`,
    /// else `~/.local/state/hermes-proxyd` (Windows: `%LOCALAPPDATA%`). `None` without a home.
    pub fn state_dir(&self) -> Option<PathBuf> {
        Some(self.state_home()?.join(NAME))
    }

    fn state_home(&self) -> Option<PathBuf> {
        let home = || Some(self.home.as_ref()?.join(".local").join("state"));
        self.state_home.clone().or_else(home)
    }

    /// Hermes Agent's home: `$HERMES_HOME`, else `~/.hermes` (Windows: `%LOCALAPPDATA%\hermes`).
    pub fn hermes_home(&self) -> Option<PathBuf> {
        self.hermes_home
            .clone()
            .or_else(|| self.hermes_default_home())
    }

    /// The root that all profiles share, as Hermes Agent's `get_default_hermes_root` finds it: the
    /// platform's default if `home` is in it; the grandparent of `<root>/profiles/<name>`;
    /// otherwise `home` itself.
    pub fn hermes_root(&self, home: &Path) -> PathBuf {
        if let Some(native) = self.hermes_default_home()
            && resolve(home).starts_with(resolve(&native))
        {
            return native;
        }
        match home.parent() {
            Some(parent) if parent.file_name().is_some_and(|name| name == "profiles") => parent
                .parent()
                .map_or_else(|| home.to_path_buf(), Path::to_path_buf),
            _ => home.to_path_buf(),
        }
    }

    /// The folder of the tokens that all profiles share: `$HERMES_SHARED_AUTH_DIR`, else
    /// `<root>/shared`.
    pub fn hermes_shared_dir(&self, home: &Path) -> PathBuf {
        match &self.shared_auth_dir {
            Some(dir) => self.expand_home(dir),
            None => self.hermes_root(home).join("shared"),
        }
    }

    /// Replaces a leading `~` by the home folder.
    pub fn expand_home(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), &self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_path_buf(),
        }
    }

    fn hermes_default_home(&self) -> Option<PathBuf> {
        if cfg!(windows) {
            Some(self.state_home.as_ref()?.join("hermes"))
        } else {
            Some(self.home.as_ref()?.join(".hermes"))
        }
    }
}

/// The path without links and dots if it exists, otherwise unchanged.
fn resolve(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// Whether a folder does not belong to another user: `su` and `sudo` may leave us their caller's
/// variable.
#[cfg(unix)]
fn is_ours(folder: &Path) -> bool {
    owner_of(folder).is_none_or(|owner| owner == user())
}

#[cfg(unix)]
fn owner_of(folder: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    Some(folder.metadata().ok()?.uid())
}

/// Where root's control socket is when its home is another user's: what root makes in there, that user
/// could not change or remove.
#[cfg(target_os = "linux")]
const ROOTS_RUNTIME_DIR: &str = "/run";
#[cfg(not(target_os = "linux"))]
const ROOTS_RUNTIME_DIR: &str = "/var/run";

/// The same for the nearest existing ancestor.
fn is_ours_above(folder: &Path) -> bool {
    let mut above = folder.ancestors();
    above
        .find(|folder| folder.exists())
        .is_none_or(|folder| cfg!(windows) || is_ours(folder))
}

/// The number of the user that this process acts as; 0 where users have none.
#[cfg(unix)]
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The number of the user that this process acts as; 0 where users have none.
#[cfg(not(unix))]
pub fn user() -> u32 {
    0
}

#[cfg(not(unix))]
fn is_ours(_folder: &Path) -> bool {
    true
}

fn default_runtime_dir() -> Option<PathBuf> {
    runtime_dir_of(user())
}

#[cfg(target_os = "linux")]
fn runtime_dir_of(user: u32) -> Option<PathBuf> {
    let dir = PathBuf::from(format!("/run/user/{user}"));
    dir.is_dir().then_some(dir)
}

#[cfg(not(target_os = "linux"))]
fn runtime_dir_of(_user: u32) -> Option<PathBuf> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn environment(values: &'static [(&'static str, &'static str)]) -> Environment {
        Environment::from_lookup(|name| {
            values
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_defaults_lie_below_the_home() {
        let env = environment(&[("HOME", "/home/u")]);
        assert_eq!(
            env.config_file().unwrap(),
            Path::new("/home/u/.config/hermes-proxyd/config.toml")
        );
        assert_eq!(env.hermes_home().unwrap(), Path::new("/home/u/.hermes"));
        assert_eq!(
            env.hermes_shared_dir(Path::new("/home/u/.hermes")),
            Path::new("/home/u/.hermes/shared")
        );
    }

    #[test]
    fn a_profile_shares_the_tokens_of_its_root() {
        let env = environment(&[("HOME", "/home/u")]);
        let profile = Path::new("/home/u/.hermes/profiles/work");
        assert_eq!(env.hermes_root(profile), Path::new("/home/u/.hermes"));
        assert_eq!(
            env.hermes_root(Path::new("/data/profiles/work")),
            Path::new("/data")
        );
        assert_eq!(env.hermes_root(Path::new("/data")), Path::new("/data"));
    }

    #[test]
    fn a_runtime_folder_of_another_user_is_not_ours() {
        let own = tempfile::tempdir().unwrap();
        let path = own.path().to_owned();
        let env = Environment::from_lookup(|name| {
            (name == "XDG_RUNTIME_DIR").then(|| path.clone().into_os_string())
        });
        assert_eq!(env.runtime_base(), Some(path.clone()));
        assert!(is_ours(&own.path().join("absent")));
        // Root's, unless we are root.
        let others = if user() == 0 {
            std::os::unix::fs::chown(&path, Some(54321), None).unwrap();
            path
        } else {
            PathBuf::from("/")
        };
        assert!(!is_ours(&others));
        let env = Environment::from_lookup(|name| {
            (name == "XDG_RUNTIME_DIR").then(|| others.clone().into_os_string())
        });
        assert_ne!(env.runtime_base(), Some(others));
    }

    #[test]
    fn xdg_values_win_and_relative_ones_are_ignored() {
        let env = environment(&[
            ("HOME", "/home/u"),
            ("XDG_CONFIG_HOME", "relative"),
            ("XDG_RUNTIME_DIR", "/run/mine"),
            ("HERMES_HOME", ""),
        ]);
        assert!(env.config_file().unwrap().starts_with("/home/u/.config"));
        assert_eq!(
            env.runtime_dir().unwrap(),
            Path::new("/run/mine/hermes-proxyd")
        );
        assert_eq!(env.hermes_home().unwrap(), Path::new("/home/u/.hermes"));
    }
}
