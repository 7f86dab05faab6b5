//! Reads a body's model as it passes, for the counts of usage. It stops no body: an ambiguous one has its first model,
//! or none. It reads only the beginning, since reading costs more than passing on.

use crate::proxy::model_field::{ModelSearch, RequestedModel, Scanner};
use crate::usage::Label;

/// So many bytes of a body are read for its model.
const LONGEST: usize = 256 * 1024;

/// How far a body has been heard.
#[derive(Debug)]
pub(super) enum ModelNaming {
    /// Nothing has passed of a JSON body. Most begin with their model, so that nothing has to be read of them.
    Begins,
    /// So many bytes more are read.
    Listening(Box<ModelSearch>, usize),
    Known(Label),
    /// Its model is unknown.
    Unknown,
}

impl ModelNaming {
    pub(super) fn new(search: ModelSearch) -> Self {
        if search.is_at_start() {
            Self::Begins
        } else {
            Self::Listening(Box::new(search), LONGEST)
        }
    }

    /// A piece passes. After the model's name nothing is read.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        if matches!(self, Self::Begins) {
            *self = match first_member(piece) {
                Some(name) => Self::known(name),
                None => Self::Listening(Box::new(ModelSearch::Json(Scanner::default())), LONGEST),
            };
        }
        let Self::Listening(search, left) = self else {
            return;
        };
        let heard = piece.get(..*left).unwrap_or(piece);
        *left -= heard.len();
        let is_enough = *left == 0;
        let read = search.find(heard);
        match (search.model(), read) {
            (Some(model), _) => *self = model.name().map_or(Self::Unknown, Self::known),
            (None, Err(_)) => *self = Self::Unknown,
            (None, Ok(())) if is_enough => *self = Self::Unknown,
            (None, Ok(())) => {}
        }
    }

    fn known(name: &str) -> Self {
        Self::Known(Label::of(&[name]))
    }

    /// The model's name.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Known(name) => Some(name.as_str()),
            Self::Listening(search, _) => search.model().and_then(RequestedModel::name),
            Self::Begins | Self::Unknown => None,
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
                let mut naming = ModelNaming::new(ModelSearch::Json(Scanner::default()));
                for piece in body.as_bytes().chunks(size) {
                    naming.pass(piece);
                }
                assert_eq!(naming.name(), name, "{body} by {size}");
            }
        }
    }

    #[test]
    fn a_model_behind_the_beginning_of_a_long_body_is_not_looked_for() {
        for (before, name) in [(LONGEST / 2, Some("m")), (2 * LONGEST, None)] {
            let body = format!(r#"{{"messages":["{}"],"model":"m"}}"#, "x".repeat(before));
            let mut naming = ModelNaming::new(ModelSearch::Json(Scanner::default()));
            for piece in body.as_bytes().chunks(16 * 1024) {
                naming.pass(piece);
            }
            assert_eq!(naming.name(), name);
            assert_eq!(matches!(naming, ModelNaming::Unknown), name.is_none());
        }
    }
}
