//! The output of an answer, in pieces: a wire that repeats a long text in several events shares it among them, so that
//! the end of a long answer costs no more time and memory than that of a short one.

use bytes::Bytes;

/// A shorter text is copied: a separate piece would cost more.
const LONG: usize = 4 * 1024;

/// A text in pieces.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pieces {
    before: Vec<Bytes>,
    /// What is behind them.
    text: Vec<u8>,
}

impl Pieces {
    /// With room for this many bytes.
    pub fn with_room(bytes: usize) -> Self {
        Self {
            before: Vec::new(),
            text: Vec::with_capacity(bytes),
        }
    }

    /// Of one text.
    pub fn of(text: Vec<u8>) -> Self {
        Self {
            before: Vec::new(),
            text,
        }
        .shared()
    }

    /// What is written last, to which more is added.
    pub(super) fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Puts short pieces behind it.
    pub(super) fn put(&mut self, pieces: &[&[u8]]) {
        for piece in pieces {
            self.text.extend_from_slice(piece);
        }
    }

    /// Puts another text behind it, of which long pieces are shared.
    pub(super) fn add(&mut self, other: &Self) {
        for piece in &other.before {
            self.ends_piece();
            self.before.push(piece.clone());
        }
        self.text.extend_from_slice(&other.text);
    }

    /// The same, with its end in the form in which it can be shared.
    pub(super) fn shared(mut self) -> Self {
        if self.text.len() >= LONG {
            self.ends_piece();
        }
        self
    }

    fn ends_piece(&mut self) {
        if !self.text.is_empty() {
            self.before.push(std::mem::take(&mut self.text).into());
        }
    }

    /// Its length in bytes.
    pub fn length(&self) -> usize {
        self.before.iter().map(Bytes::len).sum::<usize>() + self.text.len()
    }

    /// The pieces in their order, none of them empty.
    pub fn into_list(mut self) -> Vec<Bytes> {
        self.ends_piece();
        self.before
    }

    /// The same, each with its destination.
    pub fn each(self, mut take: impl FnMut(Bytes)) {
        self.before.into_iter().for_each(&mut take);
        if !self.text.is_empty() {
            take(self.text.into());
        }
    }

    pub(super) fn into_text(self) -> Vec<u8> {
        if self.before.is_empty() {
            return self.text;
        }
        let mut whole = Vec::with_capacity(self.length());
        for piece in self.into_list() {
            whole.extend_from_slice(&piece);
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_shared_and_a_short_one_copied() {
        let long = Pieces::of(vec![b'x'; LONG]);
        let short = Pieces::of(vec![b'y'; LONG - 1]);
        let mut all = Pieces::default();
        all.put(&[b"a", b"b"]);
        all.add(&long);
        all.add(&short);
        all.add(&long);
        all.put(&[b"c"]);
        let lengths: Vec<_> = all.clone().into_list().iter().map(Bytes::len).collect();
        assert_eq!(lengths, [2, LONG, LONG - 1, LONG, 1]);
        let list = all.clone().into_list();
        assert_eq!(list[1].as_ptr(), list[3].as_ptr());
        assert_eq!(
            (all.length(), all.into_text()),
            (list.concat().len(), list.concat())
        );
        assert!(Pieces::default().into_list().is_empty());
    }
}
