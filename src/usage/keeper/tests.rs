use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::clock::SystemClock;
use crate::usage::report::{CountedSince, GroupBy};
use crate::usage::{EndedRequest, UsageMeter};

const QUERY: Query = Query {
    by: GroupBy::Model,
    since: CountedSince::Days(2),
};

fn start(file: PathBuf) -> (UsageCounter, UsageWriter) {
    let settings = UsageSettings { file, days: 400 };
    UsageCounter::start(settings, Arc::new(SystemClock)).unwrap()
}

/// A request whose answer reports this many tokens.
fn enter(book: &UsageCounter, model: &str, tokens: u64) {
    let (provider, path) = (Arc::from("nous"), Arc::from("/chat/completions"));
    let mut meter = UsageMeter::new(true, None);
    meter.answered(b"application/json", std::iter::empty());
    meter.pass(format!("{{\"usage\":{{\"total_tokens\":{tokens}}}}}").as_bytes());
    let ended = EndedRequest {
        client: Some("zed"),
        is_own: false,
        provider: &provider,
        path: &path,
        model: Some(model),
        failure: None,
        bytes_in: 1,
        bytes_out: 2,
    };
    meter.ends();
    book.enter(&meter, ended);
}

fn total(report: &CountsReport) -> (u64, u64) {
    (report.total.requests, report.total.tokens.total)
}

#[tokio::test]
async fn what_has_been_counted_is_told_at_once_and_kept_over_a_restart() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("usage.db");
    let (book, keeper) = start(file.clone());
    let report = book.ask(QUERY).await.unwrap();
    assert_eq!((total(&report), file.exists()), ((0, 0), false));
    for number in 1..=100 {
        enter(&book, "m", number);
    }
    let report = book.ask(QUERY).await.unwrap();
    assert_eq!(total(&report), (100, 5050));
    enter(&book, "n", 7);
    keeper.end().await;
    let now = SystemClock.now();
    assert_eq!(total(&look(&file, QUERY, now).unwrap()), (101, 5057));
    assert!(book.ask(QUERY).await.is_err());

    let (book, keeper) = start(file);
    enter(&book, "n", 1);
    let report = book.ask(QUERY).await.unwrap();
    assert_eq!(total(&report), (102, 5058));
    assert_eq!(report.rows.len(), 2);
    assert_eq!(book.health(), Health::default());
    keeper.end().await;
}

#[tokio::test]
async fn while_nothing_can_be_saved_counts_wait_and_the_fault_is_told() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("state");
    std::fs::write(&place, "a file where the folder should be").unwrap();
    let (book, keeper) = start(place.join("usage.db"));
    enter(&book, "m", 1);
    let told = book.ask(QUERY).await.unwrap_err();
    assert!(told.contains("state"), "{told}");
    assert!(book.health().fault.is_some());
    enter(&book, "m", 2);
    std::fs::remove_file(&place).unwrap();
    let report = book.ask(QUERY).await.unwrap();
    assert_eq!((total(&report), report.fault), ((2, 3), None));
    assert_eq!(book.health(), Health::default());
    keeper.end().await;
}

#[tokio::test]
async fn a_file_that_is_damaged_while_it_is_in_use_is_set_aside() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("usage.db");
    let (book, keeper) = start(file.clone());
    enter(&book, "m", 1);
    book.ask(QUERY).await.unwrap();
    std::fs::write(&file, vec![0xa5; 40_000]).unwrap();
    enter(&book, "m", 2);
    let report = book.ask(QUERY).await.unwrap();
    assert_eq!(total(&report), (1, 2));
    assert!(folder.path().join("usage.db.damaged").exists());
    keeper.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_takes_too_long_is_told_while_it_lasts() {
    let book = UsageCounter::new(Arc::new(SystemClock));
    book.shared.lock().writes_since = Some(Instant::now());
    assert_eq!(book.health().fault, None);
    tokio::time::advance(LATE + Duration::from_secs(1)).await;
    assert_eq!(book.health().fault.as_deref(), Some(NO_ANSWER));
    book.shared.lock().writes_since = None;
    assert_eq!(book.health().fault, None);
}

/// A lock that another program holds on the file.
fn locks(file: &Path, sql: &str) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(file).unwrap();
    other.execute_batch(sql).unwrap();
    other
}

/// The final report, on a busy machine too.
async fn answer(book: &UsageCounter) -> CountsReport {
    for _ in 0..20 {
        if let Ok(report) = book.ask(QUERY).await {
            return report;
        }
    }
    panic!("no answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_programs_lock_holds_up_no_question_for_long() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("usage.db");
    let (book, keeper) = start(file.clone());
    enter(&book, "m", 1);
    book.ask(QUERY).await.unwrap();
    // A reader: the counts can be read and not saved, and all are reported.
    let reader = locks(&file, "BEGIN; SELECT COUNT(*) FROM usage;");
    enter(&book, "m", 2);
    let report = answer(&book).await;
    assert_eq!(total(&report), (2, 3));
    assert!(report.fault.is_some());
    drop(reader);
    let report = answer(&book).await;
    assert_eq!((total(&report), report.fault), ((2, 3), None));
    // A writer: nothing can be read either, and many who ask wait together.
    let writer = locks(&file, "BEGIN EXCLUSIVE");
    enter(&book, "m", 3);
    let asked = Instant::now();
    let all = (0..20).map(|number| {
        let query = Query {
            by: [GroupBy::Model, GroupBy::Client, GroupBy::Day][number % 3],
            ..QUERY
        };
        let book = book.clone();
        async move { book.ask(query).await }
    });
    for told in futures_util::future::join_all(all).await {
        assert!(told.unwrap_err().contains("locked"));
    }
    assert!(asked.elapsed() < 2 * PATIENCE);
    drop(writer);
    assert_eq!(total(&answer(&book).await), (3, 6));
    keeper.end().await;
}
