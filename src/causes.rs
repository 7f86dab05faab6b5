//! An error and its causes.

use std::error::Error;

/// The error and its causes, the outermost first.
pub(crate) fn chain<'e>(
    error: &'e (dyn Error + 'static),
) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The error and its causes on one line. Some errors repeat their cause; then it is said once.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in error.source().into_iter().flat_map(chain) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.extend([": ", &cause]);
        }
    }
    text
}

/// The first `T` among the error and its causes. An I/O error hides the error that it wraps from its `source`, and wrappers
/// nest.
pub(crate) fn find<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
        .map(|wrapped| wrapped as &(dyn Error + 'static));
    error
        .downcast_ref::<T>()
        .or_else(|| wrapped.and_then(find::<T>))
        .or_else(|| error.source().and_then(find::<T>))
}

/// The innermost cause: the system's own message, where the others say only where it occurred.
pub(crate) fn root<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    chain(error).last().unwrap_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Told {
        text: &'static str,
        source: Option<Box<Told>>,
    }

    fn told(texts: &[&'static str]) -> Option<Box<Told>> {
        let (text, causes) = texts.split_first()?;
        let source = told(causes);
        Some(Box::new(Told { text, source }))
    }

    #[test]
    fn a_cause_is_said_once() {
        for (texts, line) in [
            (&["no answer"][..], "no answer"),
            (
                &["no answer", "reset", "by the peer"],
                "no answer: reset: by the peer",
            ),
            (
                &["no answer: reset", "reset", "by the peer"],
                "no answer: reset: by the peer",
            ),
        ] {
            let error = told(texts).unwrap();
            assert_eq!(with_causes(&*error), line);
            assert_eq!(root(&*error).to_string(), *texts.last().unwrap());
        }
    }
}
