//! `malote_smtp_*`: what the SMTP server did, with closed label sets.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    exponential_buckets,
};

use super::session::CloseReason;

/// The counters of the SMTP server.
#[derive(Debug, Clone)]
pub struct SmtpMetrics {
    pub(crate) connections: IntGauge,
    pub(crate) logins_ok: IntCounter,
    pub(crate) logins_failed: IntCounter,
    pub(crate) messages_accepted: IntCounter,
    pub(crate) messages_replayed: IntCounter,
    pub(crate) messages_refused: IntCounter,
    pub(crate) messages_deferred: IntCounter,
    pub(crate) messages_returned: IntCounter,
    pub(crate) starttls_injections: IntCounter,
    pub(crate) accept_seconds: Histogram,
    pub(crate) inflight_bytes: IntGauge,
    closed: IntCounterVec,
}

impl SmtpMetrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// If one of the names is taken in `registry`.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let vector = |name: &str, help: &str, label: &str| {
            let vector = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(vector.clone()))?;
            Ok::<_, prometheus::Error>(vector)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let logins = vector("malote_smtp_logins_total", "AUTH exchanges", "outcome")?;
        let messages = vector(
            "malote_smtp_messages_total",
            "Messages received to their end",
            "outcome",
        )?;
        let starttls_injections = IntCounter::new(
            "malote_smtp_starttls_injections_total",
            "Connections that hid commands behind STARTTLS",
        )?;
        registry.register(Box::new(starttls_injections.clone()))?;
        let buckets = exponential_buckets(0.000_5, 2.0, 18)?;
        let opts = HistogramOpts::new(
            "malote_smtp_accept_seconds",
            "From the end of a message's data to the durable answer",
        );
        let accept_seconds = Histogram::with_opts(opts.buckets(buckets))?;
        registry.register(Box::new(accept_seconds.clone()))?;
        Ok(Self {
            connections: gauge("malote_smtp_connections", "Connections open")?,
            logins_ok: logins.get_metric_with_label_values(&["ok"])?,
            logins_failed: logins.get_metric_with_label_values(&["failed"])?,
            messages_accepted: messages.get_metric_with_label_values(&["accepted"])?,
            messages_replayed: messages.get_metric_with_label_values(&["replayed"])?,
            messages_refused: messages.get_metric_with_label_values(&["refused"])?,
            messages_deferred: messages.get_metric_with_label_values(&["deferred"])?,
            messages_returned: messages.get_metric_with_label_values(&["returned"])?,
            starttls_injections,
            accept_seconds,
            inflight_bytes: gauge(
                "malote_smtp_inflight_bytes",
                "Memory held by messages being received",
            )?,
            closed: vector(
                "malote_smtp_connections_closed_total",
                "Connections that ended, by cause",
                "reason",
            )?,
        })
    }

    /// Counts a connection that ended.
    pub(crate) fn count_close(&self, reason: CloseReason) {
        if reason == CloseReason::StartTlsInjection {
            self.starttls_injections.inc();
        }
        if let Ok(counter) = self.closed.get_metric_with_label_values(&[reason.as_str()]) {
            counter.inc();
        }
    }
}
