//! The eight services and the relay: simulators, what the gateway's configuration says of each, and
//! what they report.

use std::path::Path;

use anyhow::{Context, ensure};
use malote_sandbox::{Behaviour, EventKind, Happening, Kind, Sandbox, Webhooks};
use serde_json::{Value, json};

use crate::demo::cast::Actor;

/// What the simulators' webhooks carry, where a service signs nothing.
const SECRET: &str = "webhook-secret-sandbox";

/// What the demo knows of a service.
struct Part {
    kind: Kind,
    /// The provider's name in the configuration.
    name: &'static str,
    /// The name by which people know it.
    label: &'static str,
    /// Its account.
    account: &'static str,
    proof: Origin,
}

/// How its webhooks prove where they come from.
#[derive(Clone, Copy)]
enum Origin {
    /// It posts none.
    Nothing,
    /// SNS: a certificate.
    Certificate,
    /// A key pair.
    PublicKey,
    /// Something that both know: this key of the webhook's table, and its value.
    Shared(&'static str, &'static str),
    /// The same at the end of the URL.
    SharedInUrl,
}

const BY_SECRET: Origin = Origin::Shared("secret", SECRET);

/// The services, in the order in which they are shown.
const SERVICES: [Part; 8] = [
    Part {
        kind: Kind::Ses,
        name: "ses",
        label: "Amazon SES",
        account: "region = \"us-east-1\"\naccess_key_id = \"AKIAIOSFODNN7EXAMPLE\"\n\
                  secret_access_key = \"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\"",
        proof: Origin::Certificate,
    },
    Part {
        kind: Kind::Mailgun,
        name: "mailgun",
        label: "Mailgun",
        account: "domain = \"news.example\"\napi_key = \"key-sandbox\"",
        proof: Origin::Shared("signing_key", "signing-key-sandbox"),
    },
    Part {
        kind: Kind::Sendgrid,
        name: "sendgrid",
        label: "SendGrid",
        account: "api_key = \"key-sandbox\"\ntransport = \"api\"",
        proof: Origin::PublicKey,
    },
    Part {
        kind: Kind::Postmark,
        name: "postmark",
        label: "Postmark",
        account: "server_token = \"key-sandbox\"\ntransport = \"api\"",
        proof: BY_SECRET,
    },
    Part {
        kind: Kind::Sparkpost,
        name: "sparkpost",
        label: "SparkPost",
        account: "api_key = \"key-sandbox\"",
        proof: BY_SECRET,
    },
    Part {
        kind: Kind::Elasticemail,
        name: "elasticemail",
        label: "Elastic Email",
        account: "api_key = \"key-sandbox\"\ntransport = \"api\"",
        proof: Origin::SharedInUrl,
    },
    Part {
        kind: Kind::Smtp2go,
        name: "smtp2go",
        label: "SMTP2GO",
        account: "api_key = \"key-sandbox\"\ntransport = \"api\"",
        proof: BY_SECRET,
    },
    Part {
        kind: Kind::Postal,
        name: "postal",
        label: "Postal",
        account: "server_key = \"key-sandbox\"",
        proof: Origin::PublicKey,
    },
];

/// The SMTP relay.
const RELAY: Part = Part {
    kind: Kind::Smtp,
    name: "relay",
    label: "the relay",
    account: "tls = \"none\"",
    proof: Origin::Nothing,
};

/// How many seconds after a service has taken a mail it is delivered. Some services tell whole
/// seconds only: what they tell of the same second would stand before the mail's own events.
const DELIVERED_AFTER_S: f64 = 3.0;
/// How late a webhook that a service posts of its own accord may be, in seconds.
const LATE_S: f64 = 0.3;

/// One service or the relay, with the recipients whose mail leaves through it.
pub(super) struct Service {
    part: Part,
    actor: Actor,
}

/// Something that a service reports.
pub(super) struct Report<'a> {
    /// Whose mail.
    pub(super) recipient: &'a str,
    /// What happened to the newest of it.
    pub(super) event: EventKind,
    /// The far server's words, for a bounce.
    pub(super) reply: Option<&'a str>,
}

impl Service {
    /// Starts the simulators of the eight services and of the relay, which comes last.
    pub(super) async fn enter_all() -> anyhow::Result<Vec<Self>> {
        let mut services = Vec::new();
        for part in SERVICES.into_iter().chain([RELAY]) {
            let actor = Actor::enter(part.kind).await?;
            services.push(Self { part, actor });
        }
        Ok(services)
    }

    /// The provider's name in the configuration.
    pub(super) const fn name(&self) -> &'static str {
        self.part.name
    }

    /// The name by which people know it.
    pub(super) const fn label(&self) -> &'static str {
        self.part.label
    }

    /// Whether it reports by webhooks; the relay does not.
    pub(super) fn has_webhooks(&self) -> bool {
        !matches!(self.part.proof, Origin::Nothing)
    }

    /// Somebody whose mail leaves through it.
    pub(super) fn person(&self, name: &str) -> String {
        format!("{name}@{}.example", self.part.name)
    }

    /// How often mail to this address was taken.
    pub(super) fn count_to(&self, recipient: &str) -> usize {
        self.actor.sandbox.messages_to(recipient).len()
    }

    /// The simulator, to arm faults.
    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.actor.sandbox
    }

    /// From now on it reports each mail as delivered, and says it twice, as services do.
    pub(super) fn deliver_all(&self, gateway: &str) -> anyhow::Result<()> {
        let delivered = Happening {
            event: EventKind::Delivered,
            share: 1.0,
            after_s: DELIVERED_AFTER_S,
            reply: None,
        };
        let webhooks = Webhooks {
            url: self.hook(gateway),
            events: vec![delivered],
            duplicated: 1.0,
            forged: 0.0,
            late_s: LATE_S,
            seed: 1,
        };
        self.actor.sandbox.behave(&Behaviour {
            webhooks: Some(webhooks),
            ..Behaviour::default()
        })?;
        Ok(())
    }

    /// From now on it says nothing of its own accord.
    pub(super) fn be_silent(&self) {
        self.actor.sandbox.behave_well();
    }

    /// Has it report; answers the status with which the gateway answered.
    pub(super) async fn report(
        &self,
        gateway: &str,
        report: &Report<'_>,
        proof: Proof,
    ) -> anyhow::Result<u64> {
        let taken = self.actor.sandbox.messages_to(report.recipient);
        let newest = taken.last().with_context(|| {
            format!(
                "{} has taken nothing for {}",
                self.part.name, report.recipient
            )
        })?;
        let event = json!({
            "url": self.hook(gateway),
            "event": report.event,
            "message": newest.id,
            "recipient": report.recipient,
            "reply": report.reply,
            "forged": proof == Proof::Forged,
        });
        let emit = format!("http://{}/_sandbox/event", self.actor.address);
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client.post(emit).json(&event).send().await?;
        let is_posted = answer.status().is_success();
        let answer: Value = answer.json().await?;
        ensure!(is_posted, "{} reported nothing: {answer}", self.name());
        answer["status"].as_u64().context("no status")
    }

    /// Where its webhooks are posted to.
    fn hook(&self, gateway: &str) -> String {
        let secret = match self.part.proof {
            Origin::SharedInUrl => format!("/{SECRET}"),
            Origin::Nothing | Origin::Certificate | Origin::PublicKey | Origin::Shared(_, _) => {
                String::new()
            }
        };
        format!("{gateway}/v1/webhooks/{}{secret}", self.part.name)
    }

    /// Its tables in the gateway's configuration: provider, pools, webhook, and the routes by which
    /// mail of each stream to its people leaves through it, or through the relay when it fails.
    pub(super) fn tables(&self, folder: &Path) -> anyhow::Result<String> {
        let name = self.part.name;
        let mut text = format!("{}{}", self.provider(), self.webhook(folder)?);
        for (stream, pool) in [("transactional", "tx"), ("campaign", "news")] {
            let relief = match self.has_webhooks() {
                true => format!(", {{ provider = \"relay\", pool = \"{pool}\" }}"),
                false => String::new(),
            };
            text.push_str(&format!(
                "[providers.{name}.pools.{pool}]\n\
                 [routes.{name}-{pool}]\nstrategy = \"failover\"\n\
                 targets = [{{ provider = \"{name}\", pool = \"{pool}\" }}{relief}]\n\
                 [[rules]]\nname = \"{stream} mail for {name}.example\"\n\
                 when = {{ stream = \"{stream}\", recipient_domain = \"{name}.example\" }}\n\
                 then = {{ route = \"{name}-{pool}\" }}\n"
            ));
        }
        Ok(text)
    }

    fn provider(&self) -> String {
        let (Part { name, account, .. }, address) = (&self.part, self.actor.address);
        let kind = self.part.kind.as_str();
        let place = match self.has_webhooks() {
            true => format!("endpoint = \"http://{address}\""),
            false => format!("host = \"{}\"\nport = {}", address.ip(), address.port()),
        };
        format!("[providers.{name}.{kind}]\n{account}\n{place}\n")
    }

    /// How its webhooks prove where they come from; nothing for the relay, which posts none.
    fn webhook(&self, folder: &Path) -> anyhow::Result<String> {
        let sandbox = &self.actor.sandbox;
        let proof = match self.part.proof {
            Origin::Nothing => return Ok(String::new()),
            Origin::Certificate => {
                let file = folder.join("sns.pem");
                let certificate = sandbox.certificate_pem().context("no certificate")?;
                std::fs::write(&file, certificate)?;
                format!(
                    "topic_arns = [\"arn:aws:sns:us-east-1:123456789012:malote\"]\n\
                     certificate_file = {file:?}"
                )
            }
            Origin::PublicKey => {
                let key = sandbox.public_key_pem().context("no public key")?;
                format!("public_key = '''{key}'''")
            }
            Origin::Shared(key, value) => format!("{key} = \"{value}\""),
            Origin::SharedInUrl => format!("secret = \"{SECRET}\""),
        };
        Ok(format!("[providers.{}.webhook]\n{proof}\n", self.part.name))
    }
}

/// Whether what a service posts proves where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// As the service signs it.
    Good,
    /// By somebody else.
    Forged,
}
