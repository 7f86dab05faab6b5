use tempfile::TempDir;

use super::*;
use crate::usage::report::CountedSince;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn key(day_text: &str, client: &str, model: &str) -> UsageKey<NaiveDate> {
    UsageKey {
        when: day(day_text),
        client: client.into(),
        provider: "nous".into(),
        login: "".into(),
        model: model.into(),
        path: "/chat/completions".into(),
    }
}

fn counts(requests: u64, total: u64) -> RowCounts {
    RowCounts {
        requests,
        tokens: TokenCounts {
            total,
            ..TokenCounts::default()
        },
        ..RowCounts::default()
    }
}

fn rows(list: Vec<(UsageKey<NaiveDate>, RowCounts)>) -> UsageRows<NaiveDate> {
    list.into_iter().collect()
}

fn today() -> NaiveDate {
    day("2026-11-30")
}

fn told(store: &UsageStore, by: GroupBy, since: CountedSince) -> CountsReport {
    let query = Query { by, since };
    store.report(query, today(), &UsageRows::default()).unwrap()
}

fn names(store: &UsageStore, by: GroupBy, since: CountedSince) -> Vec<(String, u64, u64)> {
    let report = told(store, by, since);
    let of = |(name, sums): (String, CountsSums)| (name, sums.requests, sums.tokens.total);
    report.rows.into_iter().map(of).collect()
}

fn open(folder: &TempDir) -> (UsageStore, SetAside) {
    UsageStore::open(&folder.path().join("state/usage.db")).unwrap()
}

#[test]
fn rows_add_up_over_batches_and_runs() {
    let folder = TempDir::new().unwrap();
    let failed = RowCounts {
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
        store.write(&batch, today(), 400).unwrap();
    }
    let (store, _) = open(&folder);
    let all = CountedSince::Days(7);
    let row = |name: &str, requests, total| (name.to_owned(), requests, total);
    let clients = [row("zed", 6, 24), row("cline", 4, 0)];
    assert_eq!(names(&store, GroupBy::Client, all), clients);
    let days = [row("2026-11-29", 2, 10), row("2026-11-30", 8, 14)];
    assert_eq!(names(&store, GroupBy::Day, all), days);
    for (by, name) in [
        (GroupBy::Provider, "nous"),
        (GroupBy::Login, ""),
        (GroupBy::Path, "/chat/completions"),
    ] {
        assert_eq!(names(&store, by, all), [row(name, 10, 24)]);
    }
    let models = [row("a", 4, 14), row("b", 4, 0)];
    assert_eq!(names(&store, GroupBy::Model, CountedSince::Days(1)), models);
    assert_eq!(
        names(&store, GroupBy::Model, CountedSince::Day(today())),
        models
    );
    let report = told(&store, GroupBy::Client, all);
    assert_eq!(report.from, day("2026-11-24"));
    let kinds: BTreeMap<String, u64> = [("http_429".into(), 2), ("client_left".into(), 2)].into();
    assert_eq!(report.rows[1].1.errors, kinds);
    assert_eq!((report.total.errors, report.total.failed), (kinds, 4));
    let keys = store.keys(today()).unwrap();
    assert_eq!(keys.len(), 2);
    assert!(keys.contains(&key("2026-11-30", "zed", "a")));
}

/// The days of the existing rows.
fn days(store: &UsageStore) -> Vec<String> {
    let sql = "SELECT DISTINCT day FROM usage ORDER BY day";
    let mut statement = store.connection.prepare(sql).unwrap();
    let days = statement.query_map([], |row| row.get(0)).unwrap();
    days.map(Result::unwrap).collect()
}

fn one(day: &str) -> UsageRows<NaiveDate> {
    rows(vec![(key(day, "zed", "a"), counts(1, 1))])
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
        (key("2026-11-27", "zed", "a"), counts(1, 1)),
        (key("2026-11-28", "zed", "a"), counts(1, 1)),
    ]);
    store.write(&batch, day("2026-11-29"), 7).unwrap();
    assert_eq!(days(&store).len(), 4);
    store
        .write(&one("2026-11-29"), day("2026-11-29"), 7)
        .unwrap();
    store.write(&one("2026-11-30"), today(), 7).unwrap();
    let kept = [
        "2026-11-24",
        "2026-11-27",
        "2026-11-28",
        "2026-11-29",
        "2026-11-30",
    ];
    assert_eq!(days(&store), kept);
    let left: i64 = store
        .connection
        .query_row("SELECT COUNT(*) FROM errors", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
    let shown = names(&store, GroupBy::Day, CountedSince::Days(400));
    assert_eq!(shown.len(), kept.len());
}

#[test]
fn a_clock_that_is_ahead_for_some_days_takes_no_row_away() {
    let folder = TempDir::new().unwrap();
    let right = ["2026-11-28", "2026-11-29", "2026-11-30"];
    let (mut store, _) = open(&folder);
    for now in right {
        store.write(&one(now), day(now), 7).unwrap();
    }
    let ahead = ["2028-04-13", "2028-04-14", "2028-04-15"];
    for now in ahead {
        // Each start looks for rows that are too old.
        let (mut store, _) = open(&folder);
        store.write(&one(now), day(now), 7).unwrap();
        assert_eq!(days(&store)[..3], right, "{now}");
    }
    // The clock goes right again, and what it left is not shown.
    store
        .write(&one("2026-12-01"), day("2026-12-01"), 7)
        .unwrap();
    let shown = Query {
        by: GroupBy::Day,
        since: CountedSince::Days(7),
    };
    let report = store
        .report(shown, day("2026-12-01"), &UsageRows::default())
        .unwrap();
    assert_eq!(report.rows.len(), 4);
    // One that is ahead for good is the clock in the end.
    let (mut store, _) = open(&folder);
    store
        .write(&one("2028-04-16"), day("2028-04-16"), 7)
        .unwrap();
    assert_eq!(days(&store).len(), 4);
}

#[test]
fn a_report_has_the_rows_that_are_not_saved() {
    let folder = TempDir::new().unwrap();
    let (mut store, _) = open(&folder);
    let batch = rows(vec![
        (key("2026-11-30", "zed", "a"), counts(1, 5)),
        (key("2026-11-30", "cline", "b"), counts(1, 9)),
    ]);
    store.write(&batch, today(), 7).unwrap();
    let mut failed = counts(2, 7);
    failed.failed = 2;
    failed.errors.insert("http_500".into(), 2);
    let unsaved = rows(vec![
        (key("2026-11-30", "zed", "a"), failed),
        (key("2026-11-29", "other", "a"), counts(3, 0)),
        (key("2026-11-20", "zed", "a"), counts(9, 9)),
    ]);
    let query = Query {
        by: GroupBy::Client,
        since: CountedSince::Days(7),
    };
    let report = store.report(query, today(), &unsaved).unwrap();
    let of = |(name, sums): &(String, CountsSums)| (name.clone(), sums.requests, sums.tokens.total);
    let shown: Vec<_> = report.rows.iter().map(of).collect();
    let row = |name: &str, requests, total| (name.to_owned(), requests, total);
    assert_eq!(
        shown,
        [row("zed", 3, 12), row("cline", 1, 9), row("other", 3, 0)]
    );
    assert_eq!((report.total.requests, report.total.tokens.total), (7, 21));
    let failed = (report.total.failed, report.rows[0].1.errors.get("http_500"));
    assert_eq!(failed, (2, Some(&2)));
    let report = Query {
        by: GroupBy::Day,
        ..query
    };
    let report = store.report(report, today(), &unsaved).unwrap();
    let shown: Vec<_> = report.rows.iter().map(of).collect();
    assert_eq!(shown, [row("2026-11-29", 3, 0), row("2026-11-30", 4, 21)]);
}

#[test]
fn a_damaged_file_is_set_aside_and_a_new_one_begun() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("state/usage.db");
    let (mut store, _) = open(&folder);
    let mut batch = UsageRows::default();
    for number in 0..2_000 {
        batch.insert(
            key("2026-11-30", &format!("app-{number}"), "a"),
            counts(1, 1),
        );
    }
    store.write(&batch, today(), 7).unwrap();
    drop(store);
    let whole = std::fs::read(&file).unwrap();
    let mut torn = whole.clone();
    for byte in &mut torn[8_192..20_000] {
        *byte = 0xa5;
    }
    let all = [
        torn.as_slice(),
        &whole[..9_000],
        b"no database at all, but a text",
    ];
    let set_aside: Vec<_> = all
        .map(|damaged| {
            std::fs::write(&file, damaged).unwrap();
            let (mut store, aside) = open(&folder);
            assert_eq!(names(&store, GroupBy::Client, CountedSince::Days(7)), []);
            store.write(&batch, today(), 7).unwrap();
            assert_eq!(names(&store, GroupBy::Day, CountedSince::Days(7)).len(), 1);
            aside.unwrap()
        })
        .to_vec();
    for (aside, damaged) in set_aside.iter().zip(all) {
        assert_eq!(std::fs::read(aside).unwrap(), damaged);
    }
    // An empty file does not count yet.
    std::fs::write(&file, "").unwrap();
    assert!(UsageStore::look(&file).unwrap().is_none());
    let (store, aside) = open(&folder);
    assert_eq!(aside, None);
    assert_eq!(names(&store, GroupBy::Client, CountedSince::Days(7)), []);
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
    assert!(matches!(
        UsageStore::open(&file),
        Err(UsageStoreFault::Newer(_))
    ));
    assert!(matches!(
        UsageStore::look(&file),
        Err(UsageStoreFault::Newer(_))
    ));
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
        store.write(&batch, today(), 7).unwrap();
    }
    let clients = names(&store, GroupBy::Client, CountedSince::Days(1));
    assert_eq!(clients, [("zed".to_owned(), 6, i64::MAX as u64)]);
}

#[test]
fn damaged_files_are_set_aside_beside_whatever_has_their_name_and_not_without_end() {
    let folder = TempDir::new().unwrap();
    let (store, _) = open(&folder);
    let file = store.file.clone();
    drop(store);
    std::fs::create_dir(file.with_extension("db.damaged")).unwrap();
    for number in 0..12 {
        std::fs::write(&file, format!("no database, number {number:03}")).unwrap();
        let (_, aside) = open(&folder);
        let aside = std::fs::read_to_string(aside.unwrap()).unwrap();
        assert!(aside.ends_with(&format!("{number:03}")), "{aside}");
    }
    let all = std::fs::read_dir(file.parent().unwrap()).unwrap().count();
    assert_eq!(all, 1 + 9);
    assert!(file.with_extension("db.damaged").is_dir());
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_read_is_closed_to_them() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("usage.db");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    UsageStore::open(&file).unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
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
    assert!(matches!(
        UsageStore::open(&file),
        Err(UsageStoreFault::NotOurs(_))
    ));
}
