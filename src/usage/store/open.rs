//! Finds, makes or sets aside the file.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::fault::{UsageStoreFault, io};
use crate::files::FileAccess;

/// Counts up with each change of the tables.
const VERSION: u32 = 1;
/// "hpxu", so that `file` and a person with a hex editor recognise it.
const APPLICATION: u32 = 0x6870_7875;
/// Another daemon of this user, or a reader, may have the file locked. A caller that has more time tries again.
const PATIENCE: Duration = Duration::from_millis(250);
/// So many damaged files are kept.
const MOST_ASIDE: u32 = 9;

/// A rollback journal, since one thread writes once in ten seconds: a write-ahead log would leave two more files beside
/// this one, which every reader has to be able to write, and does not work on network file systems. A kill's leftovers
/// are rolled back when the file is opened next.
const SETTINGS: &str = "
    PRAGMA foreign_keys = ON;
    PRAGMA journal_mode = DELETE;
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -256;
    PRAGMA temp_store = MEMORY;
    PRAGMA trusted_schema = OFF;";

const TABLES: &str = "
    CREATE TABLE usage (
        id INTEGER PRIMARY KEY,
        day TEXT NOT NULL,
        client TEXT NOT NULL,
        provider TEXT NOT NULL,
        login TEXT NOT NULL,
        model TEXT NOT NULL,
        path TEXT NOT NULL,
        requests INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        untold INTEGER NOT NULL,
        bytes_in INTEGER NOT NULL,
        bytes_out INTEGER NOT NULL,
        prompt_tokens INTEGER NOT NULL,
        completion_tokens INTEGER NOT NULL,
        cached_tokens INTEGER NOT NULL,
        reasoning_tokens INTEGER NOT NULL,
        total_tokens INTEGER NOT NULL,
        UNIQUE (day, client, provider, login, model, path)
    );
    CREATE TABLE errors (
        usage INTEGER NOT NULL REFERENCES usage (id) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        requests INTEGER NOT NULL,
        PRIMARY KEY (usage, kind)
    ) WITHOUT ROWID;";

/// Whether the file, if there is one, is ours alone.
pub(super) fn check(file: &Path) -> Result<(), UsageStoreFault> {
    let opened = match FileAccess::of(file).and_then(|place| Ok((place.open()?, place))) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened,
    };
    let (opened, place) = opened.map_err(|error| io(error, file))?;
    let metadata = opened.metadata().map_err(|error| io(error, file))?;
    match place.flaw(&opened, &metadata) {
        Some(_) => Err(UsageStoreFault::NotOurs(file.to_owned())),
        None => Ok(()),
    }
}

/// Opens the file, which is made where it is missing, and looks whether it is whole.
pub(super) fn make(file: &Path) -> Result<Connection, UsageStoreFault> {
    let made = FileAccess::made(file).and_then(|place| place.open_to_append());
    let made = made.and_then(|made| closes(&made));
    made.map_err(|error| io(error, file))?;
    let fault = |error| UsageStoreFault::Sqlite(error, file.to_owned());
    let mut connection = there(file)?;
    let version = version(&connection).map_err(fault)?;
    if version == 0 {
        let tables = |connection: &mut Connection| {
            let change = connection.transaction()?;
            change.execute_batch(TABLES)?;
            change.pragma_update(None, "application_id", APPLICATION)?;
            change.pragma_update(None, "user_version", VERSION)?;
            change.commit()
        };
        tables(&mut connection).map_err(fault)?;
    }
    Ok(connection)
}

/// Opens the existing file, and checks whether it is intact.
pub(super) fn there(file: &Path) -> Result<Connection, UsageStoreFault> {
    let fault = |error| UsageStoreFault::Sqlite(error, file.to_owned());
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(fault)?;
    let look = || {
        connection.busy_timeout(PATIENCE)?;
        connection.execute_batch(SETTINGS)?;
        let found =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))?;
        Ok((found, version(&connection)?))
    };
    let (found, version) = look().map_err(fault)?;
    if found != "ok" {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        let error = rusqlite::Error::SqliteFailure(code, Some(found));
        return Err(fault(error));
    }
    if version > VERSION {
        return Err(UsageStoreFault::Newer(file.to_owned()));
    }
    Ok(connection)
}

/// The version of its tables; 0 where they are still to be made.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Takes the file's rights from all but its owner.
#[cfg(unix)]
fn closes(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut rights = file.metadata()?.permissions();
    if rights.mode().trailing_zeros() >= 6 {
        return Ok(());
    }
    rights.set_mode(0o600);
    match file.set_permissions(rights) {
        // Not ours, and not others' to write either: the system's administrator knows why.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "as elsewhere")]
fn closes(_: &File) -> std::io::Result<()> {
    Ok(())
}

/// Gives a damaged file another name, with its companions. Earlier renamed ones stay, except for the last of
/// many.
pub(super) fn set_aside(file: &Path) -> Result<PathBuf, UsageStoreFault> {
    let with = |ending: &str| {
        let mut name = OsString::from(file);
        name.push(ending);
        PathBuf::from(name)
    };
    let mut names = (1..=MOST_ASIDE).map(|number| match number {
        1 => ".damaged".to_owned(),
        _ => format!(".damaged-{number}"),
    });
    let is_free = |ending: &String| {
        let found = fs::symlink_metadata(with(ending));
        found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    };
    let ending = names.clone().find(is_free).or_else(|| {
        let is_file = |ending: &String| with(ending).is_file();
        names.rfind(is_file)
    });
    let ending = ending.unwrap_or_else(|| ".damaged".to_owned());
    let aside = with(&ending);
    fs::rename(file, &aside).map_err(|error| io(error, file))?;
    match fs::rename(with("-journal"), with(&format!("{ending}-journal"))) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io(error, file)),
        _ => Ok(aside),
    }
}
