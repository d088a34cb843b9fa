//! Plain tables: columns of text, no lines drawn.

use std::fmt;

use crate::output::printable;

/// Which side of its column a cell keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table that prints itself with two spaces between columns.
///
/// ```
/// use tributary_console::{Align, Table};
/// let mut table = Table::new([("provider", Align::Left), ("epsilon", Align::Right)]);
/// table.row(["hospital-a", "2.97"]);
/// assert_eq!(table.to_string(), "provider    epsilon\nhospital-a     2.97\n");
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and no rows.
    pub fn new<T: fmt::Display>(columns: impl IntoIterator<Item = (T, Align)>) -> Self {
        let columns = columns
            .into_iter()
            .map(|(title, align)| (cell(title), align))
            .collect();
        Table {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row. Cells that are missing stay empty; cells beyond the last column are dropped.
    pub fn row<T: fmt::Display>(&mut self, cells: impl IntoIterator<Item = T>) -> &mut Self {
        let mut row: Vec<String> = cells
            .into_iter()
            .take(self.columns.len())
            .map(cell)
            .collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles: Vec<String> = self
            .columns
            .iter()
            .map(|(title, _)| title.clone())
            .collect();
        let width = |column: usize| {
            let cells = self
                .rows
                .iter()
                .map(|row| &row[column])
                .chain([&titles[column]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..titles.len()).map(width).collect();
        for row in [&titles].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(&self.columns) {
                line.push_str(&match align {
                    Align::Left => format!("{cell:<width$}  "),
                    Align::Right => format!("{cell:>width$}  "),
                });
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// One line, whatever it was made from: a line break in a cell would forge a row.
fn cell(value: impl fmt::Display) -> String {
    printable(&value.to_string()).replace('\n', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_their_widest_cell_and_lines_have_no_trailing_spaces() {
        let mut table = Table::new([
            ("a", Align::Left),
            ("number", Align::Right),
            ("note", Align::Left),
        ]);
        table
            .row(["länger", "7", ""])
            .row(["x"])
            .row(["y", "1", "z", "dropped"]);
        assert_eq!(
            table.to_string(),
            "a       number  note\nlänger       7\nx\ny            1  z\n"
        );
    }

    #[test]
    fn a_cell_cannot_forge_a_row() {
        let mut table = Table::new([("party", Align::Left)]);
        table.row(["mallory\nhospital-a  ok\x1b[1A"]);
        assert_eq!(table.to_string().lines().count(), 2);
    }
}
