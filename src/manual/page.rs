//! A man page as it is written: headings, paragraphs, lists and examples; pure.

use roff::{Inline, Roff, bold, roman};

/// A man page that grows.
#[derive(Debug, Default)]
pub(super) struct ManPage(Roff);

impl ManPage {
    /// The page `name(section)`, with what it is in a few words.
    pub(super) fn new(name: &str, section: &str, words: &str) -> Self {
        let mut page = Self::default();
        let source = concat!("hermes-proxyd ", env!("CARGO_PKG_VERSION"));
        // Without a date: the same source makes the same page.
        let none = "\"\"";
        page.0
            .control("TH", [name, section, none, source, "User manuals"]);
        // A path or a command that is copied has to be whole: nothing is hyphenated, and no space is
        // widened to fill a line.
        page.0.control("nh", []);
        page.0.control("ad", ["l"]);
        page.heading("NAME");
        // Programs that index pages read this line as it is.
        page.0.text([roman(format!("{name} - {words}"))]);
        page
    }

    /// The page's source.
    pub(super) fn finish(self) -> String {
        self.0.render()
    }

    pub(super) fn heading(&mut self, title: &str) {
        self.0.control("SH", [title]);
    }

    pub(super) fn subheading(&mut self, title: &str) {
        self.0.control("SS", [title]);
    }

    /// A paragraph; text between backticks is bold.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.0.control("PP", []);
        self.0.text(inlines(text));
    }

    /// The first paragraph behind a heading.
    pub(super) fn text(&mut self, text: &str) {
        self.0.text(inlines(text));
    }

    /// What is explained, and the explanation.
    pub(super) fn item(&mut self, what: &str, text: &str) {
        self.0.control("TP", []);
        self.0.text(inlines(what));
        self.0.text(inlines(text));
    }

    /// Lines as they stand.
    pub(super) fn lines<'t>(&mut self, lines: impl IntoIterator<Item = &'t str>) {
        self.0.control("PP", []);
        self.0.control("RS", ["4"]);
        self.0.control("nf", []);
        for line in lines {
            self.0.text([roman(line)]);
        }
        self.0.control("fi", []);
        self.0.control("RE", []);
    }
}

/// Text between backticks is bold.
fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    let part = |(index, part): (usize, &str)| match (part.is_empty(), index % 2) {
        (true, _) => None,
        (false, 0) => Some(roman(part)),
        (false, _) => Some(bold(part)),
    };
    parts.filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_backticks_is_bold() {
        assert_eq!(inlines("`a` b `c`"), [bold("a"), roman(" b "), bold("c")]);
        assert_eq!(inlines("plain"), [roman("plain")]);
    }
}
