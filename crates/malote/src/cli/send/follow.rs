//! Follows one message's timeline until nothing more is to be done for it.

use std::collections::BTreeMap;
use std::time::Duration;

use malote_core::event::State;
use malote_core::id::MessageId;
use serde_json::Value;
use tokio::time::Instant;

use crate::cli::exit::{Failure, Outcome};
use crate::cli::out;

/// How often the timeline is asked for.
const ASK_EVERY: Duration = Duration::from_millis(300);

/// Prints each event once, until every delivery has left or failed, or `wait_max` is over. `fetch`
/// gives the timeline as the API or the operators' door writes it.
pub(super) async fn follow(
    id: MessageId,
    fetch: impl AsyncFn() -> Outcome<Value>,
    wait_max: Duration,
    is_json: bool,
) -> Outcome {
    let until = Instant::now() + wait_max;
    let mut printed: BTreeMap<String, usize> = BTreeMap::new();
    loop {
        let view = fetch().await?;
        let deliveries = view["deliveries"].as_array().cloned().unwrap_or_default();
        for delivery in &deliveries {
            let id = word(&delivery["id"]);
            let done = printed.entry(id).or_default();
            let events = delivery["events"].as_array().map_or(&[][..], Vec::as_slice);
            for event in events.iter().skip(*done) {
                if !is_json {
                    out::text(&line(delivery, event))?;
                }
            }
            *done = events.len();
        }
        if deliveries.iter().all(is_settled) {
            if is_json {
                out::json(&view)?;
            }
            return ending(&deliveries);
        }
        if Instant::now() >= until {
            let text = format!("it is still under way, see malote log {id}");
            return Err(Failure::failed(text));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn line(delivery: &Value, event: &Value) -> String {
    let (at, to) = (word(&event["at"]), word(&delivery["recipient"]));
    let provider = event["provider"].as_str();
    let provider = provider.map_or(String::new(), |provider| format!(" [{provider}]"));
    let (kind, detail) = (word(&event["kind"]), word(&event["detail"]));
    let line = format!("{at}  {to}  {kind}{provider}: {detail}");
    line.trim_end_matches(": ").to_owned()
}

fn ending(deliveries: &[Value]) -> Outcome {
    let has_left =
        |delivery: &Value| matches!(state(delivery), Some(State::Sent | State::Delivered));
    let failed = deliveries
        .iter()
        .filter(|delivery| !has_left(delivery))
        .count();
    match failed {
        0 => Ok(()),
        count => Err(Failure::failed(format!(
            "{count} of {} did not leave",
            deliveries.len()
        ))),
    }
}

fn is_settled(delivery: &Value) -> bool {
    state(delivery).is_none_or(State::is_settled)
}

fn state(delivery: &Value) -> Option<State> {
    delivery["state"].as_str().and_then(State::from_word)
}

/// A value as text; of a service's own word, `{"other": WORD}`, the word.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(members) => members.values().next().map(word).unwrap_or_default(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}
