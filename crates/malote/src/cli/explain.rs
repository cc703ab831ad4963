//! `malote explain`: why a message goes where it goes.

use malote_core::address::EmailAddress;
use malote_core::clock::{Clock, SystemClock};
use malote_core::name::{CredentialName, StreamName};
use malote_core::units::ByteSize;
use malote_delivery::{Hypothesis, MxCache};
use malote_router::Explanation;
use std::sync::Arc;

use super::exit::{Failure, Outcome};
use super::filter::Id;
use super::out;
use super::place::{GIVE_CONFIG, PlaceArgs};
use super::source::{Source, explain_alone};
use crate::admin::api::{HeaderBody, HypothesisBody};
use crate::config::Config;

/// A message that is kept, or one that could be sent.
#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// A kept message or delivery, decided as if it came in now.
    #[arg(value_name = "ID", conflicts_with_all = ["from", "to", "credential"])]
    id: Option<Id>,
    /// The address in From.
    #[arg(long, value_name = "ADDRESS", required_unless_present = "id")]
    from: Option<EmailAddress>,
    /// A recipient; may be repeated.
    #[arg(long, value_name = "ADDRESS", required_unless_present = "id")]
    to: Vec<EmailAddress>,
    /// Who would submit it.
    #[arg(long, required_unless_present = "id")]
    credential: Option<CredentialName>,
    /// A header field; may be repeated.
    #[arg(long, value_name = "'NAME: VALUE'", value_parser = header)]
    header: Vec<HeaderBody>,
    /// A tag; may be repeated.
    #[arg(long)]
    tag: Vec<String>,
    /// The stream that the API call would ask for.
    #[arg(long)]
    stream: Option<StreamName>,
    /// Metadata; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Its size, as in 40KiB.
    #[arg(long, default_value = "0B")]
    size: ByteSize,
    /// Decide by the rules in --config alone, every target well, whatever a running gateway says.
    #[arg(long, conflicts_with = "id")]
    offline: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `malote explain`.
pub(super) async fn run(args: ExplainArgs) -> Outcome {
    let explanation = match (args.id, &args.credential, &args.from) {
        (Some(id), _, _) => {
            let source = Source::open(&args.place).await?;
            source.explain(id.message()).await?
        }
        (None, Some(credential), Some(from)) => {
            let body = HypothesisBody {
                credential: credential.clone(),
                from: from.clone(),
                to: args.to,
                stream: args.stream,
                headers: args.header,
                tags: args.tag,
                metadata: args.metadata.into_iter().collect(),
                size_bytes: args.size.0,
            };
            hypothetical(&args.place, body, args.offline).await?
        }
        (None, _, _) => {
            return Err(Failure::Usage(
                "give an ID, or --from, --to and --credential".into(),
            ));
        }
    };
    if args.json {
        return Ok(out::json(&explanation)?);
    }
    Ok(out::text(&explanation.to_string())?)
}

async fn hypothetical(
    place: &PlaceArgs,
    body: HypothesisBody,
    is_offline: bool,
) -> Outcome<Explanation> {
    if !is_offline {
        let client = place.client()?;
        let Some(absence) = client.absence().await else {
            return client.post("explain", &body).await;
        };
        if !place.has_config() {
            let text = format!("{absence}: give --admin URL or --config FILE");
            return Err(Failure::failed(text));
        }
        eprintln!("{absence}: deciding by the configuration alone");
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    by_config(&place.config(GIVE_CONFIG)?, body, &clock).await
}

async fn by_config(
    config: &Config,
    body: HypothesisBody,
    clock: &Arc<dyn Clock>,
) -> Outcome<Explanation> {
    if config.credentials.get(&body.credential).is_none() {
        let text = format!("no credential {} is configured", body.credential);
        return Err(Failure::Usage(text));
    }
    let (message, mx) = (Hypothesis::from(body), MxCache::new());
    Ok(explain_alone(&config.router, &message, &mx, clock).await)
}

fn header(text: &str) -> Result<HeaderBody, String> {
    let (name, value) = text.split_once(':').ok_or("write 'Name: value'")?;
    let name = name.trim();
    if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err("the name of a header field has visible ASCII characters only".to_owned());
    }
    Ok(HeaderBody {
        name: name.to_owned(),
        value: value.trim().to_owned(),
    })
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}
