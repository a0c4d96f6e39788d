use console::{measure_text_width, style};

use crate::text::{plain, wrap};

/// A table of left-aligned text that fits the terminal without breaking or cutting a word.
///
/// Where lines would be too long, cells continue in the next line. Where words are too long for
/// that, every row begins with its first cell on a line of its own.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

const GAP: usize = 2;

impl Table {
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: vec![] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns whether nothing is cut and no line broken in lines of `width` columns.
    pub(crate) fn fits(&self, width: usize) -> bool {
        // One gap for each column: the indentation takes the place of the one behind the last.
        let columns: usize = self.natural_widths().iter().map(|width| width + GAP).sum();
        columns <= width
    }

    /// Returns the table, indented by two, in lines of at most `width` columns where its words
    /// allow it.
    pub(crate) fn render(&self, width: usize) -> String {
        match self.widths(width) {
            Some(widths) => self.in_columns(&widths),
            None => self.stacked(width),
        }
    }

    fn in_columns(&self, widths: &[usize]) -> String {
        let head: Vec<Vec<String>> =
            self.head.iter().map(|title| vec![style(*title).dim().to_string()]).collect();
        let mut lines = String::new();
        push_row(&mut lines, &head, widths);
        for row in &self.rows {
            let cells: Vec<Vec<String>> =
                row.iter().zip(widths).map(|(cell, width)| wrap(cell, *width)).collect();
            push_row(&mut lines, &cells, widths);
        }
        lines
    }

    /// Renders every row as a paragraph: its first cell, and the others below.
    fn stacked(&self, width: usize) -> String {
        let indent = " ".repeat(3 * GAP);
        let mut lines = format!("{}{}\n", " ".repeat(GAP), style(self.head.join(", ")).dim());
        for row in &self.rows {
            let (first, others) = row.split_first().expect("a table has a column");
            lines += &format!("{}{first}\n", " ".repeat(GAP));
            let others: Vec<&str> =
                others.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
            for line in wrap(&others.join("  "), width.saturating_sub(indent.len())) {
                lines += format!("{indent}{line}").trim_end();
                lines.push('\n');
            }
        }
        lines
    }

    fn natural_widths(&self) -> Vec<usize> {
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| measure_text_width(cell)).max().unwrap_or(0);
            widest.max(measure_text_width(self.head[column]))
        };
        (0..self.head.len()).map(widest).collect()
    }

    /// Widths that fit, if no column has to be narrower than its longest word.
    fn widths(&self, available: usize) -> Option<Vec<usize>> {
        let longest_word = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let words = cells.flat_map(|cell| cell.split(' ')).map(measure_text_width);
            words.max().unwrap_or(0).max(measure_text_width(self.head[column]))
        };
        let least: Vec<usize> = (0..self.head.len()).map(longest_word).collect();
        let mut widths = self.natural_widths();
        let total: usize = widths.iter().map(|width| width + GAP).sum();
        // The widest column gives way, one step after the other; none becomes narrower than its
        // longest word.
        for _ in available..total {
            let columns = widths.iter_mut().zip(&least).filter(|(width, least)| **width > **least);
            // Among equals `max_by_key` takes the last, so that names, which come first, stay wide
            // longest.
            let (widest, _) = columns.max_by_key(|(width, _)| **width)?;
            *widest -= 1;
        }
        Some(widths)
    }
}

/// Appends one row, whose cells may have several lines each.
fn push_row(lines: &mut String, cells: &[Vec<String>], widths: &[usize]) {
    let height = cells.iter().map(Vec::len).max().unwrap_or(0);
    for number in 0..height {
        let mut line = " ".repeat(GAP);
        for (cell, width) in cells.iter().zip(widths) {
            let text = cell.get(number).map_or("", String::as_str);
            let padding = width.saturating_sub(measure_text_width(text)) + GAP;
            line.push_str(text);
            line.push_str(&" ".repeat(padding));
        }
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_cut() {
        let mut table = Table::new(&["name", "scheme", "error"]);
        let name = "encoder.layer.0.attention.output.dense.weight";
        table.row(vec![name.into(), "int8-row-convrot".into(), "one and two".into()]);
        let narrow = table.render(50);
        assert!(
            narrow.contains(&format!("  {name}\n      int8-row-convrot  one and two\n")),
            "{narrow}"
        );
        assert!(table.render(80).contains(name));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut table = Table::new(&["name"]);
        table.row(vec!["a\u{1b}[2Jb\n".into()]);
        assert!(table.render(80).contains("a\\u{1b}[2Jb\\n"));
    }

    #[test]
    fn a_table_that_fits_keeps_its_lines_whole() {
        let mut table = Table::new(&["name", "why"]);
        table.row(vec!["encoder.weight".into(), "two words".into()]);
        let widest = table.render(usize::MAX).lines().map(measure_text_width).max();
        let widest = widest.expect("a table has lines");
        assert!(table.fits(widest) && !table.fits(widest - 1));
        assert_eq!(table.render(widest), table.render(usize::MAX));
    }

    #[test]
    fn lines_fit_the_terminal() {
        let mut table = Table::new(&["name", "why"]);
        table.row(vec!["x".repeat(40), "words ".repeat(30)]);
        assert_eq!(table.render(60).matches("words").count(), 30);
        for line in table.render(60).lines() {
            assert!(measure_text_width(line) <= 60, "{line}");
        }
    }
}
