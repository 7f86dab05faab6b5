//! The end of a JSON string: the first quote that no backslash escapes.
//!
//! Most of a body is text, and code in it has an escaped quote in every line. Sixty-four bytes are compared at once,
//! and arithmetic on all their marks shows which backslashes escape (Langdale and Lemire, "Parsing gigabytes of JSON
//! per second", 3.1.1), at a third of the cost of a search from quote to quote.

use wide::i8x16;

/// Every second bit, from the second on.
const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
/// How many bytes are compared at once.
const LANES: usize = 16;

/// Marks of 64 bytes, the first one in the lowest bit.
struct Marks {
    quotes: u64,
    backslashes: u64,
}

impl Marks {
    fn of(block: &[u8; 64]) -> Self {
        let (quote, backslash) = (
            i8x16::splat(b'"'.cast_signed()),
            i8x16::splat(b'\\'.cast_signed()),
        );
        let mut marks = Self {
            quotes: 0,
            backslashes: 0,
        };
        let (parts, _) = block.as_chunks::<LANES>();
        for (index, part) in parts.iter().enumerate() {
            let bytes = i8x16::new(part.map(u8::cast_signed));
            let at =
                |sought: i8x16| u64::from(bytes.simd_eq(sought).to_bitmask()) << (index * LANES);
            marks.quotes |= at(quote);
            marks.backslashes |= at(backslash);
        }
        marks
    }

    /// Which bytes a backslash escapes. `escaped` says whether the first one is, and afterwards whether the next
    /// block's first one is.
    fn escaped(&self, escaped: &mut bool) -> u64 {
        let first = u64::from(*escaped);
        if self.backslashes == 0 {
            *escaped = false;
            return first;
        }
        // Of a run of backslashes, every second one is escaped itself, counted from its first: a subtraction carries
        // through runs that begin at an odd place, and leaves those that begin at an even one.
        let able = self.backslashes & !first;
        let behind = able << 1;
        let ends = (behind | ODD).wrapping_sub(able) ^ ODD;
        *escaped = (ends & self.backslashes) >> 63 == 1;
        ends ^ (self.backslashes | first)
    }
}

/// The place of the first quote of `text` that is not escaped. `escaped` says whether the byte before it was a backslash
/// that escapes its first byte, and afterwards, where there is no such quote, the same of its end.
pub(super) fn end(text: &[u8], escaped: &mut bool) -> Option<usize> {
    let (blocks, rest) = text.as_chunks::<64>();
    for (index, block) in blocks.iter().enumerate() {
        let marks = Marks::of(block);
        let ends = marks.quotes & !marks.escaped(escaped);
        if ends != 0 {
            *escaped = false;
            return Some(index * 64 + ends.trailing_zeros() as usize);
        }
    }
    let before = text.len() - rest.len();
    for (index, byte) in rest.iter().enumerate() {
        match byte {
            _ if *escaped => *escaped = false,
            b'\\' => *escaped = true,
            b'"' => return Some(before + index),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Byte by byte, as RFC 8259 section 7 reads.
    fn plainly(text: &[u8], escaped: &mut bool) -> Option<usize> {
        text.iter().position(|byte| {
            let is_end = !*escaped && *byte == b'"';
            *escaped = !*escaped && *byte == b'\\';
            is_end
        })
    }

    #[test]
    fn runs_of_backslashes_over_the_blocks_borders() {
        for before in 0..200 {
            for run in 0..70 {
                let mut text = vec![b'x'; before];
                text.extend(vec![b'\\'; run]);
                text.extend(b"\"yy\\\"\"");
                for first in [false, true] {
                    let (mut ours, mut theirs) = (first, first);
                    assert_eq!(
                        end(&text, &mut ours),
                        plainly(&text, &mut theirs),
                        "{before} {run}"
                    );
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_end_is_what_a_plain_look_finds(
            text in proptest::collection::vec(proptest::sample::select(b"\\\\\\\"x\xff".to_vec()), 0..400),
            padding in 0_usize..200,
            first in any::<bool>(),
        ) {
            let text = [vec![b'x'; padding], text].concat();
            let (mut ours, mut theirs) = (first, first);
            let found = end(&text, &mut ours);
            prop_assert_eq!(found, plainly(&text, &mut theirs));
            if found.is_none() {
                prop_assert_eq!(ours, theirs);
            }
        }
    }
}
