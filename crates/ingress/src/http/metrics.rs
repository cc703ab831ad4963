//! Counts and times of the HTTP door. Label sets are closed: endpoints, status classes and
//! configured providers.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use malote_core::name::ProviderName;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, exponential_buckets,
};

use super::problem_rfc9457::ProblemKind;
use super::state::HttpState;
use crate::net::OpenConnection;

/// The metrics of the HTTP door.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    connections: IntGauge,
    webhooks: IntCounterVec,
    webhooks_refused: IntCounterVec,
    webhook_events: IntCounterVec,
}

impl HttpMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If the registry already has one of these names.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let buckets = exponential_buckets(0.0005, 2.0, 16)?;
        let seconds = HistogramOpts::new(
            "malote_http_request_seconds",
            "Time from a request's header section to its answer.",
        );
        let seconds = HistogramVec::new(seconds.buckets(buckets), &["endpoint"])?;
        registry.register(Box::new(seconds.clone()))?;
        let connections = IntGauge::new("malote_http_connections", "Open HTTP connections.")?;
        registry.register(Box::new(connections.clone()))?;
        Ok(Self {
            requests: counter(
                "malote_http_requests_total",
                "Answered HTTP requests.",
                &["endpoint", "status"],
            )?,
            seconds,
            connections,
            webhooks: counter(
                "malote_http_webhooks_total",
                "Webhook requests by what their parser said.",
                &["provider", "status"],
            )?,
            webhooks_refused: counter(
                "malote_http_webhooks_refused_total",
                "Webhook requests that were refused, by what was wrong with them.",
                &["provider", "reason"],
            )?,
            webhook_events: counter(
                "malote_http_webhook_events_total",
                "Events in believed webhooks.",
                &["provider", "readable"],
            )?,
        })
    }

    /// Counts a connection until this is dropped.
    pub(crate) fn connection(&self) -> OpenConnection {
        OpenConnection::count(&self.connections)
    }

    pub(crate) fn count_webhook(&self, provider: &ProviderName, status: StatusCode) {
        let labels = [provider.as_str(), class(status)];
        self.webhooks.with_label_values(&labels).inc();
        // From 0 on, so that the first forgery shows as an increase.
        for reason in FORGERIES {
            let labels = [provider.as_str(), reason.slug()];
            self.webhooks_refused.with_label_values(&labels);
        }
    }

    pub(crate) fn count_refused(&self, provider: &ProviderName, reason: ProblemKind) {
        let labels = [provider.as_str(), reason.slug()];
        self.webhooks_refused.with_label_values(&labels).inc();
    }

    pub(crate) fn count_events(&self, provider: &ProviderName, good: usize, bad: usize) {
        for (word, count) in [("yes", good), ("no", bad)] {
            let labels = [provider.as_str(), word];
            let counter = self.webhook_events.with_label_values(&labels);
            counter.inc_by(count as u64);
        }
    }
}

/// What webhooks are refused for that are forged, oversized or nonsense.
const FORGERIES: [ProblemKind; 5] = [
    ProblemKind::WebhookUnverified,
    ProblemKind::WebhookForbidden,
    ProblemKind::WebhookUnreadable,
    ProblemKind::BodyTooLarge,
    ProblemKind::TooManyEvents,
];

/// Counts and times every request by the endpoint that it matched.
pub(crate) async fn observe(
    State(state): State<Arc<HttpState>>,
    request: Request,
    next: Next,
) -> Response {
    let endpoint = endpoint(&request);
    let began = Instant::now();
    let response = next.run(request).await;
    let metrics = &state.metrics;
    let labels = [endpoint.as_str(), class(response.status())];
    metrics.requests.with_label_values(&labels).inc();
    let seconds = metrics.seconds.with_label_values(&[endpoint.as_str()]);
    seconds.observe(began.elapsed().as_secs_f64());
    response
}

/// Method and path template; both sets are closed.
fn endpoint(request: &Request) -> String {
    let path = request.extensions().get::<MatchedPath>();
    let method = [Method::GET, Method::HEAD, Method::POST, Method::DELETE];
    let method = method.iter().find(|method| *method == request.method());
    match (method, path) {
        (Some(method), Some(path)) => format!("{method} {}", path.as_str()),
        (None, _) | (_, None) => "other".to_owned(),
    }
}

const fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
