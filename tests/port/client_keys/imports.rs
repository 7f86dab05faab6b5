//! Imports of tokens of which some can't be read.

use std::os::unix::fs::chown;

use support::environment::works;
use support::{ctl, program, scratch};

use super::{clients, names, set_mode, sha256, stored, text, tokens};

/// A file that can't be read is reported with the command that repairs it, and the others are imported.
#[test]
#[expect(clippy::too_many_lines, reason = "one folder with a file of each kind")]
fn a_bad_file_in_a_folder_of_tokens_keeps_no_other_token_out() {
    const SOMEBODY: u32 = 65534;
    let home = scratch();
    let home = home.path();
    let folder = home.join("tokens of apps");
    std::fs::create_dir_all(folder.join("folder")).unwrap();
    let files: [(&str, &[u8]); 9] = [
        ("bom", b"\xef\xbb\xbfa-token-behind-a-mark"),
        ("crlf", b"a-token-from-windows\r\n"),
        ("empty", b""),
        ("ends", b"\r\n"),
        ("latin", b"a-very-secret-t\xf6ken"),
        ("plain", b"a-very-plain-token"),
        ("short", b"secret-7"),
        ("unread", b"a-very-secret-token"),
        (
            "utf16",
            b"\xff\xfea\0-\0v\0e\0r\0y\0-\0s\0e\0c\0r\0e\0t\0-\0t\0o\0k\0e\0n\0\n\0",
        ),
    ];
    for (label, token) in files {
        std::fs::write(folder.join(label), token).unwrap();
        set_mode(&folder.join(label), 0o600);
    }
    std::os::unix::fs::symlink("nowhere", folder.join("gone")).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    set_mode(&folder.join("unread"), 0o000);
    // Root may read everything, so another user imports.
    let of_files = files.iter().map(|(label, _)| folder.join(label));
    for path in [home.to_owned(), home.join("run"), folder.clone()]
        .into_iter()
        .chain(of_files)
    {
        if is_root {
            chown(path, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        }
    }
    let import = || ctl(home, &["clients", "import", folder.to_str().unwrap()]);
    let output = import();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = text(&output.stdout);
    let name = |label: &str| format!("'{}'", folder.join(label).display());
    for (label, outcome, command) in [
        ("bom", "imported", None),
        ("crlf", "imported", None),
        ("plain", "imported", None),
        ("short", "refused: the token has only 8", None),
        (
            "empty",
            "refused: it is empty",
            Some(format!("rm {}", name("empty"))),
        ),
        (
            "ends",
            "refused: it is empty",
            Some(format!("rm {}", name("ends"))),
        ),
        (
            "folder",
            "refused: it is a folder",
            Some(format!("hermesctl clients import {}", name("folder"))),
        ),
        (
            "gone",
            "refused: it can't be read",
            Some(format!("rm {}", name("gone"))),
        ),
        (
            "latin",
            "refused: it is not UTF-8 text",
            Some("hermesctl clients add NAME".to_owned()),
        ),
        (
            "unread",
            "refused: it can't be read: Permission denied",
            Some(format!("chmod u+r {}", name("unread"))),
        ),
        (
            "utf16",
            "refused: it is UTF-16",
            Some(format!(
                "iconv -f UTF-16 -t UTF-8 -o {0} {0}",
                name("utf16")
            )),
        ),
    ] {
        let mut lines = told.lines();
        let line = lines.find(|line| line.split_whitespace().next() == Some(label));
        let line = line.unwrap_or_default();
        assert!(line.contains(outcome), "{label}: {told}");
        let command = command.map_or_else(String::new, |command| format!("`{command}`"));
        assert!(line.contains(&command), "{line}");
    }
    assert!(!told.contains("secret"), "{told}");
    assert_eq!(names(home), ["bom", "crlf", "plain"]);
    assert_eq!(stored(home, "bom"), sha256("a-token-behind-a-mark"));
    assert_eq!(stored(home, "crlf"), sha256("a-token-from-windows"));
    // The command repairs the file, and earlier imports stay.
    if works("iconv", &["--version"]) {
        let utf16 = folder.join("utf16");
        let mut iconv = program("iconv", home);
        iconv.args(["-f", "UTF-16", "-t", "UTF-8", "-o"]);
        assert!(iconv.arg(&utf16).arg(&utf16).status().unwrap().success());
        let again = import();
        let again = text(&again.stdout);
        assert!(again.contains("utf16   imported"), "{again}");
        assert!(
            again.contains("plain   skipped: it already exists"),
            "{again}"
        );
        assert_eq!(stored(home, "utf16"), sha256("a-very-secret-token"));
    }
}

/// The same for the labels of one file.
#[test]
fn a_token_that_is_not_text_keeps_no_other_of_its_file_out() {
    let home = scratch();
    let home = home.path();
    let content = "\u{feff}{\"a\": \"a-very-secret-token\",\r\n\"b\": 7, \"c\": [\"x\"], \" \": \"another-secret-token\"}";
    let file = tokens(home, content, 0o600);
    let output = clients(home, &format!("import {}", file.display()));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = text(&output.stdout);
    for part in [
        "a  imported\n",
        "b  refused: its token is not a string\n",
        "c  refused: its token is not a string\n",
        "refused: its label is empty\n",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert!(!told.contains("secret"), "{told}");
    assert_eq!(names(home), ["a"]);
}
