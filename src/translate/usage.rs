//! An answer's usage, in the other wire's words.

use serde_json::{Map, Value};

/// Names on the Responses wire and in a chat; each detail is in a nested object.
const TOKENS: [(&str, &str); 3] = [
    ("input_tokens", "prompt_tokens"),
    ("output_tokens", "completion_tokens"),
    ("total_tokens", "total_tokens"),
];
const DETAILS: [(&str, &str); 2] = [
    ("input_tokens_details", "prompt_tokens_details"),
    ("output_tokens_details", "completion_tokens_details"),
];

/// A response's usage as a chat has it.
pub(super) fn of_chat(usage: &Value) -> Value {
    let mut made = Map::new();
    for (from, to) in TOKENS {
        made.insert(to.to_owned(), count(usage, from).into());
    }
    for (from, to) in DETAILS {
        if let Some(details) = usage.get(from).filter(|details| details.is_object()) {
            made.insert(to.to_owned(), details.clone());
        }
    }
    made.into()
}

/// A chat's usage in a response's form, in which no detail may be missing.
pub(super) fn of_response(usage: &Value) -> Value {
    let mut made = Map::new();
    let needed = [
        &["cached_tokens", "cache_write_tokens"][..],
        &["reasoning_tokens"],
    ];
    for ((to, from), details) in TOKENS
        .into_iter()
        .zip(DETAILS.into_iter().zip(needed).map(Some).chain([None]))
    {
        made.insert(to.to_owned(), count(usage, from).into());
        let Some(((to, from), needed)) = details else {
            continue;
        };
        let details = usage.get(from).and_then(Value::as_object);
        let mut details = details.cloned().unwrap_or_default();
        details.retain(|_, value| !value.is_null());
        for name in needed {
            details.entry(*name).or_insert_with(|| 0.into());
        }
        made.insert(to.to_owned(), details.into());
    }
    if usage.get("total_tokens").and_then(whole).is_none() {
        let total = count(usage, "prompt_tokens").saturating_add(count(usage, "completion_tokens"));
        made.insert("total_tokens".to_owned(), total.into());
    }
    made.into()
}

fn count(usage: &Value, name: &str) -> u64 {
    usage.get(name).and_then(whole).unwrap_or_default()
}

/// A number of tokens, which some providers send as `5.0`.
fn whole(count: &Value) -> Option<u64> {
    count.as_u64().or_else(|| {
        let text = format!(
            "{:.0}",
            count.as_f64().filter(|count| count.fract() == 0.0)?
        );
        text.parse().ok()
    })
}
