//! `malote providers`: how the targets do, and what a service's answers mean.

use malote_core::name::ProviderName;
use malote_core::service_list::ListManners;
use malote_providers::{Adapter, Documented, documented, documented_names};
use serde::Serialize;

use super::exit::{Failure, Outcome};
use super::filter::or_dash;
use super::out::{self, Table};
use super::place::{GIVE_CONFIG, PlaceArgs};
use super::source::Source;
use crate::config::{Config, ConfiguredProvider};

/// A server of no known service: its answers are read by the standards alone.
const PLAIN: &str = "smtp";

/// How to show them.
#[derive(Debug, clap::Args)]
pub(super) struct ProvidersArgs {
    /// What malote makes of this service's answers, by the name of a kind or of an SMTP preset;
    /// with --config also what the providers of this kind can carry. Asks no gateway.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `malote providers`.
pub(super) async fn run(args: ProvidersArgs) -> Outcome {
    if let Some(kind) = &args.kind {
        return of_kind(kind, &args);
    }
    let source = Source::open(&args.place).await?;
    let targets = source.targets().await?;
    if args.json {
        return Ok(out::json(&targets)?);
    }
    let mut table = Table::new(&["TARGET", "KIND", "UP", "BREAKER", "WHY NOT"]);
    for target in &targets.targets {
        let is_up = match target.is_up {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        table.row([
            &target.target,
            &target.kind,
            is_up,
            &or_dash(target.breaker.as_ref()),
            &or_dash(target.why.as_ref()),
        ]);
    }
    Ok(table.print()?)
}

/// What is known of a kind.
#[derive(Serialize)]
struct KindBody<'a> {
    kind: &'a str,
    answers: Vec<AnswerBody>,
    /// Those of the configuration, if one was given.
    providers: Vec<ProviderBody>,
}

/// One answer and what it means.
#[derive(Serialize)]
struct AnswerBody {
    /// `api` or `smtp`.
    transport: &'static str,
    status: u16,
    answer: &'static str,
    verdict: &'static str,
    source: &'static str,
    /// Whether the words are the service's.
    is_quoted: bool,
}

impl AnswerBody {
    const fn new(transport: &'static str, row: &Documented) -> Self {
        Self {
            transport,
            status: row.status,
            answer: row.answer,
            verdict: row.verdict,
            source: row.source,
            is_quoted: row.is_quoted,
        }
    }
}

/// What a provider can carry.
#[derive(Serialize)]
struct ProviderBody {
    provider: String,
    message_bytes_max: u64,
    recipients_max: u16,
    /// Whether MAIL FROM stays as the client gave it.
    envelope_sender: bool,
    smtputf8: bool,
    /// The service's own suppression list, if it can be asked.
    list: Option<ListBody>,
}

/// What `malote suppressions pull` and `push` do with a service's own list.
#[derive(Serialize)]
struct ListBody {
    /// What is on it.
    tells: &'static str,
    /// What an address becomes that is pushed; else `takes_none` says why none is.
    becomes: Option<&'static str>,
    takes_none: Option<&'static str>,
}

impl ListBody {
    fn new(manners: &ListManners) -> Self {
        let takes = manners.takes;
        Self {
            tells: manners.tells,
            becomes: takes.ok().map(|takes| takes.becomes),
            takes_none: takes.err(),
        }
    }
}

impl ProviderBody {
    fn new(provider: String, adapter: &Adapter) -> Self {
        let carries = adapter.provider.capabilities();
        let list = adapter.list.as_ref();
        Self {
            provider,
            message_bytes_max: carries.message_bytes_max,
            recipients_max: carries.recipients_max,
            envelope_sender: carries.envelope_sender,
            smtputf8: carries.smtputf8,
            list: list.map(|list| ListBody::new(&list.manners())),
        }
    }
}

fn of_kind(kind: &str, args: &ProvidersArgs) -> Outcome {
    if kind != PLAIN && !documented_names().any(|name| name == kind) {
        let names: Vec<&str> = documented_names().chain([PLAIN]).collect();
        let names = names.join(", ");
        let text = format!("nothing is known of {kind:?}; there are {names}");
        return Err(Failure::Usage(text));
    }
    let answers = documented(kind)
        .into_iter()
        .flat_map(|(transport, rows)| rows.iter().map(move |row| AnswerBody::new(transport, row)));
    let given = args.place.has_config();
    let config = given.then(|| args.place.config(GIVE_CONFIG)).transpose()?;
    let body = KindBody {
        kind,
        answers: answers.collect(),
        providers: config.map_or_else(Vec::new, |config| providers_of(&config, kind)),
    };
    if args.json {
        return Ok(out::json(&body)?);
    }
    print(&body)
}

fn providers_of(config: &Config, kind: &str) -> Vec<ProviderBody> {
    let all = config.providers.iter();
    let of_kind = all.filter(|(_, provider)| provider.adapter.provider.kind() == kind);
    let body = |(name, provider): (&ProviderName, &ConfiguredProvider)| {
        ProviderBody::new(name.to_string(), &provider.adapter)
    };
    of_kind.map(body).collect()
}

/// Answers may be long: each stands on a line of its own below its verdict.
fn print(body: &KindBody<'_>) -> Outcome {
    if body.answers.is_empty() {
        let text = "Codes are read by RFC 5321 and RFC 3463. Presets know more: see --kind postfix, \
                    exim, mailcow and others.";
        out::text(text)?;
    }
    for answer in &body.answers {
        let ours = if answer.is_quoted {
            ""
        } else {
            " (in our words)"
        };
        let shown = if answer.answer.is_empty() {
            "(no body)"
        } else {
            answer.answer
        };
        out::text(&format!(
            "{} {} {}{ours}\n    {shown}\n    {}",
            answer.transport, answer.status, answer.verdict, answer.source
        ))?;
    }
    if body.providers.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["PROVIDER", "OCTETS", "RECIPIENTS", "MAIL FROM", "SMTPUTF8"]);
    for provider in &body.providers {
        table.row([
            &provider.provider,
            &provider.message_bytes_max.to_string(),
            &provider.recipients_max.to_string(),
            if provider.envelope_sender {
                "kept"
            } else {
                "the service's"
            },
            if provider.smtputf8 { "yes" } else { "no" },
        ]);
    }
    table.print()?;
    for provider in &body.providers {
        let name = &provider.provider;
        out::text(&match &provider.list {
            None => format!("{name}: its service's own suppression list cannot be asked"),
            Some(list) => {
                let pushed = match (list.becomes, list.takes_none) {
                    (Some(becomes), _) => format!("an address pushed becomes {becomes}"),
                    (None, why) => format!("nothing is pushed: {}", why.unwrap_or_default()),
                };
                format!("{name}: its service suppresses {}; {pushed}", list.tells)
            }
        })?;
    }
    Ok(())
}
