//! "Did you mean": which known name a mistyped one was.

/// The candidate that `text` is most likely a slip of, if one is near. Case, `-` and `_` don't count.
pub(crate) fn did_you_mean<C: AsRef<str> + Ord>(
    text: &str,
    candidates: impl IntoIterator<Item = C>,
) -> Option<String> {
    const LONGEST: usize = 64;
    if text.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let text = plain(text);
    let near = |candidate: &C| {
        let candidate = plain(candidate.as_ref());
        let distance = strsim::damerau_levenshtein(&text, &candidate);
        let slips = (text.len().max(candidate.len()) / 3).max(1);
        (distance <= slips && distance < candidate.len()).then_some(distance)
    };
    candidates
        .into_iter()
        .filter_map(|candidate| Some((near(&candidate)?, candidate)))
        .min()
        .map(|(_, candidate)| candidate.as_ref().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_key_that_was_meant() {
        let keys = ["headers", "body", "connections", "replay_body"];
        for (typed, meant) in [
            ("header", Some("headers")),
            ("bdoy", Some("body")),
            ("Replay-Body", Some("replay_body")),
            ("conections", Some("connections")),
            ("colour", None),
            ("", None),
            ("CONNECTIONS", Some("connections")),
        ] {
            assert_eq!(did_you_mean(typed, keys).as_deref(), meant, "{typed}");
        }
    }
}
