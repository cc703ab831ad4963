//! From a checked configuration to the parts that run it.

use std::collections::BTreeMap;
use std::sync::Arc;

use malote_core::credential::Credentials;
use malote_core::name::ProviderName;
use malote_core::webhook::WebhookParser;
use malote_delivery::Policy;

use crate::config::{Config, ConfiguredProvider};

/// What of a configuration is replaced on reload.
pub(crate) struct InForce {
    /// For the engine.
    pub(crate) policy: Policy,
    /// For ingress.
    pub(crate) credentials: Arc<Credentials>,
    /// For webhooks.
    pub(crate) parsers: BTreeMap<ProviderName, Arc<dyn WebhookParser>>,
}

/// Takes the parts that are replaced on reload out of a configuration.
pub(crate) fn in_force(config: Config) -> InForce {
    let bounds = config.bounds();
    let credentials = Arc::clone(&config.credentials);
    let parser = |(name, provider): (&ProviderName, &ConfiguredProvider)| {
        Some((name.clone(), Arc::clone(provider.adapter.webhook.as_ref()?)))
    };
    let parsers = config.providers.iter().filter_map(parser).collect();
    let streams = config.streams.iter();
    let providers = config.providers.iter();
    let policy = Policy {
        streams: streams
            .map(|(name, stream)| (name.clone(), stream.clone()))
            .collect(),
        feedback_ids: config.feedback_ids,
        providers: providers
            .map(|(name, provider)| (name.clone(), provider.entry()))
            .collect(),
        router: config.router,
        credentials: Arc::clone(&credentials),
        outlets: config.outlets,
        return_path: config.return_path,
        unsubscribe: config.unsubscribe,
        bounds,
    };
    InForce {
        policy,
        credentials,
        parsers,
    }
}
