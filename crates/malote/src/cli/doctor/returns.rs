//! The domain that mail comes back to: its exchanger leads here, and its SPF lets those pass that send
//! in its name.

use super::facts::{Facts, Found};
use super::mx;
use super::plan::DomainPlan;
use super::report::{Level, Line, Publish, Section};
use super::services::Services;
use super::spf_judge;

const CHECK: &str = "MX";

/// Looks at the domain of return addresses.
pub(super) fn judge(
    facts: &Facts,
    plan: &DomainPlan,
    (services, hostname): (&Services, &str),
) -> Section {
    let mut lines = exchanger(facts, &plan.name, hostname);
    if plan.senders.is_empty() {
        let text =
            "no provider that a stream reaches reports by mail, so nothing is sent in its name";
        lines.push(Line::new(Level::Warning, "SPF", text).way_out(
            "the listener is not needed, or a stream's route lacks the relay that it is for",
        ));
    } else {
        lines.extend(spf_judge::judge(facts, plan, services).lines);
    }
    let providers: Vec<&str> = plan.senders.iter().map(|s| s.provider.as_str()).collect();
    Section {
        name: plan.name.clone(),
        about: match providers.is_empty() {
            true => "in no MAIL FROM".to_owned(),
            false => format!("in MAIL FROM of what {} sends", providers.join(", ")),
        },
        lines,
        pages: Vec::new(),
    }
}

/// Whether mail to the domain reaches us, as far as names tell.
fn exchanger(facts: &Facts, domain: &str, hostname: &str) -> Vec<Line> {
    let proposal = || Publish::new(domain, "MX", format!("10 {hostname}"));
    let hosts = match facts.mx(domain) {
        Found::Here(hosts) => hosts,
        Found::Nothing => {
            let text = "it has none: bounces and complaints by mail are lost, and who bounces is \
                        mailed again";
            let line = Line::new(Level::Fault, CHECK, text)
                .way_out("publish the name of the listener with role = \"bounce\"")
                .publish(proposal());
            return vec![line];
        }
        Found::Unknown(why) => return vec![Line::new(Level::Unknown, CHECK, why)],
    };
    let mut lines = mx::judge(facts, domain);
    if lines.iter().any(|line| line.level != Level::Ok) {
        return lines;
    }
    let names: Vec<&str> = hosts.iter().map(|(_, host)| *host).collect();
    let leads_here = |host: &&str| host.trim_end_matches('.').eq_ignore_ascii_case(hostname);
    let line = match names.iter().all(leads_here) {
        true => Line::new(
            Level::Ok,
            CHECK,
            format!("{hostname}, which is this gateway's name"),
        ),
        false => {
            let text = format!(
                "{}; this gateway greets as {hostname}, so it is not known whether they are one",
                names.join(", ")
            );
            Line::new(Level::Unknown, CHECK, text).way_out(
                "mail must reach the listener with role = \"bounce\" from there; if it does, all \
                 is well. smtp.hostname is the gateway's name",
            )
        }
    };
    lines.clear();
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use malote_core::stream::Class;

    use super::super::facts::tests::facts;
    use super::super::plan::Sender;
    use super::super::services;
    use super::*;

    fn judged(zone: &[&str]) -> Vec<Line> {
        let plan = DomainPlan {
            name: "b.shop.test".to_owned(),
            credentials: Default::default(),
            senders: vec![Sender {
                provider: "relay".try_into().unwrap(),
                service: "postfix",
                account_domain: None,
                addresses: ["192.0.2.25".parse().unwrap()].into(),
                selectors: Vec::new(),
                keys: Vec::new(),
                return_path: Some("b.shop.test".to_owned()),
                classes: [Class::Campaign].into(),
            }],
        };
        let services = services::read().unwrap();
        let own = (&services, "gw.shop.test");
        facts(zone, |facts| judge(facts, &plan, own)).lines
    }

    #[test]
    fn mail_that_cannot_come_back_is_a_fault_and_an_unknown_name_is_not() {
        let spf = "TXT b.shop.test v=spf1 ip4:192.0.2.25 -all";
        for (zone, mx, covered) in [
            (
                vec![
                    "MX b.shop.test 10 gw.shop.test",
                    "A gw.shop.test 192.0.2.1",
                    spf,
                ],
                Level::Ok,
                Level::Ok,
            ),
            (
                vec![
                    "MX b.shop.test 10 in.shop.test",
                    "A in.shop.test 192.0.2.1",
                    spf,
                ],
                Level::Unknown,
                Level::Ok,
            ),
            (
                vec!["MX b.shop.test 10 gw.shop.test", spf],
                Level::Fault,
                Level::Ok,
            ),
            (vec!["A b.shop.test 192.0.2.1"], Level::Fault, Level::Fault),
            (
                vec!["TXT b.shop.test v=spf1 ip4:192.0.2.26 -all"],
                Level::Fault,
                Level::Fault,
            ),
            (vec!["MX b.shop.test ?", spf], Level::Unknown, Level::Ok),
        ] {
            let lines = judged(&zone);
            let level = |check: &str| {
                let own = lines.iter().filter(|line| line.check == check);
                own.map(|line| line.level).max().unwrap()
            };
            assert_eq!(
                (level("MX"), level("SPF")),
                (mx, covered),
                "{zone:?}: {lines:#?}"
            );
        }
        let lines = judged(&[]);
        let record = |line: &Line| (line.publish[0].kind.clone(), line.publish[0].value.clone());
        assert_eq!(record(&lines[0]), ("MX".into(), "10 gw.shop.test".into()));
        let spf = ("TXT".into(), "v=spf1 ip4:192.0.2.25 ~all".into());
        assert_eq!(record(&lines[1]), spf);
    }
}
