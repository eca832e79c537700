//! Plain tables: columns two blanks apart, a bold head, numbers to the right.

use std::borrow::Cow;
use std::io::{self, Write};

use anstyle::Style;

/// Bold: heads of tables and of lists.
pub const BOLD: Style = Style::new().bold();
/// Faint: what is there for completeness.
pub const FAINT: Style = Style::new().dimmed();

/// Which edge of its column a cell touches.
#[derive(Clone, Copy, PartialEq)]
pub enum Side {
    Left,
    Right,
}

/// A table to be printed whole.
pub struct Table {
    heads: Vec<(String, Side)>,
    rows: Vec<Vec<String>>,
    totals: bool,
}

impl Table {
    /// A table with these column heads.
    pub fn new(heads: &[(&str, Side)]) -> Self {
        let heads = heads.iter().map(|&(head, side)| (head.to_owned(), side)).collect();
        Table { heads, rows: Vec::new(), totals: false }
    }

    /// Adds a row, a cell under each head.
    pub fn row(&mut self, cells: impl Into<Vec<String>>) {
        let mut cells = cells.into();
        cells.resize(self.heads.len(), String::new());
        self.rows.push(cells);
    }

    /// Adds the last row, set off by a rule.
    pub fn total(&mut self, cells: impl Into<Vec<String>>) {
        self.row(cells);
        self.totals = true;
    }

    /// Writes head, rule and rows. On a terminal the last column is cut to the lines' length.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut widths = self.widths();
        if let Some((terminal_size::Width(columns), _)) =
            terminal_size::terminal_size_of(io::stdout())
        {
            let others: usize = widths.iter().rev().skip(1).map(|width| width + 2).sum();
            if let Some(last) = widths.last_mut() {
                *last = (*last).min(usize::from(columns).saturating_sub(others)).max(1);
            }
        }
        let rule = "─".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));
        let heads: Vec<String> = self.heads.iter().map(|(head, _)| head.clone()).collect();

        writeln!(to, "{BOLD}{}{BOLD:#}", self.line(&heads, &widths))?;
        writeln!(to, "{FAINT}{rule}{FAINT:#}")?;
        for (index, row) in self.rows.iter().enumerate() {
            if self.totals && index + 1 == self.rows.len() {
                writeln!(to, "{FAINT}{rule}{FAINT:#}")?;
            }
            writeln!(to, "{}", self.line(row, &widths))?;
        }
        Ok(())
    }

    fn widths(&self) -> Vec<usize> {
        let cell = |column: usize| {
            self.rows.iter().map(move |row| row[column].chars().count()).max().unwrap_or(0)
        };
        let heads = self.heads.iter().enumerate();
        heads.map(|(column, (head, _))| cell(column).max(head.chars().count())).collect()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let cell = cut(cell, widths[column]);
            let blanks = " ".repeat(widths[column] - cell.chars().count());
            let (before, after) = match self.heads[column].1 {
                Side::Left => ("", blanks.as_str()),
                Side::Right => (blanks.as_str(), ""),
            };
            line.push_str(if column > 0 { "  " } else { "" });
            line.push_str(before);
            line.push_str(&cell);
            line.push_str(after);
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// `text` in at most `width` letters, the last of which says that more were there.
fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return text.into();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_at_their_last_letter() {
        let mut table = Table::new(&[("name", Side::Left), ("count", Side::Right)]);
        table.row(["a".into(), "1".into()]);
        table.total(["total".into(), "1,000,000".into()]);
        let mut text = Vec::new();
        table.write(&mut text).unwrap();
        let text = anstream::adapter::strip_bytes(&text).into_vec();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().collect();

        assert_eq!(lines[0], "name       count");
        assert_eq!(lines[2], "a              1");
        assert_eq!(lines[4], "total  1,000,000");
        assert_eq!(lines[1], lines[3]);
    }

    #[test]
    fn a_cut_cell_says_so() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
    }
}
