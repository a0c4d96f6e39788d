use console::{measure_text_width, style, truncate_str};

use crate::text::plain;

/// A table of left-aligned text that fits the terminal: where lines would be too long, names in the
/// first column are cut in their middle and the other columns go on in the next line.
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
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether nothing is cut and no line broken in lines of `width` columns.
    pub(crate) fn fits(&self, width: usize) -> bool {
        let columns: usize = self.natural_widths().iter().map(|width| width + GAP).sum();
        columns <= width
    }

    /// The table, indented by two, in lines of at most `width` columns where that is possible.
    pub(crate) fn render(&self, width: usize) -> String {
        let widths = self.widths(width.saturating_sub(GAP));
        let head: Vec<Vec<String>> =
            self.head.iter().map(|title| vec![style(*title).dim().to_string()]).collect();
        let mut lines = String::new();
        push_row(&mut lines, &head, &widths);
        for row in &self.rows {
            let fit = |(column, (cell, width)): (usize, (&String, &usize))| match column {
                0 => vec![cut_middle(cell, *width)],
                _ => wrap(cell, *width),
            };
            let cells: Vec<Vec<String>> = row.iter().zip(&widths).enumerate().map(fit).collect();
            push_row(&mut lines, &cells, &widths);
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

    fn widths(&self, available: usize) -> Vec<usize> {
        let mut widths = self.natural_widths();
        let total: usize = widths.iter().map(|width| width + GAP).sum();
        for _ in available..total {
            // The first column may be twice as wide: what is cut from it is lost.
            let width_in_mind = |(column, width): &(usize, &mut usize)| match column {
                0 => **width / 2,
                _ => **width,
            };
            match widths.iter_mut().enumerate().max_by_key(width_in_mind) {
                Some((_, widest)) if *widest > NARROWEST => *widest -= 1,
                _ => break,
            }
        }
        widths
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

/// Lines of whole words; a word that is too long alone is cut.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let word = truncate_str(word, width, "…");
        let line = lines.last_mut().expect("begins with one line");
        if line.is_empty() {
            *line = word.into_owned();
        } else if measure_text_width(line) + 1 + measure_text_width(&word) <= width {
            line.push(' ');
            line.push_str(&word);
        } else {
            lines.push(word.into_owned());
        }
    }
    lines
}

/// `enc…self.query.weight`: the end of a name tells more than its beginning.
fn cut_middle(text: &str, width: usize) -> String {
    if measure_text_width(text) <= width {
        return text.to_owned();
    }
    let tail_width = width.saturating_sub(1) * 3 / 4;
    let head = truncate_str(text, width.saturating_sub(1) - tail_width, "");
    let mut tail = "";
    for (start, _) in text.char_indices().rev() {
        if measure_text_width(&text[start..]) > tail_width {
            break;
        }
        tail = &text[start..];
    }
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_in_the_middle() {
        assert_eq!(cut_middle("encoder.layer.0.query.weight", 13), "enc…ry.weight");
        assert_eq!(cut_middle("short", 13), "short");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut table = Table::new(&["name"]);
        table.row(vec!["a\u{1b}[2Jb\n".into()]);
        assert!(table.render(80).contains("a\\u{1b}[2Jb\\n"));
    }

    #[test]
    fn lines_fit_the_terminal() {
        let mut table = Table::new(&["name", "why"]);
        table.row(vec!["x".repeat(100), "words ".repeat(30)]);
        assert_eq!(table.render(60).matches("words").count(), 30);
        for line in table.render(60).lines() {
            assert!(measure_text_width(line) <= 60, "{line}");
        }
    }
}
