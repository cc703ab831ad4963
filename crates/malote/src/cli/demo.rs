//! `malote demo`: the gateway among simulated services, short or full, or three of them.

use std::path::PathBuf;
use std::time::Duration;

use malote_core::units::Span;

use super::exit::Outcome;
use super::migrate::Tls;
use crate::demo::cluster::Database;
use crate::demo::{self, cluster, full};

/// Without an option: two streams, and a provider that breaks in the middle; about half a minute.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// Eight services, a relay, a Mautic and an app: what comes back, and what follows from it. Ends
    /// with 1 if anything is not as it should be.
    #[arg(long)]
    full: bool,
    /// --full: how long everything stays up at the end, to look at; at most 1h.
    #[arg(long, value_name = "DURATION", requires = "full", default_value = "0s", value_parser = hold)]
    hold: Duration,
    /// Three gateways on one queue in PostgreSQL, one of them killed under load: nothing is lost.
    /// PostgreSQL has to be installed; a server of the demo's own is started and removed, unless
    /// --database-url names another. Ends with 1 if mail was lost.
    #[arg(long, conflicts_with = "full")]
    cluster: bool,
    /// --cluster: where initdb and pg_ctl are; else on the path, or where Debian puts them.
    #[arg(long, value_name = "DIR", requires = "cluster")]
    bin_dir: Option<PathBuf>,
    /// --cluster: an empty database of a server that is there, in place of one of the demo's own. The
    /// tables stay, in the schema malote; one that another malote works on is refused.
    #[arg(
        long,
        value_name = "URL",
        requires = "cluster",
        conflicts_with = "bin_dir"
    )]
    database_url: Option<String>,
    /// --database-url: how the connection is kept from others.
    #[arg(long, value_enum, requires = "database_url", default_value_t = Tls::Verify)]
    tls: Tls,
}

fn hold(text: &str) -> Result<Duration, String> {
    let span: Span = text.parse().map_err(|fault| format!("{fault}"))?;
    match span.0 <= full::HOLD_MAX {
        true => Ok(span.0),
        false => Err("at most 1h".to_owned()),
    }
}

/// Runs `malote demo`.
pub(super) async fn run(args: DemoArgs) -> Outcome {
    match (args.full, args.cluster) {
        (true, _) => full::run(args.hold).await?,
        (false, true) => {
            let database = match args.database_url {
                Some(url) => Database::At {
                    url,
                    tls: args.tls.as_str(),
                },
                None => Database::Own(args.bin_dir),
            };
            cluster::run(database).await?;
        }
        (false, false) => demo::run().await?,
    }
    Ok(())
}
