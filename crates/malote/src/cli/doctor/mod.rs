//! `malote doctor`: what stands between this configuration and the inbox, and what to publish.
//!
//! Judges are pure functions of what the DNS said (`facts.rs`); all asking is in `resolver.rs`,
//! `provider.rs` and here.

mod address;
mod alignment;
mod dkim;
mod dmarc;
mod domain;
mod facts;
mod links;
mod mx;
mod outlet;
mod plan;
mod progress;
mod provider;
mod reach;
mod report;
mod resolver;
mod returns;
mod services;
mod signing;
mod spf;
mod spf_judge;
mod spf_walk;

use std::net::IpAddr;
use std::sync::Arc;

use malote_core::address::parse_domain;
use malote_core::clock::{Clock, SystemClock};
use malote_core::name::ProviderName;

use self::address::BlockList;
use self::facts::Facts;
use self::plan::{Plan, Wish};
use self::progress::Progress;
use self::provider::Answered;
use self::report::{Level, Line, Report, Section};
use self::resolver::Dns;
use self::services::Services;
use super::exit::{Failure, Outcome};
use super::out;
use super::place::{GIVE_CONFIG, PlaceArgs};
use crate::config::Config;

/// How often answers may lead to new questions: an SPF record includes others at most ten deep, and
/// each may name hosts.
const ROUNDS_MAX: usize = 30;

/// What to look at; without a wish, everything.
#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// Look at this provider only; may be repeated.
    #[arg(long, value_name = "NAME")]
    provider: Vec<String>,
    /// Look at this sender domain only, also at one that no credential names; may be repeated.
    #[arg(long, value_name = "DOMAIN")]
    domain: Vec<String>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `malote doctor`: exit code 1 if there is a fault.
pub(super) async fn run(args: DoctorArgs) -> Outcome {
    let config = args.place.config(GIVE_CONFIG)?;
    let client = args.place.client()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let wish = wish(&args, &config)?;
    let plan = plan::plan(&config, &wish);
    let services = services::read()?;
    let progress = Progress::new();
    let senders: Vec<String> = plan.domains.iter().map(|d| d.name.clone()).collect();
    let answered = provider::ask(&config, &wish, &senders, &progress).await;
    let events = provider::Events::ask(&client, &config, &clock).await;
    let page = match &plan.unsubscribe {
        Some(base) => Some(links::ask(base, &progress).await),
        None => None,
    };
    let looked = Looked {
        page,
        lists: address::block_lists(config.doctor.dnsbls.as_deref()),
        plan,
        services,
        answered,
    };
    let server = config.doctor.dns_server.or(config.router.dns_server());
    let mut report = looked.judge(&Dns::new(server)?, &progress).await;
    report.providers = provider::sections(&config, &looked.answered, &events);
    if wish.is_everything() {
        report.outlets = outlet::sections(&config).await;
    }
    progress.clear();
    let report = report.counted();
    if args.json {
        out::json(&report)?;
    } else {
        out::paint(&report.render(out::is_coloured()))?;
    }
    match report.faults {
        0 => Ok(()),
        1 => Err(Failure::failed("there is one fault")),
        several => Err(Failure::failed(format!("there are {several} faults"))),
    }
}

fn wish(args: &DoctorArgs, config: &Config) -> Outcome<Wish> {
    let domain = |text: &String| {
        let domain = parse_domain(text);
        domain.map_err(|fault| Failure::Usage(format!("--domain {text:?}: {fault}")))
    };
    let provider = |text: &String| {
        let name = ProviderName::try_from(text.as_str()).ok();
        let name = name.filter(|name| config.providers.contains_key(name));
        let names: Vec<&str> = config.providers.keys().map(ProviderName::as_str).collect();
        let text = format!("--provider {text:?}: there are {}", names.join(", "));
        name.ok_or(Failure::Usage(text))
    };
    Ok(Wish {
        domains: args.domain.iter().map(domain).collect::<Outcome<_>>()?,
        providers: args.provider.iter().map(provider).collect::<Outcome<_>>()?,
    })
}

/// What is known before the DNS is asked.
struct Looked {
    plan: Plan,
    services: Services,
    lists: Vec<BlockList>,
    answered: Vec<Answered>,
    /// What answers behind the links of List-Unsubscribe.
    page: Option<links::Page>,
}

impl Looked {
    /// Judges, asks what was missed, and judges again.
    async fn judge(&self, dns: &Dns, progress: &Progress) -> Report {
        let mut facts = Facts::default();
        let mut report = self.judged(&facts);
        for _ in 0..ROUNDS_MAX {
            let missing = facts.take_missing();
            if missing.is_empty() {
                break;
            }
            dns.ask(missing, &mut facts, progress).await;
            report = self.judged(&facts);
        }
        report
    }

    fn judged(&self, facts: &Facts) -> Report {
        let told = |sender: &plan::Sender| {
            let mut answered = self.answered.iter();
            let own = answered.find(|answered| answered.name == sender.provider);
            own.and_then(|own| own.records.as_deref())
        };
        let domains = self.plan.domains.iter();
        let mut domains: Vec<Section> = domains
            .map(|plan| domain::judge(facts, plan, &self.services, &told))
            .collect();
        domains.extend(self.unbounded());
        let addresses = self.plan.addresses.iter().map(|(ip, by)| Section {
            name: ip.to_string(),
            about: by.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
            lines: address::judge(facts, *ip, &self.lists),
            pages: address_pages(*ip),
        });
        let path = self.plan.return_path.iter();
        let returns =
            path.map(|path| returns::judge(facts, path, (&self.services, &self.plan.hostname)));
        let links = self.plan.unsubscribe.iter().zip(&self.page);
        let links = links.map(|(base, page)| links::judge(facts, base, page));
        Report {
            domains,
            addresses: addresses.collect(),
            returns: returns.collect(),
            links: links.collect(),
            ..Report::default()
        }
    }

    /// Credentials whose domains nobody can know.
    fn unbounded(&self) -> Option<Section> {
        if self.plan.unbounded.is_empty() {
            return None;
        }
        let names = self.plan.unbounded.join(", ");
        let text = format!("{names} may write any domain, so it is not known which to look at");
        let way_out = "give from_domains, or name domains by --domain or in [doctor] domains";
        Some(Section {
            name: "(any)".to_owned(),
            about: format!("written by {names}"),
            lines: vec![Line::new(Level::Unknown, "From", text).way_out(way_out)],
            pages: Vec::new(),
        })
    }
}

/// Where an address's reputation is shown to people only.
fn address_pages(ip: IpAddr) -> Vec<String> {
    vec![
        format!("https://talosintelligence.com/reputation_center/lookup?search={ip}"),
        format!("https://www.senderscore.org/lookup?lookup={ip}"),
        format!("https://sendersupport.olc.protection.outlook.com/snds/ (register {ip})"),
    ]
}
