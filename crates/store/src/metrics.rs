//! What the store tells Prometheus.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector,
};

use crate::StoreError;

/// What may be said of an operation that was not done.
const KINDS: [&str; 6] = ["full", "busy", "closed", "damaged", "engine", "unavailable"];

/// `malote_store_*`.
pub(crate) struct Metrics {
    /// Time from the first statement of a transaction to its commit on disk.
    pub(crate) commit_seconds: Histogram,
    /// Operations in one transaction.
    pub(crate) batch_operations: Histogram,
    /// Octets that wait for the writer.
    pub(crate) queue_bytes: IntGauge,
    /// Operations that were not done.
    pub(crate) errors: IntCounterVec,
    /// Bodies and records that could not be read.
    pub(crate) damaged: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If the registry has metrics of these names already: one store per registry.
    pub(crate) fn register(registry: &Registry) -> Result<Self, StoreError> {
        Self::build(registry).map_err(|fault| StoreError::Engine(format!("metrics: {fault}")))
    }

    fn build(registry: &Registry) -> prometheus::Result<Self> {
        let commit = HistogramOpts::new(
            "malote_store_commit_seconds",
            "Time of one transaction of the store's writer, sync included",
        );
        let batch = HistogramOpts::new(
            "malote_store_batch_operations",
            "Operations that one transaction of the store's writer covered",
        );
        let errors = Opts::new(
            "malote_store_errors_total",
            "Operations of the store that were not done",
        );
        let errors = IntCounterVec::new(errors, &["kind"])?;
        // Prometheus sees no increase in a series that begins at 1: the first error would be missed.
        for kind in KINDS {
            errors.with_label_values(&[kind]);
        }
        Ok(Self {
            commit_seconds: keep(
                registry,
                Histogram::with_opts(
                    commit.buckets(prometheus::exponential_buckets(0.000_25, 2.0, 14)?),
                )?,
            )?,
            batch_operations: keep(
                registry,
                Histogram::with_opts(
                    batch.buckets(prometheus::exponential_buckets(1.0, 2.0, 10)?),
                )?,
            )?,
            queue_bytes: keep(
                registry,
                IntGauge::new(
                    "malote_store_queue_bytes",
                    "Octets that wait for the store's writer",
                )?,
            )?,
            errors: keep(registry, errors)?,
            damaged: keep(
                registry,
                IntCounter::new(
                    "malote_store_damaged_total",
                    "Bodies and records of the store that could not be read",
                )?,
            )?,
        })
    }

    /// Counts an operation that was not done.
    pub(crate) fn count(&self, error: &StoreError) {
        let kind = match error {
            StoreError::Full => "full",
            StoreError::Busy => "busy",
            StoreError::Closed => "closed",
            StoreError::BadCursor => "bad_cursor",
            StoreError::Damaged(_) => "damaged",
            StoreError::Engine(_) => "engine",
            StoreError::Unavailable(_) => "unavailable",
        };
        self.errors.with_label_values(&[kind]).inc();
    }
}

fn keep<M: Collector + Clone + 'static>(registry: &Registry, metric: M) -> prometheus::Result<M> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
