//! The screen on terminals of every size, with all kinds of names.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::time::advance;

use super::page::{paint, rows};
use super::scene::Scene;
use super::{TopOutput, take};
use crate::cli::output::{CommandFailure, Exit};
use crate::cli::shown::samples;
use crate::control::in_flight::RequestInFlight;

fn scene(now: TopOutput) -> Scene {
    let mut scene = Scene::new(now, false, Duration::from_secs(1), true);
    scene.clock = "20:31:07".to_owned();
    scene
}

/// The lines of a screen of this size.
fn screen(scene: &mut Scene, columns: u16, lines: u16) -> Vec<String> {
    let area = Rect::new(0, 0, columns, lines);
    let mut buffer = Buffer::empty(area);
    paint(scene, area, &mut buffer);
    rows(&buffer)
}

/// This many requests of this client and model.
fn crowd(count: usize, client: &str, model: &str) -> TopOutput {
    let TopOutput {
        mut flights,
        status,
        ..
    } = samples::now();
    let one = flights.requests[0].clone();
    flights.requests = (0..count)
        .map(|number| RequestInFlight {
            id: format!("{number:016}"),
            client: client.to_owned(),
            model: Some(model.to_owned()),
            age_ms: 1000 * u64::try_from(number).unwrap(),
            ..one.clone()
        })
        .collect();
    TopOutput::of(status, flights)
}

#[tokio::test(start_paused = true)]
async fn every_size_has_a_screen() {
    for count in [0, 3, 200] {
        let mut scene = scene(crowd(count, "open-webui", "Hermes-4-405B"));
        for columns in [0, 1, 2, 9, 33, 60, 79, 80, 100, 120, 300] {
            for lines in (0..20).chain([30, 60]) {
                scene.scroll(7);
                let rows = screen(&mut scene, columns, lines);
                assert_eq!(rows.len(), usize::from(lines));
            }
        }
    }
}

/// The columns after a hostile name start where they do after a harmless one.
#[tokio::test(start_paused = true)]
async fn a_hostile_name_moves_nothing() {
    let long = "x".repeat(10_000);
    let names = [
        "\u{1b}[2J\u{1b}[31m\u{7}\u{9b}0m",
        "\u{202e}evil\u{2066}\u{200b}\u{feff}",
        "模型名字模型名字模型名字模型名字模型名字模型名字",
        "👨\u{200d}👩\u{200d}👧\u{200d}👦👍🏽🇩🇪",
        "a\u{301}\u{301}\u{301}\u{301}",
        "\r\n\t\u{8}\u{8}\u{8}",
        "",
        &long,
    ];
    for columns in [60, 80, 120] {
        let ends = |name: &str| {
            let mut scene = scene(crowd(3, name, name));
            scene.now.status.providers[0].display_name = name.to_owned();
            let rows = screen(&mut scene, columns, 24);
            for row in &rows {
                assert!(!row.contains(|letter: char| letter.is_control()), "{row:?}");
            }
            let of_requests = rows.iter().filter(|row| row.contains("412 ms"));
            let ends: Vec<_> = of_requests
                .map(|row| {
                    let (before, _) = row.split_once("412 ms").unwrap();
                    crate::cli::text::width(before)
                })
                .collect();
            assert_eq!(ends.len(), 3, "{name:?}: {rows:#?}");
            ends
        };
        let expected = ends("app");
        for name in names {
            assert_eq!(ends(name), expected, "{name:?} in {columns} columns");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_scrolled_to_its_end_and_no_further() {
    let mut scene = scene(crowd(50, "app", "m"));
    let ages = |scene: &mut Scene| {
        let rows = screen(scene, 80, 24);
        let ages = rows.iter().filter(|row| row.contains("412 ms"));
        let ages = ages.map(|row| row.split_whitespace().next().unwrap().to_owned());
        (ages.collect::<Vec<_>>(), rows)
    };
    let (first, rows) = ages(&mut scene);
    assert_eq!(first[0], "0:00");
    let shown = format!("1 to {} shown", first.len());
    assert!(rows.iter().any(|row| row.contains(&shown)), "{rows:#?}");
    scene.scroll(1);
    assert_eq!(ages(&mut scene).0[0], "0:01");
    scene.scroll(isize::MAX);
    let (last, _) = ages(&mut scene);
    assert_eq!(last.last().map(String::as_str), Some("0:49"));
    assert_eq!(last.len(), first.len());
    scene.scroll(-1);
    assert_eq!(ages(&mut scene).0.last().map(String::as_str), Some("0:48"));
    scene.scroll(isize::MIN);
    assert_eq!(ages(&mut scene).0, first);
}

/// The next page is fetched before the user scrolls to it.
#[tokio::test(start_paused = true)]
async fn no_more_is_asked_for_than_is_shown_and_scrolled_to() {
    let looks = |scene: &mut Scene| {
        let rows = screen(scene, 80, 24);
        let query = scene.query();
        let most = usize::try_from(query.most.unwrap()).unwrap();
        // the daemon's next reply
        let mut now = crowd(500, "app", "m");
        now.flights.unlisted = 500 - u64::try_from(most.min(500)).unwrap();
        now.flights.requests.truncate(most);
        scene.see(TopOutput::of(now.status, now.flights));
        (most, rows)
    };
    let mut scene = scene(crowd(24, "app", "m"));
    scene.now.in_flight = 500;
    let (most, rows) = looks(&mut scene);
    let shown = rows.iter().filter(|row| row.contains("412 ms")).count();
    assert_eq!(most, 2 * shown, "{rows:#?}");
    assert!(
        rows.iter().any(|row| row.contains("200 listed")),
        "{rows:#?}"
    );
    scene.scroll(10);
    assert_eq!(looks(&mut scene).0, 2 * shown + 10 / shown * shown);
    scene.scroll(isize::MAX);
    assert_eq!(looks(&mut scene).0, 200);
    let (_, rows) = looks(&mut scene);
    let last = format!("{} to 200 shown", 201 - shown);
    assert!(rows.iter().any(|row| row.contains(&last)), "{rows:#?}");
    scene.scroll(isize::MIN);
    assert_eq!(looks(&mut scene).0, 2 * shown);
    scene.turn();
    assert!(scene.query().newest);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_stands_still_or_goes_is_told_and_one_that_stays_away_is_not_waited_for() {
    let mut scene = scene(samples::now());
    let verdict = |scene: &mut Scene| screen(scene, 120, 30)[1].clone();
    let well = verdict(&mut scene);
    advance(Duration::from_millis(2900)).await;
    assert_eq!(verdict(&mut scene), well);
    advance(Duration::from_secs(5)).await;
    let late = verdict(&mut scene);
    assert!(late.contains("has not answered for 7 s"), "{late}");

    let failure = |exit| CommandFailure::new("why").with_code(exit, "x");
    take(&mut scene, Err(failure(Exit::Failed))).unwrap();
    advance(Duration::from_mins(10)).await;
    take(&mut scene, Err(failure(Exit::Failed))).unwrap();
    assert_eq!(verdict(&mut scene), "… reconnecting: why");
    // The daemon first stopped answering, and has ended now.
    take(&mut scene, Err(failure(Exit::NotRunning))).unwrap();
    advance(Duration::from_secs(20)).await;
    take(&mut scene, Err(failure(Exit::NotRunning))).unwrap();
    assert_eq!(
        verdict(&mut scene),
        "… reconnecting (10 s more): the daemon is not running"
    );
    take(&mut scene, Ok(Box::new(samples::now()))).unwrap();
    assert_eq!(verdict(&mut scene), well);
    take(&mut scene, Err(failure(Exit::NotRunning))).unwrap();
    advance(Duration::from_secs(29)).await;
    take(&mut scene, Err(failure(Exit::NotRunning))).unwrap();
    advance(Duration::from_secs(1)).await;
    let left = take(&mut scene, Err(failure(Exit::NotRunning))).unwrap_err();
    assert_eq!(left.exit, Exit::NotRunning);
}

#[tokio::test(start_paused = true)]
async fn an_empty_screen_says_what_to_do() {
    let mut now = crowd(0, "", "");
    now.status.providers.clear();
    now.status.daemon.uptime_seconds = 3;
    now.flights.last_hour.requests.fill(0);
    now.flights.last_hour.failed.fill(0);
    let rows = screen(&mut scene(now), 60, 24).join("\n");
    for text in [
        "LAST HOUR  no request",
        "None is configured: `hermesctl setup` sets one up.",
        "The next request appears here",
        "Apps use http://127.0.0.1:8645/v1",
    ] {
        assert!(rows.contains(text), "{text}: {rows}");
    }
}
