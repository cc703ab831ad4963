//! What a page says of `malote check --online`: what it finds, and what the service cannot be asked.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use malote_tests::Gateway;

use super::program;
use super::services::Service;
use crate::check_online::cells::{Cell, ROWS, Row};

/// What may be wrong, in the order of [`cells`].
const WRONGS: [&str; 4] = [
    "a wrong key",
    "a sender domain that is not verified",
    "a pool that is not there",
    "an account that may not mail everybody",
];

/// Adds the section; the gateway has a provider for each way, of the way's name.
pub(super) async fn add(page: &mut String, service: &Service, gateway: &Gateway) -> Result<()> {
    let rows = ROWS.iter().filter(|row| row.kind == service.kind);
    let rows: Vec<&Row> = rows.collect();
    let online = program::online(gateway).await?;
    let titles: String = rows
        .iter()
        .map(|row| format!(" {} |", title(row)))
        .collect();
    let lines = "| --- ".repeat(rows.len() + 1);
    write!(
        page,
        "## What `malote check --online` finds\n\n|  |{titles}\n{lines}|\n"
    )?;
    for (place, wrong) in WRONGS.iter().enumerate() {
        let cells = rows.iter().filter_map(|row| cells(row).get(place).copied());
        let cells: String = cells.map(|cell| format!(" {} |", word(cell))).collect();
        writeln!(page, "| {wrong} |{cells}")?;
    }
    writeln!(page)?;
    let mut notes = String::new();
    for row in rows {
        let mut answers = online.iter();
        let answer = answers.find(|answer| answer["provider"] == row.way);
        let answer = answer.with_context(|| format!("{} was not asked", row.way))?;
        for text in answer["unasked"].as_array().into_iter().flatten() {
            let text = text.as_str().unwrap_or_default();
            writeln!(notes, "- {}: {text}", title(row))?;
        }
    }
    if !notes.is_empty() {
        writeln!(page, "{notes}")?;
    }
    Ok(())
}

/// What is said of each of [`WRONGS`] by this way.
const fn cells(row: &Row) -> [Cell; 4] {
    let key = Cell::Refused("provider_unusable");
    [key, row.sender, row.pool.1, row.account]
}

fn title(row: &Row) -> &'static str {
    match row.way {
        "api" => "API",
        _ => "SMTP",
    }
}

const fn word(cell: Cell) -> &'static str {
    match cell {
        Cell::Finds(_) | Cell::Refused(_) => "found",
        Cell::Unasked => "cannot be asked",
        Cell::Without => "none are chosen",
    }
}
