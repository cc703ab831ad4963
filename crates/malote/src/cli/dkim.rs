//! `malote dkim`: what is to be published of the keys that sign mail.

use malote_core::address::parse_domain;
use serde::Serialize;

use super::exit::{Failure, Outcome};
use super::out;
use super::place::PlaceArgs;

/// Octets of one character string of a TXT record (RFC 1035 3.3).
const STRING_BYTES_MAX: usize = 255;

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub(super) enum DkimCommand {
    /// Print the TXT records of a domain's keys, as a zone file has them; needs --config.
    Record(RecordArgs),
}

/// Whose records.
#[derive(Debug, clap::Args)]
pub(super) struct RecordArgs {
    /// The domain, as in [dkim."example.com"].
    domain: String,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Serialize)]
struct Records {
    records: Vec<Record>,
}

#[derive(Serialize)]
struct Record {
    name: String,
    value: String,
}

/// Runs `malote dkim`.
pub(super) fn run(command: DkimCommand) -> Outcome {
    match command {
        DkimCommand::Record(args) => record(args),
    }
}

fn record(args: RecordArgs) -> Outcome {
    let text = "give --config FILE: the keys are named there";
    let config = args.place.config(text)?;
    let domain = parse_domain(&args.domain)
        .map_err(|_| Failure::Usage(format!("{:?} is not the name of a domain", args.domain)))?;
    let records = config.dkim.records(&domain).into_iter();
    let records: Vec<Record> = records
        .map(|record| Record {
            name: record.name,
            value: record.value,
        })
        .collect();
    if records.is_empty() {
        let known: Vec<&str> = config.dkim.domains().collect();
        let known = match known.as_slice() {
            [] => "no domain has one".to_owned(),
            domains => format!("there are keys for {}", domains.join(", ")),
        };
        let text = format!("there is no key for {domain}: {known}");
        return Err(Failure::Nothing(text));
    }
    if args.json {
        return Ok(out::json(&Records { records })?);
    }
    for record in &records {
        out::text(&format!(
            "{}. IN TXT {}",
            record.name,
            strings(&record.value)
        ))?;
    }
    Ok(())
}

/// A TXT record's text in strings that are short enough, each in quotes.
fn strings(value: &str) -> String {
    let octets = value.as_bytes().chunks(STRING_BYTES_MAX);
    let strings = octets.map(|octets| format!("\"{}\"", String::from_utf8_lossy(octets)));
    let strings: Vec<String> = strings.collect();
    match strings.as_slice() {
        [one] => one.clone(),
        several => format!("( {} )", several.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_record_is_parted_into_strings_of_255_octets() {
        assert_eq!(strings("v=DKIM1; p=a"), "\"v=DKIM1; p=a\"");
        let parted = strings(&"x".repeat(256));
        assert_eq!(parted, format!("( \"{}\" \"x\" )", "x".repeat(255)));
    }
}
