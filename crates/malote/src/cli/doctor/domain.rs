//! One sender domain: SPF, DKIM, DMARC, and whether what each provider sends is in its name.

use malote_core::provider::SenderRecord;
use malote_core::stream::Class;
use malote_router::is_free_mail;

use super::alignment;
use super::dmarc::{self, InForce, Policy};
use super::facts::{Facts, Found};
use super::mx;
use super::plan::{DomainPlan, Sender};
use super::report::{Level, Line, Publish, Section};
use super::services::Services;
use super::signing;
use super::spf_judge;

const DMARC: &str = "DMARC";

/// What a provider's service wants to find, as it told; of every provider that told anything.
pub(super) type Told<'a> = &'a dyn Fn(&Sender) -> Option<&'a [SenderRecord]>;

/// Looks at one domain.
pub(super) fn judge(
    facts: &Facts,
    plan: &DomainPlan,
    services: &Services,
    told: Told<'_>,
) -> Section {
    let domain = plan.name.as_str();
    let mut section = Section {
        name: domain.to_owned(),
        about: about(plan),
        lines: Vec::new(),
        pages: Vec::new(),
    };
    if is_free_mail(domain) {
        section.lines.push(free_mail(domain));
        return section;
    }
    section.pages = pages(domain);
    section.lines.extend(mx::judge(facts, domain));
    let spf = spf_judge::judge(facts, plan, services);
    section.lines.extend(spf.lines);
    let in_force = dmarc::find(facts, domain);
    let mut aligned = Vec::new();
    let mut signed = Vec::new();
    for sender in &plan.senders {
        let Some(service) = services.get(sender.service) else {
            continue;
        };
        let own = match sender.keys.is_empty() {
            true => told(sender),
            false => Some(sender.keys.as_slice()),
        };
        let own = own.map(|records| {
            let records = records.iter().filter(|record| record.sender == domain);
            records.collect::<Vec<_>>()
        });
        let asked = signing::Asked {
            domain,
            sender,
            service,
            told: own.as_deref(),
        };
        let signing = signing::judge(facts, &asked);
        signed.extend(signing.lines);
        let record = in_force.clone().here().and_then(Result::ok);
        let way = alignment::Asked {
            key: &asked,
            spf: &spf.walk,
            dmarc: record.as_ref(),
        };
        aligned.push((sender, alignment::judge(facts, &way, &signing.by)));
    }
    section.lines.extend(signed);
    section.lines.push(dmarc_line(plan, &in_force));
    section
        .lines
        .extend(aligned.iter().map(|(_, found)| found.line.clone()));
    let policy = in_force
        .here()
        .and_then(Result::ok)
        .map(|found| found.policy);
    if policy == Some(Policy::Reject)
        && !aligned.is_empty()
        && aligned.iter().all(|(_, found)| found.is_refused)
    {
        let text = "p=reject, and no provider sends in the domain's name: all mail from it is \
                    refused";
        let way_out = "publish the DKIM records above before anything else, or p=none until then";
        section
            .lines
            .push(Line::new(Level::Fault, DMARC, text).way_out(way_out));
    }
    section
}

fn about(plan: &DomainPlan) -> String {
    let providers: Vec<String> = plan
        .senders
        .iter()
        .map(|sender| {
            let classes: Vec<&str> = sender.classes.iter().map(|class| class.as_str()).collect();
            format!("{} ({})", sender.provider, classes.join(", "))
        })
        .collect();
    let credentials: Vec<&str> = plan.credentials.iter().map(String::as_str).collect();
    let by = match credentials.is_empty() {
        true => "no credential may write it".to_owned(),
        false => format!("written by {}", credentials.join(", ")),
    };
    match providers.is_empty() {
        true => format!("{by}; no provider sends for it"),
        false => format!("{by}; sent by {}", providers.join(", ")),
    }
}

fn free_mail(domain: &str) -> Line {
    let text = format!(
        "anybody can have a mailbox at {domain}: only its owner can sign or send in its name, so \
         receivers treat this mail as forged"
    );
    let way_out = "send from a domain of your own, and put the mailbox in Reply-To";
    Line::new(Level::Fault, "From", text).way_out(way_out)
}

/// Where reputation is shown to people only.
fn pages(domain: &str) -> Vec<String> {
    vec![
        format!("https://talosintelligence.com/reputation_center/lookup?search={domain}"),
        format!("https://postmaster.google.com/dashboards#do={domain}"),
    ]
}

fn dmarc_line(plan: &DomainPlan, in_force: &Found<Result<InForce, String>>) -> Line {
    let domain = &plan.name;
    let proposal = || {
        let value = format!("v=DMARC1; p=none; rua=mailto:dmarc@{domain}");
        Publish::new(format!("_dmarc.{domain}"), "TXT", value)
    };
    match in_force {
        Found::Here(Ok(found)) => known(found),
        Found::Here(Err(why)) => Line::new(Level::Fault, DMARC, why.clone())
            .way_out("replace it by one record that can be read, such as this")
            .publish(proposal()),
        Found::Nothing => {
            let classes = plan.senders.iter().flat_map(|sender| &sender.classes);
            let is_campaign = classes.into_iter().any(|class| *class == Class::Campaign);
            // https://support.google.com/a/answer/81126
            let (level, why) = match is_campaign {
                true => (Level::Fault, "Gmail and Yahoo refuse bulk mail without one"),
                false => (Level::Warning, "anybody can forge the domain unnoticed"),
            };
            let text = format!("there is no record at _dmarc.{domain}: {why}");
            Line::new(level, DMARC, text)
                .way_out("publish one that only watches, with a mailbox of yours for its reports")
                .publish(proposal())
        }
        Found::Unknown(why) => Line::new(Level::Unknown, DMARC, why.clone()),
    }
}

fn known(found: &InForce) -> Line {
    let record = &found.record;
    let mut text = format!(
        "p={} at {}, DKIM {}, SPF {}",
        found.policy.as_str(),
        found.name,
        record.dkim.as_str(),
        record.spf.as_str()
    );
    if record.percent < 100 {
        text.push_str(&format!(", for {} % of failing mail", record.percent));
    }
    if record.has_reports {
        return Line::new(Level::Ok, DMARC, text);
    }
    text.push_str("; nobody gets its reports");
    let way_out = "add rua=mailto: with a mailbox of yours, so that failures are heard of";
    Line::new(Level::Warning, DMARC, text).way_out(way_out)
}

#[cfg(test)]
mod tests;
