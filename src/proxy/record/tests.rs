use super::*;

#[test]
fn a_request_tells_of_its_provider_only_what_the_provider_did() {
    let ledger = Arc::new(Ledger::default());
    let news = |end: End, status: u16| {
        let mut underway = Underway::unread(&ledger);
        underway.ended(end);
        if status > 0 {
            underway.answered(StatusCode::from_u16(status).unwrap());
        }
        underway.record().news()
    };
    for status in [200, 204, 302, 400, 404, 413, 422] {
        assert_eq!(news(End::Complete, status), News::Works, "{status}");
    }
    for status in [401, 402, 403, 429, 500, 503, 529] {
        let code = format!("http_{status}").into();
        assert_eq!(news(End::Complete, status), News::Fails(code), "{status}");
    }
    assert_eq!(
        news(End::UpstreamBroke, 200),
        News::Fails("answer_cut".into())
    );
    let unreachable = ErrorKind::UpstreamUnreachable.code();
    assert_eq!(
        news(End::Refused(unreachable), 502),
        News::Fails(unreachable.into())
    );
    let own = ErrorKind::RequestTooLarge.code();
    for end in [
        End::Kept,
        End::Refused(own),
        End::Cut,
        End::MadeWay,
        End::Defect,
        End::ClientLeft,
    ] {
        assert_eq!(news(end, 200), News::Nothing, "{end:?}");
    }
    for end in [End::Complete, End::ClientLeft] {
        let mut underway = Underway::unread(&ledger);
        underway.answered(StatusCode::OK);
        underway.blocked("no_plan");
        underway.ended(end);
        let news = underway.record().news();
        assert_eq!(news, News::Fails("no_plan".into()), "{end:?}");
    }
}
