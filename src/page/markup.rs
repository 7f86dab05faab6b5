//! HTML under construction: markup from this program's own text, all else escaped. Pure.
//!
//! Names come from requests, files and providers, so no caller chooses whether to escape: [`Html`] takes markup as literals,
//! and every other value as a [`Markup`], which is escaped unless it is [`Html`] itself.

use std::fmt::{self, Write as _};

/// Part of a page.
#[derive(Debug, Default)]
pub(super) struct Html(String);

/// Something that is put into a page.
pub(super) trait Markup {
    /// Appends it to `page`.
    fn put(&self, page: &mut Html);
}

/// Appends literals as markup and everything else as a [`Markup`].
macro_rules! put {
    ($page:expr $(,)?) => {};
    ($page:expr, $markup:literal $(, $($rest:tt)*)?) => {
        $page.markup($markup);
        $($crate::page::markup::put!($page, $($rest)*);)?
    };
    ($page:expr, $piece:expr $(, $($rest:tt)*)?) => {
        $crate::page::markup::Markup::put(&$piece, &mut *$page);
        $($crate::page::markup::put!($page, $($rest)*);)?
    };
}
pub(super) use put;

impl Html {
    /// Appends markup of this program.
    pub(super) fn markup(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Appends text, which never becomes markup.
    pub(super) fn text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(character),
                _ if is_hidden(character) => self.0.extend(character.escape_unicode()),
                _ => self.0.push(character),
            }
        }
    }

    /// The page.
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// Whether a character is not seen, or changes how others are: controls, and marks of direction (Unicode TR 9), with which
/// a name can be made to look like another one.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

impl Markup for Html {
    fn put(&self, page: &mut Html) {
        page.0.push_str(&self.0);
    }
}

impl Markup for str {
    fn put(&self, page: &mut Html) {
        page.text(self);
    }
}

impl Markup for String {
    fn put(&self, page: &mut Html) {
        page.text(self);
    }
}

impl<T: Markup + ?Sized> Markup for &T {
    fn put(&self, page: &mut Html) {
        (**self).put(page);
    }
}

/// What is written as it is displayed: numbers, times.
macro_rules! displayed {
    ($($type:ty),*) => {$(
        impl Markup for $type {
            fn put(&self, page: &mut Html) {
                write!(HtmlEscaped(page), "{self}").ok();
            }
        }
    )*};
}
displayed!(u32, u64, i64, usize, crate::control::protocol::Timestamp);

struct HtmlEscaped<'p>(&'p mut Html);

impl fmt::Write for HtmlEscaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.text(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literals_are_markup() {
        let mut page = Html::default();
        let number = 7_u64;
        let hostile = "<script>alert('x')</script> & \"y\"\u{202e}\u{1b}[31m";
        put!(
            &mut page,
            "<td title=\"",
            hostile,
            "\">",
            hostile.to_owned(),
            "</td>",
            number
        );
        let text = page.into_string();
        let escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;y&quot;\\u{202e}\\u{1b}[31m";
        assert_eq!(text, format!("<td title=\"{escaped}\">{escaped}</td>7"));
    }

    #[test]
    fn html_within_html_stays_what_it_is() {
        let mut inner = Html::default();
        put!(&mut inner, "<b>", "bold".to_owned(), "</b>");
        let mut page = Html::default();
        put!(&mut page, inner);
        assert_eq!(page.into_string(), "<b>bold</b>");
    }
}
