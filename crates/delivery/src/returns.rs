//! Mail that came back: the deliveries that it is about, and what follows. It never makes an answer.
//!
//! Its address decides which delivery it may touch; what it says of a recipient must agree.

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::event::ProviderEvent;
use malote_core::ledger::DeliveryView;
use malote_core::name::ProviderName;
use malote_core::returned::{
    Report, ReturnAddress, ReturnPlace, ReturnPurpose, ReturnSender, ReturnedMail, Returns,
};
use malote_core::subscription::Wish;
use malote_core::ticket::Ticket;
use malote_core::webhook::{SinkUnavailable, Unread, Webhook};

use crate::engine::Engine;
use crate::feedback::{EARLY_WAIT, TakeFault};
use crate::subscriptions::Means;

/// What became of a mail to one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is on the timeline.
    Applied,
    /// It says nothing that an address of its purpose is for.
    Ignored,
    /// Nobody could read it: it is kept for operators.
    Unreadable,
    /// The delivery is no longer kept.
    Gone,
}

impl Outcome {
    /// All of them, for metrics.
    pub(crate) const ALL: [Self; 4] = [Self::Applied, Self::Ignored, Self::Unreadable, Self::Gone];

    /// The word in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Ignored => "ignored",
            Self::Unreadable => "unreadable",
            Self::Gone => "gone",
        }
    }
}

#[async_trait]
impl Returns for Engine {
    fn recognise(&self, recipient: &EmailAddress) -> Option<ReturnPlace> {
        let policy = self.policy.load();
        policy.return_path.as_ref()?.place(recipient)
    }

    async fn take_back(
        &self,
        to: &[ReturnPlace],
        mail: ReturnedMail,
        sender: ReturnSender,
    ) -> Result<(), SinkUnavailable> {
        let now = self.clock.now();
        for place in to {
            let taken = match place {
                ReturnPlace::Signed(address) => self.take_one(address, &mail, sender, now).await,
                ReturnPlace::FeedbackLoop => self.take_from_loop(&mail, now).await,
            };
            let outcome = taken.map_err(|fault| {
                let purpose = place.as_str();
                match fault {
                    TakeFault::Store(error) => {
                        tracing::error!(purpose, %error, "could not take in mail that came back");
                    }
                    TakeFault::Early => tracing::debug!(purpose, "asked for early mail again"),
                }
                SinkUnavailable
            })?;
            self.metrics
                .returned
                .with_label_values(&[place.as_str(), outcome.as_str()])
                .inc();
        }
        Ok(())
    }
}

impl Engine {
    async fn take_one(
        &self,
        address: &ReturnAddress,
        mail: &ReturnedMail,
        sender: ReturnSender,
        now: Timestamp,
    ) -> Result<Outcome, TakeFault> {
        let ticket = address.ticket;
        match (address.purpose, mail) {
            (ReturnPurpose::Bounce, ReturnedMail::Report(reports)) => {
                self.take_reports(ticket, reports, now).await
            }
            (
                ReturnPurpose::Bounce,
                ReturnedMail::Unreadable(text) | ReturnedMail::Written(text),
            ) => match self.carrier(ticket).await? {
                Some(carrier) => self.set_aside(&carrier, text.clone(), now).await,
                None => Ok(Outcome::Gone),
            },
            // Programs that answer unsubscribe nobody: half the absence notes of a holiday would.
            (ReturnPurpose::Unsubscribe, ReturnedMail::Written(_))
                if sender == ReturnSender::Somebody =>
            {
                let wish = (Wish::Unsubscribe, Means::Mail);
                let found = self.wish(ticket.delivery, wish, now).await?;
                Ok(found.map_or(Outcome::Gone, |_| Outcome::Applied))
            }
            (ReturnPurpose::Bounce, ReturnedMail::Automatic)
            | (
                ReturnPurpose::Unsubscribe,
                ReturnedMail::Report(_)
                | ReturnedMail::Automatic
                | ReturnedMail::Written(_)
                | ReturnedMail::Unreadable(_),
            ) => Ok(Outcome::Ignored),
        }
    }

    /// A feedback loop's report is about the delivery that a signed address in it names. Without one
    /// it may be about anybody's mail, and changes nothing.
    async fn take_from_loop(
        &self,
        mail: &ReturnedMail,
        now: Timestamp,
    ) -> Result<Outcome, TakeFault> {
        let ReturnedMail::Report(reports) = mail else {
            return Ok(Outcome::Ignored);
        };
        let policy = self.policy.load_full();
        let ticket = policy.return_path.as_ref().and_then(|path| {
            let named = reports.iter().flat_map(|report| &report.named);
            named.filter_map(|address| path.recognise(address)).next()
        });
        match ticket {
            Some(address) => self.take_reports(address.ticket, reports, now).await,
            None => Ok(Outcome::Ignored),
        }
    }

    async fn take_reports(
        &self,
        ticket: Ticket,
        reports: &[Report],
        now: Timestamp,
    ) -> Result<Outcome, TakeFault> {
        let Some(carrier) = self.carrier(ticket).await? else {
            return Ok(Outcome::Gone);
        };
        let agreeing = reports.iter().filter(|report| carrier.agrees(report));
        let events: Vec<_> = agreeing.map(|report| event(ticket, report, now)).collect();
        if events.is_empty() {
            let text = "a report that names another recipient".to_owned();
            return self.set_aside(&carrier, text, now).await;
        }
        let webhook = Webhook {
            events,
            unreadable: Vec::new(),
        };
        self.apply_webhook(&carrier.provider, webhook, now).await?;
        Ok(Outcome::Applied)
    }

    async fn set_aside(
        &self,
        carrier: &Carrier,
        text: String,
        now: Timestamp,
    ) -> Result<Outcome, TakeFault> {
        let webhook = Webhook {
            events: Vec::new(),
            unreadable: vec![Unread::new("mail that came back", &text)],
        };
        self.apply_webhook(&carrier.provider, webhook, now).await?;
        Ok(Outcome::Unreadable)
    }

    /// Who carried the attempt that a ticket names; `None` if the delivery is no longer kept.
    async fn carrier(&self, ticket: Ticket) -> Result<Option<Carrier>, TakeFault> {
        let find = async || -> Result<Option<Option<Carrier>>, TakeFault> {
            let view = self.spool.view(ticket.delivery.message).await?;
            let deliveries = view.into_iter().flat_map(|view| view.deliveries);
            let mut deliveries = deliveries.filter(|own| own.id == ticket.delivery);
            let Some(delivery) = deliveries.next() else {
                return Ok(Some(None));
            };
            Ok(Carrier::of(&delivery, ticket.attempt))
        };
        if let Some(found) = find().await? {
            return Ok(found);
        }
        tokio::time::sleep(EARLY_WAIT).await;
        find().await?.ok_or(TakeFault::Early)
    }
}

/// The provider that carried a delivery, and whom to.
struct Carrier {
    provider: ProviderName,
    recipient: String,
}

impl Carrier {
    /// `None` if the attempt is not on record and may still come; `Some(None)` if it will not.
    fn of(delivery: &DeliveryView, attempt: u16) -> Option<Option<Self>> {
        let mut attempts = delivery.attempts.iter();
        let named = attempts.find(|own| attempt_of(own.number) == attempt);
        // A restore from a backup may have taken the attempt, not the mail that it sent.
        let last = || {
            delivery
                .attempts
                .last()
                .filter(|_| delivery.state.is_settled())
        };
        let found = named.or_else(last).map(|attempt| Self {
            provider: attempt.provider.clone(),
            recipient: delivery.recipient.to_lowercase(),
        });
        match found {
            Some(carrier) => Some(Some(carrier)),
            None => delivery.state.is_settled().then_some(None),
        }
    }

    /// Whether a report names the delivery's recipient, or nobody.
    fn agrees(&self, report: &Report) -> bool {
        let mut named = report.recipients.iter();
        report.recipients.is_empty() || named.any(|own| own.key() == self.recipient)
    }
}

/// An attempt's number as a ticket holds it.
pub(crate) fn attempt_of(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// One event of each kind for each attempt: a report that is repeated, or many that somebody makes
/// up, change a timeline once.
fn event(ticket: Ticket, report: &Report, now: Timestamp) -> ProviderEvent {
    let (delivery, attempt) = (ticket.delivery, ticket.attempt);
    let kind = report.kind.as_str();
    ProviderEvent {
        dedup_key: format!("mail/{delivery}/{attempt}/{kind}"),
        at: now,
        kind: report.kind.clone(),
        blame: report.blame,
        delivery: Some(delivery),
        provider_message_id: None,
        recipient: None,
        detail: report.detail.clone(),
        raw: report.raw.clone(),
    }
}
