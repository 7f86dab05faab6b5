use super::*;

async fn takes(places: &Arc<ConnectionSlots>) -> Option<ConnectionSlot> {
    timeout(Duration::from_secs(10), places.take()).await.ok()
}

async fn leaves(place: &ConnectionSlot) -> bool {
    let asked = timeout(Duration::ZERO, place.asked_to_leave());
    asked.await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_full_house_is_told_once_for_as_long_as_newcomers_wait_now_and_then() {
    let places = ConnectionSlots::new(1);
    let mut told = 0;
    for _ in 0..1000 {
        told += usize::from(places.is_newly_full());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert_eq!(told, 1);
    tokio::time::sleep(QUIET).await;
    assert!(places.is_newly_full());
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_longest_makes_way() {
    let places = ConnectionSlots::new(3);
    let second = takes(&places).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (first, third) = (takes(&places).await.unwrap(), takes(&places).await.unwrap());
    third.seat.has_request();
    let newcomer = {
        let places = places.clone();
        async move { takes(&places).await }
    };
    let makes_way = async {
        second.asked_to_leave().await;
        drop(second);
    };
    let (newcomer, ()) = tokio::join!(newcomer, makes_way);
    assert!(newcomer.is_some());
    assert!(!leaves(&first).await && !leaves(&third).await);
}

/// Sixteen places: two are kept, and strangers never have more than the others.
#[tokio::test(start_paused = true)]
async fn strangers_go_before_clients_that_were_let_in_and_some_places_are_kept_from_them() {
    let places = ConnectionSlots::new(16);
    let mut known = Vec::new();
    for _ in 0..2 {
        let place = takes(&places).await.unwrap();
        place.seat.has_request();
        place.seat.waits();
        known.push(place);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut strangers = Vec::new();
    for _ in 0..14 {
        strangers.push(takes(&places).await.unwrap());
    }
    // They ask and are refused, over and over, which protects no place.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..100 {
        let oldest = strangers.remove(0);
        oldest.seat.waits();
        let leaves = async {
            assert_eq!(oldest.asked_to_leave().await, EvictionReason::Idle);
            drop(oldest);
        };
        let (newcomer, ()) = tokio::join!(takes(&places), leaves);
        strangers.push(newcomer.unwrap());
        tokio::time::sleep(Duration::from_millis(GRACE)).await;
    }
    for place in &known {
        assert!(!leaves(place).await, "it was let in, and waits for longest");
    }
    // Nor while all strangers are new.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..14 {
        drop(strangers.remove(0));
        strangers.push(takes(&places).await.unwrap());
    }
    let leaving = async {
        strangers[0].asked_to_leave().await;
        drop(strangers.remove(0));
    };
    let (newcomer, ()) = tokio::join!(takes(&places), leaving);
    strangers.push(newcomer.unwrap());
    for place in &known {
        assert!(!leaves(place).await, "nobody's place is won by that");
    }
    // A stranger that is let in makes room for another.
    strangers[13].seat.has_request();
    known.remove(0);
    assert_eq!(places.lobby.strangers.load(Ordering::Relaxed), 13);
    let newcomer = takes(&places).await.unwrap();
    assert_eq!(places.lobby.strangers.load(Ordering::Relaxed), 14);
    drop((newcomer, strangers));
    assert_eq!(places.lobby.strangers.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn of_too_many_unfinished_heads_the_largest_and_oldest_goes() {
    const LARGE: usize = 64 * 1024;
    let places = ConnectionSlots::new(1000);
    let honest = takes(&places).await.unwrap();
    honest.seat.holds_head(20_000, LARGE);
    let mut flood = Vec::new();
    for _ in 0..ALL_HEADS / LARGE {
        let place = takes(&places).await.unwrap();
        place.seat.holds_head(LARGE, LARGE);
        flood.push(place);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for place in &flood {
        assert!(!leaves(place).await);
    }
    for turn in 0..20 {
        let next = takes(&places).await.unwrap();
        // It comes in pieces.
        for size in [1, 9000, 30_000, LARGE] {
            next.seat.holds_head(size, LARGE);
        }
        flood.push(next);
        let held = places.lobby.heads.load(Ordering::Relaxed);
        assert!(held <= ALL_HEADS + LARGE, "{turn}: {held}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(leaves(&flood[0]).await && !leaves(flood.last().unwrap()).await);
    assert!(!leaves(&honest).await);
    honest.seat.holds_head(0, LARGE);
    drop((honest, flood));
    assert_eq!(places.lobby.heads.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn who_is_answered_stays_and_the_newcomer_waits() {
    let places = ConnectionSlots::new(1);
    let place = takes(&places).await.unwrap();
    place.seat.has_request();
    assert!(takes(&places).await.is_none());
    assert!(!leaves(&place).await);
}

/// Three bodies: one that never comes, one of a byte now and then, an honest one.
#[tokio::test(start_paused = true)]
async fn the_slowest_body_makes_way_and_an_honest_one_never() {
    let places = ConnectionSlots::new(3);
    let (silent, dripping, honest) = (
        takes(&places).await.unwrap(),
        takes(&places).await.unwrap(),
        takes(&places).await.unwrap(),
    );
    for place in [&silent, &dripping, &honest] {
        place.seat.has_request();
        place.seat.begins_body();
        place.seat.lacks_body();
    }
    let newcomers = async {
        let first = takes(&places).await.unwrap();
        first.seat.has_request();
        let second = takes(&places).await.unwrap();
        second.seat.has_request();
        assert!(takes(&places).await.is_none(), "nobody else can go");
    };
    let began = Instant::now();
    let leave = async {
        assert_eq!(silent.asked_to_leave().await, EvictionReason::SlowBody);
        let waited = began.elapsed();
        assert!(waited >= Duration::from_secs(5) && waited < Duration::from_secs(6));
        drop(silent);
        assert_eq!(dripping.asked_to_leave().await, EvictionReason::SlowBody);
        drop(dripping);
        std::future::pending::<()>().await;
    };
    let uploading = async {
        let slow = places.seats().get(&1).unwrap().clone();
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            honest.seat.gets_body(200);
            honest.seat.lacks_body();
            slow.gets_body(1);
            slow.lacks_body();
        }
    };
    tokio::select! {
        () = newcomers => {}
        () = leave => {}
        () = uploading => {}
    }
    assert!(!leaves(&honest).await);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_takes_and_a_line_that_hangs_cost_no_place() {
    let places = ConnectionSlots::new(2);
    let (untaken, hanging) = (takes(&places).await.unwrap(), takes(&places).await.unwrap());
    for place in [&untaken, &hanging] {
        place.seat.has_request();
        place.seat.begins_body();
    }
    hanging.seat.gets_body(100 * 1024);
    hanging.seat.lacks_body();
    // For as long as is tried here.
    assert!(takes(&places).await.is_none());
    assert!(takes(&places).await.is_none());
    let newcomer = {
        let places = places.clone();
        async move { takes(&places).await }
    };
    let leave = async {
        assert_eq!(hanging.asked_to_leave().await, EvictionReason::SlowBody);
        drop(hanging);
    };
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (newcomer, ()) = tokio::join!(newcomer, leave);
    assert!(newcomer.is_some(), "it hung for more than its credit");
    assert!(!leaves(&untaken).await);
}

/// With 16 places, 14 of them for strangers, a thousand of them took 18 s at a quarter of a second each.
#[tokio::test(start_paused = true)]
async fn behind_a_thousand_who_ask_nothing_nobody_waits_for_long() {
    let places = ConnectionSlots::new(16);
    let tasks = tokio_util::task::TaskTracker::new();
    for _ in 0..3 {
        let began = Instant::now();
        for _ in 0..1000 {
            let place = takes(&places).await.unwrap();
            tasks.spawn(async move {
                place.asked_to_leave().await;
            });
        }
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        // A later connection without a rush has the whole time again.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut all = Vec::new();
        for _ in 0..14 {
            all.push(takes(&places).await.unwrap());
        }
        let began = Instant::now();
        let leaves = async {
            all[0].asked_to_leave().await;
            assert!(began.elapsed() >= Duration::from_millis(GRACE));
            all.remove(0);
        };
        tokio::join!(takes(&places), leaves).0.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_has_time_for_its_request() {
    let places = ConnectionSlots::new(1);
    let place = takes(&places).await.unwrap();
    let began = Instant::now();
    let newcomer = async { takes(&places).await };
    let makes_way = async {
        place.asked_to_leave().await;
        assert!(began.elapsed() >= Duration::from_millis(GRACE));
        drop(place);
    };
    let (newcomer, ()) = tokio::join!(newcomer, makes_way);
    assert!(newcomer.is_some() && places.seats().len() == 1);
    drop(newcomer);
    assert!(places.seats().is_empty());
}
