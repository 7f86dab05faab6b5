//! The members of a request, taken one by one: a leftover can't be carried over, and is refused by
//! name.

use serde_json::{Map, Value};

use super::UntranslatableRequest;

/// An object of a request, and its place.
#[derive(Debug)]
pub(super) struct RequestFields {
    members: Map<String, Value>,
    path: String,
}

impl RequestFields {
    /// A request's body.
    pub(super) fn body(members: Map<String, Value>) -> Self {
        let path = String::new();
        Self { members, path }
    }

    /// The object at a place.
    pub(super) fn of(value: Value, path: impl Into<String>) -> Result<Self, UntranslatableRequest> {
        let path = path.into();
        match value {
            Value::Object(members) => Ok(Self { members, path }),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Err(UntranslatableRequest::new(path, "must be an object")),
        }
    }

    /// The place of a member.
    pub(super) fn at(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Takes a member out; null is the same as none.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    /// Takes out what may be dropped: `docs/translation.md` lists each.
    pub(super) fn drops(&mut self, names: &[&str]) {
        for name in names {
            self.members.remove(*name);
        }
    }

    /// Takes a text out.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, UntranslatableRequest> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(UntranslatableRequest::new(self.at(name), "must be a text")),
        }
    }

    /// Takes a text out that has to be there.
    pub(super) fn needs(&mut self, name: &str) -> Result<String, UntranslatableRequest> {
        let text = self.text(name)?;
        text.ok_or_else(|| UntranslatableRequest::new(self.at(name), "is missing"))
    }

    /// Takes an object out.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, UntranslatableRequest> {
        let value = self.take(name);
        value
            .map(|value| Self::of(value, self.at(name)))
            .transpose()
    }

    /// Takes a list out, each item with its place.
    pub(super) fn list(
        &mut self,
        name: &str,
    ) -> Result<Option<Vec<(String, Value)>>, UntranslatableRequest> {
        let path = self.at(name);
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(placed(items, &path))),
            Some(_) => Err(UntranslatableRequest::new(path, "must be a list")),
        }
    }

    /// Members that both wires have.
    pub(super) fn moves(&mut self, names: &[(&str, &str)], to: &mut Map<String, Value>) {
        for (from, name) in names {
            if let Some(value) = self.take(from) {
                to.insert((*name).to_owned(), value);
            }
        }
    }

    /// A member that says nothing at these values, and can't be carried over at any other.
    pub(super) fn says_nothing(
        &mut self,
        name: &str,
        at: &[Value],
    ) -> Result<(), UntranslatableRequest> {
        match self.take(name) {
            Some(value) if !at.iter().any(|neutral| equal(neutral, &value)) => {
                Err(UntranslatableRequest::lacking(self.at(name)))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that nothing remains, or refuses the request.
    pub(super) fn end(self) -> Result<(), UntranslatableRequest> {
        let left = self.members.iter().find(|(_, value)| !value.is_null());
        left.map_or(Ok(()), |(name, _)| {
            Err(UntranslatableRequest::lacking(self.at(name)))
        })
    }
}

/// Items, each with its place.
pub(super) fn placed(items: Vec<Value>, path: &str) -> Vec<(String, Value)> {
    let items = items.into_iter().enumerate();
    items
        .map(|(at, item)| (format!("{path}[{at}]"), item))
        .collect()
}

/// `0` and `0.0` are the same number.
fn equal(one: &Value, other: &Value) -> bool {
    one == other || one.is_number() && one.as_f64() == other.as_f64()
}

/// An object of these members; those without a value are missing.
pub(super) fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let members = members.into_iter();
    let members = members.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(members.collect())
}

/// A list that is written item by item, so that only its text is kept.
#[derive(Debug, Default)]
pub(super) struct ListWriter {
    /// Items with commas between.
    text: Vec<u8>,
    /// The last one, which may still change.
    last: Option<Value>,
}

impl ListWriter {
    pub(super) fn push(&mut self, item: Value) {
        self.writes();
        self.last = Some(item);
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut Value> {
        self.last.as_mut()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.last.is_none()
    }

    /// Puts the items of another one behind its own.
    pub(super) fn append(&mut self, other: Self) {
        self.writes();
        let more = other.end();
        if !self.text.is_empty() && !more.is_empty() {
            self.text.push(b',');
        }
        self.text.extend(more);
    }

    fn writes(&mut self) {
        if let Some(item) = self.last.take() {
            if !self.text.is_empty() {
                self.text.push(b',');
            }
            // Writing to memory does not fail.
            serde_json::to_writer(&mut self.text, &item).ok();
        }
    }

    /// The items as JSON, with commas between.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.writes();
        self.text
    }
}
