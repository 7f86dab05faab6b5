//! The backend's list of models in OpenAI's form. Pure.

use serde_json::{Value, json};

use crate::provider::dialect::ModelList;

/// The query that the backend wants.
pub(super) const QUERY: &str = "client_version=0.169.0";

/// The list, asked for as the Codex CLI does whose protocol this is.
pub(super) static LIST: ModelList = ModelList {
    query: ("client_version", "0.169.0"),
    read,
};

/// OpenAI's list of the models that are shown, those first that the backend puts first.
fn read(body: &[u8]) -> Option<Vec<u8>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let models = body.get("models")?.as_array()?;
    let mut shown: Vec<(i64, &str)> = models.iter().filter_map(shown).collect();
    shown.sort_by_key(|(priority, _)| *priority);
    let model = |(_, slug): &(i64, &str)| json!({"id": slug, "object": "model", "created": 0, "owned_by": "openai"});
    let data: Vec<Value> = shown.iter().map(model).collect();
    Some(
        json!({"object": "list", "data": data})
            .to_string()
            .into_bytes(),
    )
}

/// A model's place and name, unless it is hidden. Whether an API key may use it (`supported_in_api`) does not matter
/// for a subscription.
fn shown(model: &Value) -> Option<(i64, &str)> {
    let visibility = model.get("visibility").and_then(Value::as_str);
    if visibility.is_some_and(|visibility| visibility != "list") {
        return None;
    }
    let priority = model.get("priority").and_then(Value::as_i64);
    Some((priority.unwrap_or(i64::MAX), model.get("slug")?.as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_that_are_shown_are_listed_in_the_backends_order() {
        let theirs = json!({"models": [
            {"slug": "last"},
            {"slug": "second", "visibility": "list", "supported_in_api": false, "priority": 9},
            {"slug": "hidden", "visibility": "hide", "priority": 0},
            {"slug": "first", "visibility": "list", "supported_in_api": true, "priority": 1},
            {"visibility": "list"},
        ]});
        let list = read(theirs.to_string().as_bytes()).unwrap();
        let list: Value = serde_json::from_slice(&list).unwrap();
        let model =
            |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "openai"});
        assert_eq!(
            list,
            json!({"object": "list", "data": [model("first"), model("second"), model("last")]})
        );
    }

    #[test]
    fn what_is_no_list_of_theirs_is_not_read() {
        for other in [
            json!({"object": "list", "data": []}),
            json!([]),
            json!({"models": 1}),
        ] {
            assert_eq!(read(other.to_string().as_bytes()), None, "{other}");
        }
        assert_eq!(read(b"<html>"), None);
    }
}
