//! Columns and their cells, as far as they fit. Pure.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::words::cut;
use crate::cli::text::width;

/// The gap between two columns.
const GAP: usize = 2;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) room: ColumnWidth,
    /// Whether it is aligned right, as numbers are.
    pub(super) is_right: bool,
}

/// The width of a column.
#[derive(Debug, Clone, Copy)]
pub(super) enum ColumnWidth {
    /// This many terminal columns.
    Fixed(usize),
    /// This share of what the others leave.
    Part(usize),
}

/// A styled text.
pub(super) type Cell = (String, Style);

/// Columns with their widths.
#[derive(Debug)]
pub(super) struct ColumnTable {
    columns: Vec<(Column, usize)>,
}

impl Column {
    pub(super) const fn left(title: &'static str, room: ColumnWidth) -> Self {
        let is_right = false;
        Self {
            title,
            room,
            is_right,
        }
    }

    pub(super) const fn right(title: &'static str, width: usize) -> Self {
        Self {
            title,
            room: ColumnWidth::Fixed(width),
            is_right: true,
        }
    }
}

impl ColumnTable {
    /// Lays out these columns within this width.
    pub(super) fn new(columns: Vec<Column>, room: usize) -> Self {
        let (mut fixed, mut parts) = (GAP * columns.len().saturating_sub(1), 0);
        for column in &columns {
            match column.room {
                ColumnWidth::Fixed(width) => fixed += width,
                ColumnWidth::Part(part) => parts += part,
            }
        }
        let mut left = room.saturating_sub(fixed);
        let columns = columns.into_iter().map(|column| {
            let width = match column.room {
                ColumnWidth::Fixed(width) => width,
                ColumnWidth::Part(part) => {
                    let width = left * part / parts.max(1);
                    left -= width;
                    parts -= part;
                    width
                }
            };
            (column, width)
        });
        Self {
            columns: columns.collect(),
        }
    }

    /// Writes the titles; the first may have another style.
    pub(super) fn head(&self, first: Style, style: Style, at: Rect, buffer: &mut Buffer) {
        let styles = std::iter::once(first).chain(std::iter::repeat(style));
        let titles = self.columns.iter().zip(styles);
        let titles = titles.map(|((column, _), style)| (column.title.to_owned(), style));
        self.row(&titles.collect::<Vec<_>>(), at, buffer);
    }

    /// Writes a row.
    pub(super) fn row(&self, cells: &[Cell], at: Rect, buffer: &mut Buffer) {
        let mut x = 0;
        for ((column, room), (text, style)) in self.columns.iter().zip(cells) {
            let text = cut(text, *room);
            let indent = if column.is_right {
                room - width(&text)
            } else {
                0
            };
            put(buffer, at, x + indent, &text, *style);
            x += room + GAP;
        }
    }
}

/// Writes a text at this column of a line, cut to fit; returns the column after it.
pub(super) fn put(buffer: &mut Buffer, line: Rect, x: usize, text: &str, style: Style) -> usize {
    let room = usize::from(line.width).saturating_sub(x);
    let text = cut(text, room);
    if room == 0 || line.height == 0 {
        return x;
    }
    let column = line.x.saturating_add(u16::try_from(x).unwrap_or(u16::MAX));
    buffer.set_string(column, line.y, &text, style);
    x + width(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_share_what_is_left_and_hold_their_cells() {
        let columns = vec![
            Column::right("AGE", 5),
            Column::left("CLIENT", ColumnWidth::Part(1)),
            Column::left("MODEL", ColumnWidth::Part(2)),
        ];
        let table = ColumnTable::new(columns, 27);
        let area = Rect::new(0, 0, 27, 1);
        let plain = |text: &str| (text.to_owned(), Style::new());
        for (cells, line) in [
            (["0:07", "app", "m"], " 0:07  app     m           "),
            (
                ["1:00:07", "clients", "模型模型模型模型"],
                "1:00…  clien…  模型模型模… ",
            ),
        ] {
            let mut buffer = Buffer::empty(area);
            table.row(&cells.map(plain), area, &mut buffer);
            let shown: String = (0..27).map(|x| buffer[(x, 0)].symbol()).collect();
            // A wide character hides the cell after it.
            assert_eq!(shown.replace("型 ", "型").replace("模 ", "模"), line);
        }
        assert!(
            ColumnTable::new(vec![Column::right("AGE", 5)], 0)
                .columns
                .len()
                == 1
        );
    }
}
