//! The scenes in which something comes back.

use std::time::Duration;

use malote_sandbox::{EventKind, Fault, FaultKind};
use tokio::time::sleep;

use super::company::Company;
use super::desk::{Life, Who};
use super::findings::Finding;
use super::mailer::Mail;
use super::service::{Proof, Report};
use super::wait::last_seen;

/// What Microsoft's mailboxes answer to a blocked address, word for word but for the address.
const IP_BLOCK: &str = "550 5.7.1 Unfortunately, messages from [192.0.2.25] weren't sent. \
     Please contact your Internet service provider since part of their network is on our block \
     list (S3150).";
/// How long after it was sent something is told of a mail: some services tell whole seconds only.
const TOLD_AFTER: Duration = Duration::from_millis(1_200);
/// Campaigns' tracking hashes: where the numbers of each scene begin.
const SECOND: usize = 100;
const QUEUED: usize = 200;
const BLOCKED: usize = 300;
const LATE: usize = 500;
const REFUSED: usize = 400;

/// Somebody to whom something happens.
struct Person {
    what: &'static str,
    /// The service that tells.
    service: &'static str,
    name: &'static str,
    /// What it tells, with the far server's words.
    told: &'static [(EventKind, Option<&'static str>)],
    /// The timeline that this makes.
    events: &'static str,
    words: &'static str,
    /// What becomes of the campaign and of the password reset that wait meanwhile.
    waits: (&'static str, &'static str),
}

const PEOPLE: [Person; 5] = [
    Person {
        what: "hard bounce at Amazon SES",
        service: "ses",
        name: "gone",
        told: &[(EventKind::Bounced, Some("550 5.1.1 user unknown"))],
        events: "accepted sent bounced/recipient",
        words: "bounced, the recipient's fault",
        waits: ("suppressed", "suppressed"),
    },
    Person {
        what: "IP block at Mailgun",
        service: "mailgun",
        name: "blocked",
        told: &[(EventKind::Bounced, Some(IP_BLOCK))],
        events: "accepted sent bounced/reputation",
        words: "bounced, the fault of the sender's reputation",
        waits: ("delivered", "delivered"),
    },
    Person {
        what: "full mailbox at SendGrid",
        service: "sendgrid",
        name: "full",
        told: &[(EventKind::Bounced, Some("552 5.2.2 mailbox full"))],
        events: "accepted sent bounced/mailbox_full",
        words: "bounced, counted; five within days would suppress",
        waits: ("delivered", "delivered"),
    },
    Person {
        what: "complaint at Postmark",
        service: "postmark",
        name: "angry",
        told: &[(EventKind::Delivered, None), (EventKind::Complained, None)],
        events: "accepted sent delivered complained",
        words: "delivered, then called spam",
        waits: ("suppressed", "delivered"),
    },
    Person {
        what: "unsubscribe at SparkPost",
        service: "sparkpost",
        name: "tired",
        told: &[
            (EventKind::Delivered, None),
            (EventKind::Unsubscribed, None),
        ],
        events: "accepted sent delivered unsubscribed",
        words: "delivered, then unsubscribed",
        waits: ("suppressed", "delivered"),
    },
];

/// Somebody whom a forgery calls dead.
const FORGED: (&str, &str) = ("smtp2go", "calm");

/// Five things come back and a forgery, while more mail to the same people waits.
pub(super) async fn five_things(company: &Company) -> anyhow::Result<Vec<Finding>> {
    company.be_silent();
    let forged = company.service(FORGED.0)?.person(FORGED.1);
    let mut people = people(company)?;
    people.push(forged.clone());
    campaign(company, &people, ("Summer news", SECOND)).await?;
    let people = &people[..PEOPLE.len()];
    queue_more(company, people).await?;
    let answers = tell(company, people).await?;
    let forgery = forge(company, &forged).await?;
    let mut findings = vec![answers];
    findings.extend(timelines(company, people).await?);
    findings.push(forgery);
    findings.extend(let_go(company, people).await?);
    Ok(findings)
}

fn people(company: &Company) -> anyhow::Result<Vec<String>> {
    let address = |person: &Person| Ok(company.service(person.service)?.person(person.name));
    PEOPLE.iter().map(address).collect()
}

/// Sends a campaign and waits until services have it.
async fn campaign(
    company: &Company,
    people: &[String],
    (subject, first): (&str, usize),
) -> anyhow::Result<()> {
    let mails = people.iter().enumerate();
    let mails = mails.map(|(number, person)| Mail::campaign(person, subject, first + number));
    company.mailer.send(&mails.collect::<Vec<_>>()).await?;
    let states = async || states(company, people).await;
    let all_sent = |states: &Vec<String>| states.iter().all(|state| state == "sent");
    last_seen(states, all_sent).await?;
    sleep(TOLD_AFTER).await;
    Ok(())
}

/// The state of the newest campaign mail to each.
async fn states(company: &Company, people: &[String]) -> anyhow::Result<Vec<String>> {
    let rows = company.desk.rows(Who::Mautic).await?;
    let newest = |person: &String| {
        let row = rows.iter().rfind(|row| row.recipient == *person);
        row.map_or_else(String::new, |row| row.state.clone())
    };
    Ok(people.iter().map(newest).collect())
}

/// Stops both streams and takes more mail to the same people.
async fn queue_more(company: &Company, people: &[String]) -> anyhow::Result<()> {
    for stream in ["campaign", "transactional"] {
        company.desk.switch(stream, "pause").await?;
    }
    let mails = people.iter().enumerate();
    let mails =
        mails.map(|(number, person)| Mail::campaign(person, "Autumn news", QUEUED + number));
    company.mailer.send(&mails.collect::<Vec<_>>()).await?;
    for person in people {
        company.desk.reset_password(person).await?;
    }
    Ok(())
}

async fn tell(company: &Company, people: &[String]) -> anyhow::Result<Finding> {
    let (mut seen, mut count) = (Vec::new(), 0);
    for (person, recipient) in PEOPLE.iter().zip(people) {
        for (event, reply) in person.told {
            let report = Report {
                recipient,
                event: *event,
                reply: *reply,
            };
            let service = company.service(person.service)?;
            seen.push(
                service
                    .report(&company.desk.http, &report, Proof::Good)
                    .await?,
            );
            count += 1;
        }
    }
    Ok(Finding::of(
        "webhooks of five services",
        "each answered 200 once it was on disk",
        (seen, vec![200; count]),
    ))
}

async fn forge(company: &Company, recipient: &str) -> anyhow::Result<Finding> {
    let report = Report {
        recipient,
        event: EventKind::Bounced,
        reply: Some("550 5.1.1 user unknown"),
    };
    let service = company.service(FORGED.0)?;
    let status = service
        .report(&company.desk.http, &report, Proof::Forged)
        .await?;
    let lives = company.desk.lives_of(Who::Mautic, recipient).await?;
    let events = lives.iter().map(|life| life.events.join(" ")).collect();
    Ok(Finding::of(
        "forged bounce at SMTP2GO",
        "refused with 401, and not on the timeline",
        ((status, events), (401, vec!["accepted sent".to_owned()])),
    ))
}

async fn timelines(company: &Company, people: &[String]) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (person, recipient) in PEOPLE.iter().zip(people) {
        let lives = company.desk.lives_of(Who::Mautic, recipient).await?;
        let first = lives.first().map(|life| life.events.join(" "));
        let expected = Some(person.events.to_owned());
        findings.push(Finding::of(person.what, person.words, (first, expected)));
    }
    Ok(findings)
}

/// Lets both streams go on, and looks what became of what waited.
async fn let_go(company: &Company, people: &[String]) -> anyhow::Result<Vec<Finding>> {
    company.deliver_all()?;
    for stream in ["campaign", "transactional"] {
        company.desk.switch(stream, "resume").await?;
    }
    let expected: Vec<_> = PEOPLE
        .iter()
        .zip(people)
        .map(|(person, recipient)| {
            let (campaign, reset) = person.waits;
            let taken = [campaign, reset].into_iter();
            let taken = taken.filter(|state| *state == "delivered");
            let states = (campaign.to_owned(), reset.to_owned());
            (recipient.clone(), states, 1 + taken.count())
        })
        .collect();
    let seen = last_seen(
        async || what_waited(company, people).await,
        |seen| *seen == expected,
    );
    let (seen, mut findings) = (seen.await?, Vec::new());
    findings.push(Finding::of(
        "queued mail",
        "to the dead address: gone; to the complaint and the unsubscribe: the campaign gone, the \
         password reset sent; to the others: sent",
        (seen, expected),
    ));
    findings.push(after_the_complaint(company).await?);
    let gone = company.service("ses")?.person("gone");
    findings.push(Finding::of(
        "new mail to the dead address",
        "the shop is told at once that it is suppressed",
        (
            company.desk.reset_password(&gone).await?,
            "suppressed".to_owned(),
        ),
    ));
    Ok(findings)
}

/// More of both streams to the person who called the campaign spam.
async fn after_the_complaint(company: &Company) -> anyhow::Result<Finding> {
    let angry = company.service("postmark")?.person("angry");
    let more = Mail::campaign(&angry, "Late news", LATE);
    company.mailer.send(&[more]).await?;
    company.desk.reset_password(&angry).await?;
    let look = async || {
        let resets = company.desk.lives_of(Who::Shop, &angry).await?;
        let newest = company.desk.lives_of(Who::Mautic, &angry).await?.pop();
        let newest = newest.map(|life| life.state);
        Ok((resets.into_iter().map(reset_of).collect::<Vec<_>>(), newest))
    };
    let reset = ("postmark".to_owned(), "accepted sent delivered".to_owned());
    let expected = (vec![reset; 2], Some("suppressed".to_owned()));
    let seen = last_seen(look, |seen| *seen == expected).await?;
    Ok(Finding::of(
        "password reset after the complaint",
        "the one that waited and a new one are delivered to the person who called the campaign \
         spam; a new campaign is not",
        (seen, expected),
    ))
}

fn reset_of(life: Life) -> (String, String) {
    let events = life.events.join(" ");
    (life.provider, events)
}

/// For each, the states of the second campaign and the reset, and how much the service took in all.
async fn what_waited(
    company: &Company,
    people: &[String],
) -> anyhow::Result<Vec<(String, (String, String), usize)>> {
    let campaigns = states(company, people).await?;
    let resets = company.desk.rows(Who::Shop).await?;
    let mut seen = Vec::new();
    for ((person, recipient), campaign) in PEOPLE.iter().zip(people).zip(campaigns) {
        let reset = resets.iter().rfind(|row| row.recipient == *recipient);
        let reset = reset.map_or_else(String::new, |row| row.state.clone());
        let taken = company.service(person.service)?.count_to(recipient);
        seen.push((recipient.clone(), (campaign, reset), taken));
    }
    Ok(seen)
}

/// The same words at every service, whatever each calls it.
pub(super) async fn the_same_block(company: &Company) -> anyhow::Result<Vec<Finding>> {
    company.be_silent();
    let people: Vec<String> = company.reporters().map(|s| s.person("block")).collect();
    campaign(company, &people, ("Winter news", BLOCKED)).await?;
    let mut seen = Vec::new();
    for (service, recipient) in company.reporters().zip(&people) {
        let report = Report {
            recipient,
            event: EventKind::Bounced,
            reply: Some(IP_BLOCK),
        };
        let status = service
            .report(&company.desk.http, &report, Proof::Good)
            .await?;
        let lives = company.desk.lives_of(Who::Mautic, recipient).await?;
        let events = lives.iter().map(|life| life.events.join(" ")).collect();
        seen.push((service.name(), status, events));
    }
    let events = vec!["accepted sent bounced/reputation".to_owned()];
    let expected = company.reporters().map(|s| (s.name(), 200, events.clone()));
    Ok(vec![Finding::of(
        "the same IP block at all eight",
        "eight bounces, each the fault of the sender's reputation",
        (seen, expected.collect()),
    )])
}

/// An ordinary mail server says no in the session.
pub(super) async fn refused_in_the_call(company: &Company) -> anyhow::Result<Vec<Finding>> {
    let relay = company.service("relay")?;
    let nobody = relay.person("nobody");
    relay.sandbox().arm(Fault::once(FaultKind::Recipient));
    let mail = Mail::campaign(&nobody, "Winter news", REFUSED);
    company.mailer.send(&[mail]).await?;
    let lives = async || company.desk.lives_of(Who::Mautic, &nobody).await;
    let lives = last_seen(lives, |lives| lives.iter().any(|l| l.state == "bounced")).await?;
    let seen: Vec<_> = lives.into_iter().map(reset_of).collect();
    let expected = ("relay".to_owned(), "accepted bounced/recipient".to_owned());
    Ok(vec![Finding::of(
        "refusal in the call at the relay",
        "bounced, the recipient's fault",
        (seen, vec![expected]),
    )])
}
