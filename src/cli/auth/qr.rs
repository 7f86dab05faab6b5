//! A QR code in block characters. Pure.

use qrcode::{Color, EcLevel, QrCode};

use super::letters::half_block;
use crate::cli::text::Style;

/// Black on white, whatever the terminal's own colours are.
const INK: &str = "\u{1b}[38;5;16;48;5;231m";
const PLAIN: &str = "\u{1b}[0m";

/// The modules of a QR code, two of them in a character.
#[derive(Debug)]
pub(super) struct Qr {
    dark: Vec<bool>,
    side: usize,
}

impl Qr {
    /// The code of a text with the least redundancy, as screens don't get dirty; `None` when it
    /// is too long.
    pub(super) fn of(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
        Some(Self {
            side: code.width(),
            dark: code
                .into_colors()
                .into_iter()
                .map(|color| color == Color::Dark)
                .collect(),
        })
    }

    /// The columns that it takes with this quiet zone.
    pub(super) fn columns(&self, quiet: usize) -> usize {
        self.side + 2 * quiet
    }

    /// Its rows with a quiet zone of this many modules.
    ///
    /// Without colours, light modules are drawn in the text's colour: right on a dark terminal,
    /// and inverted on a light one, which most readers take too.
    pub(super) fn rows(&self, quiet: usize, style: Style) -> Vec<String> {
        let size = self.columns(quiet);
        let dark = |x: usize, y: usize| {
            let inside = |at: usize| at.checked_sub(quiet).filter(|at| *at < self.side);
            let module = inside(x).zip(inside(y));
            module.is_some_and(|(x, y)| self.dark.get(y * self.side + x) == Some(&true))
        };
        let row = |top: usize| -> String {
            if style.is_coloured() {
                let row = (0..size).map(|x| half_block(dark(x, top), dark(x, top + 1)));
                return format!("{INK}{}{PLAIN}", row.collect::<String>());
            }
            (0..size)
                .map(|x| half_block(!dark(x, top), top + 1 < size && !dark(x, top + 1)))
                .collect()
        };
        (0..size).step_by(2).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://portal.nousresearch.com/manage-subscription?code=WDJB-MJHT";

    /// What a camera sees: each module as four by four pixels, on a terminal of `paper`'s colour.
    fn read(rows: &[String], full_is_dark: bool, paper: u8) -> String {
        let rows: Vec<Vec<char>> = rows
            .iter()
            .map(|row| row.replace(INK, "").replace(PLAIN, "").chars().collect())
            .collect();
        let margin = 3;
        let (width, height) = (rows[0].len() + 2 * margin, 2 * rows.len() + 2 * margin);
        let pixel = |x: usize, y: usize| {
            let (x, y) = (x / 4, y / 4);
            if x < margin || y < margin || x >= width - margin || y >= height - margin {
                return paper;
            }
            let character = rows[(y - margin) / 2][x - margin];
            let set = match character {
                '█' => true,
                '▀' => (y - margin).is_multiple_of(2),
                '▄' => !(y - margin).is_multiple_of(2),
                _ => false,
            };
            if set == full_is_dark { 0 } else { 255 }
        };
        let image = rqrr::PreparedImage::prepare_from_greyscale(4 * width, 4 * height, pixel);
        let mut image = image;
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    #[test]
    fn a_reader_reads_it_back() {
        let qr = Qr::of(URL).unwrap();
        for quiet in [2, 4] {
            for paper in [0, 255] {
                let rows = qr.rows(quiet, Style::COLOURED);
                assert_eq!(read(&rows, true, paper), URL);
            }
            assert_eq!(read(&qr.rows(quiet, Style::PLAIN), false, 0), URL);
        }
    }

    #[test]
    fn it_is_as_large_as_it_says() {
        let qr = Qr::of(URL).unwrap();
        let rows = qr.rows(2, Style::PLAIN);
        assert_eq!(qr.columns(2), 37);
        assert_eq!(rows.len(), 19);
        assert!(rows.iter().all(|row| row.chars().count() == 37));
    }

    #[test]
    fn a_text_without_end_has_none() {
        assert!(Qr::of(&"a".repeat(4000)).is_none());
    }
}
