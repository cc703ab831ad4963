//! What the engine counts. Labels are closed sets: names from the configuration and our own words.

use std::collections::HashMap;

use jiff::Timestamp;
use malote_core::event::{Blame, ProviderEvent};
use malote_core::name::{MailboxProvider, ProviderName, StreamName, TargetName};
use malote_core::outlet::OutletName;
use malote_core::returned::ReturnPlace;
use malote_store::{Suppression, SuppressionReason};
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use crate::{returns, subscriptions};

/// Seconds from custody to a provider's receipt, and to delivery.
const LATENCY_S: [f64; 12] = [
    0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 86_400.0,
];

/// The name of [`Metrics::last_event`], which the command line reads.
pub const LAST_EVENT_METRIC: &str = "malote_provider_last_event_timestamp_seconds";

/// The kind of alert that a complaint about mail of no campaign stream is.
pub(crate) const COMPLAINT: &str = "complaint";
/// The kind of alert that an unsubscribe from such mail is.
pub(crate) const UNSUBSCRIBE: &str = "unsubscribe";
/// Stands for the provider of what recipients tell the gateway itself.
pub(crate) const HOSTED: &str = "hosted";

/// Why an event was not new: it was told before.
pub(crate) const REPEAT: &str = "repeat";
/// Why an event was not new: its key is that of another event.
pub(crate) const REPLAY: &str = "replay";

/// The engine's metrics.
#[derive(Clone)]
pub struct Metrics {
    /// Messages taken, by stream.
    pub accepted: IntCounterVec,
    /// Submissions refused, by reason.
    pub refused: IntCounterVec,
    /// Attempts, by stream, provider, pool, mailbox provider and outcome (`sent` or the verdict).
    pub attempts: IntCounterVec,
    /// Deliveries that went on to another target, by stream and the provider left behind.
    pub failovers: IntCounterVec,
    /// Deliveries settled, by stream, state and mailbox provider.
    pub settled: IntCounterVec,
    /// Providers' events applied, by provider, kind and mailbox provider.
    pub events: IntCounterVec,
    /// Providers' events applied, by stream, provider, kind and blame (`none` where nobody is blamed).
    pub told: IntCounterVec,
    /// Seconds from what happened, by the service's clock, to its place on the timeline, by provider.
    pub told_lag: HistogramVec,
    /// Suppressions written, by reason.
    pub suppressions: IntCounterVec,
    /// Refusals for content, size or form, by stream.
    pub content_refused: IntCounterVec,
    /// Providers' events that match nothing of ours, by provider.
    pub unmatched: IntCounterVec,
    /// Providers' events whose key was known, by provider and whether the event was the same.
    pub(crate) repeated: IntCounterVec,
    /// When the last events of a provider were applied, in seconds since 1970.
    pub last_event: IntGaugeVec,
    /// Mail that came back, by what its address was for and what became of it.
    pub returned: IntCounterVec,
    /// Unsubscribe links that were followed, by what became of it.
    pub links: IntCounterVec,
    /// Seconds from custody to receipt, by stream.
    pub to_sent: HistogramVec,
    /// Seconds from custody to delivery, by stream, provider and mailbox provider.
    pub to_delivered: HistogramVec,
    /// Seconds of calls, by provider.
    pub calls: HistogramVec,
    /// Recipients sent again although they may have been sent already, by stream.
    pub duplicate_risk: IntCounterVec,
    /// Alerts, by kind and provider.
    pub alerts: IntCounterVec,
    /// Deliveries by stream and state.
    pub queue: IntGaugeVec,
    /// 1 if the queue is that of all nodes, 0 if it is this node's own.
    pub(crate) queue_shared: IntGauge,
    /// 1 for the class that a stream has, by stream and class.
    pub(crate) stream_class: IntGaugeVec,
    /// Age in seconds of the oldest due delivery, by stream.
    pub queue_age: IntGaugeVec,
    /// Seconds until what waits is sent at this node's pace of the last minutes, by stream; infinite
    /// if nothing moves.
    pub queue_finish: GaugeVec,
    /// Recipients left of a quota, by account (`provider` or `provider/pool`) and window (`hour`,
    /// `day`, `warmup`).
    pub quota_left: IntGaugeVec,
    /// Recipients taken ahead of a quota by this process and not used yet, by account.
    pub quota_in_hand: IntGaugeVec,
    /// Seconds until it is spent at this node's pace of the last minutes; infinite if it uses nothing.
    pub quota_spent_in: GaugeVec,
    /// The same of the quota that a stream's mail meets first, by stream, account and window: one of
    /// those accounts that its mail went to in the last minutes. A campaign stream has no more of a
    /// quota than its share without the reserve.
    pub first_quota: GaugeVec,
    /// 1 while a target takes mail, by provider and pool; 0 until its breaker has closed or ramps.
    pub target_up: IntGaugeVec,
    /// How many targets of a route and its fallbacks do, by stream and route that its mail can take.
    pub(crate) route_targets_up: IntGaugeVec,
    /// 1 for the state that a target's breaker is in, by provider, pool and state.
    pub breaker: IntGaugeVec,
    /// Calls under way, by provider.
    pub in_flight: IntGaugeVec,
    /// Delivery status notifications made, and those over the rate.
    pub dsns: IntCounterVec,
    /// Events told to outlets, by outlet and outcome.
    outlet_told: IntCounterVec,
    /// Events that wait to be told, by outlet.
    pub(crate) outlet_waiting: IntGaugeVec,
    /// Age in seconds of the oldest of them, by outlet.
    pub(crate) outlet_oldest: IntGaugeVec,
    /// 1 while an outlet is set aside, by outlet.
    pub(crate) outlet_disabled: IntGaugeVec,
    /// Campaigns (and the stream itself) that the guard has slowed or paused, by stream and state.
    pub(crate) guard: IntGaugeVec,
    /// Panics of adapters, caught.
    pub panics: IntCounter,
    /// Deliveries a lease.
    pub lease_size: Histogram,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If a name is registered already.
    #[expect(
        clippy::too_many_lines,
        reason = "a list of metrics, one behind the other"
    )]
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let forecast = |name: &str, help: &str, labels: &[&str]| {
            let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let latency = |name: &str, help: &str, labels: &[&str]| {
            let opts = HistogramOpts::new(name, help).buckets(LATENCY_S.to_vec());
            let histogram = HistogramVec::new(opts, labels)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        let panics = IntCounter::new("malote_adapter_panics_total", "Panics of adapters, caught")?;
        registry.register(Box::new(panics.clone()))?;
        let queue_shared = IntGauge::new(
            "malote_queue_shared",
            "1 if the queue is that of all nodes, 0 if it is this node's own",
        )?;
        registry.register(Box::new(queue_shared.clone()))?;
        let lease_size = Histogram::with_opts(
            HistogramOpts::new("malote_lease_deliveries", "Deliveries a lease")
                .buckets(vec![1.0, 4.0, 16.0, 64.0, 128.0, 256.0]),
        )?;
        registry.register(Box::new(lease_size.clone()))?;
        Ok(Self {
            accepted: counter(
                "malote_messages_accepted_total",
                "Messages taken into custody",
                &["stream"],
            )?,
            refused: counter(
                "malote_messages_refused_total",
                "Submissions refused",
                &["reason"],
            )?,
            attempts: counter(
                "malote_attempts_total",
                "Attempts by outcome, one per recipient",
                &["stream", "provider", "pool", "mailbox_provider", "outcome"],
            )?,
            failovers: counter(
                "malote_failovers_total",
                "Deliveries that went on to another target",
                &["stream", "provider"],
            )?,
            settled: counter(
                "malote_deliveries_settled_total",
                "Deliveries settled",
                &["stream", "state", "mailbox_provider"],
            )?,
            events: counter(
                "malote_provider_events_total",
                "Events of providers applied",
                &["stream", "provider", "kind", "mailbox_provider"],
            )?,
            told: counter(
                "malote_feedback_events_total",
                "Events of providers applied, by whose mail and whose fault",
                &["stream", "provider", "kind", "class"],
            )?,
            told_lag: latency(
                "malote_feedback_lag_seconds",
                "Time from what happened, by the provider's clock, to the timeline",
                &["provider"],
            )?,
            suppressions: counter(
                "malote_suppressions_total",
                "Suppressions written, by reason",
                &["reason"],
            )?,
            content_refused: counter(
                "malote_content_refused_total",
                "Messages that a receiver refused for content, size or form",
                &["stream"],
            )?,
            unmatched: counter(
                "malote_provider_events_unmatched_total",
                "Events of providers that match no delivery",
                &["provider"],
            )?,
            repeated: counter(
                "malote_provider_events_repeated_total",
                "Events of providers told again, or under the key of another event",
                &["provider", "reason"],
            )?,
            last_event: gauge(
                LAST_EVENT_METRIC,
                "When the last events of a provider came",
                &["provider"],
            )?,
            returned: counter(
                "malote_returned_mail_total",
                "Mail that came back to addresses of the gateway",
                &["purpose", "outcome"],
            )?,
            links: counter(
                "malote_unsubscribe_links_total",
                "Unsubscribe links followed",
                &["outcome"],
            )?,
            to_sent: latency(
                "malote_time_to_sent_seconds",
                "Custody to receipt",
                &["stream"],
            )?,
            to_delivered: latency(
                "malote_time_to_delivered_seconds",
                "Custody to delivery",
                &["stream", "provider", "mailbox_provider"],
            )?,
            calls: latency(
                "malote_provider_call_seconds",
                "Calls to providers",
                &["provider"],
            )?,
            duplicate_risk: counter(
                "malote_duplicate_risk_total",
                "Recipients sent again although they may have been sent already",
                &["stream"],
            )?,
            alerts: counter("malote_alerts_total", "Alerts", &["kind", "provider"])?,
            queue: gauge(
                "malote_queue_deliveries",
                "Deliveries waiting or undecided",
                &["stream", "state"],
            )?,
            queue_shared,
            stream_class: gauge(
                "malote_stream_class",
                "1 for the class that a stream has",
                &["stream", "class"],
            )?,
            queue_age: gauge(
                "malote_queue_oldest_due_seconds",
                "Age of the oldest due delivery",
                &["stream"],
            )?,
            queue_finish: forecast(
                "malote_queue_finish_seconds",
                "Time until the queue is sent at this node's present pace",
                &["stream"],
            )?,
            quota_left: gauge(
                "malote_quota_left",
                "Recipients left of a quota",
                &["account", "window"],
            )?,
            quota_in_hand: gauge(
                "malote_quota_in_hand",
                "Recipients taken ahead of a quota and not used yet",
                &["account"],
            )?,
            quota_spent_in: forecast(
                "malote_quota_spent_in_seconds",
                "Time until a quota is spent at this node's present pace",
                &["account", "window"],
            )?,
            first_quota: forecast(
                "malote_queue_first_quota_seconds",
                "Time until the first quota that the queue meets is spent at this node's present pace",
                &["stream", "account", "window"],
            )?,
            target_up: gauge(
                "malote_target_up",
                "1 while a target takes mail",
                &["provider", "pool"],
            )?,
            route_targets_up: gauge(
                "malote_route_targets_up",
                "Targets of a route and its fallbacks that take mail",
                &["stream", "route"],
            )?,
            breaker: gauge(
                "malote_breaker_state",
                "1 for the state a target's breaker is in",
                &["provider", "pool", "state"],
            )?,
            in_flight: gauge("malote_calls_in_flight", "Calls under way", &["provider"])?,
            dsns: counter(
                "malote_dsns_total",
                "Delivery status notifications",
                &["result"],
            )?,
            outlet_told: counter(
                "malote_outlet_told_total",
                "Attempts to tell an outlet of an event",
                &["outlet", "outcome"],
            )?,
            outlet_waiting: gauge(
                "malote_outlet_waiting",
                "Events that wait to be told",
                &["outlet"],
            )?,
            outlet_oldest: gauge(
                "malote_outlet_oldest_seconds",
                "Age of the oldest event that waits to be told",
                &["outlet"],
            )?,
            outlet_disabled: gauge(
                "malote_outlet_disabled",
                "1 while an outlet is set aside",
                &["outlet"],
            )?,
            guard: gauge(
                "malote_guard_campaigns",
                "Campaigns that the reputation guard has slowed or paused",
                &["stream", "state"],
            )?,
            panics,
            lease_size,
        })
    }

    /// Counts one recipient's attempt; answers whether it is the first of its labels.
    pub(crate) fn attempt(
        &self,
        stream: &StreamName,
        (target, mailbox): (&TargetName, Option<&MailboxProvider>),
        outcome: &str,
    ) -> bool {
        let labels = [
            stream.as_str(),
            target.provider.as_str(),
            target.pool.as_str(),
            mailbox.map_or("other", MailboxProvider::as_str),
            outcome,
        ];
        let counter = self.attempts.with_label_values(&labels);
        let is_first = counter.get() == 0;
        counter.inc();
        is_first
    }

    /// Recipients sent since the start, by stream and account (`provider`, and `provider/pool`).
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter of whole recipients, which the library keeps as a float"
    )]
    pub(crate) fn sent_by_account(&self) -> HashMap<(String, String), u64> {
        let mut sent: HashMap<(String, String), u64> = HashMap::new();
        for family in self.attempts.collect() {
            for counter in family.get_metric() {
                let label = |name: &str| {
                    let mut labels = counter.get_label().iter();
                    let label = labels.find(|label| label.name() == name);
                    label.map_or("", |label| label.value())
                };
                if label("outcome") != "sent" {
                    continue;
                }
                let (stream, provider) = (label("stream"), label("provider"));
                let pool = format!("{provider}/{}", label("pool"));
                for account in [provider.to_owned(), pool] {
                    let count = sent.entry((stream.to_owned(), account)).or_default();
                    *count += counter.get_counter().get_value() as u64;
                }
            }
        }
        sent
    }

    /// Makes the rare counters of our own words stand at 0.
    pub(crate) fn begin_fixed(&self) {
        for reason in SuppressionReason::ALL {
            self.suppressions.with_label_values(&[reason.as_str()]);
        }
        for place in ReturnPlace::WORDS {
            for outcome in returns::Outcome::ALL {
                self.returned.with_label_values(&[place, outcome.as_str()]);
            }
        }
        for outcome in subscriptions::OUTCOMES {
            self.links.with_label_values(&[outcome]);
        }
    }

    /// Counts one event that a provider told of a delivery.
    pub(crate) fn tell(
        &self,
        provider: &ProviderName,
        stream: &StreamName,
        event: &ProviderEvent,
        now: Timestamp,
    ) {
        let class = event.blame.map_or("none", Blame::as_str);
        let labels = [
            stream.as_str(),
            provider.as_str(),
            event.kind.label(),
            class,
        ];
        self.told.with_label_values(&labels).inc();
        let lag = now.duration_since(event.at).as_secs_f64().max(0.0);
        let lags = self.told_lag.with_label_values(&[provider.as_str()]);
        lags.observe(lag);
    }

    /// Counts an event whose key was known.
    pub(crate) fn repeat(&self, provider: &ProviderName, reason: &str) {
        let labels = [provider.as_str(), reason];
        self.repeated.with_label_values(&labels).inc();
    }

    /// Counts suppressions that were written.
    pub(crate) fn suppress(&self, entries: &[Suppression]) {
        for entry in entries {
            let labels = [entry.reason.as_str()];
            self.suppressions.with_label_values(&labels).inc();
        }
    }

    /// The counter of what becomes of an outlet's events.
    pub(crate) fn outlet_told(&self, outlet: &OutletName, outcome: &str) -> IntCounter {
        self.outlet_told
            .with_label_values(&[outlet.as_str(), outcome])
    }

    /// Forgets an outlet that is gone.
    pub(crate) fn forget_outlet(&self, outlet: &OutletName, outcomes: &[&str]) {
        for gauge in [
            &self.outlet_waiting,
            &self.outlet_oldest,
            &self.outlet_disabled,
        ] {
            // It may never have been measured.
            gauge.remove_label_values(&[outlet.as_str()]).ok();
        }
        for outcome in outcomes {
            self.outlet_told
                .remove_label_values(&[outlet.as_str(), outcome])
                .ok();
        }
    }

    /// Counts one settled delivery.
    pub fn settle(
        &self,
        stream: &StreamName,
        state: &str,
        mailbox_provider: Option<&MailboxProvider>,
    ) {
        let mailbox_provider = mailbox_provider.map_or("other", MailboxProvider::as_str);
        self.settled
            .with_label_values(&[stream.as_str(), state, mailbox_provider])
            .inc();
    }
}
