//! Deliveries as text: a row each, or a whole life.

use std::fmt::Write;
use std::io;

use malote_core::ledger::{DeliveryView, MessageView, SearchRow};

use super::filter::or_dash;
use super::out::Table;

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

/// A message and everything that happened to it.
pub(super) fn message(view: &MessageView) -> String {
    let mut text = format!(
        "message {}\n  accepted {:.0} from credential {}\n  stream {}: {}\n",
        view.id, view.accepted_at, view.credential, view.stream, view.stream_reason
    );
    for delivery in &view.deliveries {
        text.push_str(&of_delivery(delivery));
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
    if let Some(due) = delivery.due_at {
        writeln!(text, "  next attempt {due:.0}").unwrap_or_default();
    }
    text
}
