//! What the PostgreSQL engine tells Prometheus.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use crate::StoreError;

/// What may be said of an operation that was not done.
const KINDS: [&str; 6] = ["full", "busy", "closed", "damaged", "engine", "unavailable"];

/// What the database was asked to do: the label of times and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Looking at the server and bringing the tables up.
    Open,
    /// Units of a quota: taken, given back, counted.
    Quota,
    /// Suppressed addresses: looked up, written, lifted, listed; soft bounces.
    Suppression,
    /// The hashes of suppressed addresses that came since the last look.
    Refresh,
    /// Warm-up, breakers and switches.
    State,
    /// Idempotency keys of nodes with queues of their own.
    Key,
    /// What the reputation guard counts and has decided.
    Guard,
    /// Mail coming in.
    Accept,
    /// Outcomes, and starts of attempts.
    Settle,
    /// Mail going out.
    Lease,
    /// What services told, and what operators did.
    Event,
    /// Timelines, search, counts, the feed.
    Read,
    /// What outlets are told.
    Outbox,
    /// Which nodes live, and what the dead leave.
    Session,
    /// Expiry, retention and the like.
    Upkeep,
}

impl Operation {
    const ALL: [Self; 15] = [
        Self::Open,
        Self::Quota,
        Self::Suppression,
        Self::Refresh,
        Self::State,
        Self::Key,
        Self::Guard,
        Self::Accept,
        Self::Settle,
        Self::Lease,
        Self::Event,
        Self::Read,
        Self::Outbox,
        Self::Session,
        Self::Upkeep,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Quota => "quota",
            Self::Suppression => "suppression",
            Self::Refresh => "refresh",
            Self::State => "state",
            Self::Key => "key",
            Self::Guard => "guard",
            Self::Accept => "accept",
            Self::Settle => "settle",
            Self::Lease => "lease",
            Self::Event => "event",
            Self::Read => "read",
            Self::Outbox => "outbox",
            Self::Session => "session",
            Self::Upkeep => "upkeep",
        }
    }
}

/// `malote_postgres_*`.
pub(crate) struct Metrics {
    seconds: HistogramVec,
    errors: IntCounterVec,
    /// Operations that were done again because another transaction was in the way.
    pub(crate) conflicts: IntCounter,
    /// Operations that found every connection in use.
    pub(crate) waits: IntCounter,
    /// Leases of dead nodes that this one took over.
    pub(crate) taken_over: IntCounter,
    /// Connections that are open.
    pub(crate) connections: IntGauge,
    /// Connections in use.
    pub(crate) in_use: IntGauge,
}

impl Metrics {
    /// Makes the metrics; nobody sees them before [`Metrics::register`].
    ///
    /// # Errors
    /// If a name is none of Prometheus: a fault of the program.
    pub(crate) fn new() -> Result<Self, StoreError> {
        Self::build().map_err(|fault| StoreError::Engine(format!("metrics: {fault}")))
    }

    fn build() -> prometheus::Result<Self> {
        let seconds = HistogramOpts::new(
            "malote_postgres_seconds",
            "Time of one operation of the database, with the wait for a connection",
        )
        .buckets(prometheus::exponential_buckets(0.000_25, 2.0, 16)?);
        let errors = Opts::new(
            "malote_postgres_errors_total",
            "Operations of the database that were not done",
        );
        let errors = IntCounterVec::new(errors, &["operation", "kind"])?;
        // Prometheus sees no increase in a series that begins at 1: the first error would be missed.
        for operation in Operation::ALL {
            for kind in KINDS {
                errors.with_label_values(&[operation.as_str(), kind]);
            }
        }
        Ok(Self {
            seconds: HistogramVec::new(seconds, &["operation"])?,
            errors,
            conflicts: IntCounter::new(
                "malote_postgres_conflicts_total",
                "Operations of the database done again because of another transaction",
            )?,
            waits: IntCounter::new(
                "malote_postgres_waits_total",
                "Operations that found every connection to the database in use",
            )?,
            taken_over: IntCounter::new(
                "malote_postgres_leases_taken_over_total",
                "Deliveries under way at nodes that died, taken over by this one",
            )?,
            connections: IntGauge::new(
                "malote_postgres_connections",
                "Connections to the database that are open",
            )?,
            in_use: IntGauge::new(
                "malote_postgres_connections_in_use",
                "Connections to the database that are in use",
            )?,
        })
    }

    /// Shows them: once the database is open, since an opening that failed may come again.
    ///
    /// # Errors
    /// If the registry has metrics of these names already: one database per registry.
    pub(crate) fn register(&self, registry: &Registry) -> Result<(), StoreError> {
        let all: [Box<dyn Collector>; 7] = [
            Box::new(self.seconds.clone()),
            Box::new(self.errors.clone()),
            Box::new(self.conflicts.clone()),
            Box::new(self.waits.clone()),
            Box::new(self.taken_over.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.in_use.clone()),
        ];
        for one in all {
            registry
                .register(one)
                .map_err(|fault| StoreError::Engine(format!("metrics: {fault}")))?;
        }
        Ok(())
    }

    /// Notes how long an operation took, and why it was not done.
    pub(crate) fn note<T>(
        &self,
        operation: Operation,
        took: Duration,
        result: &Result<T, StoreError>,
    ) {
        let word = operation.as_str();
        let seconds = took.as_secs_f64();
        self.seconds.with_label_values(&[word]).observe(seconds);
        let Err(error) = result else {
            return;
        };
        let kind = match error {
            StoreError::Full => "full",
            StoreError::Busy => "busy",
            StoreError::Closed => "closed",
            StoreError::BadCursor => "bad_cursor",
            StoreError::Damaged(_) => "damaged",
            StoreError::Engine(_) => "engine",
            StoreError::Unavailable(_) => "unavailable",
        };
        self.errors.with_label_values(&[word, kind]).inc();
    }
}
