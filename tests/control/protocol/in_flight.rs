//! Requests in flight.

use super::*;

#[test]
fn the_messages_about_requests_in_flight() {
    let op = Operation::InFlight(InFlightQuery {
        most: Some(50),
        newest: true,
    });
    golden("request_in_flight.json", &ControlRequest { id: 1, op });
    let streaming = RequestInFlight {
        id: "00c0ffee00c0ffee".into(),
        age_ms: 93_417,
        client: "open-webui".into(),
        model: Some("Hermes-4-405B".into()),
        provider: "nous".into(),
        path: "/chat/completions".into(),
        login: Some("work".into()),
        phase: RequestPhase::Streaming,
        status: Some(200),
        first_byte_ms: Some(412),
        bytes_in: 20_144,
        bytes_out: 1_204_117,
        events: 3_311,
        tokens_out: Some(3_302),
    };
    let waiting = RequestInFlight {
        id: "0123456789abcdef".into(),
        age_ms: 812,
        client: "OpenAI/Python (no key)".into(),
        model: None,
        login: None,
        phase: RequestPhase::Waiting,
        status: None,
        first_byte_ms: None,
        bytes_out: 0,
        events: 0,
        tokens_out: None,
        ..streaming.clone()
    };
    let phases = [
        RequestPhase::Sending,
        RequestPhase::Answering,
        RequestPhase::Other("of_tomorrow".into()),
    ];
    let others = phases.map(|phase| RequestInFlight {
        phase,
        ..waiting.clone()
    });
    let mut minutes = vec![0; 58];
    minutes.extend([12, 3]);
    let mut failed = vec![0; 59];
    failed.push(1);
    let report = InFlightReport {
        now: at("2026-11-23T20:31:00Z"),
        requests: [streaming, waiting].into_iter().chain(others).collect(),
        unlisted: 7,
        streams: Some(9),
        last_hour: LastHour {
            requests: minutes,
            failed,
        },
        usage_counted: true,
    };
    golden("reply_in_flight.json", &ok(report));
}
