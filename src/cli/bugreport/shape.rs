//! The shape of a JSON file, without its content; pure.

use std::fmt::Write;

use serde_json::Value;

/// The keys and kinds, one a line.
pub(super) fn shape(value: &Value) -> String {
    let mut text = String::new();
    describe(value, "", 2, &mut text);
    text
}

/// All texts in it that may be secrets: those under a name that says so, and long ones.
pub(super) fn secrets<'v>(name: &str, value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => {
            let name = name.to_ascii_lowercase();
            let named = ["token", "key", "secret", "code", "password", "hash"];
            let named = named.iter().any(|word| name.contains(word)) && !name.ends_with("_type");
            let long = text.len() >= 20 && !text.contains("://") && !text.contains(' ');
            let time = text.contains('T') && text.contains(':') && text.starts_with("20");
            if (named || long) && !time {
                found.push(text);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| secrets(name, item, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                secrets(name, value, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn describe(value: &Value, name: &str, depth: usize, text: &mut String) {
    let kind = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(_) => "a text".to_owned(),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(fields) => format!("{} keys", fields.len()),
    };
    let indent = "  ".repeat(depth);
    if !name.is_empty() {
        // Writing to a text can't fail.
        writeln!(text, "{indent}{name} ({kind})").ok();
    }
    if let Value::Object(fields) = value {
        for (name, value) in fields {
            describe(value, name, depth + 1, text);
        }
    }
    if let Value::Array(items) = value
        && let Some(first) = items.first()
    {
        describe(first, "[0]", depth + 1, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_and_values_go() {
        let value = serde_json::json!({"a": {"token": "abc", "n": 1}, "l": [{"x": null}]});
        let text = shape(&value);
        assert!(
            text.contains("token (a text)") && text.contains("x (null)"),
            "{text}"
        );
        assert!(!text.contains("abc"));
        let mut found = Vec::new();
        secrets("", &value, &mut found);
        assert_eq!(found, ["abc"]);
    }
}
