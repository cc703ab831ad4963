//! Who is told of events: apps and Mautics, and whether they could be told now.

use std::sync::Arc;

use malote_core::outlet::{Checked, Outlet, TELL_WAIT_MAX, Untold};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::report::{Level, Line, Section};
use crate::config::Config;

const CHECK: &str = "peer";

/// Asks all outlets at once.
pub(super) async fn sections(config: &Config) -> Vec<Section> {
    let mut asking = JoinSet::new();
    for outlet in &config.outlets {
        asking.spawn(section(Arc::clone(outlet)));
    }
    let mut sections = asking.join_all().await;
    sections.sort_by(|a, b| a.name.cmp(&b.name));
    sections
}

async fn section(outlet: Arc<dyn Outlet>) -> Section {
    let lines = match timeout(TELL_WAIT_MAX, outlet.check()).await {
        Ok(Ok(found)) => lines(found),
        Ok(Err(untold)) => vec![fault(untold)],
        Err(_) => vec![Line::new(Level::Fault, CHECK, "no answer within a minute")],
    };
    Section {
        name: outlet.name().to_string(),
        about: format!("told of the mail of {}", outlet.credential()),
        lines,
        pages: Vec::new(),
    }
}

fn lines(found: Checked) -> Vec<Line> {
    let words = Some(found.words).filter(|words| !words.is_empty());
    let well = words.map(|words| Line::new(Level::Ok, CHECK, words));
    let unasked = found
        .unasked
        .map(|own| Line::new(Level::Unknown, CHECK, own.what).way_out(own.way_out));
    well.into_iter().chain(unasked).collect()
}

fn fault(untold: Untold) -> Line {
    match untold {
        Untold::Later { why, .. } => Line::new(Level::Fault, CHECK, why)
            .way_out("events wait for it for three days; see malote outlets"),
        Untold::Busy { why, .. } => {
            Line::new(Level::Warning, CHECK, why).way_out("events wait for it; see malote outlets")
        }
        Untold::Never { why } | Untold::Unusable { why } => {
            Line::new(Level::Fault, CHECK, why).way_out("until then it hears of nothing")
        }
    }
}
