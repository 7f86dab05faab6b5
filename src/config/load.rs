//! Reads the configuration file from the disk.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Config, ConfigError, file};
use crate::paths::Environment;

/// More than any configuration needs.
const LONGEST: u64 = 1 << 20;

/// A configuration, and the file that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The file's settings, with defaults for the rest.
    pub config: Config,
    /// The file; `None` when there is none and everything is at its default.
    pub file: Option<PathBuf>,
    /// The keys in the file, as problems name them, with their lines.
    pub lines: BTreeMap<String, usize>,
    /// Tells its text from another one.
    pub digest: Option<String>,
}

impl Loaded {
    /// Whether the file has a `[[listen]]`. Without one there is the default listener, which must be
    /// listed beside the first one that is added.
    pub fn names_listeners(&self) -> bool {
        self.lines.contains_key("listen")
    }
}

/// Reads the file at `path`, which must exist, or without a path the one at
/// [`Environment::config_file`], which need not.
///
/// A file that another user could have written is an error: it could send the credential
/// elsewhere.
pub fn load(path: Option<&Path>, env: &Environment) -> Result<Loaded, ConfigError> {
    let Some(file) = path.map(Path::to_path_buf).or_else(|| env.config_file()) else {
        return Ok(defaults());
    };
    match read_file(&file) {
        Ok(text) => {
            let reading = file::read(&text, &file, env);
            Ok(Loaded {
                config: reading.config?,
                file: Some(file),
                lines: reading.lines,
                digest: Some(digest(&text)),
            })
        }
        Err(Unusable::Io(error)) if path.is_none() && error.kind() == io::ErrorKind::NotFound => {
            Ok(defaults())
        }
        Err(Unusable::Io(error)) => Err(ConfigError::of_file(
            file,
            format!("cannot be read: {error}"),
        )),
        Err(Unusable::Refused(message)) => Err(ConfigError::of_file(file, message)),
    }
}

/// [`Loaded::digest`] of the current file; `None` if it can't be read.
pub fn digest_of(file: &Path) -> Option<String> {
    read_file(file).ok().map(|text| digest(&text))
}

fn digest(text: &str) -> String {
    let hash = Sha256::digest(text);
    let start = hash.first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(start))
}

fn defaults() -> Loaded {
    Loaded {
        config: Config::default(),
        file: None,
        lines: BTreeMap::new(),
        digest: None,
    }
}

/// Why a file's text can't be read.
enum Unusable {
    Io(io::Error),
    Refused(String),
}

fn read_file(path: &Path) -> Result<String, Unusable> {
    let file = open(path).map_err(Unusable::Io)?;
    let metadata = file.metadata().map_err(Unusable::Io)?;
    check_writers(path, &metadata).map_err(Unusable::Refused)?;
    if metadata.is_file() {
        check_folders(path).map_err(Unusable::Refused)?;
    }
    let mut bytes = Vec::new();
    let read = file.take(LONGEST + 1).read_to_end(&mut bytes);
    if read.map_err(Unusable::Io)? as u64 > LONGEST {
        return Err(Unusable::Refused("is larger than 1 MiB".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to());
        let line = valid.filter(|byte| **byte == b'\n').count() + 1;
        Unusable::Refused(format!("is not UTF-8 text: see line {line}"))
    })
}

/// A pipe is not awaited, unless the caller holds it: `--config <(…)`, `/dev/stdin`.
fn open(path: &Path) -> io::Result<File> {
    if path.starts_with("/dev") || path.starts_with("/proc") {
        return File::open(path);
    }
    #[cfg(unix)]
    if std::os::unix::fs::FileTypeExt::is_fifo(&path.metadata()?.file_type()) {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut options = std::fs::OpenOptions::new();
    #[cfg(unix)]
    {
        // It may have become a pipe since.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    }
    options.read(true).open(path)
}

/// Only the user and root may be able to write the file. Devices and pipes pass: `/dev/null` and
/// `--config <(…)` come from the caller.
#[cfg(unix)]
fn check_writers(path: &Path, metadata: &Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;

    const OTHERS_WRITE: u32 = 0o002;
    if !metadata.is_file() {
        return Ok(());
    }
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us && metadata.uid() != 0 {
        return Err(format!(
            "belongs to the user with the id {}: it must be yours or root's",
            metadata.uid()
        ));
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err(format!(
            "is writable by everyone on this machine: run `chmod o-w {}`",
            path.display()
        ));
    }
    Ok(())
}

/// Only the user and root may be able to put another file in its place, or a link to one of the user's.
#[cfg(unix)]
fn check_folders(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;

    const STICKY: u32 = 0o1000;
    const OTHERS_WRITE: u32 = 0o002;
    let us = rustix::process::geteuid().as_raw();
    let followed = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for folder in [path, &followed].into_iter().filter_map(Path::parent) {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let Ok(metadata) = folder.metadata() else {
            continue;
        };
        let shown = folder.display();
        if metadata.uid() != us && metadata.uid() != 0 {
            return Err(format!(
                "is in the folder {shown}, which belongs to the user with the id {}: it must be \
                 yours or root's",
                metadata.uid()
            ));
        }
        if metadata.mode() & OTHERS_WRITE != 0 && metadata.mode() & STICKY == 0 {
            return Err(format!(
                "can be replaced by everyone on this machine: run `chmod o-w {shown}`"
            ));
        }
    }
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
fn check_folders(_: &Path) -> Result<(), String> {
    Ok(())
}

/// On Windows the profile's folder lets only its user in.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
fn check_writers(_: &Path, _: &Metadata) -> Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_home(home: &Path) -> Environment {
        let home = home.as_os_str().to_owned();
        Environment::from_lookup(move |name| {
            matches!(name, "HOME" | "USERPROFILE" | "APPDATA").then(|| home.clone())
        })
    }

    fn message(path: &Path) -> String {
        let error = load(Some(path), &Environment::default()).unwrap_err();
        error.to_string()
    }

    #[test]
    fn without_the_default_file_everything_is_at_its_default() {
        let home = tempfile::tempdir().unwrap();
        let loaded = load(None, &at_home(home.path())).unwrap();
        assert_eq!(loaded, defaults());
        assert_eq!(load(None, &Environment::default()).unwrap(), defaults());
    }

    #[test]
    fn the_default_file_is_read_when_it_is_there() {
        let home = tempfile::tempdir().unwrap();
        let env = at_home(home.path());
        let file = env.config_file().unwrap();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "[log]\nlevel = \"debug\"\n").unwrap();
        let loaded = load(None, &env).unwrap();
        assert_eq!(loaded.config.log.level, "debug");
        assert_eq!(loaded.file, Some(file));
    }

    #[test]
    fn a_file_that_was_asked_for_must_exist() {
        let home = tempfile::tempdir().unwrap();
        let missing = home.path().join("missing.toml");
        let text = message(&missing);
        assert!(
            text.starts_with(&format!("{}: cannot be read", missing.display())),
            "{text}"
        );
    }

    #[test]
    fn text_in_another_encoding_and_huge_files_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config.toml");
        std::fs::write(&file, b"# one\n# \xff\n").unwrap();
        assert!(message(&file).ends_with("is not UTF-8 text: see line 2"));
        std::fs::write(&file, "#".repeat(2 << 20)).unwrap();
        assert!(message(&file).ends_with("is larger than 1 MiB"));
    }

    /// It would take one `rename` to send the credential elsewhere.
    #[cfg(unix)]
    #[test]
    fn a_file_in_a_folder_that_everybody_may_write_is_an_error() {
        use std::os::unix::fs::PermissionsExt;

        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("shared");
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("config.toml");
        std::fs::write(&file, "").unwrap();
        let link = home.path().join("link.toml");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for (mode, refused) in [(0o777, true), (0o1777, false), (0o775, false)] {
            std::fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();
            for path in [&file, &link] {
                let loaded = load(Some(path), &Environment::default());
                let text = loaded.map_or_else(|error| error.to_string(), |_| String::new());
                let advice = format!("run `chmod o-w {}`", folder.display());
                assert_eq!(text.contains(&advice), refused, "{mode:o} {text}");
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_everyone_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;

        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config.toml");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o646)).unwrap();
        assert!(message(&file).contains(&format!("chmod o-w {}", file.display())));
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o664)).unwrap();
        assert!(load(Some(&file), &Environment::default()).is_ok());
    }
}
