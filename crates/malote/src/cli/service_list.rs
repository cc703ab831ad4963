//! `malote suppressions pull` and `push`: a service's own list and ours.

mod pull;
mod push;
mod reader;

use std::collections::BTreeMap;
use std::sync::Arc;

use malote_core::clock::{Clock, SystemClock};
use malote_core::name::{ProviderName, StreamName};
use malote_core::service_list::ServiceList;
use malote_core::stream::Class;
use malote_core::suppression::{SuppressionReason, without_effect};
use malote_store::Shared;
use serde::Serialize;

pub(super) use pull::pull;
pub(super) use push::push;

use super::client::Client;
use super::exit::{Failure, Outcome};
use super::out::{self, Table};
use super::place::PlaceArgs;
use super::source::{open_shared, open_store};
use crate::config::Config;

/// Which list is meant.
#[derive(Debug, clap::Args)]
pub(super) struct ServiceListArgs {
    /// The provider, as the configuration names it.
    provider: ProviderName,
    /// The campaign stream that is meant where the service's list tells none.
    #[arg(long, value_name = "NAME")]
    stream: Option<StreamName>,
    /// Change nothing: count, and show the first.
    #[arg(long)]
    dry_run: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// A provider's list, and where ours is.
struct Opened {
    name: ProviderName,
    list: Arc<dyn ServiceList>,
    config: Config,
    ours: Ours,
    clock: Arc<dyn Clock>,
}

/// Where our own list is.
enum Ours {
    /// In a running gateway.
    Gateway(Client),
    /// In the store of one that does not run; read-only.
    Store(Arc<dyn Shared>),
}

/// Whether our list is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

async fn open(args: &ServiceListArgs, access: Access) -> Outcome<Opened> {
    let text = "give --config FILE: it says where the provider's service is, and its key";
    let config = args.place.config(text)?;
    let client = args.place.client()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let list = list_of(&config, &args.provider)?;
    if let Some(stream) = &args.stream {
        expect_campaign(&config, stream)?;
    }
    let absence = match access {
        Access::Read => client.absence().await,
        Access::Write => {
            client.expect().await?;
            None
        }
    };
    let ours = match absence {
        None => Ours::Gateway(client),
        Some(absence) => {
            let store = open_store(&config.store, &clock).await?;
            eprintln!("{absence}: reading the store");
            Ours::Store(open_shared(config.shared.as_ref(), &store, &clock).await?)
        }
    };
    Ok(Opened {
        name: args.provider.clone(),
        list,
        config,
        ours,
        clock,
    })
}

fn list_of(config: &Config, name: &ProviderName) -> Outcome<Arc<dyn ServiceList>> {
    let Some(provider) = config.providers.get(name) else {
        let names: Vec<&str> = config.providers.keys().map(ProviderName::as_str).collect();
        let text = format!(
            "there is no provider {name}; there are {}",
            names.join(", ")
        );
        return Err(Failure::Usage(text));
    };
    provider.adapter.list.clone().ok_or_else(|| {
        let kind = provider.adapter.provider.kind();
        Failure::Usage(format!(
            "{name} (kind {kind}) has no suppression list that malote can ask: postal, smtp and \
             capture have no call for one; with transport = \"smtp\" the API's address or key may \
             not be known, so give the service a provider with transport = \"api\""
        ))
    })
}

fn expect_campaign(config: &Config, stream: &StreamName) -> Outcome {
    match config.streams.get(stream).map(|own| own.class) {
        Some(Class::Campaign) => Ok(()),
        Some(Class::Transactional) => Err(Failure::Usage(format!(
            "--stream: {}",
            without_effect(stream)
        ))),
        None => Err(Failure::Usage(format!(
            "--stream: no stream {stream} is configured"
        ))),
    }
}

/// What was done, by the reasons of the entries.
#[derive(Debug, Serialize)]
struct Account {
    provider: ProviderName,
    dry_run: bool,
    /// Entries read: of the service's list, or of ours.
    read: u64,
    reasons: BTreeMap<SuppressionReason, Counts>,
    left_out: BTreeMap<String, u64>,
}

/// What became of the entries of one reason.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
struct Counts {
    read: u64,
    new: u64,
    already: u64,
}

impl Account {
    fn of(opened: &Opened, args: &ServiceListArgs) -> Self {
        Self {
            provider: opened.name.clone(),
            dry_run: args.dry_run,
            read: 0,
            reasons: BTreeMap::new(),
            left_out: BTreeMap::new(),
        }
    }

    fn counts(&mut self, reason: SuppressionReason) -> &mut Counts {
        self.reasons.entry(reason).or_default()
    }

    fn leave_out(&mut self, why: &str, count: u64) {
        if count > 0 {
            *self.left_out.entry(why.to_owned()).or_default() += count;
        }
    }

    fn print(&self, head: &'static [&'static str; 4]) -> std::io::Result<()> {
        let mut table = Table::new(head);
        let mut all = Counts::default();
        let cells =
            |counts: &Counts| [counts.read, counts.new, counts.already].map(|n| n.to_string());
        for (reason, counts) in &self.reasons {
            let [read, new, already] = cells(counts);
            table.row([reason.as_str(), &read, &new, &already]);
            all.read += counts.read;
            all.new += counts.new;
            all.already += counts.already;
        }
        let [_, new, already] = cells(&all);
        table.row(["all", &self.read.to_string(), &new, &already]);
        table.print()?;
        if self.left_out.is_empty() {
            return Ok(());
        }
        out::text("")?;
        let mut table = Table::new(&["LEFT OUT", "WHY"]);
        for (why, count) in &self.left_out {
            table.row([&count.to_string(), why]);
        }
        table.print()
    }
}
