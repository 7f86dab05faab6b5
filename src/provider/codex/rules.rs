//! What the backend demands of a request's body, and what it refuses. `docs/codex.md` has the whole
//! list.

use crate::provider::dialect::BodyRules;

/// Members that the backend refuses on every path.
const REFUSED: &[&str] = &[
    "max_output_tokens",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "user",
    "metadata",
    "truncation",
    // Where it is null.
    "previous_response_id",
    "stream_options",
    "safety_identifier",
    "prompt_cache_retention",
];
/// Without them the model would know nothing of the conversation.
const NEEDED: &[(&str, &str)] = &[(
    "previous_response_id",
    "names an answer that the provider has not stored: have the app send the whole conversation",
)];
/// What an answer that is always whole has no use for.
const OF_STREAMS: &[&str] = &["stream", "store"];
const ONLY: &[(&str, &str)] = &[("service_tier", "\"priority\"")];
const DEFAULT: &[(&str, &str)] = &[("instructions", "\"\"")];
const ROLE: (&str, &str) = ("\"system\"", "\"developer\"");

pub(super) static RESPONSES: BodyRules = BodyRules {
    set: &[("stream", "true"), ("store", "false")],
    default: DEFAULT,
    refused: NEEDED,
    removed: &[REFUSED],
    only: ONLY,
    items: "input",
    role: ROLE,
};

/// Of `/responses/compact`.
pub(super) static COMPACT: BodyRules = BodyRules {
    set: &[],
    default: DEFAULT,
    refused: NEEDED,
    removed: &[REFUSED, OF_STREAMS],
    only: ONLY,
    items: "input",
    role: ROLE,
};
