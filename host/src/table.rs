//! A table that fits into the width of a terminal.

use std::fmt::Write as _;

/// A table; the first column holds names.
pub struct Table<'t> {
    pub head: &'t [&'t str],
    pub rows: Vec<Vec<String>>,
    /// The columns that are shown even if all is zero in them.
    pub always: usize,
    /// What is left out until the rest fits, this first.
    pub least_first: &'t [&'t str],
    /// The columns that are aligned to the left, as names are.
    pub left: &'t [&'t str],
}

/// A name takes this much before other columns are left out for it.
const NAME: usize = 20;

impl Table<'_> {
    /// The lines, the head first. What is zero in all rows is left out, then what matters least until
    /// the rest fits into the width; what still does not is a name, and is cut.
    pub fn lines(mut self, most: usize) -> Vec<String> {
        let Self { head, always, least_first, left, .. } = self;
        let is_shown = |column: usize, rows: &[Vec<String>]| {
            column < always
                || rows.iter().any(|row| !["", "-", "0", "0 %"].contains(&&*row[column]))
        };
        let mut shown: Vec<usize> =
            (0..head.len()).filter(|column| is_shown(*column, &self.rows)).collect();
        let width = |column: usize, rows: &[Vec<String>]| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([head[column].len()]).max().unwrap_or(0)
        };
        let wide = |shown: &[usize], name: usize| -> usize {
            let others = shown[1..].iter().map(|column| 2 + width(*column, &self.rows));
            2 + name + others.sum::<usize>()
        };
        for left_out in least_first {
            if wide(&shown, width(0, &self.rows).min(NAME)) > most {
                shown.retain(|column| head[*column] != *left_out);
            }
        }
        let longest = most.saturating_sub(wide(&shown, 0)).max(NAME);
        for row in &mut self.rows {
            let name = &mut row[0];
            let lanes = name.rfind(" ×").map_or("", |at| &name[at..]).to_owned();
            if name.chars().count() > longest {
                let most = longest.saturating_sub(1 + lanes.chars().count());
                *name = name.chars().take(most).chain(['…']).chain(lanes.chars()).collect();
            }
        }
        let widths: Vec<usize> = (0..head.len()).map(|column| width(column, &self.rows)).collect();
        let line = |cells: &[&str]| {
            let mut line = format!("  {:<1$}", cells[0], widths[0]);
            for &column in &shown[1..] {
                let _ = match left.contains(&head[column]) {
                    true => write!(line, "  {:<1$}", cells[column], widths[column]),
                    false => write!(line, "  {:>1$}", cells[column], widths[column]),
                };
            }
            line.trim_end().to_owned()
        };
        let lines = self.rows.iter().map(|row| {
            let cells: Vec<_> = row.iter().map(String::as_str).collect();
            line(&cells)
        });
        std::iter::once(line(head)).chain(lines).collect()
    }
}

/// Lines of at most so many characters, divided between words where that is possible.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let line = lines.last_mut().expect("there is one");
            let used = line.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= width {
                line.extend([' '].iter().take(gap).chain(&word));
                break;
            }
            if used == 0 {
                let rest = word.split_off(width);
                line.extend(word);
                word = rest;
            }
            lines.push(String::new());
        }
    }
    lines
}
