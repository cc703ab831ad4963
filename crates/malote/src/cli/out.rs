//! Standard output: aligned tables for people, JSON for machines, nothing that moves a terminal.

use std::env;
use std::io::{self, IsTerminal, Write};

use malote_core::provider::bounded;
use serde::Serialize;

use super::exit::{Failure, Outcome};

/// Longest cell of a table, in octets: replies of servers may be long.
const CELL_BYTES_MAX: usize = 120;
/// Longest line of a text that others wrote parts of.
const LINE_BYTES_MAX: usize = 4096;

const BOLD: &str = "\x1b[1m";
const OFF: &str = "\x1b[0m";

/// Whether standard output is a terminal that likes colours (no-color.org).
pub(crate) fn is_coloured() -> bool {
    io::stdout().is_terminal() && wants_colour()
}

/// Whether standard error is one.
pub(super) fn is_error_coloured() -> bool {
    io::stderr().is_terminal() && wants_colour()
}

fn wants_colour() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Writes text that may hold what others wrote: control characters become spaces.
pub(super) fn text(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in text.lines() {
        writeln!(out, "{}", bounded(line, LINE_BYTES_MAX).trim_end())?;
    }
    out.flush()
}

/// Writes text of our own as it is, colours included.
pub(super) fn paint(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a value as one JSON document, indented.
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    out.flush()
}

/// Writes a list as one JSON document; an empty one is nothing found all the same.
///
/// # Errors
/// Exit code 3, with what `nothing` says, if it is empty.
pub(super) fn json_list(value: &impl Serialize, is_empty: bool, nothing: &str) -> Outcome {
    json(value)?;
    match is_empty {
        true => Err(Failure::Nothing(nothing.to_owned())),
        false => Ok(()),
    }
}

/// Writes a value as one line of JSON.
pub(super) fn json_line(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    out.flush()
}

/// Says on standard error that a list is not all there is: `which` is `newest` or `first`.
pub(super) fn say_cut(count: usize, which: &str) {
    eprintln!("the {which} {count} only: more with --limit");
}

/// Rows in columns.
pub(super) struct Table {
    head: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(super) const fn new(head: &'static [&'static str]) -> Self {
        Self {
            head,
            rows: Vec::new(),
        }
    }

    /// Adds a row: a cell for each heading.
    pub(super) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        debug_assert_eq!(N, self.head.len());
        let cells = cells.iter().map(|cell| bounded(cell, CELL_BYTES_MAX));
        self.rows.push(cells.collect());
    }

    /// Writes it to standard output.
    pub(super) fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(self.render(is_coloured()).as_bytes())?;
        out.flush()
    }

    fn render(&self, is_coloured: bool) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.head[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let head: Vec<String> = self.head.iter().map(|cell| (*cell).to_owned()).collect();
        let head = line(&head, &widths);
        let mut text = if is_coloured {
            format!("{BOLD}{head}{OFF}\n")
        } else {
            format!("{head}\n")
        };
        for row in &self.rows {
            text.push_str(&line(row, &widths));
            text.push('\n');
        }
        text
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:<width$}"));
    let padded: Vec<String> = padded.collect();
    padded.join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_move_no_terminal() {
        let mut table = Table::new(&["NAME", "N"]);
        table.row(["a\x1b[2Jb", "1"]);
        table.row(["longer name", "22"]);
        assert_eq!(
            table.render(false),
            "NAME         N\na [2Jb       1\nlonger name  22\n"
        );
        assert!(table.render(true).starts_with(BOLD));
    }
}
