//! The page for a text: colours, width, and the breaking of long lines. Pure.

use super::width::width;

/// How the reader sees a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Style {
    coloured: bool,
    columns: usize,
}

/// What a text means to the reader.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) enum TextTone {
    Heading,
    Good,
    Waiting,
    Bad,
    Label,
}

/// The columns of a reader who does not tell.
pub(in crate::cli) const USUAL: usize = 80;
/// Narrower than that, lines are not broken: no word would fit.
const NARROWEST: usize = 30;

impl Style {
    /// Text only, in 80 columns.
    pub(in crate::cli) const PLAIN: Self = Self {
        coloured: false,
        columns: USUAL,
    };
    /// With ANSI colours, in 80 columns.
    pub(in crate::cli) const COLOURED: Self = Self {
        coloured: true,
        columns: USUAL,
    };

    /// The same with this many columns.
    pub(in crate::cli) fn in_columns(self, columns: usize) -> Self {
        Self { columns, ..self }
    }

    /// How long a line may be; one that is too narrow for words has no limit.
    pub(in crate::cli) fn columns(self) -> usize {
        if self.columns < NARROWEST {
            return usize::MAX;
        }
        self.columns
    }

    /// Whether the reader's terminal shows colours.
    pub(in crate::cli) fn is_coloured(self) -> bool {
        self.coloured
    }

    /// A label and its value, which continues below itself if it is too long.
    pub(in crate::cli) fn row(
        self,
        indent: &str,
        label: &str,
        width: usize,
        value: &str,
    ) -> String {
        let label = self.paint(TextTone::Label, &format!("{label:width$}"));
        self.hanging(&format!("{indent}{label}"), indent.len() + width, value)
    }

    /// A text beside its head, which continues below itself.
    pub(in crate::cli) fn beside(self, head: &str, text: &str) -> String {
        self.hanging(head, visible(head), text)
    }

    /// One of several points, after its dash.
    pub(in crate::cli) fn point(self, text: &str) -> String {
        self.hanging("-", 2, &format!(" {text}"))
    }

    /// Text whose lines are broken where they are too long.
    pub(in crate::cli) fn prose(self, text: &str) -> String {
        let lines = text.lines().map(|line| self.hanging("", 0, line));
        lines.collect()
    }

    /// A text after `head`; the lines after the first begin at the column `hang`.
    fn hanging(self, head: &str, hang: usize, text: &str) -> String {
        let mut whole = head.to_owned();
        let mut column = visible(head);
        let mut fresh = true;
        for word in words(text) {
            let width = visible(word);
            if !fresh && column + 1 + width > self.columns() {
                whole.truncate(whole.trim_end_matches(' ').len());
                whole.push('\n');
                whole.push_str(&" ".repeat(hang));
                column = hang;
                fresh = true;
            }
            if !fresh {
                whole.push(' ');
                column += 1;
            }
            whole.push_str(&word.replace(TIE, " "));
            column += width;
            fresh = false;
        }
        whole.truncate(whole.trim_end_matches(' ').len());
        whole + "\n"
    }

    /// The text in its tone's colour.
    pub(in crate::cli) fn paint(self, tone: TextTone, text: &str) -> String {
        if !self.coloured {
            return text.to_owned();
        }
        let code = match tone {
            TextTone::Heading => "1",
            TextTone::Good => "32",
            TextTone::Waiting => "33",
            TextTone::Bad => "31",
            TextTone::Label => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// A space that no line is broken at.
pub(in crate::cli) const TIE: char = '\u{a0}';

/// The words of a text; a command between backticks stays in one piece, to be copied.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c: char| {
        quoted ^= c == '`';
        c == ' ' && !quoted
    })
}

/// The columns that a text takes: colours take none.
pub(in crate::cli) fn visible(text: &str) -> usize {
    let mut within = false;
    let seen = text.chars().filter(|c| {
        let was_within = within;
        within = *c == '\u{1b}' || within && *c != 'm';
        !was_within && !within
    });
    width(&seen.collect::<String>())
}

/// As much of a line as fits, with an ellipsis if it is cut. Its colours continue after that.
pub(in crate::cli) fn cut(line: &str, columns: usize) -> String {
    if visible(line) <= columns {
        return line.to_owned();
    }
    let mut cut = String::new();
    let (mut column, mut within, mut is_full) = (0, false, false);
    for c in line.chars() {
        let starts = c == '\u{1b}';
        if !within && !starts {
            if is_full {
                continue;
            }
            column += width(c.encode_utf8(&mut [0; 4]));
            if column >= columns {
                is_full = true;
                if columns > 0 {
                    cut.push('…');
                }
                continue;
            }
        }
        within = starts || within && c != 'm';
        cut.push(c);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_columns() {
        let painted = Style::COLOURED.paint(TextTone::Bad, "bad m");
        assert_eq!((visible(&painted), visible("bad m")), (5, 5));
        assert_eq!(visible("a\u{1b}[1mb\u{1b}[0mc"), 3);
    }

    #[test]
    fn a_cut_line_keeps_its_colours_and_says_that_it_is_cut() {
        for (line, columns, expected) in [
            ("path", 4, "path"),
            ("/a/path", 4, "/a/…"),
            ("\u{1b}[1m/a/path\u{1b}[0m", 4, "\u{1b}[1m/a/…\u{1b}[0m"),
            ("/a/path", 1, "…"),
            ("/a/path", 0, ""),
            ("앱이름", 6, "앱이름"),
            ("앱이름", 5, "앱이…"),
            ("앱이름", 4, "앱…"),
            ("e\u{301}e\u{301}e\u{301}", 2, "e\u{301}…"),
        ] {
            assert_eq!(cut(line, columns), expected, "{line:?} {columns}");
        }
    }

    #[test]
    fn a_long_value_goes_on_below_itself() {
        let style = Style::PLAIN.in_columns(34);
        let text = style.row("  ", "error", 10, "one two three four five six seven");
        assert_eq!(
            text,
            "  error     one two three four\n            five six seven\n"
        );
        let text = style.row("", "url", 4, "http://127.0.0.1:8645/a/very/long/path yes");
        assert_eq!(
            text,
            "url http://127.0.0.1:8645/a/very/long/path\n    yes\n"
        );
    }

    #[test]
    fn a_command_is_not_broken_and_no_word_is_lost() {
        let style = Style::PLAIN.in_columns(40);
        let text = style.prose("To log in again, please run `hermesctl auth login nous` now.");
        assert_eq!(
            text,
            "To log in again, please run\n`hermesctl auth login nous` now.\n"
        );
        let text = style.prose("a `b c\n\n  two  spaces stay");
        assert_eq!(text, "a `b c\n\n  two  spaces stay\n");
    }

    #[test]
    fn too_narrow_a_page_is_left_to_the_terminal() {
        let style = Style::PLAIN.in_columns(10);
        let long = "one two three four";
        assert_eq!(style.row("", "l", 8, long), format!("l       {long}\n"));
    }
}
