//! Columns, as kubectl prints them.

/// Spaces between columns.
const GAP: usize = 3;

/// Rows under a header. Cells of a column are padded to its widest; an empty cell is shown as `-`, so that a column can be cut out
/// by scripts.
#[derive(Clone, Debug)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Widths that are kept from what was printed before.
    least_widths: Vec<usize>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(header: &[&str]) -> Self {
        Self {
            header: header.iter().map(|&name| name.to_owned()).collect(),
            rows: Vec::new(),
            least_widths: vec![0; header.len()],
        }
    }

    /// Adds a row. It has as many cells as the header.
    pub fn push(&mut self, row: Vec<String>) {
        debug_assert_eq!(row.len(), self.header.len(), "one cell a column");
        let filled = |cell: String| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell
            }
        };
        self.rows.push(row.into_iter().map(filled).collect());
    }

    /// Header and rows.
    #[must_use]
    pub fn render(&self) -> String {
        let header = std::iter::once(&self.header);
        self.lines(header.chain(&self.rows))
    }

    /// Prints and forgets the rows (the header only with `header`), and keeps the widths for those that follow.
    pub fn drain(&mut self, header: bool) -> String {
        let text = if header {
            self.render()
        } else {
            self.lines(self.rows.iter())
        };
        self.least_widths = self.widths();
        self.rows.clear();
        text
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = self.least_widths.clone();
        for row in std::iter::once(&self.header).chain(&self.rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }

    fn lines<'a>(&self, rows: impl Iterator<Item = &'a Vec<String>>) -> String {
        let widths = self.widths();
        let mut text = String::new();
        for row in rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let width = width + GAP;
                line.push_str(&format!("{cell:<width$}"));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [&str; 2]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    #[test]
    fn columns_are_aligned_and_empty_cells_are_visible() {
        let mut table = Table::new(&["NAME", "PHASE"]);
        table.push(row(["intent", "Stable"]));
        table.push(row(["ner", ""]));
        assert_eq!(
            table.render(),
            "NAME     PHASE\nintent   Stable\nner      -\n"
        );
    }

    #[test]
    fn rows_that_come_later_keep_the_columns() {
        let mut table = Table::new(&["NAME", "PHASE"]);
        table.push(row(["intent", "Stable"]));
        table.drain(true);
        table.push(row(["ner", "Stable"]));
        assert_eq!(table.drain(false), "ner      Stable\n");
    }
}
