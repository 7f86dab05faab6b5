use std::collections::HashMap;

use tempfile::TempDir;

use super::*;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn key(day_text: &str, client: &str, model: &str) -> Key {
    Key {
        day: day(day_text),
        client: client.into(),
        provider: "nous".into(),
        login: "".into(),
        model: model.into(),
        path: "/chat/completions".into(),
    }
}

fn counts(requests: u64, total: u64) -> Counts {
    Counts {
        requests,
        tokens: Tokens {
            total,
            ..Tokens::default()
        },
        ..Counts::default()
    }
}

fn rows(list: Vec<(Key, Counts)>) -> Rows {
    list.into_iter().collect()
}

fn today() -> NaiveDate {
    day("2026-11-30")
}

fn names(store: &Store, by: By, since: Since) -> Vec<(String, u64, u64)> {
    let report = store.report(Query { by, since }, today()).unwrap();
    let of = |(name, sums): (String, Sums)| (name, sums.requests, sums.tokens.total);
    report.rows.into_iter().map(of).collect()
}

fn open(folder: &TempDir) -> (Store, SetAside) {
    Store::open(&folder.path().join("state/usage.db")).unwrap()
}

#[test]
fn rows_add_up_over_batches_and_runs() {
    let folder = TempDir::new().unwrap();
    let failed = Counts {
        failed: 2,
        errors: [("http_429".into(), 1), ("client_left".into(), 1)].into(),
        ..counts(2, 0)
    };
    for _ in 0..2 {
        let (mut store, aside) = open(&folder);
        assert_eq!(aside, None);
        let batch = rows(vec![
            (key("2026-11-29", "zed", "a"), counts(1, 5)),
            (key("2026-11-30", "zed", "a"), counts(2, 7)),
            (key("2026-11-30", "cline", "b"), failed.clone()),
        ]);
        store.write(&batch, (today(), 400)).unwrap();
    }
    let (store, _) = open(&folder);
    let all = Since::Days(7);
    let row = |name: &str, requests, total| (name.to_owned(), requests, total);
    let clients = [row("zed", 6, 24), row("cline", 4, 0)];
    assert_eq!(names(&store, By::Client, all), clients);
    let days = [row("2026-11-29", 2, 10), row("2026-11-30", 8, 14)];
    assert_eq!(names(&store, By::Day, all), days);
    for (by, name) in [
        (By::Provider, "nous"),
        (By::Login, ""),
        (By::Path, "/chat/completions"),
    ] {
        assert_eq!(names(&store, by, all), [row(name, 10, 24)]);
    }
    let models = [row("a", 4, 14), row("b", 4, 0)];
    assert_eq!(names(&store, By::Model, Since::Days(1)), models);
    assert_eq!(names(&store, By::Model, Since::Day(today())), models);
    let by = By::Client;
    let report = store.report(Query { by, since: all }, today()).unwrap();
    assert_eq!(report.from, day("2026-11-24"));
    let kinds: BTreeMap<String, u64> = [("http_429".into(), 2), ("client_left".into(), 2)].into();
    assert_eq!(report.rows[1].1.errors, kinds);
    assert_eq!((report.total.errors, report.total.failed), (kinds, 4));
    let keys = store.keys(today()).unwrap();
    assert_eq!(keys.len(), 2);
    assert!(keys.contains(&key("2026-11-30", "zed", "a")));
}

#[test]
fn rows_that_are_too_old_go_with_their_failures() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(&folder);
    let mut old = counts(1, 1);
    old.errors.insert("http_500".into(), 1);
    let batch = rows(vec![
        (key("2026-11-23", "zed", "a"), old),
        (key("2026-11-24", "zed", "a"), counts(1, 1)),
    ]);
    store.write(&batch, (day("2026-11-29"), 7)).unwrap();
    assert_eq!(names(&store, By::Day, Since::Days(400)).len(), 2);
    let more = rows(vec![(key("2026-11-30", "zed", "a"), counts(1, 1))]);
    store.write(&more, (today(), 7)).unwrap();
    // A clock that was ahead left this one.
    let ahead = rows(vec![(key("2028-04-13", "zed", "a"), counts(1, 1))]);
    store.write(&ahead, (today(), 7)).unwrap();
    let days = names(&store, By::Day, Since::Days(400));
    let days: Vec<_> = days.iter().map(|one| one.0.as_str()).collect();
    assert_eq!(days, ["2026-11-24", "2026-11-30"]);
    let left: i64 = store
        .connection
        .query_row("SELECT COUNT(*) FROM errors", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn a_damaged_file_is_set_aside_and_a_new_one_begun() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("state/usage.db");
    let (mut store, _) = open(&folder);
    let mut batch: Rows = HashMap::new();
    for number in 0..2_000 {
        batch.insert(
            key("2026-11-30", &format!("app-{number}"), "a"),
            counts(1, 1),
        );
    }
    store.write(&batch, (today(), 7)).unwrap();
    drop(store);
    let whole = std::fs::read(&file).unwrap();
    let mut torn = whole.clone();
    for byte in &mut torn[8_192..20_000] {
        *byte = 0xa5;
    }
    for damaged in [
        torn.as_slice(),
        &whole[..9_000],
        b"no database at all, but a text",
    ] {
        std::fs::write(&file, damaged).unwrap();
        let (mut store, aside) = open(&folder);
        let aside = aside.unwrap();
        assert_eq!(std::fs::read(&aside).unwrap(), damaged);
        assert_eq!(names(&store, By::Client, Since::Days(7)), []);
        store.write(&batch, (today(), 7)).unwrap();
        assert_eq!(names(&store, By::Day, Since::Days(7)).len(), 1);
    }
    // An empty file is none yet.
    std::fs::write(&file, "").unwrap();
    assert!(Store::look(&file).unwrap().is_none());
    let (store, aside) = open(&folder);
    assert_eq!(aside, None);
    assert_eq!(names(&store, By::Client, Since::Days(7)), []);
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(&folder);
    store
        .connection
        .pragma_update(None, "user_version", 2)
        .unwrap();
    let file = store.file.clone();
    drop(store);
    let before = std::fs::read(&file).unwrap();
    assert!(matches!(Store::open(&file), Err(Fault::Newer(_))));
    assert!(matches!(Store::look(&file), Err(Fault::Newer(_))));
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn numbers_that_no_integer_holds_fail_nothing() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(&folder);
    let batch = rows(vec![
        (key("2026-11-30", "zed", "a"), counts(1, u64::MAX)),
        (key("2026-11-30", "zed", "b"), counts(1, u64::MAX)),
    ]);
    for _ in 0..3 {
        store.write(&batch, (today(), 7)).unwrap();
    }
    let clients = names(&store, By::Client, Since::Days(1));
    assert_eq!(clients, [("zed".to_owned(), 6, i64::MAX as u64)]);
}

#[cfg(unix)]
#[test]
fn the_file_is_ours_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let (store, _) = open(&folder);
    let file = store.file.clone();
    drop(store);
    let mode = |file: &Path| std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(
        file.parent().unwrap(),
        std::fs::Permissions::from_mode(0o777),
    )
    .unwrap();
    assert!(matches!(Store::open(&file), Err(Fault::NotOurs(_))));
}
