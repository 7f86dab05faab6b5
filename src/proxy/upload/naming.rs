//! Hears a body's model as it passes, for the counts of usage. It stops no body: one that is read in two ways names its
//! first model, or none.

use crate::proxy::model_field::{Model, Search};

/// How far a body has been heard.
#[derive(Debug)]
pub(super) enum Naming {
    Listening(Box<Search>),
    Known(Box<str>),
    /// Its model can't be told.
    Unknown,
}

impl Naming {
    pub(super) fn new(search: Search) -> Self {
        Self::Listening(Box::new(search))
    }

    /// A piece passes. Behind the model's name nothing is looked at.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        let Self::Listening(search) = self else {
            return;
        };
        if let (Some(name), true) = (first_member(piece), search.is_at_start()) {
            *self = Self::Known(name.into());
            return;
        }
        let read = search.find(piece);
        match (search.model(), read) {
            (Some(model), _) => {
                *self = model
                    .name()
                    .map_or(Self::Unknown, |name| Self::Known(name.into()));
            }
            (None, Err(_)) => *self = Self::Unknown,
            (None, Ok(())) => {}
        }
    }

    /// The model's name.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Known(name) => Some(name),
            Self::Listening(search) => search.model().and_then(Model::name),
            Self::Unknown => None,
        }
    }
}

/// The model of a JSON body that begins with it, plainly written, as most do.
fn first_member(body: &[u8]) -> Option<&str> {
    const LONGEST: usize = 200;
    let rest = body.strip_prefix(b"{\"model\":")?;
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let rest = rest.strip_prefix(b"\"")?;
    let rest = rest.get(..LONGEST).unwrap_or(rest);
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let is_plain = end > 0 && rest.get(end) == Some(&b'"');
    let name = rest.get(..end).filter(|_| is_plain)?;
    std::str::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::model_field::Scanner;

    #[test]
    fn a_model_is_heard_however_its_body_is_cut_and_an_odd_body_names_none() {
        for (body, name) in [
            (r#"{"model":"m","messages":[]}"#, Some("m")),
            (r#"{"model": "m", "messages": []}"#, Some("m")),
            (r#"{"model":"\u006d","messages":[]}"#, Some("m")),
            (r#"{"model":"","messages":[]}"#, None),
            (r#"{"messages":[{"model":"x"}],"model":"m"}"#, Some("m")),
            (r#"{"model":"m","model":"n"}"#, Some("m")),
            (r#"{"messages":[]}"#, None),
            (r#"{"model":7}"#, None),
            ("[]", None),
            ("", None),
        ] {
            for size in 1..=body.len().max(1) {
                let mut naming = Naming::new(Search::Json(Scanner::default()));
                for piece in body.as_bytes().chunks(size) {
                    naming.pass(piece);
                }
                assert_eq!(naming.name(), name, "{body} by {size}");
            }
        }
    }
}
