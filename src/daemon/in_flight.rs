//! The requests in flight, in the control protocol's types. Costs nothing until hermesctl asks.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::control::in_flight::{
    InFlightQuery, InFlightReport, LastHour, MOST, RequestInFlight, RequestPhase,
};
use crate::control::protocol::Timestamp;
use crate::proxy::{First, InFlight, InFlightRequests};

/// The requests in flight now.
pub(super) fn report(
    flights: &InFlightRequests,
    query: InFlightQuery,
    now: DateTime<Utc>,
    usage_counted: bool,
) -> InFlightReport {
    let most = query.most.unwrap_or(MOST).min(MOST);
    let first = if query.newest {
        First::Newest
    } else {
        First::Oldest
    };
    let look = flights.look(usize::try_from(most).unwrap_or_default(), first);
    let minutes = look.minutes.iter();
    InFlightReport {
        now: Timestamp(now),
        requests: look.listed.into_iter().map(request).collect(),
        unlisted: u64::try_from(look.unlisted).unwrap_or(u64::MAX),
        streams: u64::try_from(look.streams).ok(),
        last_hour: LastHour {
            requests: minutes.clone().map(|one| one.requests).collect(),
            failed: minutes.map(|one| one.failed).collect(),
        },
        usage_counted,
    }
}

fn request(one: InFlight) -> RequestInFlight {
    let phase = match (one.status, one.is_stream) {
        (Some(_), true) => RequestPhase::Streaming,
        (Some(_), false) => RequestPhase::Answering,
        (None, _) if one.is_uploaded => RequestPhase::Waiting,
        (None, _) => RequestPhase::Sending,
    };
    RequestInFlight {
        id: String::from_utf8_lossy(&one.id).into_owned(),
        age_ms: milliseconds(one.age),
        client: one.client.into(),
        model: one.model.map(String::from),
        provider: one.provider.to_string(),
        path: one.path.to_string(),
        login: one.login.map(String::from),
        phase,
        status: one.status,
        first_byte_ms: one.first_byte.map(milliseconds),
        bytes_in: one.bytes_in,
        bytes_out: one.bytes_out,
        events: one.events,
        tokens_out: one.tokens,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
