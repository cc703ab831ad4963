//! Why deliveries that are to be sent have not left: what `log` and `queue list` say of them.

use std::collections::BTreeMap;

use malote_core::event::State;
use malote_core::id::{DeliveryId, MessageId};
use malote_core::ledger::{DeliveryView, MessageView, SearchRow};
use malote_router::ExplainedDelivery;

use super::exit::{Failure, Outcome};
use super::source::Source;
use super::timeline::Listed;
use crate::admin::api::SwitchBody;

/// What deliveries of a message wait for; nothing is said of those that wait for their time or
/// their turn.
pub(super) type Waits = BTreeMap<DeliveryId, Vec<String>>;

/// What the deliveries of a message wait for: that their stream is resumed, that a target takes
/// mail, or an operator.
///
/// # Errors
/// If it cannot be read.
pub(super) async fn of_message(
    source: &Source,
    view: &MessageView,
    switches: &[SwitchBody],
) -> Outcome<Waits> {
    let mut waits = Waits::new();
    let held = view
        .deliveries
        .iter()
        .filter(|one| one.state == State::Held);
    waits.extend(held.map(|one| (one.id, vec![why_held(one)])));
    let open = view.deliveries.iter().filter(|one| one.due_at.is_some());
    let open: Vec<&DeliveryView> = open.collect();
    if open.is_empty() {
        return Ok(waits);
    }
    let stream = &view.stream;
    if switches
        .iter()
        .any(|own| own.stream.as_ref() == Some(stream))
    {
        let text =
            format!("stream {stream}, which is paused (`malote queue resume --stream {stream}`)");
        waits.extend(open.iter().map(|one| (one.id, vec![text.clone()])));
        return Ok(waits);
    }
    let plans = source.explain(view.id).await?.deliveries;
    for delivery in open {
        let mut plans = plans.iter();
        let plan = plans.find(|plan| plan.recipient == delivery.recipient);
        let reasons = plan.map_or_else(Vec::new, ExplainedDelivery::why_it_waits);
        waits.insert(delivery.id, reasons);
    }
    Ok(waits)
}

fn why_held(delivery: &DeliveryView) -> String {
    let last = delivery.events.last().map(|event| event.detail.as_str());
    format!("you: {}", last.unwrap_or_default())
}

/// The rows of a list, with the next attempt and what each waits for.
///
/// # Errors
/// If it cannot be read.
pub(super) async fn listed(source: &Source, rows: Vec<SearchRow>) -> Outcome<Vec<Listed>> {
    let switches = source.switches().await?.switches;
    let mut known: BTreeMap<MessageId, Option<(MessageView, Waits)>> = BTreeMap::new();
    for row in &rows {
        if known.contains_key(&row.message) {
            continue;
        }
        let found = match source.message(row.message).await {
            Ok(view) => {
                let waits = of_message(source, &view, &switches).await?;
                Some((view, waits))
            }
            // It was settled and dropped since it was listed.
            Err(Failure::Nothing(_)) => None,
            Err(failure) => return Err(failure),
        };
        known.insert(row.message, found);
    }
    let listed = rows.into_iter().map(|row| {
        let found = known.get(&row.message).and_then(Option::as_ref);
        let delivery = found.and_then(|(view, _)| {
            let mut all = view.deliveries.iter();
            all.find(|one| one.id == row.delivery)
        });
        let waits = found.and_then(|(_, waits)| waits.get(&row.delivery));
        Listed {
            due_at: delivery.and_then(|one| one.due_at),
            waits_for: waits.and_then(|reasons| reasons.first()).cloned(),
            row,
        }
    });
    Ok(listed.collect())
}
