//! Why deliveries that are to be sent have not left: what `log` and `queue list` say of them, as far
//! as it can be read. What cannot is said on standard error, and the rest is told without it.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream;
use malote_core::event::State;
use malote_core::id::{DeliveryId, MessageId};
use malote_core::ledger::{DeliveryView, MessageView, SearchRow};
use malote_router::{ExplainedDelivery, Explanation};

use super::exit::{Failure, Outcome};
use super::source::Source;
use super::timeline::Listed;
use crate::admin::api::SwitchBody;

/// Messages of a list whose targets are asked for, the newest: each is a body read, and may be a
/// look-up for every recipient.
const EXPLAINED_MAX: usize = 50;
/// Messages that are asked for at the same time.
const AT_ONCE: usize = 4;

/// What deliveries wait for; nothing is said of those that wait for their time or their turn.
pub(super) type Waits = BTreeMap<DeliveryId, Vec<String>>;

/// What the deliveries of these messages wait for: that their stream is resumed, that a target takes
/// mail, or an operator.
pub(super) async fn of_messages(source: &Source, views: &[MessageView]) -> Waits {
    let mut untold = Untold::default();
    let switches = source.switches().await;
    let switches = untold.good(switches.map(|found| found.switches));
    let switches = switches.unwrap_or_default();
    let mut waits = Waits::new();
    let mut asked = Vec::new();
    for view in views {
        waits.extend(held(view));
        match paused(view, &switches) {
            Some(text) => waits.extend(open(view).map(|one| (one.id, vec![text.clone()]))),
            None if open(view).next().is_some() => asked.push(view),
            None => {}
        }
    }
    if asked.len() > EXPLAINED_MAX {
        let count = asked.len() - EXPLAINED_MAX;
        eprintln!("{count} older messages were not asked about their targets: see malote log ID");
        asked.truncate(EXPLAINED_MAX);
    }
    let explained: Vec<_> = stream::iter(&asked)
        .map(|view| source.explain(view.id))
        .buffered(AT_ONCE)
        .collect()
        .await;
    for (view, explanation) in asked.into_iter().zip(explained) {
        if let Some(explanation) = untold.good(explanation) {
            waits.extend(excluded(view, &explanation));
        }
    }
    untold.say("what mail waits for");
    waits
}

fn held(view: &MessageView) -> impl Iterator<Item = (DeliveryId, Vec<String>)> {
    let held = view.deliveries.iter();
    let held = held.filter(|one| one.state == State::Held);
    held.map(|one| {
        let last = one.events.last().map(|event| event.detail.as_str());
        (one.id, vec![format!("you: {}", last.unwrap_or_default())])
    })
}

/// The deliveries whose next attempt is planned.
fn open(view: &MessageView) -> impl Iterator<Item = &DeliveryView> {
    view.deliveries.iter().filter(|one| one.due_at.is_some())
}

fn paused(view: &MessageView, switches: &[SwitchBody]) -> Option<String> {
    let stream = &view.stream;
    let is_paused = |own: &SwitchBody| own.stream.as_ref() == Some(stream);
    switches.iter().any(is_paused).then(|| {
        format!("stream {stream}, which is paused (`malote queue resume --stream {stream}`)")
    })
}

fn excluded(
    view: &MessageView,
    explanation: &Explanation,
) -> impl Iterator<Item = (DeliveryId, Vec<String>)> {
    open(view).map(|delivery| {
        let mut plans = explanation.deliveries.iter();
        let plan = plans.find(|plan| plan.recipient == delivery.recipient);
        let reasons = plan.map_or_else(Vec::new, ExplainedDelivery::why_it_waits);
        (delivery.id, reasons)
    })
}

/// The rows of a list, newest first, with the next attempt and what each waits for.
pub(super) async fn listed(source: &Source, rows: Vec<SearchRow>) -> Vec<Listed> {
    let views = messages(source, &rows).await;
    let waits = of_messages(source, &views).await;
    let deliveries = views.iter().flat_map(|view| &view.deliveries);
    let known: BTreeMap<DeliveryId, &DeliveryView> =
        deliveries.map(|delivery| (delivery.id, delivery)).collect();
    let listed = rows.into_iter().map(|row| Listed {
        due_at: known.get(&row.delivery).and_then(|one| one.due_at),
        waits_for: waits.get(&row.delivery).cloned().unwrap_or_default(),
        row,
    });
    listed.collect()
}

/// The messages of the rows, in their order.
async fn messages(source: &Source, rows: &[SearchRow]) -> Vec<MessageView> {
    let mut ids: Vec<MessageId> = rows.iter().map(|row| row.message).collect();
    // A message's deliveries stand side by side: they came in at one time.
    ids.dedup();
    let found: Vec<_> = stream::iter(ids)
        .map(|id| source.message(id))
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut untold = Untold::default();
    let views = found.into_iter().filter_map(|view| untold.good(view));
    let views = views.collect();
    untold.say("when mail is tried next");
    views
}

/// What could not be read.
#[derive(Default)]
struct Untold {
    count: usize,
    first: Option<Failure>,
}

impl Untold {
    fn good<T>(&mut self, read: Outcome<T>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            // It was settled and dropped since it was found.
            Err(Failure::Nothing(_)) => None,
            Err(failure) => {
                self.count += 1;
                self.first.get_or_insert(failure);
                None
            }
        }
    }

    /// Says so, with the first reason, if there is anything.
    fn say(&self, what: &str) {
        if let Some(first) = &self.first {
            let times = match self.count {
                1 => String::new(),
                count => format!(" ({count} times)"),
            };
            eprintln!("{what} cannot be told in full{times}: {first}");
        }
    }
}
