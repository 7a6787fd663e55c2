//! One plain table on standard output.

use std::fmt;

/// Rows of labels and cells; the columns are the servers.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Begins a table whose first line is `title` and the names of the columns.
    pub fn new<'a>(title: &str, columns: impl IntoIterator<Item = &'a str>) -> Self {
        let mut table = Self { rows: Vec::new() };
        table.row(title, columns);
        table
    }

    /// Adds one row.
    pub fn row(&mut self, label: &str, cells: impl IntoIterator<Item = impl fmt::Display>) {
        let mut row = vec![label.to_owned()];
        row.extend(cells.into_iter().map(|cell| cell.to_string()));
        self.rows.push(row);
    }

    /// Adds a line that says what the rows below it are about.
    pub fn heading(&mut self, text: &str) {
        self.row(text, [""; 0]);
    }

    fn width(&self, column: usize) -> usize {
        self.rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = self.width(column);
                match column {
                    0 => line += &format!("{cell:<width$}"),
                    _ => line += &format!("  {cell:>width$}"),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
            if number == 0 {
                writeln!(f, "{}", "-".repeat(line.chars().count()))?;
            }
        }
        Ok(())
    }
}
