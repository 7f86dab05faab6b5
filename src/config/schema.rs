//! The file's JSON schema for editors, made from the reader's keys; pure.
//!
//! Only the reader knows the rules across keys and the format of texts, so the schema accepts more
//! than the reader does, and never less.

use serde_json::{Map, Value, json};

use super::reference::{ReferenceEntry, notation, reference};
use super::takes::Takes;
use super::units;

/// The schema, in the draft that editors of TOML know.
pub fn schema() -> Value {
    let entries = reference();
    let mut schema = object("", &entries);
    if let Some(root) = schema.as_object_mut() {
        let head = [
            ("$schema", "http://json-schema.org/draft-07/schema#".into()),
            ("title", "Configuration of hermes-proxyd".into()),
            ("description", notation().into()),
        ];
        for (key, value) in head.into_iter().rev() {
            root.shift_insert(0, key.to_owned(), value);
        }
    }
    schema
}

/// The table with this pattern.
fn object(pattern: &str, entries: &[ReferenceEntry]) -> Value {
    let within = entries.iter().filter(|entry| entry.table() == pattern);
    // A name of the user's choice is not a key.
    let keys = within.filter(|entry| entry.name() != "<name>");
    let properties: Map<_, _> = keys
        .map(|entry| (entry.name().to_owned(), property(entry, entries)))
        .collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn property(entry: &ReferenceEntry, entries: &[ReferenceEntry]) -> Value {
    let mut property = match &entry.key.takes {
        Takes::Text(example) => json!({"type": "string", "examples": [example]}),
        Takes::Word(words) => json!({"enum": words}),
        Takes::Texts(example) => {
            json!({"type": "array", "items": {"type": "string"}, "examples": [[example]]})
        }
        Takes::Words(words) => json!({"type": "array", "items": {"enum": words}}),
        Takes::NamedTexts(_) => {
            json!({"type": "object", "additionalProperties": {"type": "string"}})
        }
        Takes::Flag => json!({"type": "boolean"}),
        Takes::Count(range) => {
            json!({"type": "integer", "minimum": range.start(), "maximum": range.end()})
        }
        Takes::Size(range) => json!({"anyOf": [
            {"type": "integer", "minimum": range.start(), "maximum": range.end()},
            {"type": "string", "pattern": units::size_pattern()},
        ]}),
        Takes::Duration(_) => json!({"type": "string", "pattern": units::duration_pattern()}),
        Takes::Table => object(&entry.tables(), entries),
        Takes::Tables => json!({"type": "array", "items": object(&entry.tables(), entries)}),
        Takes::NamedTables => {
            json!({"type": "object", "additionalProperties": object(&entry.tables(), entries)})
        }
    };
    if let Some(property) = property.as_object_mut() {
        let kind = entry.key.takes.describe();
        let text = [entry.text.as_str(), &format!("({kind})")].join(" ");
        property.insert("description".to_owned(), text.trim().into());
        if let Some(default) = entry.default.as_deref().and_then(value) {
            property.insert("default".to_owned(), default);
        }
    }
    property
}

fn value(toml: &str) -> Option<Value> {
    let mut table: toml::Table = toml::from_str(&format!("value = {toml}")).ok()?;
    serde_json::to_value(table.remove("value")?).ok()
}
