//! Plain text tables: columns aligned by what a terminal shows, where Japanese characters take two
//! places, and cut to its width only when there is one.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::neutral;
use super::style::Style;

/// Between two columns.
const GAP: &str = "  ";
/// The elastic column keeps at least this many places.
const MIN_PLACES: usize = 12;

/// How a cell is coloured.
pub(crate) type Paint = fn(Style, &str) -> String;

/// One cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    paint: Option<Paint>,
}

impl Cell {
    /// A coloured one.
    pub(crate) fn painted(text: &str, paint: Paint) -> Self {
        Self { text: neutral::line(text), paint: Some(paint) }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: neutral::line(text.as_ref()), paint: None }
    }
}

/// Rows below headings. The last column is the elastic one: it is cut where there is no room.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let headings = headings.iter().map(|text| Cell::painted(text, Style::dim)).collect();
        Self { headings, rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The text, every line with a line break at its end. `columns` is the width of a terminal.
    pub(crate) fn render(&self, style: Style, columns: Option<usize>) -> String {
        let all = || std::iter::once(&self.headings).chain(&self.rows);
        let mut widths = vec![0; self.headings.len()];
        for row in all() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        let fixed: usize = widths.iter().rev().skip(1).map(|width| width + GAP.len()).sum();
        let room = columns.map(|columns| columns.saturating_sub(fixed).max(MIN_PLACES));
        let mut out = String::new();
        for row in all() {
            let last = row.len().saturating_sub(1);
            for (position, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let text = match room {
                    Some(room) if position == last => cut(&cell.text, room),
                    _ => cell.text.clone(),
                };
                out.push_str(&cell.paint.map_or_else(|| text.clone(), |paint| paint(style, &text)));
                if position < last {
                    out.push_str(&" ".repeat(width.saturating_sub(text.width())));
                    out.push_str(GAP);
                }
            }
            let end = out.trim_end_matches(' ').len();
            out.truncate(end);
            out.push('\n');
        }
        out
    }
}

/// The text in at most `room` places, with an ellipsis where something is missing.
pub(crate) fn cut(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        out.push(c);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["ID", "役", "TITLE"]);
        table.row(vec!["1".into(), "backend".into(), "Write the parser".into()]);
        table.row(vec!["10.2".into(), "認証".into(), "ログイン画面を作る".into()]);
        table
    }

    #[test]
    fn wide_characters_keep_columns_aligned() {
        let text = table().render(Style::plain(), None);
        assert_eq!(text, "ID    役       TITLE\n1     backend  Write the parser\n10.2  認証     ログイン画面を作る\n");
    }

    #[test]
    fn only_a_terminal_cuts_and_no_line_is_wider_than_it() {
        let text = table().render(Style::plain(), Some(28));
        for line in text.lines() {
            assert!(line.width() <= 28, "{line:?}");
        }
        assert!(text.contains("ログイン画面…\n"), "{text}");
    }

    #[test]
    fn a_cell_cannot_break_out_of_its_line() {
        let mut table = Table::new(&["A"]);
        table.row(vec!["x\ny\u{1b}[2J".into()]);
        assert_eq!(table.render(Style::plain(), None), "A\nx y␛[2J\n");
    }
}
