//! The columns that a text takes on a terminal. Pure.

use ratatui::text::Span;

/// Letters of one column or two, such as those of Hangul; what joins the letter before it has none.
pub(in crate::cli) fn width(text: &str) -> usize {
    Span::raw(text).width()
}
