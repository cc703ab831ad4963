//! `malote health`: one question for health checks of containers and service managers.

use super::exit::Outcome;
use super::out;
use super::place::PlaceArgs;

/// Whom to ask.
#[derive(Debug, clap::Args)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `malote health`: fails unless a gateway answers that it takes mail.
pub(super) async fn run(args: HealthArgs) -> Outcome {
    args.place.client()?.ready().await?;
    Ok(out::text("ready")?)
}
