//! Deliveries as text: a row each, or a whole life.

use std::fmt::Write;
use std::io;

use jiff::Timestamp;
use malote_core::ledger::{DeliveryView, MessageView, SearchRow};

use super::filter::or_dash;
use super::out::Table;
use super::waiting::Waits;

/// Writes one row for each delivery.
pub(super) fn rows(rows: &[SearchRow]) -> io::Result<()> {
    let mut table = Table::new(&[
        "ACCEPTED",
        "STATE",
        "STREAM",
        "PROVIDER",
        "RECIPIENT",
        "DELIVERY",
        "LAST REPLY",
    ]);
    for row in rows {
        table.row([
            &format!("{:.0}", row.accepted_at),
            row.state.as_str(),
            row.stream.as_str(),
            &or_dash(row.provider.as_ref()),
            &row.recipient,
            &row.delivery.to_string(),
            row.last_reply.as_deref().unwrap_or("-"),
        ]);
    }
    table.print()
}

/// One delivery as one line, for a list that grows.
pub(super) fn line(row: &SearchRow) -> String {
    format!(
        "{:.0}  {:<11}  {:<16}  {:<12}  {}  {}  {}",
        row.accepted_at,
        row.state.as_str(),
        row.stream.as_str(),
        or_dash(row.provider.as_ref()),
        row.recipient,
        row.delivery,
        row.last_reply.as_deref().unwrap_or("-"),
    )
}

/// One delivery that is not settled.
#[derive(Debug, serde::Serialize)]
pub(super) struct Listed {
    /// The delivery.
    #[serde(flatten)]
    pub(super) row: SearchRow,
    /// When its next attempt is due, if one is planned.
    pub(super) due_at: Option<Timestamp>,
    /// What it waits for besides its time and its turn.
    pub(super) waits_for: Vec<String>,
}

/// A message and everything that happened to it.
#[derive(Debug, serde::Serialize)]
pub(super) struct Life {
    /// The message.
    #[serde(flatten)]
    pub(super) view: MessageView,
    /// What its deliveries wait for.
    pub(super) waits_for: Waits,
}

/// Writes one row for each delivery that is not settled.
pub(super) fn open_rows(rows: &[Listed]) -> io::Result<()> {
    let mut table = Table::new(&[
        "ACCEPTED",
        "STATE",
        "STREAM",
        "RECIPIENT",
        "NEXT",
        "WAITS FOR",
        "DELIVERY",
        "LAST REPLY",
    ]);
    for listed in rows {
        let row = &listed.row;
        let next = listed.due_at.map(|due| format!("{due:.0}"));
        table.row([
            &format!("{:.0}", row.accepted_at),
            row.state.as_str(),
            row.stream.as_str(),
            &row.recipient,
            &or_dash(next.as_ref()),
            &or_dash(listed.waits_for.first()),
            &row.delivery.to_string(),
            row.last_reply.as_deref().unwrap_or("-"),
        ]);
    }
    table.print()
}

/// A message and everything that happened to it; of what is still to be sent, when or why not.
pub(super) fn message(life: &Life, now: Timestamp) -> String {
    let view = &life.view;
    let mut text = format!(
        "message {}\n  accepted {:.0} from credential {}\n  stream {}: {}\n",
        view.id, view.accepted_at, view.credential, view.stream, view.stream_reason
    );
    for delivery in &view.deliveries {
        text.push_str(&of_delivery(delivery));
        for reason in life.waits_for.get(&delivery.id).into_iter().flatten() {
            writeln!(text, "  waits for {reason}").unwrap_or_default();
        }
        match delivery.due_at {
            Some(due) if due > now => {
                writeln!(text, "  next attempt {due:.0}").unwrap_or_default();
            }
            Some(due) => writeln!(text, "  due since {due:.0}").unwrap_or_default(),
            None => {}
        }
    }
    text
}

fn of_delivery(delivery: &DeliveryView) -> String {
    let mut text = format!("to {}: {}\n", delivery.recipient, delivery.state.as_str());
    let mut lines: Vec<(jiff::Timestamp, String)> = Vec::new();
    for attempt in &delivery.attempts {
        let mut line = format!(
            "attempt {} at {}/{}: {}",
            attempt.number,
            attempt.provider,
            attempt.pool,
            attempt.outcome.as_deref().unwrap_or("under way"),
        );
        if let Some(reply) = &attempt.reply {
            // Writing to a string does not fail.
            write!(line, ", {reply}").unwrap_or_default();
        }
        lines.push((attempt.started_at, line));
        lines.push((
            attempt.started_at,
            format!("  chosen because: {}", attempt.reason),
        ));
    }
    for event in &delivery.events {
        lines.push((
            event.at,
            format!("{}: {}", event.kind.as_str(), event.detail),
        ));
    }
    lines.sort_by_key(|(at, _)| *at);
    for (at, line) in lines {
        let line = line.trim_end().trim_end_matches(':');
        writeln!(text, "  {at:.3}  {line}").unwrap_or_default();
    }
    text
}
