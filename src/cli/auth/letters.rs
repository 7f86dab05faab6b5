//! Letters that can be read from across the room. Pure.

/// Columns of a letter, without the gap after it.
const WIDTH: usize = 5;

/// Pixels from top to bottom; two share a row of the terminal.
const HEIGHT: usize = 7;

/// The text in four rows of block characters, all equally wide; `None` when a character is
/// neither a capital, a digit nor a hyphen.
pub(super) fn large(text: &str) -> Option<Vec<String>> {
    let glyphs: Vec<[u8; WIDTH]> = text.chars().map(glyph).collect::<Option<_>>()?;
    let row = |top: usize| {
        let letters = glyphs.iter().map(|columns| {
            let halves = columns
                .iter()
                .map(|column| half_block(column >> top & 1 == 1, column >> (top + 1) & 1 == 1));
            halves.collect::<String>()
        });
        letters.collect::<Vec<_>>().join(" ")
    };
    Some((0..HEIGHT).step_by(2).map(row).collect())
}

/// Two pixels, one above the other, as one character.
pub(super) fn half_block(upper: bool, lower: bool) -> char {
    match (upper, lower) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    }
}

/// Five columns from left to right, the lowest bit on top.
fn glyph(letter: char) -> Option<[u8; WIDTH]> {
    Some(match letter {
        '-' => [0x08, 0x08, 0x08, 0x08, 0x08],
        '0' => [0x3e, 0x51, 0x49, 0x45, 0x3e],
        '1' => [0x00, 0x42, 0x7f, 0x40, 0x00],
        '2' => [0x42, 0x61, 0x51, 0x49, 0x46],
        '3' => [0x21, 0x41, 0x45, 0x4b, 0x31],
        '4' => [0x18, 0x14, 0x12, 0x7f, 0x10],
        '5' => [0x27, 0x45, 0x45, 0x45, 0x39],
        '6' => [0x3c, 0x4a, 0x49, 0x49, 0x30],
        '7' => [0x01, 0x71, 0x09, 0x05, 0x03],
        '8' => [0x36, 0x49, 0x49, 0x49, 0x36],
        '9' => [0x06, 0x49, 0x49, 0x29, 0x1e],
        'A' => [0x7e, 0x11, 0x11, 0x11, 0x7e],
        'B' => [0x7f, 0x49, 0x49, 0x49, 0x36],
        'C' => [0x3e, 0x41, 0x41, 0x41, 0x22],
        'D' => [0x7f, 0x41, 0x41, 0x22, 0x1c],
        'E' => [0x7f, 0x49, 0x49, 0x49, 0x41],
        'F' => [0x7f, 0x09, 0x09, 0x09, 0x01],
        'G' => [0x3e, 0x41, 0x49, 0x49, 0x7a],
        'H' => [0x7f, 0x08, 0x08, 0x08, 0x7f],
        'I' => [0x00, 0x41, 0x7f, 0x41, 0x00],
        'J' => [0x20, 0x40, 0x41, 0x3f, 0x01],
        'K' => [0x7f, 0x08, 0x14, 0x22, 0x41],
        'L' => [0x7f, 0x40, 0x40, 0x40, 0x40],
        'M' => [0x7f, 0x02, 0x0c, 0x02, 0x7f],
        'N' => [0x7f, 0x04, 0x08, 0x10, 0x7f],
        'O' => [0x3e, 0x41, 0x41, 0x41, 0x3e],
        'P' => [0x7f, 0x09, 0x09, 0x09, 0x06],
        'Q' => [0x3e, 0x41, 0x51, 0x21, 0x5e],
        'R' => [0x7f, 0x09, 0x19, 0x29, 0x46],
        'S' => [0x46, 0x49, 0x49, 0x49, 0x31],
        'T' => [0x01, 0x01, 0x7f, 0x01, 0x01],
        'U' => [0x3f, 0x40, 0x40, 0x40, 0x3f],
        'V' => [0x1f, 0x20, 0x40, 0x20, 0x1f],
        'W' => [0x3f, 0x40, 0x38, 0x40, 0x3f],
        'X' => [0x63, 0x14, 0x08, 0x14, 0x63],
        'Y' => [0x07, 0x08, 0x70, 0x08, 0x07],
        'Z' => [0x61, 0x51, 0x49, 0x45, 0x43],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";

    #[test]
    fn each_letter_looks_different() {
        let shapes: BTreeSet<_> = ALL.chars().map(|c| large(&c.to_string())).collect();
        assert!(!shapes.contains(&None));
        assert_eq!(shapes.len(), ALL.len());
    }

    #[test]
    fn rows_are_equally_wide() {
        let rows = large("WDJB-MJHT").unwrap();
        assert_eq!(rows.len(), 4);
        assert!(rows.iter().all(|row| row.chars().count() == 9 * 6 - 1));
    }

    #[test]
    fn what_has_no_shape_is_not_shown_in_part() {
        for text in ["wdjb", "WDJB MJHT", "Ä", "\u{1b}"] {
            assert_eq!(large(text), None, "{text:?}");
        }
    }
}
