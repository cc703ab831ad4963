//! `malote erase`: forgets a recipient on request (GDPR article 17, LGPD article 18).

use malote_core::suppression::SuppressedAddress;
use reqwest::Method;

use super::client::LONG_ANSWER_MAX;
use super::exit::{Failure, Outcome};
use super::out::{self, Table};
use super::place::PlaceArgs;
use crate::admin::api::ErasedBody;

/// Whom to forget.
#[derive(Debug, clap::Args)]
pub(super) struct EraseArgs {
    /// The address, however it is spelt, or `hash:` and the digits that an earlier run told.
    recipient: SuppressedAddress,
    /// Only count what would be erased.
    #[arg(long)]
    dry_run: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `malote erase`.
pub(super) async fn run(args: EraseArgs) -> Outcome {
    let client = args.place.client()?;
    client.expect().await?;
    let mut query = vec![("address", args.recipient.to_string())];
    query.extend(args.dry_run.then(|| ("dry_run", "true".to_owned())));
    let request = client.request(Method::DELETE, "recipients").query(&query);
    let erased: ErasedBody = client.read(request.timeout(LONG_ANSWER_MAX)).await?;
    if args.json {
        out::json(&erased)?;
    } else {
        print(&erased)?;
    }
    if erased.under_way > 0 && !args.dry_run {
        return Err(Failure::failed(format!(
            "{} deliveries are on their way: run this again in a minute",
            erased.under_way
        )));
    }
    Ok(())
}

fn print(erased: &ErasedBody) -> std::io::Result<()> {
    let mut table = Table::new(&["WHAT", "COUNT"]);
    for (what, count) in [
        ("deliveries cancelled", erased.cancelled),
        ("deliveries that say a hash", erased.deliveries),
        ("deliveries on their way", erased.under_way),
        ("bodies dropped", erased.bodies),
        ("bodies dropped when settled", erased.bodies_later),
        ("texts replaced", erased.texts),
        ("raw events dropped", erased.raw_events),
        ("suppressions that keep a hash", erased.suppressions),
    ] {
        table.row([what, &count.to_string()]);
    }
    table.print()?;
    out::text(&format!("it reads {} from now on", erased.hash))
}
