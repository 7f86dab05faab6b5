use std::sync::Arc;

use hyper::StatusCode;

use super::*;
use crate::proxy::error::ErrorKind;
use crate::proxy::ledger::Ledger;

#[test]
fn a_request_tells_of_its_provider_only_what_the_provider_did() {
    let ledger = Arc::new(Ledger::default());
    let news = |end: RequestEnd, status: u16| {
        let mut underway = Underway::unread(&ledger);
        underway.ended(end);
        if status > 0 {
            underway.answered(StatusCode::from_u16(status).unwrap());
        }
        underway.record().news()
    };
    for status in [200, 204, 302, 400, 404, 413, 422] {
        assert_eq!(
            news(RequestEnd::Complete, status),
            ProviderSignal::Works,
            "{status}"
        );
    }
    for status in [401, 402, 403, 429, 500, 503, 529] {
        let code = format!("http_{status}").into();
        assert_eq!(
            news(RequestEnd::Complete, status),
            ProviderSignal::Fails(code),
            "{status}"
        );
    }
    assert_eq!(
        news(RequestEnd::UpstreamBroke, 200),
        ProviderSignal::Fails("answer_cut".into())
    );
    let unreachable = ErrorKind::UpstreamUnreachable.code();
    assert_eq!(
        news(RequestEnd::Refused(unreachable), 502),
        ProviderSignal::Fails(unreachable.into())
    );
    let own = ErrorKind::RequestTooLarge.code();
    for end in [
        RequestEnd::Kept,
        RequestEnd::Refused(own),
        RequestEnd::Cut,
        RequestEnd::MadeWay,
        RequestEnd::Defect,
        RequestEnd::ClientLeft,
    ] {
        assert_eq!(news(end, 200), ProviderSignal::Nothing, "{end:?}");
    }
    for end in [RequestEnd::Complete, RequestEnd::ClientLeft] {
        let mut underway = Underway::unread(&ledger);
        underway.answered(StatusCode::OK);
        underway.blocked("no_plan");
        underway.ended(end);
        let news = underway.record().news();
        assert_eq!(news, ProviderSignal::Fails("no_plan".into()), "{end:?}");
    }
}
