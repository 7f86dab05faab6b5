//! Whether a login or the request is to blame for an answer that reports a used-up quota. Pure.
//!
//! A 402 or a 429 without a time may concern the account, or the requested model and size. Other logins' answers to
//! the same request show which: an app must not be able to put all of them on cooldown.

use hyper::StatusCode;
use serde_json::Value;

/// What of an error says what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorMark {
    status: StatusCode,
    /// Its code or type; `None` where it has none, or can't be read.
    code: Option<String>,
}

/// What a login made of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LoginOutcome {
    /// Its quota is used up, or the request can't be served with any login.
    Doubtful(ErrorMark),
    /// It considered the request: its quota is not used up.
    Considered,
    /// This says nothing about the others: its token is refused, its quota is surely used up, or
    /// the server failed.
    Untold,
}

/// Whose fault an [`LoginOutcome::Doubtful`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The login's: another one considered the same request.
    Login,
    /// The request's: another login gave the equal answer.
    Request,
    /// There is nothing to compare with.
    Unknown,
}

impl ErrorMark {
    /// That of an answer whose body begins so.
    pub(super) fn of(status: StatusCode, start: Option<&[u8]>) -> Self {
        let code = start.and_then(code);
        Self { status, code }
    }

    /// Whether both say the same, as far as they can be read.
    fn equals(&self, other: &Self) -> bool {
        let codes = self.code.as_ref().zip(other.code.as_ref());
        self.status == other.status && codes.is_none_or(|(one, other)| one == other)
    }
}

impl LoginOutcome {
    /// Of an answer that neither refuses the token nor says that nothing is left.
    pub(super) fn of_status(status: StatusCode) -> Self {
        if status.is_server_error() {
            Self::Untold
        } else {
            Self::Considered
        }
    }
}

/// Whose fault the answer at this place is, by those that other logins gave to the same request.
pub(super) fn blame(outcomes: &[LoginOutcome], place: usize) -> Option<Blame> {
    let LoginOutcome::Doubtful(mark) = outcomes.get(place)? else {
        return None;
    };
    let others = || {
        let numbered = outcomes.iter().enumerate();
        numbered.filter(|(other, _)| *other != place)
    };
    let blame = if others().any(|(_, one)| *one == LoginOutcome::Considered) {
        Blame::Login
    } else if others()
        .any(|(_, one)| matches!(one, LoginOutcome::Doubtful(other) if other.equals(mark)))
    {
        Blame::Request
    } else {
        Blame::Unknown
    };
    Some(blame)
}

/// The code or type of an error in OpenAI's form, or one like it.
fn code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let places = [body.get("error"), Some(&body)];
    places.into_iter().flatten().find_map(|place| {
        if let Some(text) = place.as_str() {
            return Some(text.to_owned());
        }
        let told = ["code", "type"]
            .into_iter()
            .filter_map(|key| place.get(key));
        told.filter(|told| !told.is_null())
            .map(ToString::to_string)
            .next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubtful(status: u16, body: &str) -> LoginOutcome {
        let status = StatusCode::from_u16(status).unwrap();
        LoginOutcome::Doubtful(ErrorMark::of(status, Some(body.as_bytes())))
    }

    #[test]
    fn a_login_is_to_blame_where_another_considered_the_request_and_the_request_where_all_answer_alike()
     {
        let broke = || {
            doubtful(
                402,
                r#"{"error":{"code":"insufficient_credits","type":"x"}}"#,
            )
        };
        let busy = || doubtful(429, r#"{"error":{"code":"overloaded"}}"#);
        let (took, untold) = (LoginOutcome::Considered, LoginOutcome::Untold);
        for (outcomes, expected) in [
            (vec![broke()], Blame::Unknown),
            (vec![broke(), took.clone()], Blame::Login),
            (vec![broke(), broke()], Blame::Request),
            (vec![broke(), broke(), took.clone()], Blame::Login),
            (vec![broke(), untold.clone()], Blame::Unknown),
            (vec![broke(), untold, broke()], Blame::Request),
            (vec![broke(), busy()], Blame::Unknown),
            (vec![broke(), busy(), took], Blame::Login),
            // What can't be read differs in nothing.
            (vec![broke(), doubtful(402, "\u{1f}")], Blame::Request),
            (vec![broke(), doubtful(429, "")], Blame::Unknown),
        ] {
            assert_eq!(blame(&outcomes, 0), Some(expected), "{outcomes:?}");
        }
        assert_eq!(blame(&[LoginOutcome::Considered], 0), None);
        assert_eq!(blame(&[], 0), None);
    }

    #[test]
    fn an_error_is_told_by_its_code_or_type_and_not_by_its_words() {
        for (one, other, is_equal) in [
            (
                r#"{"error":{"code":"a","message":"1"}}"#,
                r#"{"error":{"code":"a","message":"2"}}"#,
                true,
            ),
            (
                r#"{"error":{"code":"a"}}"#,
                r#"{"error":{"code":"b"}}"#,
                false,
            ),
            (
                r#"{"error":{"code":null,"type":"a"}}"#,
                r#"{"type":"a"}"#,
                true,
            ),
            (
                r#"{"error":{"code":402}}"#,
                r#"{"error":{"code":"402"}}"#,
                false,
            ),
            (r#"{"error":"a"}"#, r#"{"error":"b"}"#, false),
            ("[1]", r#"{"error":"b"}"#, true),
            ("<html>", "", true),
        ] {
            let of =
                |body: &str| ErrorMark::of(StatusCode::PAYMENT_REQUIRED, Some(body.as_bytes()));
            assert_eq!(of(one).equals(&of(other)), is_equal, "{one} {other}");
        }
    }
}
