//! The names and patterns of models that the file may hold; pure.

use super::super::reader::{TOP_ADVICE, Wrong, is_top};
use super::ModelGlob;

/// No model's name is longer, in bytes.
const LONGEST: usize = 512;

/// Another name for a model.
pub(super) fn alias(name: &str, model: &str) -> Result<String, Wrong> {
    if is_top(name) {
        return Err(TOP_ADVICE.into());
    }
    model_name(name)?;
    model_name(model)
}

/// A name that an app can send.
pub(super) fn model_name(text: &str) -> Result<String, Wrong> {
    let flaw = if text.is_empty() {
        Some("it is empty")
    } else if text.len() > LONGEST {
        Some("it is longer than 512 bytes")
    } else if text.contains('*') {
        Some("only the `models` of a [[route]] may contain `*`")
    } else if text.chars().any(char::is_control) || text.trim() != text {
        Some("remove the blanks around it and the control characters in it")
    } else {
        None
    };
    flaw.map_or_else(
        || Ok(text.to_owned()),
        |flaw| Err(format!("{text:?} is not the name of a model: {flaw}").into()),
    )
}

/// A pattern that can match such a name.
pub(super) fn model_glob(text: &str) -> Result<ModelGlob, Wrong> {
    if let Some(sign) = ['?', '[', ']', '{', '}']
        .into_iter()
        .find(|sign| text.contains(*sign))
    {
        return Err(format!(
            "{text:?} can't match a model: `{sign}` has no meaning here; `*` stands for any text"
        )
        .into());
    }
    // A star may stand for nothing, but not for all of a name.
    let name = text.replace('*', "x");
    model_name(&name).map_err(|_| {
        let flaw =
            "it is empty, longer than 512 bytes, or has blanks around it or control characters";
        Wrong::from(format!("{text:?} can't match a model: {flaw}"))
    })?;
    Ok(ModelGlob::new(text))
}
