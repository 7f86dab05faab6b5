//! A body's model is read as serde_json reads it, and another one in its place changes no other byte.

use hermes_proxy::proxy::model_field::{RequestedModel, Scanner};
use serde_json::{Map, Value};

/// One input: how large its pieces are, and a body.
pub fn run(bytes: &[u8]) {
    let Some((size, body)) = bytes.split_first() else {
        return;
    };
    let mut scanner = Scanner::default();
    for piece in body.chunks(usize::from(*size) + 1) {
        if scanner.read(piece).is_err() {
            return;
        }
    }
    let Ok(model) = scanner.finish() else {
        return;
    };
    let (place, text) = model.replacement("another \"one\"");
    let at = |place: u64| usize::try_from(place).expect("a place in the body");
    let (start, end) = (at(place.start), at(place.end));
    let mut renamed = body[..start].to_vec();
    renamed.extend_from_slice(text.as_bytes());
    renamed.extend_from_slice(&body[end..]);
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(body) else {
        return;
    };
    let named = object.get("model").and_then(Value::as_str);
    assert_eq!(model.name().unwrap_or_default(), named.unwrap_or_default());
    assert_eq!(
        matches!(model, RequestedModel::Missing { .. }),
        !object.contains_key("model")
    );
    let renamed: Map<String, Value> = serde_json::from_slice(&renamed).expect("JSON as before");
    let mut expected = object;
    expected.insert("model".to_owned(), "another \"one\"".into());
    assert_eq!(renamed, expected);
}
