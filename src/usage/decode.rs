//! Reads a compressed answer: a copy is unpacked on the side, as far as that is cheap, and discarded. The original
//! bytes pass.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::write::{MultiGzDecoder, ZlibDecoder};

use super::scan::{AnswerFormat, Scan};
use super::tokens::TokenCounts;

/// So many answers are unpacked at once: each takes 80 KiB.
const MOST_AT_ONCE: usize = 64;
/// An answer may become this many times as long as it came; text becomes three to ten times as long.
const LARGEST_FACTOR: usize = 64;
/// And whatever its length, this long.
const ALWAYS: usize = 1 << 20;

static AT_ONCE: AtomicUsize = AtomicUsize::new(0);

/// How a body is encoded, as far as that can be undone here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Deflate,
    /// It is not looked through.
    Unknown,
}

impl Encoding {
    /// What the values of `Content-Encoding` say.
    pub(super) fn of<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Self {
        let Some(value) = values.next() else {
            return Self::Plain;
        };
        let is = |name: &str| value.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        if values.next().is_some() {
            Self::Unknown
        } else if is("identity") {
            Self::Plain
        } else if is("gzip") || is("x-gzip") {
            Self::Gzip
        } else if is("deflate") {
            Self::Deflate
        } else {
            Self::Unknown
        }
    }
}

/// Looks through a body, encoded or not.
pub(super) enum AnswerDecoder {
    Plain(Scan),
    Packed(Box<Packed>),
    /// Nothing more can be seen.
    Blind,
}

impl fmt::Debug for AnswerDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Packed(_) => "Packed",
            Self::Blind => "Blind",
        })
    }
}

pub(super) struct Packed {
    unpacker: Unpacker,
    /// Bytes that came.
    came: usize,
    _turn: UnpackTurn,
}

enum Unpacker {
    Gzip(MultiGzDecoder<UnpackedSink>),
    Deflate(ZlibDecoder<UnpackedSink>),
}

/// What is unpacked goes there.
struct UnpackedSink {
    scan: Scan,
    /// Bytes that it may still take.
    room: usize,
}

impl Write for UnpackedSink {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let Some(room) = self.room.checked_sub(piece.len()) else {
            return Err(io::Error::other("it becomes too long"));
        };
        self.room = room;
        self.scan.pass(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One of the answers that are unpacked at once.
struct UnpackTurn;

impl UnpackTurn {
    fn take() -> Option<Self> {
        let taken = AT_ONCE.fetch_add(1, Ordering::Relaxed);
        let turn = Self;
        (taken < MOST_AT_ONCE).then_some(turn)
    }
}

impl Drop for UnpackTurn {
    fn drop(&mut self) {
        AT_ONCE.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AnswerDecoder {
    pub(super) fn new(form: AnswerFormat, encoding: Encoding) -> Self {
        let scan = Scan::new(form);
        let sink = |scan| UnpackedSink { scan, room: ALWAYS };
        let unpacker = match encoding {
            Encoding::Plain => return Self::Plain(scan),
            Encoding::Unknown => return Self::Blind,
            Encoding::Gzip => Unpacker::Gzip(MultiGzDecoder::new(sink(scan))),
            Encoding::Deflate => Unpacker::Deflate(ZlibDecoder::new(sink(scan))),
        };
        match UnpackTurn::take() {
            Some(turn) => Self::Packed(Box::new(Packed {
                unpacker,
                came: 0,
                _turn: turn,
            })),
            None => Self::Blind,
        }
    }

    /// A piece passes.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        match self {
            Self::Plain(scan) => scan.pass(piece),
            Self::Packed(packed) => {
                if packed.pass(piece).is_err() {
                    *self = Self::Blind;
                }
            }
            Self::Blind => {}
        }
    }

    /// All has passed: what is left in an unpacker is looked through.
    pub(super) fn ends(&mut self) {
        if let Self::Packed(packed) = self {
            packed.ends();
        }
    }

    /// The usage in the answer.
    pub(super) fn tokens(&self) -> Option<TokenCounts> {
        match self {
            Self::Plain(scan) => scan.tokens(),
            Self::Packed(packed) => packed.scan().tokens(),
            Self::Blind => None,
        }
    }
}

impl Packed {
    fn pass(&mut self, piece: &[u8]) -> io::Result<()> {
        self.came = self.came.saturating_add(piece.len());
        let more = piece.len().saturating_mul(LARGEST_FACTOR);
        let sink = match &mut self.unpacker {
            Unpacker::Gzip(gzip) => gzip.get_mut(),
            Unpacker::Deflate(deflate) => deflate.get_mut(),
        };
        sink.room = sink.room.saturating_add(more);
        match &mut self.unpacker {
            Unpacker::Gzip(gzip) => gzip.write_all(piece).and_then(|()| gzip.flush()),
            Unpacker::Deflate(deflate) => deflate.write_all(piece).and_then(|()| deflate.flush()),
        }
    }

    /// A cut answer has reported what it has.
    fn ends(&mut self) {
        match &mut self.unpacker {
            Unpacker::Gzip(gzip) => gzip.try_finish().ok(),
            Unpacker::Deflate(deflate) => deflate.try_finish().ok(),
        };
    }

    fn scan(&self) -> &Scan {
        match &self.unpacker {
            Unpacker::Gzip(gzip) => &gzip.get_ref().scan,
            Unpacker::Deflate(deflate) => &deflate.get_ref().scan,
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(text).unwrap();
        packed.finish().unwrap()
    }

    fn seen(encoding: Encoding, pieces: &[&[u8]]) -> Option<u64> {
        let mut look = AnswerDecoder::new(AnswerFormat::Whole, encoding);
        for piece in pieces {
            look.pass(piece);
        }
        look.ends();
        look.tokens().map(|tokens| tokens.total)
    }

    #[test]
    fn a_packed_answer_is_seen_however_it_is_cut() {
        let text = br#"{"model":"m","usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(text).unwrap();
        for (encoding, packed) in [
            (Encoding::Gzip, gzip(text)),
            (Encoding::Deflate, zlib.finish().unwrap()),
            (
                Encoding::Gzip,
                [gzip(&text[..20]), gzip(&text[20..])].concat(),
            ),
        ] {
            for size in 1..=packed.len() {
                let pieces: Vec<_> = packed.chunks(size).collect();
                assert_eq!(seen(encoding, &pieces), Some(7), "{encoding:?} by {size}");
            }
        }
        assert_eq!(seen(Encoding::Gzip, &[b"no gzip at all"]), None);
        assert_eq!(seen(Encoding::Unknown, &[text]), None);
    }

    #[test]
    fn what_becomes_far_too_long_is_given_up() {
        let bomb = gzip(&vec![b' '; 8 << 20]);
        let mut look = AnswerDecoder::new(AnswerFormat::Whole, Encoding::Gzip);
        look.pass(&bomb);
        assert!(matches!(look, AnswerDecoder::Blind));
        // It has given its turn back, and a long text does not count.
        let usage = br#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
        let words: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let long = gzip(&[&words[..], usage].concat());
        assert_eq!(seen(Encoding::Gzip, &[&long]), Some(7));
    }

    #[test]
    fn the_encoding_is_known_by_its_field() {
        for (values, encoding) in [
            (&[][..], Encoding::Plain),
            (&["identity"], Encoding::Plain),
            (&["gzip"], Encoding::Gzip),
            (&[" X-GZIP"], Encoding::Gzip),
            (&["deflate"], Encoding::Deflate),
            (&["br"], Encoding::Unknown),
            (&["zstd"], Encoding::Unknown),
            (&["gzip, gzip"], Encoding::Unknown),
            (&["gzip", "br"], Encoding::Unknown),
        ] {
            let values = values.iter().map(|value| value.as_bytes());
            assert_eq!(Encoding::of(values), encoding);
        }
    }
}
