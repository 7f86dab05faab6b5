//! Finds the end of a daemon's answer as it passes through the bridge. Pure.
//!
//! Only certain ends count: an answer with a length, or with a last chunk (RFC 9112 §6). Any other
//! answer, such as one to HEAD, never counts as ended.

/// The end of a head, and that of a body in chunks without a trailer.
const HEAD_END: &[u8] = b"\r\n\r\n";
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// What is known of an answer. A new one for each request.
#[derive(Debug, Default)]
pub(super) struct AnswerEnd {
    state: AnswerEndState,
}

#[derive(Debug, Default)]
enum AnswerEndState {
    /// Its head comes next.
    #[default]
    Head,
    /// So many bytes are still to come.
    Length(u64),
    /// It is in chunks, and these are its last bytes.
    Chunks([u8; LAST_CHUNK.len()]),
    /// Nothing more can be said of it.
    Unknown,
}

impl AnswerEnd {
    /// Takes the next bytes; whether the answer is over with them.
    pub(super) fn is_over_with(&mut self, mut piece: &[u8]) -> bool {
        while matches!(self.state, AnswerEndState::Head) && !piece.is_empty() {
            let mut ends = piece.windows(HEAD_END.len());
            let end = ends.position(|bytes| bytes == HEAD_END);
            let whole = end.and_then(|end| piece.split_at_checked(end + HEAD_END.len()));
            let Some((head, rest)) = whole else {
                self.state = AnswerEndState::Unknown;
                break;
            };
            self.state = body_of(head);
            piece = rest;
        }
        match &mut self.state {
            AnswerEndState::Length(left) => {
                let more = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                *left = left.saturating_sub(more);
                *left == 0
            }
            AnswerEndState::Chunks(last) => {
                let room = last.len();
                let kept = last.len().saturating_sub(piece.len());
                last.rotate_left(room - kept);
                let new = piece.get(piece.len().saturating_sub(room)..);
                if let (Some(place), Some(new)) = (last.get_mut(kept..), new) {
                    place.copy_from_slice(new);
                }
                last == LAST_CHUNK
            }
            AnswerEndState::Head | AnswerEndState::Unknown => false,
        }
    }
}

/// What follows a head.
fn body_of(head: &[u8]) -> AnswerEndState {
    let Ok(head) = std::str::from_utf8(head) else {
        return AnswerEndState::Unknown;
    };
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|line| line.get(..3)).unwrap_or_default();
    // An interim answer, behind which the real one comes (RFC 9110 §15.2).
    if status.starts_with('1') {
        return AnswerEndState::Head;
    }
    if status == "204" || status == "304" {
        return AnswerEndState::Length(0);
    }
    let field = |name: &str| {
        let mut fields = lines.clone().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    };
    let length = field("content-length").and_then(|length| length.parse().ok());
    match (status, field("transfer-encoding"), length) {
        ("", _, _) => AnswerEndState::Unknown,
        (_, Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => {
            let mut last = [0; LAST_CHUNK.len()];
            if let Some(place) = last.last_chunk_mut::<2>() {
                *place = *b"\r\n";
            }
            AnswerEndState::Chunks(last)
        }
        (_, None, Some(length)) => AnswerEndState::Length(length),
        _ => AnswerEndState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_over_with_its_last_byte_and_not_before() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n01234",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n0",
        ] {
            let head = text.rfind("HTTP/1.1").unwrap();
            let head = head + text.get(head..).unwrap().find("\r\n\r\n").unwrap() + 4;
            // The last head is whole in the first piece; behind it every cut in two.
            for cut in head..=text.len() {
                let mut answer = AnswerEnd::default();
                let (first, second) = text.as_bytes().split_at(cut);
                assert_eq!(
                    answer.is_over_with(first),
                    second.is_empty(),
                    "{text} {cut}"
                );
                assert!(
                    second.is_empty() || answer.is_over_with(second),
                    "{text} {cut}"
                );
            }
            // And byte by byte.
            let mut answer = AnswerEnd::default();
            assert_eq!(
                answer.is_over_with(&text.as_bytes()[..head]),
                head == text.len()
            );
            for at in head..text.len() {
                let is_over = answer.is_over_with(&text.as_bytes()[at..=at]);
                assert_eq!(is_over, at + 1 == text.len(), "{text} {at}");
            }
        }
    }

    #[test]
    fn what_is_not_certain_is_never_over() {
        for text in [
            "HTTP/1.1 200 OK\r\n\r\nuntil the end",
            "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
            "data: x\n\n",
            "",
        ] {
            assert!(
                !AnswerEnd::default().is_over_with(text.as_bytes()),
                "{text}"
            );
        }
        // A head in pieces.
        let mut answer = AnswerEnd::default();
        for piece in ["HTTP/1.1 200 OK\r\ncontent-", "length: 0\r\n\r\n"] {
            assert!(!answer.is_over_with(piece.as_bytes()));
        }
    }
}
