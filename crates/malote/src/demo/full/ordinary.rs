//! The first scene: ordinary mail of both streams, by every service and the relay.

use super::company::Company;
use super::desk::{Life, Who};
use super::findings::Finding;
use super::mailer::Mail;
use super::wait::last_seen;

/// What a service tells of each mail, twice; how much of that came and was believed.
const TOLD_TWICE: u64 = 2;

/// Sends it, and looks where it went and what is known of it.
pub(super) async fn both_streams(company: &Company) -> anyhow::Result<Vec<Finding>> {
    company.deliver_all()?;
    let mut mails = Vec::new();
    for (number, service) in company.services.iter().enumerate() {
        mails.push(Mail::campaign(
            &service.person("ana"),
            "Spring news",
            number,
        ));
        company.desk.reset_password(&service.person("bob")).await?;
    }
    let owner = "owner@relay.example";
    mails.push(Mail::system(owner, "Reset your Mautic password"));
    company.mailer.send(&mails).await?;
    let (campaign, resets) = settled(company).await?;
    Ok(vec![
        where_it_went(company),
        what_is_known(company, &campaign, &resets),
        of_mautic_itself(&campaign, owner),
    ])
}

/// Both credentials' timelines, once the services have said all of it.
async fn settled(company: &Company) -> anyhow::Result<(Vec<Life>, Vec<Life>)> {
    let services = company.reporters().count() as u64;
    let told = async || {
        Ok(company
            .reporters()
            .map(|s| s.sandbox().stats().webhooks)
            .sum())
    };
    last_seen(told, |told: &u64| *told >= 2 * TOLD_TWICE * services).await?;
    let states = async || {
        let mut rows = company.desk.rows(Who::Mautic).await?;
        rows.extend(company.desk.rows(Who::Shop).await?);
        Ok(rows.into_iter().map(|row| row.state).collect::<Vec<_>>())
    };
    let is_done = |state: &String| state == "sent" || state == "delivered";
    last_seen(states, |states| states.iter().all(is_done)).await?;
    let campaign = company.desk.lives(Who::Mautic).await?;
    Ok((campaign, company.desk.lives(Who::Shop).await?))
}

fn where_it_went(company: &Company) -> Finding {
    let counts = company.services.iter().map(|service| {
        let count = |name: &str| service.count_to(&service.person(name));
        (service.name(), count("ana"), count("bob"))
    });
    let seen: Vec<_> = counts.collect();
    let expected: Vec<_> = company.services.iter().map(|s| (s.name(), 1, 1)).collect();
    let labels: Vec<&str> = company.services.iter().map(|s| s.label()).collect();
    Finding::of(
        "both streams, every service",
        format!(
            "one campaign mail and one password reset each by {}",
            labels.join(", ")
        ),
        (seen, expected),
    )
}

fn what_is_known(company: &Company, campaign: &[Life], resets: &[Life]) -> Finding {
    let facts = |lives: &[Life], stream: &str, name: &str| -> Vec<_> {
        let people = company.services.iter().map(|service| service.person(name));
        let of_person = |person: String| {
            let own = lives.iter().filter(|life| life.recipient == person);
            own.map(|life| {
                let is_in_stream = life.stream == stream;
                (life.provider.clone(), is_in_stream, life.events.join(" "))
            })
            .collect::<Vec<_>>()
        };
        people.flat_map(of_person).collect()
    };
    let mut seen = facts(campaign, "campaign", "ana");
    seen.extend(facts(resets, "transactional", "bob"));
    let whole = |service: &super::service::Service| {
        let events = match service.has_webhooks() {
            true => "accepted sent delivered",
            false => "accepted sent",
        };
        (service.name().to_owned(), true, events.to_owned())
    };
    let once: Vec<_> = company.services.iter().map(whole).collect();
    let expected = [once.clone(), once].concat();
    let delivered = 2 * company.reporters().count();
    Finding::of(
        "timelines of ordinary mail",
        format!(
            "accepted, sent, delivered: {delivered} mails, each told twice and noted once; \
             the relay's stay sent, since nobody tells"
        ),
        (seen, expected),
    )
}

/// Mautic's own mail bears no mark of a campaign.
fn of_mautic_itself(lives: &[Life], owner: &str) -> Finding {
    let own = lives.iter().filter(|life| life.recipient == owner);
    let seen: Vec<&str> = own.map(|life| life.stream.as_str()).collect();
    Finding::of(
        "Mautic's own password reset",
        "is transactional, by its header fields",
        (seen, vec!["transactional"]),
    )
}
