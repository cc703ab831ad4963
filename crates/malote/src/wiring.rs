//! From a checked configuration to the parts that run it.

use std::collections::BTreeMap;
use std::sync::Arc;

use malote_core::credential::Credentials;
use malote_core::name::ProviderName;
use malote_core::webhook::WebhookParser;
use malote_delivery::Policy;
use malote_providers::Adapter;

use crate::config::{Config, ConfiguredProvider, Fingerprint};

/// What of a configuration is replaced on reload.
pub(crate) struct InForce {
    /// For the engine.
    pub(crate) policy: Policy,
    /// For ingress.
    pub(crate) credentials: Arc<Credentials>,
    /// For webhooks.
    pub(crate) parsers: BTreeMap<ProviderName, Arc<dyn WebhookParser>>,
    /// For the next reload.
    pub(crate) adapters: Adapters,
}

/// Adapters with what they were built from.
pub(crate) type Adapters = BTreeMap<ProviderName, (Fingerprint, Adapter)>;

/// Takes the parts that are replaced on reload out of a configuration. Adapters in force that would
/// be built from the same again stay: they hold connections and tokens, and know how they do.
pub(crate) fn in_force(mut config: Config, last: &Adapters) -> InForce {
    let adapters = keep_unchanged(&mut config, last);
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
        adapters,
    }
}

fn keep_unchanged(config: &mut Config, last: &Adapters) -> Adapters {
    let fingerprints = &config.digests.providers;
    let keep = |(name, provider): (&ProviderName, &mut ConfiguredProvider)| {
        let fingerprint = *fingerprints.get(name.as_str())?;
        let same = last.get(name).filter(|(own, _)| *own == fingerprint);
        if let Some((_, adapter)) = same {
            provider.adapter = adapter.clone();
        }
        Some((name.clone(), (fingerprint, provider.adapter.clone())))
    };
    config.providers.iter_mut().filter_map(keep).collect()
}

#[cfg(test)]
mod tests {
    use malote_core::clock::{Clock, FixedClock};

    use super::*;
    use crate::config;

    const OLD_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const NEW_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYROTATEDKEY";

    #[test]
    fn a_reload_keeps_the_adapters_whose_tables_and_secrets_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (file, secret) = (dir.path().join("malote.toml"), dir.path().join("secret"));
        let clock: Arc<dyn Clock> = Arc::new(FixedClock(jiff::Timestamp::UNIX_EPOCH));
        let read = |region: &str| {
            let text = format!(
                "[http]\n[store.sqlite]\npath = 'x.db'\n[credentials.shop]\napi_key = 'k'\n\
                 streams = ['tx']\n[streams.tx]\nclass = 'transactional'\nroute = 'tx'\n\
                 [routes.tx]\nstrategy = 'failover'\n\
                 targets = [{{ provider = 'ses' }}, {{ provider = 'box' }}]\n\
                 [providers.box.capture]\n[providers.ses.ses]\nregion = '{region}'\n\
                 access_key_id = 'AKIAIOSFODNN7EXAMPLE'\nsecret_access_key_file = {secret:?}\n"
            );
            std::fs::write(&file, text).unwrap();
            let outcome = config::read(std::slice::from_ref(&file), [], &clock);
            outcome.config.ok_or(outcome.report.to_string()).unwrap()
        };
        let mut last = Adapters::new();
        let mut seen = Vec::new();
        for (region, key) in [
            ("us-east-1", OLD_KEY),
            ("us-east-1", OLD_KEY),
            ("eu-west-1", OLD_KEY),
            ("eu-west-1", NEW_KEY),
        ] {
            std::fs::write(&secret, key).unwrap();
            let next = in_force(read(region), &last);
            for (name, (_, adapter)) in &next.adapters {
                let in_policy = &next.policy.providers[name].provider;
                assert!(Arc::ptr_eq(in_policy, &adapter.provider));
            }
            let is_kept = |name: &str| {
                let name = ProviderName::try_from(name).unwrap();
                let (_, adapter) = &next.adapters[&name];
                last.get(&name)
                    .is_some_and(|(_, last)| Arc::ptr_eq(&last.provider, &adapter.provider))
            };
            seen.push((is_kept("ses"), is_kept("box")));
            last = next.adapters;
        }
        let [none, both, other] = [(false, false), (true, true), (false, true)];
        assert_eq!(seen, [none, both, other, other]);
    }
}
