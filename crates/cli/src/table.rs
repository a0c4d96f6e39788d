use console::{measure_text_width, style, truncate_str};

/// A table of left-aligned text that fits the terminal: the widest column is cut where the lines
/// would be too long.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

const GAP: usize = 2;
const NARROWEST: usize = 12;

impl Table {
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: vec![] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table, indented by two, in lines of at most `width` columns where that is possible.
    pub(crate) fn render(&self, width: usize) -> String {
        let widths = self.widths(width.saturating_sub(GAP));
        let head: Vec<String> =
            self.head.iter().map(|title| style(*title).dim().to_string()).collect();
        let mut lines = String::new();
        for cells in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                let cell = truncate_str(cell, *width, "…");
                let padding = width - measure_text_width(&cell) + GAP;
                line.push_str(&" ".repeat(if line.is_empty() { GAP } else { 0 }));
                line.push_str(&cell);
                line.push_str(&" ".repeat(padding));
            }
            lines.push_str(line.trim_end());
            lines.push('\n');
        }
        lines
    }

    fn widths(&self, available: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let widest = cells.map(|cell| measure_text_width(cell)).max().unwrap_or(0);
                widest.max(self.head[column].len())
            })
            .collect();
        loop {
            let total: usize = widths.iter().map(|width| width + GAP).sum();
            let Some(widest) = widths.iter_mut().max_by_key(|width| **width) else { break };
            if total <= available || *widest <= NARROWEST {
                break;
            }
            *widest = (*widest).saturating_sub(total - available).max(NARROWEST);
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_the_terminal() {
        let mut table = Table::new(&["name", "why"]);
        table.row(vec!["x".repeat(100), "short".into()]);
        for line in table.render(60).lines() {
            assert!(measure_text_width(line) <= 60, "{line}");
        }
    }
}
